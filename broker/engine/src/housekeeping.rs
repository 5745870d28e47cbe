//! What happens now and then: retention, transactions that time out.

use crate::engine::{Engine, Inner};
use crate::stream::Mode;
use anabranch_log::{Append, Atomicity, Change, Command, Operation, Settings};
use crossbeam::channel::{Receiver, RecvTimeoutError};
use smallvec::SmallVec;
use std::sync::Weak;
use std::time::Duration;

/// Between two looks at transactions.
const INTERVAL: Duration = Duration::from_secs(1);
/// Looks after which retention has its turn (Kafka: `log.retention.check.interval.ms`, 5 minutes
/// there).
const RETENTION_EVERY: u32 = 30;

pub(crate) fn run(engine: &Weak<Inner>, stop: &Receiver<()>) {
    // For waiting for the commit thread, nothing else.
    let runtime = match tokio::runtime::Builder::new_current_thread().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            tracing::error!(%error, "neither retention nor time-outs of transactions happen");
            return;
        }
    };
    let mut looks = 0u32;
    while let Err(RecvTimeoutError::Timeout) = stop.recv_timeout(INTERVAL) {
        let Some(inner) = engine.upgrade() else { return };
        let engine = Engine { inner };
        looks += 1;
        let is_long = looks.is_multiple_of(RETENTION_EVERY);
        if is_long {
            engine.retain();
        }
        runtime.block_on(engine.expire_transactions(is_long));
    }
}

impl Engine {
    /// Moves the log starts of `append` streams by their retention. Keyed streams keep every key.
    pub fn retain(&self) {
        let now = self.now();
        let mut operations = Vec::new();
        let catalog = self.catalog();
        for stream in catalog.streams().filter(|stream| stream.mode == Mode::Append) {
            let options = &stream.options;
            if stream.is_internal() {
                continue;
            }
            for log in stream.partitions.iter().filter_map(|id| self.partition(*id)) {
                let start = log.retain_from(now, options.retention_ms, options.retention_bytes);
                operations.extend(start.map(|start| Operation::SetLogStart(log.id(), start)));
            }
        }
        if operations.is_empty() {
            return;
        }
        let append =
            Append { parts: SmallVec::new(), atomicity: Atomicity::AllParts, preconditions: None };
        let reply = Box::new(|result| {
            if let Err(error) = result {
                let error: anabranch_log::AppendError = error;
                tracing::warn!(%error, "retention did not happen");
            }
        });
        let change = Change { append, operations, settings: Settings::default(), reply };
        // Refused only when the log has stopped.
        let _ = self.inner.log.send(Command::Change(change));
    }
}
