//! Sessions that are there, by the numbers that PostgreSQL calls process ids.

use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

/// All sessions.
#[derive(Debug, Default)]
pub(crate) struct Processes {
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    last: i32,
    all: BTreeMap<i32, Process>,
}

/// A session, as others see it.
#[derive(Debug, Clone)]
pub(crate) struct Process {
    pub(crate) user: String,
    /// Microseconds since 1970.
    pub(crate) began_micros: i64,
}

/// A session's place among them, for as long as this is kept.
#[derive(Debug)]
pub(crate) struct Registered {
    processes: Arc<Processes>,
    id: i32,
}

impl Processes {
    /// A new session of `user`.
    pub(crate) fn begin(self: &Arc<Self>, user: &str) -> Registered {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let began_micros = i64::try_from(since.as_micros()).unwrap_or(i64::MAX);
        let mut inner = self.inner.lock();
        // Numbers of sessions that have ended come again after two billion.
        let mut id = inner.last;
        loop {
            id = id.checked_add(1).unwrap_or(1);
            if !inner.all.contains_key(&id) {
                break;
            }
        }
        inner.last = id;
        inner.all.insert(id, Process { user: user.to_owned(), began_micros });
        Registered { processes: Arc::clone(self), id }
    }

    /// Those that are there, by number.
    pub(crate) fn all(&self) -> Vec<(i32, Process)> {
        self.inner.lock().all.iter().map(|(id, process)| (*id, process.clone())).collect()
    }
}

impl Registered {
    pub(crate) fn id(&self) -> i32 {
        self.id
    }
}

impl Drop for Registered {
    fn drop(&mut self) {
        self.processes.inner.lock().all.remove(&self.id);
    }
}
