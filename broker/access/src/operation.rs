//! What can be done, and to what. Kafka's names and numbers.
//!
//! Source: KIP-11, KIP-140, KIP-430; Kafka documentation, "Authorization and ACLs".

use serde::{Deserialize, Serialize};
use std::fmt;

/// What somebody wants to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[repr(u8)]
pub enum Operation {
    /// In a grant: every operation.
    All = 2,
    /// Read records; a group's members and offsets.
    Read = 3,
    /// Append records.
    Write = 4,
    /// Create a stream.
    Create = 5,
    /// Delete a stream, records, a group.
    Delete = 6,
    /// Change a stream's partitions; principals and grants, on the cluster.
    Alter = 7,
    /// Know that it exists, and what it looks like.
    Describe = 8,
    /// What brokers ask of each other.
    ClusterAction = 9,
    /// See settings.
    DescribeConfigs = 10,
    /// Change settings.
    AlterConfigs = 11,
    /// Get a producer id (KIP-98); whoever may write to a stream may do that too (KIP-679).
    IdempotentWrite = 12,
    /// Create delegation tokens for somebody; there are none.
    CreateTokens = 13,
    /// See somebody's delegation tokens; there are none.
    DescribeTokens = 14,
    /// Keep a transaction prepared (KIP-939).
    TwoPhaseCommit = 15,
}

use Operation::{
    All, Alter, AlterConfigs, ClusterAction, Create, CreateTokens, Delete, Describe,
    DescribeConfigs, DescribeTokens, IdempotentWrite, Read, TwoPhaseCommit, Write,
};

impl Operation {
    /// All of them, in the order of their numbers.
    pub const EVERY: [Self; 14] = [
        All,
        Read,
        Write,
        Create,
        Delete,
        Alter,
        Describe,
        ClusterAction,
        DescribeConfigs,
        AlterConfigs,
        IdempotentWrite,
        CreateTokens,
        DescribeTokens,
        TwoPhaseCommit,
    ];

    /// Kafka's number.
    #[must_use]
    pub fn number(self) -> i8 {
        self as i8
    }

    /// The operation of Kafka's number.
    #[must_use]
    pub fn of_number(number: i8) -> Option<Self> {
        Self::EVERY.into_iter().find(|operation| operation.number() == number)
    }

    /// The operation's name: `DescribeConfigs`.
    #[must_use]
    pub fn of_name(name: &str) -> Option<Self> {
        Self::EVERY.into_iter().find(|one| one.to_string().eq_ignore_ascii_case(name))
    }

    /// Whether a grant of `self` grants `wanted` too. A denial denies only what it names.
    #[must_use]
    pub(crate) fn implies(self, wanted: Self) -> bool {
        match wanted {
            Describe => matches!(self, Read | Write | Delete | Alter),
            DescribeConfigs => self == AlterConfigs,
            _ => false,
        }
    }
}

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

/// A set of operations.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct OperationSet(u16);

impl OperationSet {
    /// Whether it has `operation`.
    #[must_use]
    pub fn contains(self, operation: Operation) -> bool {
        self.0 & (1 << operation as u16) != 0
    }

    /// With one more.
    #[must_use]
    pub fn with(self, operation: Operation) -> Self {
        Self(self.0 | 1 << operation as u16)
    }

    /// As Kafka tells it (KIP-430): the bit of each operation's number.
    #[must_use]
    pub fn bits(self) -> i32 {
        i32::from(self.0)
    }
}

impl FromIterator<Operation> for OperationSet {
    fn from_iter<T: IntoIterator<Item = Operation>>(operations: T) -> Self {
        operations.into_iter().fold(Self::default(), Self::with)
    }
}

/// Kinds of what is done something to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[repr(u8)]
pub enum ResourceKind {
    /// A stream (Kafka: topic).
    Topic = 2,
    /// A consumer group.
    Group = 3,
    /// The broker as a whole.
    Cluster = 4,
    /// Who may write transactions under this id.
    TransactionalId = 5,
    /// A delegation token; there are none.
    DelegationToken = 6,
    /// A user, whose delegation tokens somebody else handles; there are none.
    User = 7,
}

impl ResourceKind {
    /// All of them, in the order of their numbers.
    pub const EVERY: [Self; 6] = [
        Self::Topic,
        Self::Group,
        Self::Cluster,
        Self::TransactionalId,
        Self::DelegationToken,
        Self::User,
    ];

    /// Kafka's number.
    #[must_use]
    pub fn number(self) -> i8 {
        self as i8
    }

    /// The kind of Kafka's number.
    #[must_use]
    pub fn of_number(number: i8) -> Option<Self> {
        Self::EVERY.into_iter().find(|kind| kind.number() == number)
    }

    /// What can be done to it. Source: Kafka's `AclEntry.supportedOperations`.
    #[must_use]
    pub fn operations(self) -> &'static [Operation] {
        match self {
            Self::Topic => {
                &[Read, Write, Create, Describe, Delete, Alter, DescribeConfigs, AlterConfigs]
            }
            Self::Group => &[Read, Describe, Delete, DescribeConfigs, AlterConfigs],
            Self::Cluster => &[
                Create,
                ClusterAction,
                DescribeConfigs,
                AlterConfigs,
                IdempotentWrite,
                Alter,
                Describe,
            ],
            Self::TransactionalId => &[Describe, Write, TwoPhaseCommit],
            Self::DelegationToken => &[Describe],
            Self::User => &[CreateTokens, DescribeTokens],
        }
    }
}

impl fmt::Display for ResourceKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

/// Whether a grant grants or denies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[repr(u8)]
pub enum Permission {
    /// It denies, whatever others grant.
    Deny = 2,
    /// It grants.
    Allow = 3,
}

impl Permission {
    /// Kafka's number.
    #[must_use]
    pub fn number(self) -> i8 {
        self as i8
    }

    /// The permission of Kafka's number.
    #[must_use]
    pub fn of_number(number: i8) -> Option<Self> {
        [Self::Deny, Self::Allow].into_iter().find(|one| one.number() == number)
    }
}
