//! What the broker itself appends.

use crate::{Error, ErrorKind};
use anabranch_log::{
    Append, AppendError, Atomicity, Change, Command, LogHandle, Operation, Part, Settings, key_hash,
};
use anabranch_types::PartitionId;
use anabranch_types::batch::{BatchBuilder, ValidateOptions, validate};
use smallvec::SmallVec;
use tokio::sync::oneshot;

/// A batch of the broker's own; `keyed` if preconditions are to know its keys.
pub(crate) fn own_part(
    partition: PartitionId,
    batch: BatchBuilder,
    keyed: bool,
) -> Result<Part, Error> {
    let internal = |error: &dyn std::fmt::Display| {
        Error::new(ErrorKind::Internal, format!("a batch of the broker's own: {error}"))
    };
    let batch = batch.build().map_err(|error| internal(&error))?.freeze();
    let options = ValidateOptions { keys_required: keyed, hash_keys: keyed };
    let passed =
        validate(&batch, options, key_hash, &mut Vec::new()).map_err(|error| internal(&error))?;
    Ok(Part::new(partition, batch, passed))
}

/// An append of nothing.
pub(crate) fn nothing() -> Append {
    Append { parts: SmallVec::new(), atomicity: Atomicity::AllParts, preconditions: None }
}

/// Changes the log with what records it; durable when this returns.
pub(crate) async fn change_log(
    log: &LogHandle,
    append: Append,
    operations: Vec<Operation>,
) -> Result<(), Error> {
    let (sender, receiver) = oneshot::channel();
    let reply = Box::new(move |result| {
        // Who asked may have gone.
        let _ = sender.send(result);
    });
    let (settings, unwritten) = (Settings::default(), Vec::new());
    let change = Change { append, operations, settings, unwritten, frees: true, reply };
    log.send(Command::Change(Box::new(change))).map_err(|_| AppendError::Stopping)?;
    receiver.await.map_err(|_| AppendError::Stopping)??;
    Ok(())
}
