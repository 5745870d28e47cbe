//! Who asks: Basic authentication (RFC 7617), a certificate, or nobody (`PROTOCOL.md`, section 7).

use crate::door::{Connection, Door};
use crate::error::{Code, Failure};
use anabranch_engine::{
    Error, ErrorKind, Exchange, Login, Operation, ResourceKind, SaslMechanism, Session,
};
use anabranch_net::Peer;
use anabranch_query::Sql;
use axum::http::header::{AUTHORIZATION, HeaderMap, HeaderValue};
use parking_lot::Mutex;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

/// What a browser is told, so that it asks its user (RFC 7617, section 2).
pub(crate) const CHALLENGE: &str = "Basic realm=\"anabranch\", charset=\"UTF-8\"";

/// Logins whose passwords are hashed at one time, all connections together: who guesses passwords
/// is not to have all threads for it.
pub(crate) const LOGINS_MAX: usize = 2;

/// How long a failed login waits for its answer.
const FAILED_PAUSE: Duration = Duration::from_millis(100);

/// The engine and SQL as those who sent a request may use them.
#[derive(Clone)]
pub(crate) struct Caller {
    pub(crate) engine: Session,
    shared: Arc<Sql>,
    own: Arc<OnceLock<Arc<Sql>>>,
}

impl Caller {
    fn new(engine: Session, shared: Arc<Sql>) -> Self {
        Self { engine, shared, own: Arc::default() }
    }

    /// SQL: one for all while nobody can be denied anything, then one's own, which takes
    /// milliseconds the first time.
    ///
    /// # Errors
    /// When nothing can be planned.
    pub(crate) fn sql(&self) -> Result<Arc<Sql>, Error> {
        if self.engine.is_free() {
            return Ok(Arc::clone(&self.shared));
        }
        if let Some(sql) = self.own.get() {
            return Ok(Arc::clone(sql));
        }
        let sql = self.shared.of(self.engine.clone())?;
        Ok(Arc::clone(self.own.get_or_init(|| sql)))
    }

    /// Whether a login might help with what is denied.
    pub(crate) fn is_nobody(&self) -> bool {
        !self.engine.is_open() && self.engine.user().is_none()
    }

    /// Whether there is no stream of which they may do anything.
    fn may_nothing(&self) -> bool {
        use Operation::{Create, Describe, Read, Write};
        let may = |operation| self.engine.may_some(operation, ResourceKind::Topic);
        ![Describe, Read, Write, Create].into_iter().any(may)
    }
}

/// Who has used a connection.
pub(crate) struct Logins {
    /// Who is there without a password: by a certificate, or nobody.
    unnamed: Caller,
    /// The last who had one: on the same connection it is not checked again.
    named: Mutex<Option<Named>>,
}

struct Named {
    header: HeaderValue,
    /// Of principals and credentials, when the password was checked.
    version: u64,
    caller: Caller,
}

impl Logins {
    pub(crate) fn new(door: &Door, peer: &Peer) -> Self {
        let host = peer.address.ip().to_canonical().to_string();
        let engine = match peer.principal() {
            Some(principal) => door.own.session_by_certificate(&host, &principal),
            None => door.own.from_host(&host),
        };
        Self { unnamed: Caller::new(engine, Arc::clone(&door.sql)), named: Mutex::new(None) }
    }
}

/// Who sent a request. While there is no user, nobody is asked.
///
/// # Errors
/// `unauthenticated`: the user or the password is wrong, or the way of saying so; or nobody may do
/// anything without a login.
pub(crate) async fn caller(
    door: &Door,
    connection: &Connection,
    headers: &HeaderMap,
    path: &str,
) -> Result<Caller, Failure> {
    let logins = &connection.logins;
    let unnamed = &logins.unnamed;
    let header = headers.get(AUTHORIZATION).filter(|_| !unnamed.engine.is_open());
    let Some(header) = header else {
        // A browser asks its user only when a page is refused, not for what the page opens.
        if unnamed.is_nobody() && (path == "/" || unnamed.may_nothing()) {
            return Err(failure("this broker wants a user and a password"));
        }
        return Ok(unnamed.clone());
    };
    // Before the check: what changes meanwhile makes it stale.
    let version = door.own.access_version();
    if let Some(named) = &*logins.named.lock()
        && named.version == version
        && named.header == *header
    {
        return Ok(named.caller.clone());
    }
    let message = plain(header).ok_or_else(|| {
        failure("the header Authorization is not Basic with a user and a password")
    })?;
    let engine = check(door, unnamed.engine.clone(), message).await?;
    let caller = Caller::new(engine, Arc::clone(&door.sql));
    let named = Named { header: header.clone(), version, caller: caller.clone() };
    *logins.named.lock() = Some(named);
    Ok(caller)
}

async fn check(door: &Door, engine: Session, message: Vec<u8>) -> Result<Session, Failure> {
    let logins = Arc::clone(&door.logins);
    let turn = logins.acquire_owned().await.expect("this semaphore is never closed");
    let hashing = tokio::task::spawn_blocking(move || {
        // Until it is done, even if the client has gone meanwhile.
        let _turn = turn;
        let mut exchange = Exchange::new(SaslMechanism::Plain, String::new());
        engine.log_in(&mut exchange, &message)
    });
    let login = hashing.await.map_err(|ended| {
        Failure::new(Code::Engine(ErrorKind::Internal), format!("the login ended: {ended}"))
    })?;
    match login {
        Ok(Login::Done { session, .. }) => Ok(session),
        Ok(Login::Continue(_)) | Err(_) => {
            tokio::time::sleep(FAILED_PAUSE).await;
            // The same for every reason: who asks is not to learn which users there are.
            Err(failure("the user or the password is wrong"))
        }
    }
}

fn failure(message: &str) -> Failure {
    Failure::new(Code::Unauthenticated, message)
}

/// `user:password` of a header, as the message of PLAIN (RFC 4616). The user's name has no colon
/// (RFC 7617, section 2).
fn plain(header: &HeaderValue) -> Option<Vec<u8>> {
    let (scheme, credentials) = header.to_str().ok()?.split_once(' ')?;
    if !scheme.eq_ignore_ascii_case("Basic") {
        return None;
    }
    let mut text = crate::json::from_base64(credentials.trim())?;
    let colon = text.iter().position(|byte| *byte == b':')?;
    text[colon] = 0;
    text.insert(0, 0);
    Some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers() {
        let check = |header: &'static str, expected: Option<&[u8]>| {
            let found = plain(&HeaderValue::from_static(header));
            assert_eq!(found.as_deref(), expected, "{header}");
        };
        // The examples of RFC 7617, section 2.
        check("Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==", Some(b"\0Aladdin\0open sesame"));
        check("basic dGVzdDoxMjPCow==", Some("\0test\u{0}123£".as_bytes()));
        // a:b:c
        check("Basic YTpiOmM=", Some(b"\0a\0b:c"));
        check("Basic YWJj", None);
        check("Basic ?", None);
        check("Basic", None);
        check("Bearer QWxhZGRpbjpvcGVuIHNlc2FtZQ==", None);
    }
}
