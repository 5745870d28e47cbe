//! The bytes that a producer may hold, and who waits for them.

use std::sync::atomic::{AtomicUsize, Ordering};
use tokio::sync::Notify;

/// Counts bytes in use. Waiters are woken when half is free again, so that senders run in long
/// turns rather than once a record.
#[derive(Debug)]
pub(super) struct Budget {
    used: AtomicUsize,
    max: usize,
    waiting: AtomicUsize,
    room: Notify,
    empty: Notify,
}

impl Budget {
    pub(super) fn new(max: usize) -> Self {
        Self {
            used: AtomicUsize::new(0),
            max,
            waiting: AtomicUsize::new(0),
            room: Notify::new(),
            empty: Notify::new(),
        }
    }

    pub(super) fn used(&self) -> usize {
        self.used.load(Ordering::Acquire)
    }

    pub(super) fn max(&self) -> usize {
        self.max
    }

    /// Takes `bytes`, or nothing where that would be too much.
    #[inline]
    pub(super) fn take(&self, bytes: usize) -> bool {
        let before = self.used.fetch_add(bytes, Ordering::AcqRel);
        if before != 0 && before.saturating_add(bytes) > self.max {
            self.give(bytes);
            return false;
        }
        true
    }

    pub(super) fn give(&self, bytes: usize) {
        if bytes == 0 {
            return;
        }
        let before = self.used.fetch_sub(bytes, Ordering::AcqRel);
        assert!(before >= bytes, "more bytes were given back than taken");
        let left = before - bytes;
        if left <= self.max / 2 && self.waiting.load(Ordering::Acquire) > 0 {
            self.room.notify_waiters();
        }
        if left == 0 {
            self.empty.notify_waiters();
        }
    }

    /// Whether somebody waits for room: batches must not linger then.
    pub(super) fn is_short(&self) -> bool {
        self.waiting.load(Ordering::Acquire) > 0
    }

    /// Waits until half is free. `waiting` runs once this is registered as a waiter.
    pub(super) async fn room(&self, waiting: impl FnOnce()) {
        let woken = self.room.notified();
        tokio::pin!(woken);
        woken.as_mut().enable();
        let _waiter = Waiter::register(&self.waiting);
        waiting();
        if self.used() > self.max / 2 {
            woken.await;
        }
    }

    /// Waits until nothing is in use.
    pub(super) async fn empty(&self) {
        loop {
            let woken = self.empty.notified();
            tokio::pin!(woken);
            woken.as_mut().enable();
            if self.used() == 0 {
                return;
            }
            woken.await;
        }
    }
}

/// Counts somebody for as long as it lives, cancelled or not.
pub(super) struct Waiter<'a>(&'a AtomicUsize);

impl<'a> Waiter<'a> {
    pub(super) fn register(count: &'a AtomicUsize) -> Self {
        count.fetch_add(1, Ordering::AcqRel);
        Self(count)
    }
}

impl Drop for Waiter<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}
