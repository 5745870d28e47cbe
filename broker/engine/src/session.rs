//! An engine as one principal may use it: what doors hold.
//!
//! Every way to data or metadata goes through a [`Session`], and each is decided here, so that no
//! door can forget to ask. While nobody can be denied anything that costs one atomic load; else a
//! session remembers what was decided, until principals or grants change.

mod append;
mod groups;
mod manage;
mod sequences;
mod streams;

pub use streams::StreamRef;

use crate::catalog::Catalog;
use crate::draft::{Drafted, RelationChange};
use crate::engine::Engine;
use crate::{Error, ErrorKind};
use ahash::HashMap;
use anabranch_access::{
    Access, CLUSTER, Exchange, Failed, Identity, Operation, OperationSet, Principal, Resource,
    ResourceKind, Step,
};
use parking_lot::{Mutex, RwLock};
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// Names whose decisions a session remembers; beyond, it begins anew.
const REMEMBERED_MAX: usize = 10_000;

/// The engine as somebody may use it; cheap to clone, and then still the same session.
#[derive(Clone)]
pub struct Session {
    pub(crate) engine: Engine,
    who: Arc<Who>,
    draft: Option<Arc<Drafted>>,
}

enum Who {
    /// The broker itself: groups, retention, what is set at the start.
    Broker,
    Somebody(Caller),
}

struct Caller {
    identity: RwLock<Arc<Identity>>,
    remembered: Mutex<Remembered>,
}

/// What follows from one snapshot of principals and grants.
struct Remembered {
    version: u64,
    access: Arc<Access>,
    is_admin: bool,
    decisions: HashMap<ResourceKind, HashMap<Box<str>, Decided>>,
    names: usize,
    /// What may be described of a catalog.
    catalog: Option<(Arc<Catalog>, Arc<Catalog>)>,
}

#[derive(Default, Clone, Copy)]
struct Decided {
    asked: OperationSet,
    allowed: OperationSet,
}

/// What follows from a message of a login.
pub enum Login {
    /// Send this and wait for the next.
    Continue(Vec<u8>),
    /// They are who they say.
    Done {
        /// The engine as they may use it.
        session: Session,
        /// To be sent to them.
        answer: Vec<u8>,
    },
}

impl Engine {
    /// The engine as somebody at `host` may use it who has not said who they are. `host` is an IP
    /// address, without a port.
    #[must_use]
    pub fn session(&self, host: &str) -> Session {
        self.session_of(Identity::anonymous(host))
    }

    /// The engine as its client may use it who has shown a certificate for `principal`
    /// (`User:CN=…`), whose signature was checked. What is no principal is anonymous.
    #[must_use]
    pub fn session_by_certificate(&self, host: &str, principal: &str) -> Session {
        let principal = Principal::parse(principal).unwrap_or_else(Principal::anonymous);
        self.session_of(Identity { principal, host: host.into() })
    }

    /// The engine as the broker itself uses it, for nobody: to everything else, requests come from
    /// a client.
    #[must_use]
    pub fn own_session(&self) -> Session {
        Session { engine: self.clone(), who: Arc::new(Who::Broker), draft: None }
    }

    fn session_of(&self, identity: Identity) -> Session {
        let (version, access) = self.inner.access.snapshot();
        let is_admin = access.is_admin(&identity.principal);
        let caller = Caller {
            identity: RwLock::new(Arc::new(identity)),
            remembered: Mutex::new(Remembered::new(version, access, is_admin)),
        };
        Session { engine: self.clone(), who: Arc::new(Who::Somebody(caller)), draft: None }
    }
}

impl Remembered {
    fn new(version: u64, access: Arc<Access>, is_admin: bool) -> Self {
        let decisions = HashMap::default();
        Self { version, access, is_admin, decisions, names: 0, catalog: None }
    }

    fn decide(&mut self, who: &Identity, operation: Operation, resource: Resource<'_>) -> bool {
        if self.is_admin {
            return true;
        }
        let known = self.decisions.get(&resource.kind).and_then(|all| all.get(resource.name));
        let mut decided = known.copied().unwrap_or_default();
        if decided.asked.contains(operation) {
            return decided.allowed.contains(operation);
        }
        let is_new = known.is_none();
        let allowed = self.access.decide(who, operation, resource).is_allowed();
        decided.asked = decided.asked.with(operation);
        if allowed {
            decided.allowed = decided.allowed.with(operation);
        }
        if is_new && self.names >= REMEMBERED_MAX {
            self.decisions.clear();
            self.names = 0;
        }
        self.names += usize::from(is_new);
        self.decisions.entry(resource.kind).or_default().insert(resource.name.into(), decided);
        allowed
    }
}

impl Caller {
    /// What is remembered of the newest snapshot.
    fn with<T>(&self, engine: &Engine, use_it: impl FnOnce(&mut Remembered, &Identity) -> T) -> T {
        let state = &engine.inner.access;
        let identity = Arc::clone(&self.identity.read());
        let mut remembered = self.remembered.lock();
        if remembered.version != state.version() {
            let (version, access) = state.snapshot();
            let is_admin = access.is_admin(&identity.principal);
            *remembered = Remembered::new(version, access, is_admin);
        }
        use_it(&mut remembered, &identity)
    }
}

impl Session {
    pub(crate) fn with_draft(&self, draft: Arc<Drafted>) -> Self {
        Self { draft: Some(draft), ..self.clone() }
    }

    pub(crate) fn draft(&self) -> Option<&Arc<Drafted>> {
        self.draft.as_ref()
    }

    /// In its draft, or in one that is in force at once.
    pub(crate) async fn change_relation(&self, change: RelationChange) -> Result<(), Error> {
        if let Some(draft) = &self.draft {
            return draft.change_relation(change).await;
        }
        let draft = self.begin_draft();
        draft.drafted().change_relation(change).await?;
        draft.commit(None).await
    }

    /// All streams, with those of its draft.
    pub(crate) fn whole_catalog(&self) -> Arc<Catalog> {
        match &self.draft {
            Some(draft) => draft.catalog(),
            None => self.engine.catalog(),
        }
    }

    /// The same, with its draft, as the broker itself sees it: for questions about all that there
    /// is, of which no answer gives away what the client may not see.
    #[must_use]
    pub fn unrestricted(&self) -> Self {
        Self { who: Arc::new(Who::Broker), ..self.clone() }
    }

    /// The broker whose session it is: nothing of it gives data.
    #[must_use]
    pub fn engine(&self) -> &Engine {
        &self.engine
    }

    /// Who it is for.
    #[must_use]
    pub fn principal(&self) -> Principal {
        match &*self.who {
            Who::Broker => Principal::user("BROKER"),
            Who::Somebody(caller) => caller.identity.read().principal.clone(),
        }
    }

    /// The name they have logged in by; none of who has not, and of the broker itself.
    #[must_use]
    pub fn user(&self) -> Option<String> {
        match &*self.who {
            Who::Broker => None,
            Who::Somebody(caller) => {
                let principal = &caller.identity.read().principal;
                (*principal != Principal::anonymous()).then(|| principal.name().to_owned())
            }
        }
    }

    /// Whether they may do `operation` to `resource`, for lists that leave out what they may not
    /// see. Nobody is told of a denial.
    #[must_use]
    pub fn may(&self, operation: Operation, resource: Resource<'_>) -> bool {
        match &*self.who {
            Who::Broker => true,
            Who::Somebody(_) if self.is_free() => true,
            Who::Somebody(caller) => caller.with(&self.engine, |remembered, identity| {
                remembered.decide(identity, operation, resource)
            }),
        }
    }

    /// Checks that they may do `operation` to `resource`. A denial is counted and logged.
    ///
    /// # Errors
    /// [`ErrorKind::Denied`].
    pub fn check(&self, operation: Operation, resource: Resource<'_>) -> Result<(), Error> {
        if self.may(operation, resource) { Ok(()) } else { Err(self.deny(operation, resource)) }
    }

    /// As [`Self::check`], of a stream.
    ///
    /// # Errors
    /// [`ErrorKind::Denied`].
    pub fn check_stream_access(&self, operation: Operation, name: &str) -> Result<(), Error> {
        self.check(operation, Resource { kind: ResourceKind::Topic, name })
    }

    /// As [`Self::check`], of a group.
    ///
    /// # Errors
    /// [`ErrorKind::Denied`].
    pub fn check_group(&self, operation: Operation, name: &str) -> Result<(), Error> {
        self.check(operation, Resource { kind: ResourceKind::Group, name })
    }

    /// As [`Self::check`], of the broker as a whole.
    ///
    /// # Errors
    /// [`ErrorKind::Denied`].
    pub fn check_cluster(&self, operation: Operation) -> Result<(), Error> {
        self.check(operation, Resource { kind: ResourceKind::Cluster, name: CLUSTER })
    }

    /// As [`Self::check`], of a transactional id.
    ///
    /// # Errors
    /// [`ErrorKind::Denied`].
    pub fn check_transactional(&self, operation: Operation, id: &str) -> Result<(), Error> {
        self.check(operation, Resource { kind: ResourceKind::TransactionalId, name: id })
    }

    /// Whether they may do `operation` to at least one resource of `kind`.
    #[must_use]
    pub fn may_some(&self, operation: Operation, kind: ResourceKind) -> bool {
        match &*self.who {
            Who::Broker => true,
            Who::Somebody(_) if self.is_free() => true,
            Who::Somebody(caller) => caller.with(&self.engine, |remembered, identity| {
                remembered.access.decide_some(identity, operation, kind).is_allowed()
            }),
        }
    }

    /// All that they may do to `resource` (KIP-430).
    #[must_use]
    pub fn operations(&self, resource: Resource<'_>) -> OperationSet {
        let all = resource.kind.operations().iter().copied();
        all.filter(|operation| self.may(*operation, resource)).collect()
    }

    /// Whether nobody has to say who they are: there is no principal yet.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.is_free() || self.engine.inner.access.snapshot().1.is_open()
    }

    /// The same, as somebody else would use it who has not said who they are, and comes from
    /// `host`.
    #[must_use]
    pub fn from_host(&self, host: &str) -> Self {
        self.engine.session(host)
    }

    /// Takes the next message of a login.
    ///
    /// # Errors
    /// [`Failed`]; it is counted and logged.
    pub fn log_in(&self, exchange: &mut Exchange, message: &[u8]) -> Result<Login, Failed> {
        let state = &self.engine.inner.access;
        let (_, access) = state.snapshot();
        match exchange.step(&access, message) {
            Ok(Step::Continue(answer)) => Ok(Login::Continue(answer)),
            Ok(Step::Done { principal, answer }) => {
                let identity = Identity { principal, host: self.host() };
                Ok(Login::Done { session: self.engine.session_of(identity), answer })
            }
            Err(failed) => {
                state.logins_failed.fetch_add(1, Ordering::Relaxed);
                let user = match &failed {
                    Failed::Invalid { user } => user.as_str(),
                    Failed::Malformed(_) => "",
                };
                tracing::warn!(
                    target: "audit",
                    user = ?user,
                    host = ?&*self.host(),
                    mechanism = exchange.mechanism().name(),
                    reason = %failed,
                    "login failed"
                );
                Err(failed)
            }
        }
    }

    fn host(&self) -> Arc<str> {
        match &*self.who {
            Who::Broker => "".into(),
            Who::Somebody(caller) => Arc::clone(&caller.identity.read().host),
        }
    }

    /// Whether nobody can be denied anything: then all sessions may do the same.
    #[must_use]
    pub fn is_free(&self) -> bool {
        self.engine.inner.access.is_free()
    }

    /// Whether `other` is a clone of this session: what one becomes, the other becomes.
    #[must_use]
    pub fn is_same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.who, &other.who)
    }

    /// Rises with every change of principals, credentials and grants: what was found out about
    /// them at another version may no longer hold.
    #[must_use]
    pub fn access_version(&self) -> u64 {
        self.engine.inner.access.version()
    }

    /// Whether everything is theirs: they are the admin, or nobody can be denied anything.
    #[must_use]
    pub fn sees_all(&self) -> bool {
        match &*self.who {
            Who::Broker => true,
            Who::Somebody(_) if self.is_free() => true,
            Who::Somebody(caller) => caller.with(&self.engine, |remembered, _| remembered.is_admin),
        }
    }

    /// Counts and logs a denial, and makes the error of it.
    fn deny(&self, operation: Operation, resource: Resource<'_>) -> Error {
        let state = &self.engine.inner.access;
        state.denials.fetch_add(1, Ordering::Relaxed);
        let principal = self.principal();
        // In quotes and escaped: names come from clients.
        tracing::warn!(
            target: "audit",
            principal = ?principal.as_str(),
            host = ?&*self.host(),
            operation = %operation,
            kind = %resource.kind,
            resource = ?resource.name,
            "denied"
        );
        let kind = match resource.kind {
            ResourceKind::Topic => "the stream",
            ResourceKind::Group => "the group",
            ResourceKind::TransactionalId => "the transactional id",
            ResourceKind::Cluster => "the broker",
            ResourceKind::DelegationToken => "the delegation token",
            ResourceKind::User => "the user",
        };
        let name = match resource.kind {
            ResourceKind::Cluster => String::new(),
            _ => format!(" {}", resource.name),
        };
        let message = format!("{principal} may not do this: it needs {operation} on {kind}{name}");
        Error::new(ErrorKind::Denied(resource.kind), message)
    }
}

/// What gives no data needs no decision.
impl std::ops::Deref for Session {
    type Target = Engine;

    fn deref(&self) -> &Engine {
        &self.engine
    }
}
