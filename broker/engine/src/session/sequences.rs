//! Sequences, as far as they may be seen, used and changed.
//!
//! A sequence that goes with a column is guarded as its stream is, any other as a stream of its
//! own name would be.

use super::Session;
use crate::Error;
use crate::draft::RelationChange;
use crate::sequences::{Sequence, SequenceChange, SequenceError, SequenceSpec, SequenceStatus};
use anabranch_access::Operation;

impl Session {
    fn check_sequence(&self, operation: Operation, name: &str) -> Result<Sequence, Error> {
        let found = match self.draft() {
            Some(draft) => draft.sequence(name),
            None => self.engine.sequence(name),
        };
        let owner = found.as_ref().ok().and_then(|sequence| sequence.owner.as_ref());
        let catalog = self.whole_catalog();
        let stream = owner.and_then(|owner| catalog.by_id(owner.stream));
        self.check_stream_access(operation, stream.map_or(name, |stream| &stream.name))?;
        found
    }

    /// All sequences that may be described, by name.
    #[must_use]
    pub fn sequences(&self) -> Vec<SequenceStatus> {
        let mut all = match self.draft() {
            Some(draft) => draft.sequences(),
            None => self.engine.sequences(),
        };
        all.retain(|one| self.check_sequence(Operation::Describe, &one.sequence.spec.name).is_ok());
        all
    }

    /// The sequence of a name.
    ///
    /// # Errors
    /// `Denied`, `NotFound`.
    pub fn sequence(&self, name: &str) -> Result<Sequence, Error> {
        self.check_sequence(Operation::Describe, name)
    }

    /// Creates a sequence, durable when this returns.
    ///
    /// # Errors
    /// `Denied`, `AlreadyExists`, `InvalidName`; the log's.
    pub async fn create_sequence(&self, spec: SequenceSpec) -> Result<(), Error> {
        self.check_create(&spec.name)?;
        self.change_relation(RelationChange::CreateSequence(spec)).await
    }

    /// Changes a sequence, durable when this returns.
    ///
    /// # Errors
    /// [`SequenceError::OutOfBounds`]; `Denied`, `NotFound`; the log's.
    pub async fn change_sequence(
        &self,
        name: &str,
        change: SequenceChange,
    ) -> Result<(), SequenceError> {
        let operation = match &change {
            SequenceChange::Set(..) => Operation::Write,
            _ => Operation::Alter,
        };
        self.check_sequence(operation, name)?;
        match self.draft() {
            Some(draft) => draft.change_sequence(name, change).await,
            None => self.engine.change_sequence(name, change).await,
        }
    }

    /// Drops a sequence; durable when this returns.
    ///
    /// # Errors
    /// `Denied`, `NotFound`; the log's.
    pub async fn drop_sequence(&self, name: &str) -> Result<(), Error> {
        self.check_sequence(Operation::Delete, name)?;
        self.change_relation(RelationChange::DropSequence { name: name.to_owned() }).await
    }

    /// The next `count` values of a sequence. None of them was given out before, and none will be
    /// again, not after a crash either.
    ///
    /// # Errors
    /// [`SequenceError::Exhausted`]; `Denied`, `NotFound`; the log's.
    pub async fn next_values(&self, name: &str, count: usize) -> Result<Vec<i64>, SequenceError> {
        self.check_sequence(Operation::Write, name)?;
        match self.draft() {
            Some(draft) => draft.next_values(name, count).await,
            None => self.engine.next_values(name, count).await,
        }
    }
}
