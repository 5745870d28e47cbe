//! What happens now and then: retention, and transactions that time out; and at the start, removing
//! what an earlier one has left unfinished.

use crate::engine::{Engine, Inner};
use crate::rekey::Leftovers;
use crossbeam::channel::{Receiver, RecvTimeoutError};
use std::sync::Weak;
use std::time::Duration;

/// Between two looks at transactions.
const INTERVAL: Duration = Duration::from_secs(1);
/// Looks after which retention has its turn (Kafka: `log.retention.check.interval.ms`, 5 minutes
/// there).
const RETENTION_EVERY: u32 = 30;

pub(crate) fn run(engine: &Weak<Inner>, left: Leftovers, stop: &Receiver<()>) {
    // For waiting for the commit thread and for tables, nothing else.
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_time().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            tracing::error!(%error, "neither retention nor time-outs of transactions happen");
            return;
        }
    };
    if let Some(inner) = engine.upgrade()
        && let Err(error) = runtime.block_on(Engine { inner }.remove_leftovers(left))
    {
        tracing::warn!(%error, "what no stream has stays until the next start");
    }
    let mut looks = 0u32;
    while let Err(RecvTimeoutError::Timeout) = stop.recv_timeout(INTERVAL) {
        let Some(inner) = engine.upgrade() else { return };
        let engine = Engine { inner };
        looks += 1;
        let is_long = looks.is_multiple_of(RETENTION_EVERY);
        if is_long {
            runtime.block_on(engine.retain());
        }
        runtime.block_on(engine.expire_transactions(is_long));
    }
}
