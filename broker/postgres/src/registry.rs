//! Who can be cancelled: process ids, their secrets, and what runs (PostgreSQL 15, 55.2.8).

use parking_lot::Mutex;
use std::collections::HashMap;
use std::sync::Arc;
use tokio_util::sync::CancellationToken;

/// Connections by process id.
#[derive(Default)]
pub(crate) struct Registry {
    entries: Mutex<HashMap<i32, (i32, Arc<Running>)>>,
}

/// What a connection runs now.
#[derive(Default)]
pub(crate) struct Running {
    token: Mutex<CancellationToken>,
}

impl Running {
    /// A statement begins; a cancellation of the last one does not reach it.
    pub(crate) fn begin(&self) -> CancellationToken {
        let token = CancellationToken::new();
        *self.token.lock() = token.clone();
        token
    }
}

impl Registry {
    /// A new connection, and its secret.
    pub(crate) fn add(&self, process_id: i32) -> (i32, Arc<Running>) {
        let secret = rand::random();
        let running = Arc::new(Running::default());
        self.entries.lock().insert(process_id, (secret, running.clone()));
        (secret, running)
    }

    pub(crate) fn remove(&self, process_id: i32) {
        self.entries.lock().remove(&process_id);
    }

    /// Cancels what the connection runs, if the secret is right.
    pub(crate) fn cancel(&self, process_id: i32, secret: i32) {
        if let Some((expected, running)) = self.entries.lock().get(&process_id)
            && *expected == secret
        {
            running.token.lock().cancel();
        }
    }
}
