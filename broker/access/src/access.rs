//! The decision: a snapshot of all principals and grants, and what follows from it.

use crate::credential::{Credentials, SECRET_BYTES};
use crate::grant::{ANY, Grant, GrantFilter, Pattern};
use crate::operation::{Operation, OperationSet, Permission, ResourceKind};
use crate::principal::{Identity, Principal, PrincipalRecord};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

/// What something is done to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Resource<'a> {
    /// Its kind.
    pub kind: ResourceKind,
    /// Its name.
    pub name: &'a str,
}

/// Whether somebody may.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub enum Decision {
    /// They may.
    Allowed,
    /// They may not.
    Denied,
}

impl Decision {
    /// Whether they may.
    #[must_use]
    pub fn is_allowed(self) -> bool {
        self == Self::Allowed
    }
}

/// All principals and grants at one moment.
///
/// While there is no principal the broker is open: everybody may do everything, but for what is
/// denied. From the first principal on, everybody may do what they
/// were granted.
#[derive(Debug, Default)]
pub struct Access {
    principals: BTreeMap<Principal, PrincipalRecord>,
    grants: BTreeSet<Arc<Grant>>,
    index: HashMap<ResourceKind, Index>,
    secret: [u8; SECRET_BYTES],
}

/// The grants on resources of one kind.
#[derive(Debug, Default)]
struct Index {
    literal: HashMap<Box<str>, Vec<Arc<Grant>>>,
    /// By prefix; `lengths` says which prefixes of a name are worth a look.
    prefixed: HashMap<Box<str>, Vec<Arc<Grant>>>,
    lengths: BTreeSet<usize>,
}

impl Index {
    fn add(&mut self, grant: &Arc<Grant>) {
        let of_name = match &grant.pattern {
            Pattern::Literal(name) => self.literal.entry(name.clone()),
            Pattern::Prefixed(name) => {
                self.lengths.insert(name.len());
                self.prefixed.entry(name.clone())
            }
        };
        of_name.or_default().push(Arc::clone(grant));
    }

    /// All grants that cover `name`.
    fn covering<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a Grant> {
        let own = self.literal.get(name).filter(|_| name != ANY);
        let prefixes = self.lengths.range(..=name.len()).filter_map(|&length| name.get(..length));
        let prefixed = prefixes.filter_map(|prefix| self.prefixed.get(prefix));
        let found = own.into_iter().chain(self.literal.get(ANY)).chain(prefixed);
        found.flatten().map(|grant| &**grant)
    }
}

impl Access {
    /// Of these principals and grants. `secret` makes up salts for users that do not exist.
    #[must_use]
    pub fn new(
        principals: BTreeMap<Principal, PrincipalRecord>,
        grants: impl IntoIterator<Item = Grant>,
        secret: [u8; SECRET_BYTES],
    ) -> Self {
        let grants: BTreeSet<Arc<Grant>> = grants.into_iter().map(Arc::new).collect();
        let mut index: HashMap<ResourceKind, Index> = HashMap::new();
        for grant in &grants {
            index.entry(grant.kind).or_default().add(grant);
        }
        Self { principals, grants, index, secret }
    }

    /// Whether there is no principal yet.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.principals.is_empty()
    }

    /// Whether nobody can be denied anything: then there is no need to ask.
    #[must_use]
    pub fn is_free(&self) -> bool {
        self.is_open() && self.grants.iter().all(|grant| grant.permission == Permission::Allow)
    }

    /// Whether `principal` may do everything.
    #[must_use]
    pub fn is_admin(&self, principal: &Principal) -> bool {
        self.principals.get(principal).is_some_and(|record| record.admin)
    }

    /// All principals.
    #[must_use]
    pub fn principals(&self) -> &BTreeMap<Principal, PrincipalRecord> {
        &self.principals
    }

    /// What a user's password is checked with.
    #[must_use]
    pub fn credentials(&self, principal: &Principal) -> Option<&Credentials> {
        self.principals.get(principal).map(|record| &record.credentials)
    }

    pub(crate) fn secret(&self) -> &[u8; SECRET_BYTES] {
        &self.secret
    }

    /// All grants, in order.
    pub fn grants(&self) -> impl Iterator<Item = &Grant> {
        self.grants.iter().map(|grant| &**grant)
    }

    /// The grants that a filter takes.
    pub fn matching<'a>(&'a self, filter: &'a GrantFilter) -> impl Iterator<Item = &'a Grant> {
        self.grants().filter(|grant| filter.takes(grant))
    }

    /// Whether the grant is there.
    #[must_use]
    pub fn has(&self, grant: &Grant) -> bool {
        self.grants.contains(grant)
    }

    /// Whether `who` may do `operation` to `resource`.
    pub fn decide(&self, who: &Identity, operation: Operation, resource: Resource<'_>) -> Decision {
        if self.is_admin(&who.principal) {
            return Decision::Allowed;
        }
        if self.is_open() && is_the_way_out(operation, resource) {
            return Decision::Allowed;
        }
        // The broker's own streams are nobody's but the admin's.
        if !self.is_open() && is_internal(resource) {
            return Decision::Denied;
        }
        let mut decision = if self.is_open() { Decision::Allowed } else { Decision::Denied };
        for grant in self.of_kind(resource.kind).flat_map(|index| index.covering(resource.name)) {
            if !is_about(grant, who) || !grant.speaks_of(operation) {
                continue;
            }
            match grant.permission {
                Permission::Deny => return Decision::Denied,
                Permission::Allow => decision = Decision::Allowed,
            }
        }
        decision
    }

    /// Whether `who` may do `operation` to at least one resource of `kind`, be it there or not.
    /// Source: Kafka's `Authorizer.authorizeByResourceType` (KIP-679).
    pub fn decide_some(
        &self,
        who: &Identity,
        operation: Operation,
        kind: ResourceKind,
    ) -> Decision {
        let named = |grant: &&Grant| {
            grant.kind == kind
                && is_about(grant, who)
                && matches!(grant.operation, Operation::All) | (grant.operation == operation)
        };
        let all: Vec<&Grant> = self.grants().filter(named).collect();
        let denies = || all.iter().filter(|grant| grant.permission == Permission::Deny);
        let denied = |pattern: &Pattern| {
            denies().any(|deny| match (&deny.pattern, pattern) {
                (Pattern::Literal(name), _) if **name == *ANY => true,
                (Pattern::Literal(name), Pattern::Literal(own)) => name == own,
                (Pattern::Literal(_), Pattern::Prefixed(_)) => false,
                (Pattern::Prefixed(_), Pattern::Literal(own)) if **own == *ANY => false,
                (Pattern::Prefixed(prefix), own) => own.name().starts_with(&**prefix),
            })
        };
        let allows = |grant: &&Grant| grant.permission == Permission::Allow;
        let mut patterns = all.iter().copied().filter(allows).map(|grant| &grant.pattern);
        let everything = Pattern::Literal(ANY.into());
        let allowed = self.is_admin(&who.principal)
            || (self.is_open() && !denied(&everything))
            || patterns.any(|pattern| !denied(pattern));
        if allowed { Decision::Allowed } else { Decision::Denied }
    }

    /// All that `who` may do to `resource`.
    #[must_use]
    pub fn operations(&self, who: &Identity, resource: Resource<'_>) -> OperationSet {
        let all = resource.kind.operations().iter().copied();
        all.filter(|operation| self.decide(who, *operation, resource).is_allowed()).collect()
    }

    fn of_kind(&self, kind: ResourceKind) -> impl Iterator<Item = &Index> {
        self.index.get(&kind).into_iter()
    }
}

/// Whether the grant means `who`.
fn is_about(grant: &Grant, who: &Identity) -> bool {
    (grant.principal.name() == ANY || grant.principal == who.principal)
        && (*grant.host == *ANY || *grant.host == *who.host)
}

/// Who may change grants can take back a denial; on an open broker everybody stays able to.
fn is_the_way_out(operation: Operation, resource: Resource<'_>) -> bool {
    resource.kind == ResourceKind::Cluster
        && matches!(operation, Operation::Alter | Operation::Describe)
}

fn is_internal(resource: Resource<'_>) -> bool {
    resource.kind == ResourceKind::Topic && resource.name.starts_with("__")
}
