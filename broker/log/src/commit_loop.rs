//! The threads of the log: one commits, one writes segments.

use crate::Error;
use crate::commit::{Command, Log};
use crate::disk::Disk;
use crate::limits::{COMMIT_QUEUE_MAX, ROUND_BYTES_TARGET, ROUND_SUBMISSIONS_MAX};
use crate::recovery::Options;
use crate::shared::Shared;
use anabranch_types::{LeaderEpoch, Timestamp};
use crossbeam::channel::{Receiver, Select, Sender, TryRecvError, bounded};
use parking_lot::{Mutex, RwLock};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{SystemTime, UNIX_EPOCH};

/// A running log. Dropping it does not stop it: call [`Self::stop`].
pub struct LogHandle {
    /// Taken away by [`Self::stop`]: the commit thread ends once every sender has gone and the
    /// queue is empty, so that no command can be left in it unanswered.
    commands: RwLock<Option<Sender<Command>>>,
    shared: Arc<Shared>,
    epoch: LeaderEpoch,
    threads: Mutex<Vec<JoinHandle<()>>>,
}

/// The time, in milliseconds since 1970.
#[must_use]
pub fn now() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
}

impl LogHandle {
    /// Recovers the log on `disk` and starts its threads.
    ///
    /// # Errors
    /// As [`Log::open`]; or the system has no thread for us.
    pub fn start(disk: Arc<dyn Disk>, options: &Options) -> Result<Self, Error> {
        let stall = |shared: &Arc<Shared>| -> Box<dyn FnMut() + Send> {
            let shared = Arc::clone(shared);
            let mut seen = 0;
            Box::new(move || shared.wait_moved(&mut seen))
        };
        let (log, segment_writer) = Log::open(disk, options, stall)?;
        let shared = Arc::clone(log.shared());
        let epoch = log.epoch();
        let (commands, receiver) = bounded(COMMIT_QUEUE_MAX);
        let thread = |name: &str| std::thread::Builder::new().name(name.to_owned());
        let threads = vec![
            thread("segments").spawn({
                let guard = FailOnPanic(Arc::clone(&shared));
                move || {
                    let _guard = guard;
                    segment_writer.run();
                }
            })?,
            thread("commit").spawn({
                let guard = FailOnPanic(Arc::clone(&shared));
                move || {
                    let _guard = guard;
                    run(log, &receiver);
                }
            })?,
        ];
        Ok(Self {
            commands: RwLock::new(Some(commands)),
            shared,
            epoch,
            threads: Mutex::new(threads),
        })
    }

    /// Partitions, progress and figures.
    #[must_use]
    pub fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }

    /// The leader epoch of this start.
    #[must_use]
    pub fn epoch(&self) -> LeaderEpoch {
        self.epoch
    }

    /// Hands a command to the commit thread. Waits when its queue is full.
    ///
    /// # Errors
    /// The command, when the log has stopped.
    pub fn send(&self, command: Command) -> Result<(), Box<Command>> {
        match &*self.commands.read() {
            Some(commands) => commands.send(command).map_err(|refused| Box::new(refused.0)),
            None => Err(Box::new(command)),
        }
    }

    /// Answers what is waiting, writes a last checkpoint, and ends the threads. Nobody sends
    /// afterwards: it is refused.
    pub fn stop(&self) {
        let (done, finished) = bounded(0);
        // Errors mean that the threads have ended already.
        if self.send(Command::Checkpoint(done)).is_ok() {
            // The plan's sender is dropped once the checkpoint stands (or has failed).
            let _ = finished.recv();
        }
        let _ = self.send(Command::Stop);
        self.commands.write().take();
        for thread in self.threads.lock().drain(..).rev() {
            if thread.join().is_err() {
                tracing::error!("a thread of the log has panicked");
            }
        }
    }
}

/// Tells everybody when a thread of the log has gone, instead of letting them wait for it.
struct FailOnPanic(Arc<Shared>);

impl Drop for FailOnPanic {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.fail("a thread of the log has panicked");
        }
    }
}

fn run(mut log: Log, receiver: &Receiver<Command>) {
    let mut commands = Vec::new();
    let mut bytes = 0;
    let mut open = true;
    // Everything that came while the last round was being synced makes the next: no timer, and a
    // slow disk makes larger rounds by itself.
    while open {
        let flies = wait(&log, receiver);
        let mut full = false;
        while open && !full {
            match receiver.try_recv() {
                Ok(command) => {
                    bytes += size(&command);
                    commands.push(command);
                }
                Err(TryRecvError::Empty) => break,
                Err(TryRecvError::Disconnected) => open = false,
            }
            full = bytes >= ROUND_BYTES_TARGET || commands.len() >= ROUND_SUBMISSIONS_MAX;
        }
        // Nothing follows bulk into the air but what is as large.
        if flies && open && !full {
            continue;
        }
        if commands.is_empty() {
            log.settle(now());
        } else {
            log.commit_ahead(&mut commands, now());
        }
        bytes = 0;
    }
    log.settle(now());
}

/// Waits for a command, for bulk in flight to be written, or for the time of upkeep. Says whether
/// bulk is in flight still.
fn wait(log: &Log, receiver: &Receiver<Command>) -> bool {
    let mut select = Select::new();
    select.recv(receiver);
    let Some(places) = log.in_flight() else {
        // Which of them it was, the caller sees.
        let _ = select.ready_timeout(log.patience());
        return false;
    };
    let landed = select.recv(places);
    select.ready() != landed
}

fn size(command: &Command) -> usize {
    match command {
        Command::Submit(submission) => submission
            .appends
            .iter()
            .flat_map(|append| &append.parts)
            .map(|part| part.batch.len())
            .sum(),
        _ => 0,
    }
}
