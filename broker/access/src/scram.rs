//! SCRAM, the server's side. Source: RFC 5802, sections 5 and 7; RFC 7677.

use crate::access::Access;
use crate::credential::{Credential, Mechanism};
use crate::principal::Principal;
use crate::sasl::Failed;
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;

/// After the server's first message.
pub(crate) struct Scram {
    user: String,
    credential: Credential,
    /// Whether there is such a user with this mechanism.
    known: bool,
    /// What the client will repeat: its header, and the server's nonce.
    header: String,
    server_nonce: String,
    /// `client-first-message-bare,server-first-message`.
    messages: String,
}

impl Scram {
    /// Takes the client's first message; gives the server's first.
    pub(crate) fn first(
        access: &Access,
        mechanism: Mechanism,
        user: Option<&str>,
        message: &str,
        server_nonce: &str,
    ) -> Result<(Self, String), Failed> {
        let First { header, authorize, user: named, nonce, bare } = First::read(message)?;
        let user = user.map_or(named, str::to_owned);
        if user.is_empty() {
            return Err(Failed::Malformed("the user's name is empty"));
        }
        if authorize.is_some_and(|other| other != user) {
            return Err(Failed::Invalid { user });
        }
        let principal = Principal::user(&user);
        let own = access.credentials(&principal).and_then(|all| all.get(mechanism)).cloned();
        let known = own.is_some();
        // Who does not exist is asked for a proof all the same.
        let credential =
            own.unwrap_or_else(|| Credential::made_up(mechanism, access.secret(), &user));
        let nonce = format!("{nonce}{server_nonce}");
        let salt = BASE64_STANDARD.encode(&credential.salt);
        let answer = format!("r={nonce},s={salt},i={}", credential.iterations);
        let messages = format!("{bare},{answer}");
        let server_nonce = server_nonce.to_owned();
        Ok((Self { user, credential, known, header, server_nonce, messages }, answer))
    }

    /// Takes the client's final message; gives who they are, and the server's final one.
    pub(crate) fn finish(self, message: &str) -> Result<(Principal, String), Failed> {
        let malformed = || Failed::Malformed("not SCRAM's final message");
        let (without_proof, proof) = message.rsplit_once(",p=").ok_or_else(malformed)?;
        let mut fields = without_proof.split(',');
        let binding = fields.next().and_then(|field| field.strip_prefix("c="));
        let nonce = fields.next().and_then(|field| field.strip_prefix("r="));
        let (Some(binding), Some(nonce)) = (binding, nonce) else { return Err(malformed()) };
        if BASE64_STANDARD.decode(binding).ok().as_deref() != Some(self.header.as_bytes()) {
            return Err(Failed::Malformed("the channel binding is another than at first"));
        }
        // As Kafka: librdkafka before 2.2 sends its own nonce twice before the server's. The proof
        // covers whatever it sends.
        if !nonce.ends_with(&self.server_nonce) {
            return Err(Failed::Malformed("the nonce is another than the server's"));
        }
        let proof = BASE64_STANDARD.decode(proof).map_err(|_| malformed())?;
        let auth_message = format!("{},{without_proof}", self.messages);
        let signature = self.credential.check_proof(auth_message.as_bytes(), &proof);
        match signature.filter(|_| self.known) {
            Some(signature) => {
                let answer = format!("v={}", BASE64_STANDARD.encode(signature));
                Ok((Principal::user(&self.user), answer))
            }
            None => Err(Failed::Invalid { user: self.user }),
        }
    }
}

/// The client's first message, taken apart.
struct First<'a> {
    /// `n,,`: no channel binding, and as whom to act.
    header: String,
    authorize: Option<String>,
    user: String,
    nonce: &'a str,
    /// All behind the header.
    bare: &'a str,
}

impl<'a> First<'a> {
    fn read(message: &'a str) -> Result<Self, Failed> {
        let malformed = || Failed::Malformed("not SCRAM's first message");
        let (flag, rest) = message.split_once(',').ok_or_else(malformed)?;
        let (authorize, bare) = rest.split_once(',').ok_or_else(malformed)?;
        if !matches!(flag, "n" | "y") {
            return Err(Failed::Malformed("channel binding is not supported"));
        }
        let authorize = match authorize {
            "" => None,
            other => Some(unescape(other.strip_prefix("a=").ok_or_else(malformed)?)?),
        };
        let mut fields = bare.split(',');
        let user =
            fields.next().and_then(|field| field.strip_prefix("n=")).ok_or_else(malformed)?;
        let nonce =
            fields.next().and_then(|field| field.strip_prefix("r=")).ok_or_else(malformed)?;
        let printable = |byte: u8| matches!(byte, 0x21..=0x2b | 0x2d..=0x7e);
        if nonce.is_empty() || !nonce.bytes().all(printable) {
            return Err(malformed());
        }
        // KIP-48: `tokenauth=true` would log in with a delegation token.
        if fields.any(|field| field == "tokenauth=true") {
            return Err(Failed::Malformed("there are no delegation tokens"));
        }
        let header = message[..message.len() - bare.len()].to_owned();
        Ok(Self { header, authorize, user: unescape(user)?, nonce, bare })
    }
}

/// RFC 5802's `saslname`: `=2C` is a comma, `=3D` an equals sign, and there is no other escape.
fn unescape(name: &str) -> Result<String, Failed> {
    let mut parts = name.split('=');
    let mut out = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let (sign, rest) = match (part.strip_prefix("2C"), part.strip_prefix("3D")) {
            (Some(rest), _) => (',', rest),
            (_, Some(rest)) => ('=', rest),
            (None, None) => return Err(Failed::Malformed("a user's name is not escaped")),
        };
        out.push(sign);
        out.push_str(rest);
    }
    Ok(out)
}
