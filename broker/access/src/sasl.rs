//! Finding out who is there: PLAIN (RFC 4616) and SCRAM, message by message.

use crate::access::Access;
use crate::credential::{Credential, Mechanism};
use crate::principal::Principal;
use crate::scram::Scram;

/// Bytes of one message that are looked at; longer ones are refused.
const MESSAGE_BYTES_MAX: usize = 4096;

/// How somebody shows who they are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SaslMechanism {
    /// By saying their password: for encrypted connections.
    Plain,
    /// By proving that they know it.
    Scram(Mechanism),
}

impl SaslMechanism {
    /// All of them, in the order in which they are offered.
    pub const EVERY: [Self; 3] =
        [Self::Plain, Self::Scram(Mechanism::ScramSha256), Self::Scram(Mechanism::ScramSha512)];

    /// Its registered name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Plain => "PLAIN",
            Self::Scram(mechanism) => mechanism.name(),
        }
    }

    /// The mechanism of a name.
    #[must_use]
    pub fn of_name(name: &str) -> Option<Self> {
        Self::EVERY.into_iter().find(|one| one.name() == name)
    }
}

/// Why somebody is not let in. What the client is told is the same for every
/// [`Self::Invalid`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Failed {
    /// What came is not the mechanism's.
    #[error("{0}")]
    Malformed(&'static str),
    /// There is no such user, or the password is another.
    #[error("the user or the password is wrong")]
    Invalid {
        /// Who they said they are.
        user: String,
    },
}

/// What follows from a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Send this and wait for the next.
    Continue(Vec<u8>),
    /// They are who they say.
    Done {
        /// Who.
        principal: Principal,
        /// To be sent to them.
        answer: Vec<u8>,
    },
}

/// One login.
pub struct Exchange {
    mechanism: SaslMechanism,
    nonce: String,
    /// Who they are, where the protocol says so before.
    user: Option<String>,
    state: State,
}

enum State {
    First,
    Proof(Scram),
    Over,
}

impl Exchange {
    /// `nonce` is random, and printable ASCII without commas.
    #[must_use]
    pub fn new(mechanism: SaslMechanism, nonce: String) -> Self {
        Self { mechanism, nonce, user: None, state: State::First }
    }

    /// The same, of a user who has been named before: SCRAM's own name then means nothing, and may
    /// be empty (PostgreSQL 15, 55.3.1).
    #[must_use]
    pub fn of_user(mechanism: SaslMechanism, nonce: String, user: String) -> Self {
        Self { user: Some(user), ..Self::new(mechanism, nonce) }
    }

    /// Its mechanism.
    #[must_use]
    pub fn mechanism(&self) -> SaslMechanism {
        self.mechanism
    }

    /// Takes the client's next message. PLAIN takes milliseconds of hashing.
    ///
    /// # Errors
    /// [`Failed`]; then the exchange is over.
    pub fn step(&mut self, access: &Access, message: &[u8]) -> Result<Step, Failed> {
        if message.len() > MESSAGE_BYTES_MAX {
            return Err(Failed::Malformed("the message is too long"));
        }
        let message =
            std::str::from_utf8(message).map_err(|_| Failed::Malformed("it is not UTF-8"))?;
        match (std::mem::replace(&mut self.state, State::Over), self.mechanism) {
            (State::First, SaslMechanism::Plain) => {
                let principal = plain(access, message)?;
                Ok(Step::Done { principal, answer: Vec::new() })
            }
            (State::First, SaslMechanism::Scram(mechanism)) => {
                let (scram, answer) =
                    Scram::first(access, mechanism, self.user.as_deref(), message, &self.nonce)?;
                self.state = State::Proof(scram);
                Ok(Step::Continue(answer.into_bytes()))
            }
            (State::Proof(scram), _) => {
                let (principal, answer) = scram.finish(message)?;
                Ok(Step::Done { principal, answer: answer.into_bytes() })
            }
            (State::Over, _) => Err(Failed::Malformed("the login is over")),
        }
    }
}

/// `[authzid] NUL authcid NUL passwd`.
fn plain(access: &Access, message: &str) -> Result<Principal, Failed> {
    let mut fields = message.split('\0');
    let (Some(authorize), Some(user), Some(password), None) =
        (fields.next(), fields.next(), fields.next(), fields.next())
    else {
        return Err(Failed::Malformed("not PLAIN's message"));
    };
    if user.is_empty() || password.is_empty() {
        return Err(Failed::Malformed("the user or the password is empty"));
    }
    access
        .log_in(user, password)
        .filter(|_| authorize.is_empty() || authorize == user)
        .ok_or_else(|| Failed::Invalid { user: user.to_owned() })
}

impl Access {
    /// Who a user and their password are, if that is the password. Takes milliseconds of hashing,
    /// whether there is such a user or not.
    #[must_use]
    pub fn log_in(&self, user: &str, password: &str) -> Option<Principal> {
        let principal = Principal::user(user);
        match self.credentials(&principal).and_then(|credentials| credentials.any()) {
            Some(credential) => credential.check_password(password).then_some(principal),
            None => {
                let nobody = Credential::made_up(Mechanism::ScramSha256, self.secret(), user);
                let _always_false = nobody.check_password(password);
                None
            }
        }
    }
}
