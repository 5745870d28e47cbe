//! What a password is checked with: SCRAM's stored keys, never the password.
//!
//! Source: RFC 5802, section 3; the text form is PostgreSQL's (`pg_authid.rolpassword`).

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use ring::{digest, hmac, pbkdf2};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::num::NonZeroU32;
use subtle::ConstantTimeEq;

/// Bytes of the secret that salts of unknown users are made of.
pub const SECRET_BYTES: usize = 32;
/// Fewer rounds of hashing are refused (RFC 7677, and Kafka's minimum).
pub const ITERATIONS_MIN: u32 = 4096;
/// More are refused: a login would take too long (Kafka's maximum).
pub const ITERATIONS_MAX: u32 = 16_384;
/// What a password gets that comes without a wish.
pub const ITERATIONS_DEFAULT: u32 = 8192;
/// Bytes of salt that are taken (Kafka has no bound; its tools send some thirty).
const SALT_BYTES_MAX: usize = 1024;

const _: () = assert!(ITERATIONS_MIN <= ITERATIONS_DEFAULT && ITERATIONS_DEFAULT <= ITERATIONS_MAX);

/// A SCRAM mechanism.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum Mechanism {
    /// SCRAM-SHA-256 (RFC 7677).
    ScramSha256 = 1,
    /// SCRAM-SHA-512, which no RFC defines; Kafka's.
    ScramSha512 = 2,
}

impl Mechanism {
    /// Both.
    pub const EVERY: [Self; 2] = [Self::ScramSha256, Self::ScramSha512];

    /// Kafka's number (KIP-554).
    #[must_use]
    pub fn number(self) -> i8 {
        self as i8
    }

    /// The mechanism of Kafka's number.
    #[must_use]
    pub fn of_number(number: i8) -> Option<Self> {
        Self::EVERY.into_iter().find(|one| one.number() == number)
    }

    /// Its registered name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::ScramSha256 => "SCRAM-SHA-256",
            Self::ScramSha512 => "SCRAM-SHA-512",
        }
    }

    fn digest(self) -> &'static digest::Algorithm {
        match self {
            Self::ScramSha256 => &digest::SHA256,
            Self::ScramSha512 => &digest::SHA512,
        }
    }

    fn hmac(self) -> hmac::Algorithm {
        match self {
            Self::ScramSha256 => hmac::HMAC_SHA256,
            Self::ScramSha512 => hmac::HMAC_SHA512,
        }
    }

    /// Bytes of its hashes.
    #[must_use]
    pub fn bytes(self) -> usize {
        self.digest().output_len()
    }

    pub(crate) fn hash(self, data: &[u8]) -> Vec<u8> {
        digest::digest(self.digest(), data).as_ref().to_vec()
    }

    pub(crate) fn sign(self, key: &[u8], message: &[u8]) -> Vec<u8> {
        hmac::sign(&hmac::Key::new(self.hmac(), key), message).as_ref().to_vec()
    }

    /// RFC 5802's `Hi`.
    fn salt(self, password: &[u8], salt: &[u8], iterations: u32) -> Vec<u8> {
        let algorithm = match self {
            Self::ScramSha256 => pbkdf2::PBKDF2_HMAC_SHA256,
            Self::ScramSha512 => pbkdf2::PBKDF2_HMAC_SHA512,
        };
        let mut salted = vec![0; self.bytes()];
        let rounds = NonZeroU32::new(iterations).unwrap_or(NonZeroU32::MIN);
        pbkdf2::derive(algorithm, rounds, salt, password, &mut salted);
        salted
    }
}

/// Why a credential cannot be kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CredentialError {
    /// Too few rounds.
    #[error("too few iterations: at least {ITERATIONS_MIN}")]
    TooFewIterations,
    /// Too many rounds.
    #[error("too many iterations: at most {ITERATIONS_MAX}")]
    TooManyIterations,
    /// The salt is empty or far too long.
    #[error("the salt must have 1 to {SALT_BYTES_MAX} bytes")]
    Salt,
    /// The text is not a credential.
    #[error("the credential is damaged")]
    Damaged,
}

/// What one mechanism needs to check a password. PLAIN is checked with it too.
///
/// As text it is `SCRAM-SHA-256$<iterations>:<salt>$<stored key>:<server key>`, all in base64.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct Credential {
    /// Whose it is.
    pub mechanism: Mechanism,
    /// Rounds of hashing.
    pub iterations: u32,
    /// Hashed with the password.
    pub salt: Vec<u8>,
    pub(crate) stored_key: Vec<u8>,
    pub(crate) server_key: Vec<u8>,
}

impl Credential {
    /// Of a password in clear, which is not kept. Takes milliseconds of hashing. Passwords are
    /// taken byte for byte, as Kafka's clients do.
    ///
    /// # Errors
    /// [`CredentialError`].
    pub fn of_password(
        mechanism: Mechanism,
        password: &str,
        salt: Vec<u8>,
        iterations: u32,
    ) -> Result<Self, CredentialError> {
        check(&salt, iterations)?;
        let salted = mechanism.salt(password.as_bytes(), &salt, iterations);
        Self::of_salted(mechanism, &salted, salt, iterations)
    }

    /// Of a password that was salted by the client (KIP-554).
    ///
    /// # Errors
    /// [`CredentialError`].
    pub fn of_salted(
        mechanism: Mechanism,
        salted: &[u8],
        salt: Vec<u8>,
        iterations: u32,
    ) -> Result<Self, CredentialError> {
        check(&salt, iterations)?;
        Ok(Self::unchecked(mechanism, salted, salt, iterations))
    }

    fn unchecked(mechanism: Mechanism, salted: &[u8], salt: Vec<u8>, iterations: u32) -> Self {
        Self {
            mechanism,
            iterations,
            salt,
            stored_key: mechanism.hash(&mechanism.sign(salted, b"Client Key")),
            server_key: mechanism.sign(salted, b"Server Key"),
        }
    }

    /// For a user that does not exist: always the same for the same name, and no password fits.
    pub(crate) fn made_up(mechanism: Mechanism, secret: &[u8; SECRET_BYTES], user: &str) -> Self {
        let mark = mechanism.sign(secret, user.as_bytes());
        let keys = mechanism.sign(secret, &mark);
        let salt = mark[..mark.len() / 2].to_vec();
        Self { stored_key: keys.clone(), ..Self::unchecked(mechanism, &keys, salt, ITERATIONS_MIN) }
    }

    /// Whether `password` is the one. Takes as long whether it is or not.
    #[must_use]
    pub fn check_password(&self, password: &str) -> bool {
        let salted = self.mechanism.salt(password.as_bytes(), &self.salt, self.iterations);
        let stored = self.mechanism.hash(&self.mechanism.sign(&salted, b"Client Key"));
        stored.ct_eq(&self.stored_key).into()
    }

    /// Checks SCRAM's proof over `auth_message`; gives the server's signature if it is good.
    pub(crate) fn check_proof(&self, auth_message: &[u8], proof: &[u8]) -> Option<Vec<u8>> {
        let signature = self.mechanism.sign(&self.stored_key, auth_message);
        if proof.len() != signature.len() {
            return None;
        }
        let client_key: Vec<u8> = proof.iter().zip(&signature).map(|(a, b)| a ^ b).collect();
        let good: bool = self.mechanism.hash(&client_key).ct_eq(&self.stored_key).into();
        good.then(|| self.mechanism.sign(&self.server_key, auth_message))
    }
}

fn check(salt: &[u8], iterations: u32) -> Result<(), CredentialError> {
    if iterations < ITERATIONS_MIN {
        return Err(CredentialError::TooFewIterations);
    }
    if iterations > ITERATIONS_MAX {
        return Err(CredentialError::TooManyIterations);
    }
    if !(1..=SALT_BYTES_MAX).contains(&salt.len()) {
        return Err(CredentialError::Salt);
    }
    Ok(())
}

impl fmt::Debug for Credential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}${}:…", self.mechanism.name(), self.iterations)
    }
}

impl From<Credential> for String {
    fn from(credential: Credential) -> Self {
        let base64 = |bytes: &[u8]| BASE64_STANDARD.encode(bytes);
        format!(
            "{}${}:{}${}:{}",
            credential.mechanism.name(),
            credential.iterations,
            base64(&credential.salt),
            base64(&credential.stored_key),
            base64(&credential.server_key),
        )
    }
}

impl TryFrom<String> for Credential {
    type Error = CredentialError;

    fn try_from(text: String) -> Result<Self, CredentialError> {
        let parse = || {
            let mut parts = text.split('$');
            let name = parts.next()?;
            let (iterations, salt) = parts.next()?.split_once(':')?;
            let (stored_key, server_key) = parts.next()?.split_once(':')?;
            let mechanism = Mechanism::EVERY.into_iter().find(|one| one.name() == name)?;
            let bytes = |text: &str| BASE64_STANDARD.decode(text).ok();
            Some(Self {
                mechanism,
                iterations: iterations.parse().ok()?,
                salt: bytes(salt)?,
                stored_key: bytes(stored_key).filter(|key| key.len() == mechanism.bytes())?,
                server_key: bytes(server_key).filter(|key| key.len() == mechanism.bytes())?,
            })
        };
        let credential = parse().ok_or(CredentialError::Damaged)?;
        check(&credential.salt, credential.iterations)?;
        Ok(credential)
    }
}

/// A principal's credentials, at most one a mechanism.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Credentials(Vec<Credential>);

impl Credentials {
    /// For both mechanisms, of a password in clear; each with a salt of its own.
    ///
    /// # Errors
    /// [`CredentialError`].
    pub fn of_password(password: &str, salts: [Vec<u8>; 2]) -> Result<Self, CredentialError> {
        let of = |(mechanism, salt)| {
            Credential::of_password(mechanism, password, salt, ITERATIONS_DEFAULT)
        };
        Mechanism::EVERY.into_iter().zip(salts).map(of).collect::<Result<_, _>>().map(Self)
    }

    /// Of one mechanism alone.
    #[must_use]
    pub fn of(credential: Credential) -> Self {
        Self(vec![credential])
    }

    /// That of a mechanism.
    #[must_use]
    pub fn get(&self, mechanism: Mechanism) -> Option<&Credential> {
        self.0.iter().find(|one| one.mechanism == mechanism)
    }

    /// Any of them: PLAIN is checked with it.
    #[must_use]
    pub fn any(&self) -> Option<&Credential> {
        self.0.first()
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = &Credential> {
        self.0.iter()
    }

    /// Whether there are none: then nobody can log in with them.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Sets that of its mechanism.
    pub fn set(&mut self, credential: Credential) {
        self.remove(credential.mechanism);
        self.0.push(credential);
        self.0.sort_by_key(|one| one.mechanism);
    }

    /// Removes that of a mechanism; whether there was one.
    pub fn remove(&mut self, mechanism: Mechanism) -> bool {
        let before = self.0.len();
        self.0.retain(|one| one.mechanism != mechanism);
        self.0.len() < before
    }
}
