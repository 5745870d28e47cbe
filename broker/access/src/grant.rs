//! Grants: rows of `sys.grants`, and Kafka's ACL bindings.

use crate::operation::{Operation, Permission, ResourceKind};
use crate::principal::Principal;
use serde::{Deserialize, Serialize};

/// In a grant: every name, or every host.
pub(crate) const ANY: &str = "*";

/// Which resources of a kind are meant.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Pattern {
    /// The one of this name, or all with `*`.
    Literal(Box<str>),
    /// All whose names begin so (KIP-290).
    Prefixed(Box<str>),
}

impl Pattern {
    /// The name in it.
    #[must_use]
    pub fn name(&self) -> &str {
        match self {
            Self::Literal(name) | Self::Prefixed(name) => name,
        }
    }

    /// Whether it means the resource of this name.
    #[must_use]
    pub fn covers(&self, name: &str) -> bool {
        match self {
            Self::Literal(own) => **own == *ANY || **own == *name,
            Self::Prefixed(own) => name.starts_with(&**own),
        }
    }
}

/// One thing that somebody may do, or may not.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Grant {
    /// The kind of resource.
    pub kind: ResourceKind,
    /// Which of them.
    pub pattern: Pattern,
    /// Who; `User:*` for everybody.
    pub principal: Principal,
    /// From which address; `*` for any.
    pub host: Box<str>,
    /// What.
    pub operation: Operation,
    /// Whether they may.
    pub permission: Permission,
}

impl Grant {
    /// Whether it speaks of `operation`: by name, by [`Operation::All`], or because it implies it.
    pub(crate) fn speaks_of(&self, operation: Operation) -> bool {
        self.operation == Operation::All
            || self.operation == operation
            || (self.permission == Permission::Allow && self.operation.implies(operation))
    }
}

/// Which patterns a [`GrantFilter`] takes. Source: KIP-290.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PatternFilter {
    /// Every pattern with this name in it; all if there is none.
    Any(Option<String>),
    /// Every pattern that covers the resource of this name; all if there is none.
    Match(Option<String>),
    /// Literal patterns of this name.
    Literal(Option<String>),
    /// Prefixes that are this.
    Prefixed(Option<String>),
}

/// Grants to list or to delete; `None` is everything.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GrantFilter {
    /// The kind of resource.
    pub kind: Option<ResourceKind>,
    /// Which of them.
    pub pattern: PatternFilter,
    /// Who, as the grant names them.
    pub principal: Option<String>,
    /// The host, as the grant names it.
    pub host: Option<String>,
    /// What, as the grant names it.
    pub operation: Option<Operation>,
    /// Whether they may.
    pub permission: Option<Permission>,
}

impl GrantFilter {
    /// Takes every grant.
    #[must_use]
    pub fn everything() -> Self {
        Self {
            kind: None,
            pattern: PatternFilter::Any(None),
            principal: None,
            host: None,
            operation: None,
            permission: None,
        }
    }

    /// Whether it takes `grant`.
    #[must_use]
    pub fn takes(&self, grant: &Grant) -> bool {
        fn is<T: PartialEq + ?Sized>(wanted: Option<&T>, value: &T) -> bool {
            wanted.is_none_or(|wanted| wanted == value)
        }
        let name = |wanted: &Option<String>| is(wanted.as_deref(), grant.pattern.name());
        let pattern = match &self.pattern {
            PatternFilter::Any(wanted) => name(wanted),
            PatternFilter::Match(wanted) => {
                wanted.as_ref().is_none_or(|wanted| grant.pattern.covers(wanted))
            }
            PatternFilter::Literal(wanted) => {
                matches!(grant.pattern, Pattern::Literal(_)) && name(wanted)
            }
            PatternFilter::Prefixed(wanted) => {
                matches!(grant.pattern, Pattern::Prefixed(_)) && name(wanted)
            }
        };
        pattern
            && is(self.kind.as_ref(), &grant.kind)
            && is(self.principal.as_deref(), grant.principal.as_str())
            && is(self.host.as_deref(), &*grant.host)
            && is(self.operation.as_ref(), &grant.operation)
            && is(self.permission.as_ref(), &grant.permission)
    }
}
