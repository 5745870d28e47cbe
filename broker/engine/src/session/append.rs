//! Appending, as far as streams may be written to.

use super::Session;
use crate::{Error, ErrorKind};
use anabranch_access::Operation;
use anabranch_log::{Append, AppendError, AppendResult, Appended, Submission};
use anabranch_table::TableId;
use anabranch_types::PartitionId;

impl Session {
    /// Hands appends to the commit loop; the answer comes through `submission.reply`. The fast
    /// way for doors with pipelines; order of calls is order of commits. What may not be written
    /// is answered with [`AppendError::Denied`].
    pub fn submit(&self, submission: Submission) {
        if self.is_free() {
            return self.engine.submit(submission);
        }
        let denied: Vec<Option<usize>> = submission
            .appends
            .iter()
            .map(|append| (!self.may_append(append)).then_some(append.parts.len()))
            .collect();
        if denied.iter().all(Option::is_none) {
            return self.engine.submit(submission);
        }
        let Submission { appends, reply } = submission;
        let kept = appends.into_iter().zip(&denied);
        let kept: Vec<Append> =
            kept.filter(|(_, denied)| denied.is_none()).map(|(append, _)| append).collect();
        let all = move |results: Vec<AppendResult>| {
            let mut results = results.into_iter();
            let refused = |parts| (0..parts).map(|_| Err(AppendError::Denied)).collect();
            let all = denied.into_iter().map_while(|denied| match denied {
                Some(parts) => Some(refused(parts)),
                None => results.next(),
            });
            reply(all.collect());
        };
        if kept.is_empty() {
            all(Vec::new());
        } else {
            self.engine.submit(Submission { appends: kept, reply: Box::new(all) });
        }
    }

    /// Appends and waits until the append is durable and visible.
    ///
    /// # Errors
    /// `Denied`; the first error of a part. With [`Atomicity::EachPart`](crate::Atomicity) other
    /// parts may have been appended.
    pub async fn append(&self, append: Append) -> Result<Vec<Appended>, Error> {
        for part in &append.parts {
            self.check_partition(Operation::Write, part.partition)?;
        }
        self.engine.append(append).await
    }

    fn may_append(&self, append: &Append) -> bool {
        append
            .parts
            .iter()
            .all(|part| self.check_partition(Operation::Write, part.partition).is_ok())
    }

    /// Checks what they may do to the stream of a partition. One that is there no more is
    /// nobody's: the log says so.
    pub(crate) fn check_partition(
        &self,
        operation: Operation,
        id: PartitionId,
    ) -> Result<(), Error> {
        if self.sees_all() {
            return Ok(());
        }
        match self.whole_catalog().by_partition(id) {
            Some((stream, _)) => self.check_stream_access(operation, &stream.name),
            None => Ok(()),
        }
    }

    /// As [`Self::check_partition`], of a table. One that was dropped is nobody's.
    pub(crate) fn check_table(&self, operation: Operation, table: TableId) -> Result<(), Error> {
        if self.sees_all() {
            return Ok(());
        }
        let catalog = self.whole_catalog();
        match catalog.streams().find(|stream| stream.table == Some(table)) {
            Some(stream) => self.check_stream_access(operation, &stream.name),
            None => Err(Error::new(ErrorKind::NotFound, "the stream was dropped")),
        }
    }
}
