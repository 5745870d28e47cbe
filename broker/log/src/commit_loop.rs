//! The threads of the log: one commits, one writes segments.

use crate::Error;
use crate::commit::{Command, Log};
use crate::disk::Disk;
use crate::limits::{COMMIT_QUEUE_MAX, ROUND_BYTES_TARGET, ROUND_SUBMISSIONS_MAX};
use crate::recovery::Options;
use crate::shared::Shared;
use anabranch_types::{LeaderEpoch, Timestamp};
use crossbeam::channel::{Receiver, RecvTimeoutError, Sender, bounded};
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
    // Everything that came while the last round was being synced makes the next: no timer, and a
    // slow disk makes larger rounds by itself.
    loop {
        let first = match receiver.recv_timeout(log.patience()) {
            Ok(first) => first,
            Err(RecvTimeoutError::Timeout) => {
                log.commit(&mut commands, now());
                continue;
            }
            Err(RecvTimeoutError::Disconnected) => return,
        };
        let mut bytes = size(&first);
        commands.push(first);
        while bytes < ROUND_BYTES_TARGET && commands.len() < ROUND_SUBMISSIONS_MAX {
            match receiver.try_recv() {
                Ok(command) => {
                    bytes += size(&command);
                    commands.push(command);
                }
                Err(_) => break,
            }
        }
        log.commit(&mut commands, now());
    }
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
