//! Waiting for the log to advance.

use anabranch_log::{PartitionLog, Shared, Watcher};
use anabranch_types::Round;
use std::sync::Arc;
use tokio::sync::Notify;

/// Wakes when one of some partitions has advanced. Registered until dropped.
pub struct Interest {
    bell: Arc<Bell>,
}

#[derive(Default)]
struct Bell {
    notify: Notify,
}

impl Watcher for Bell {
    fn advanced(&self) {
        // Leaves a permit if nobody waits: the next wait returns at once.
        self.notify.notify_one();
    }
}

impl Interest {
    pub(crate) fn new() -> Self {
        Self { bell: Arc::default() }
    }

    /// Watches one more partition.
    pub fn add(&self, log: &PartitionLog) {
        let bell: Arc<dyn Watcher> = Arc::clone(&self.bell) as Arc<dyn Watcher>;
        log.watch(Arc::downgrade(&bell));
    }

    /// Completes when a partition has advanced (or was deleted) since the last call returned, or
    /// since registration. Take the interest first, then read, then wait: nothing is missed.
    /// Cancelling loses nothing either.
    pub async fn changed(&mut self) {
        self.bell.notify.notified().await;
    }
}

/// Waiting for a round to be published.
#[derive(Default)]
pub(crate) struct Published {
    notify: Notify,
}

impl Watcher for Published {
    fn advanced(&self) {
        self.notify.notify_waiters();
    }
}

impl Published {
    pub(crate) fn watch(shared: &Shared) -> Arc<Self> {
        let published = Arc::new(Self::default());
        let watcher: Arc<dyn Watcher> = Arc::clone(&published) as Arc<dyn Watcher>;
        shared.watch(Arc::downgrade(&watcher));
        published
    }

    /// Completes once `round` is published, or nothing more will be.
    pub(crate) async fn reach(&self, shared: &Shared, round: Round) {
        loop {
            let notified = self.notify.notified();
            if shared.published() >= round || shared.failure().is_some() {
                return;
            }
            notified.await;
        }
    }
}
