//! What happens now and then: retention, rows that have lived long enough, transactions that time
//! out; and at the start, removing what an earlier one has left unfinished.

use crate::engine::{Engine, Inner};
use anabranch_types::{PartitionId, StreamId};
use crossbeam::channel::{Receiver, RecvTimeoutError};
use std::collections::HashMap;
use std::sync::Weak;
use std::time::{Duration, Instant};

/// Between two looks at transactions.
const INTERVAL: Duration = Duration::from_secs(1);
/// Looks after which retention has its turn (Kafka: `log.retention.check.interval.ms`, 5 minutes
/// there).
const RETENTION_EVERY: u32 = 30;
/// Longest time between two looks at the rows of a stream.
const EXPIRY_PAUSE_MAX: Duration = Duration::from_secs(60);
/// The time between two of them is so many times what one takes, at least.
const EXPIRY_SHARE: u32 = 20;

pub(crate) fn run(engine: &Weak<Inner>, unfinished: Vec<PartitionId>, stop: &Receiver<()>) {
    // For waiting for the commit thread and for tables, nothing else.
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_time().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            tracing::error!(%error, "neither retention nor time-outs of transactions happen");
            return;
        }
    };
    if let Some(inner) = engine.upgrade()
        && let Err(error) = runtime.block_on(Engine { inner }.remove_unfinished(unfinished))
    {
        tracing::warn!(%error, "partitions of no stream stay until the next start");
    }
    let mut looks = 0u32;
    let mut rows = RowExpiry::default();
    while let Err(RecvTimeoutError::Timeout) = stop.recv_timeout(INTERVAL) {
        let Some(inner) = engine.upgrade() else { return };
        let engine = Engine { inner };
        looks += 1;
        let is_long = looks.is_multiple_of(RETENTION_EVERY);
        if is_long {
            runtime.block_on(engine.retain());
        }
        runtime.block_on(engine.expire_transactions(is_long));
        rows.expire(&engine, &runtime);
    }
}

/// When rows of streams are looked at next.
#[derive(Default)]
struct RowExpiry(HashMap<StreamId, Instant>);

impl RowExpiry {
    /// A look goes through the whole table: so it is not taken all the time.
    fn expire(&mut self, engine: &Engine, runtime: &tokio::runtime::Runtime) {
        let catalog = engine.catalog();
        self.0.retain(|id, _| catalog.by_id(*id).is_some());
        for stream in catalog.streams() {
            let Some(ttl_ms) = stream.options.ttl_ms else { continue };
            let began = Instant::now();
            if self.0.get(&stream.id).is_some_and(|due| *due > began) {
                continue;
            }
            if let Err(error) = runtime.block_on(engine.expire_rows(stream)) {
                tracing::warn!(stream = stream.name, %error, "rows stay beyond their time");
            }
            let pause = Duration::from_millis(ttl_ms / 4).clamp(INTERVAL, EXPIRY_PAUSE_MAX);
            let pause = pause.max(began.elapsed() * EXPIRY_SHARE);
            self.0.insert(stream.id, Instant::now() + pause);
        }
    }
}
