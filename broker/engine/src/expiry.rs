//! Rows go that have lived for their stream's `ttl.ms`.

use crate::engine::{Engine, Inner};
use anabranch_types::StreamId;
use crossbeam::channel::{Receiver, RecvTimeoutError};
use std::collections::HashMap;
use std::sync::Weak;
use std::time::{Duration, Instant};

/// Shortest and longest time between two looks at the rows of a stream.
const PAUSE_MIN: Duration = Duration::from_secs(1);
const PAUSE_MAX: Duration = Duration::from_secs(60);
/// The time between two of them is so many times what one takes, at least: a look goes through the
/// whole table.
const SHARE: u32 = 20;

/// On a thread of its own, as a look may take long.
pub(crate) fn run(engine: &Weak<Inner>, stop: &Receiver<()>) {
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_time().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            tracing::error!(%error, "rows do not go by ttl.ms");
            return;
        }
    };
    let mut due: HashMap<StreamId, Instant> = HashMap::new();
    while let Err(RecvTimeoutError::Timeout) = stop.recv_timeout(PAUSE_MIN) {
        let Some(inner) = engine.upgrade() else { return };
        let engine = Engine { inner };
        let catalog = engine.catalog();
        due.retain(|id, _| catalog.by_id(*id).is_some());
        for stream in catalog.streams() {
            let Some(ttl_ms) = stream.options.ttl_ms else { continue };
            let began = Instant::now();
            if due.get(&stream.id).is_some_and(|due| *due > began) {
                continue;
            }
            match runtime.block_on(engine.expire_rows(stream)) {
                Err(error) if !engine.is_stopped() => {
                    tracing::warn!(stream = stream.name, %error, "rows stay beyond their time");
                }
                _ => {}
            }
            let pause = Duration::from_millis(ttl_ms / 4).clamp(PAUSE_MIN, PAUSE_MAX);
            due.insert(stream.id, Instant::now() + pause.max(began.elapsed() * SHARE));
        }
    }
}
