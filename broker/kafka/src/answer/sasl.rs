//! Logging in: SASL in Kafka's own requests (KIP-43, KIP-152, KIP-368), and the bare tokens of
//! clients of before KIP-152.

use super::{Client, text};
use crate::connection::aside;
use crate::door::Shared;
use crate::limits::LOGIN_FAILED_PAUSE;
use anabranch_engine::{Exchange, Login, SaslMechanism};
use bytes::Bytes;
use kafka_protocol::error::ResponseError;
use kafka_protocol::messages::{
    SaslAuthenticateRequest, SaslAuthenticateResponse, SaslHandshakeRequest, SaslHandshakeResponse,
};
use kafka_protocol::protocol::StrBytes;

/// First version of the handshake after which logins go on in requests of their own.
const REQUESTS_FROM: i16 = 1;

/// A login that has begun.
pub(crate) struct Ongoing {
    exchange: Exchange,
    /// Whether what comes next is not a request but a bare message of the mechanism.
    bare: bool,
}

impl std::fmt::Debug for Ongoing {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.exchange.mechanism().name())
    }
}

impl Client {
    /// Whether the next frame is a bare message of a login.
    pub(crate) fn sends_bare_messages(&self) -> bool {
        self.login.as_ref().is_some_and(|login| login.bare)
    }
}

pub(super) fn handshake(
    client: &mut Client,
    version: i16,
    request: &SaslHandshakeRequest,
) -> SaslHandshakeResponse {
    let names = SaslMechanism::EVERY.map(|one| StrBytes::from_static_str(one.name()));
    let response = SaslHandshakeResponse::default().with_mechanisms(names.to_vec());
    let Some(mechanism) = SaslMechanism::of_name(&request.mechanism) else {
        client.refused = true;
        return response.with_error_code(ResponseError::UnsupportedSaslMechanism.code());
    };
    let nonce = uuid::Uuid::new_v4().simple().to_string();
    let exchange = Exchange::new(mechanism, nonce);
    client.login = Some(Ongoing { exchange, bare: version < REQUESTS_FROM });
    response
}

/// What came of a message.
enum Outcome {
    Answered(Vec<u8>),
    Refused(String),
}

pub(super) async fn authenticate(
    shared: &Shared,
    client: &mut Client,
    request: &SaslAuthenticateRequest,
) -> SaslAuthenticateResponse {
    let response = SaslAuthenticateResponse::default();
    if client.login.is_none() {
        let message = "begin with SaslHandshake";
        return response
            .with_error_code(ResponseError::IllegalSaslState.code())
            .with_error_message(Some(text(message)));
    }
    match step(shared, client, &request.auth_bytes).await {
        Outcome::Answered(bytes) => response.with_auth_bytes(bytes.into()),
        Outcome::Refused(message) => response
            .with_error_code(ResponseError::SaslAuthenticationFailed.code())
            .with_error_message(Some(text(message))),
    }
}

/// Answers a bare message; nothing if the login has failed: then the connection is closed.
pub(crate) async fn bare(shared: &Shared, client: &mut Client, message: &Bytes) -> Option<Vec<u8>> {
    match step(shared, client, message).await {
        Outcome::Answered(bytes) => Some(bytes),
        Outcome::Refused(_) => None,
    }
}

async fn step(shared: &Shared, client: &mut Client, message: &[u8]) -> Outcome {
    let Some(mut login) = client.login.take() else {
        return Outcome::Refused("no login has begun".to_owned());
    };
    let mechanism = login.exchange.mechanism();
    // Who guesses passwords is not to have all threads for it.
    let turn = shared.logins.acquire().await.expect("logins are never closed");
    let stepped = aside(|| shared.engine.log_in(&mut login.exchange, message));
    drop(turn);
    let refusal = match stepped {
        Ok(Login::Continue(answer)) => {
            client.login = Some(login);
            return Outcome::Answered(answer);
        }
        Ok(Login::Done { session, answer }) => {
            let (before, now) = (shared.engine.principal(), session.principal());
            if !client.authenticated || before == now {
                client.session = Some(session);
                client.authenticated = true;
                return Outcome::Answered(answer);
            }
            // KIP-368.
            format!("Cannot change principals during re-authentication from {before} to {now}")
        }
        // The same for every reason: who asks is not to learn which users there are.
        Err(_) => format!(
            "Authentication failed during authentication due to invalid credentials with SASL \
             mechanism {}",
            mechanism.name()
        ),
    };
    client.refused = true;
    tokio::time::sleep(LOGIN_FAILED_PAUSE).await;
    Outcome::Refused(refusal)
}
