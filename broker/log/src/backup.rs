//! Copies of a running log, and back.
//!
//! ```text
//!                      plan      files counted     copying
//!   rounds  ───────────┼────────────────┼──────────────────────────>
//!   segments ─────────────────────────────┤ a little beyond the plan, some partitions more
//!   journal            ├────────────────┤ the rounds that put them level
//! ```
//! A backup is a checkpoint, the segments that it names, each up to the length that counts, and the
//! rounds of the journal from the checkpoint to the last that a segment may contain: what a start
//! after a crash would find. So it is one cut, and nothing of a round is in it by halves.
//!
//! Files are copied, never linked: the broker cuts and extends its own in place.
//!
//! Invariant: while a [`Pin`] is held no file of the log is removed or cut.
//! Invariant: the manifest is written last; without a sound one a directory is no backup.

mod copy;
mod manifest;

pub use copy::{Copier, Pace};
pub use manifest::{MANIFEST, Manifest};

use crate::Error;
use crate::checkpoint::Checkpoint;
use crate::disk::Disk;
use crate::journal::{JournalPosition, JournalSize, Replay};
use crate::limits::{JOURNAL_BLOCK_BYTES, RESTORED_EPOCHS};
use crate::partition::Kept;
use crate::segment::{ENTRY_BYTES, dir, file_name};
use crate::shared::Pin;
use anabranch_types::{LeaderEpoch, PartitionId, Round};
use std::io;
use std::sync::Arc;

/// Why there is no backup, or none that can be restored.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    /// The system's error, and the file.
    #[error("{path}: {source}")]
    Io {
        /// Relative to the directory that is read or written.
        path: String,
        /// What the system says.
        source: io::Error,
    },
    /// A file of the backup is not what was written.
    #[error("{path} of the backup is damaged: {reason}; use another backup")]
    Damaged {
        /// Relative to the backup's directory.
        path: String,
        /// What is wrong with it.
        reason: String,
    },
    /// No manifest.
    #[error("this is no backup, or one that was not finished: {MANIFEST} is missing")]
    NoManifest,
    /// Somebody's files are there.
    #[error("the directory is not empty: name a new one")]
    NotEmpty,
    /// It would not fit.
    #[error(
        "{needed} bytes are needed, and the disk has {free} bytes free: make room, or name another"
    )]
    NoRoom {
        /// Bytes still to be written, and those that must stay free.
        needed: u64,
        /// Bytes that can be written.
        free: u64,
    },
    /// Whoever asked for it has gone, or the broker stops.
    #[error("the backup was given up before it was finished")]
    Stopped,
    /// The log is not in order.
    #[error("{0}")]
    Log(#[from] Error),
}

impl BackupError {
    pub(crate) fn io(path: &str) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Io { path, source }
    }
}

/// A moment of a running log, with everything of it that a backup needs.
pub struct Snapshot {
    disk: Arc<dyn Disk>,
    checkpoint: Checkpoint,
    journal: Vec<u8>,
    round: Round,
    _pin: Pin,
}

impl Snapshot {
    /// Takes what the checkpoint names, which is durable, and the rounds after it. Called on the
    /// segment writer's thread, so that no checkpoint comes between.
    pub(crate) fn take(
        disk: Arc<dyn Disk>,
        mut checkpoint: Checkpoint,
        round: Round,
        pin: Pin,
    ) -> Result<Self, Error> {
        let mut replay = Replay::new(Arc::clone(&disk), checkpoint.journal, checkpoint.link);
        let mut journal = Vec::new();
        while replay.next_link().round <= round {
            let missing = replay.next_link().round;
            let Some((_, body)) = replay.next()? else {
                let message =
                    format!("round {missing} is not in the journal, {round} was published");
                return Err(io::Error::other(message).into());
            };
            replay.push_record(&body, &mut journal);
        }
        // A journal of its own, as small as can be: whoever opens it begins a new one.
        checkpoint.link.position = JournalPosition::default();
        let file_bytes = (journal.len() as u64).max(4 * JOURNAL_BLOCK_BYTES as u64);
        checkpoint.journal = JournalSize { file_bytes, files: 2 };
        // Their files are not copied.
        checkpoint.unlinking.clear();
        Ok(Self { disk, checkpoint, journal, round, _pin: pin })
    }

    /// The last round that it contains.
    #[must_use]
    pub fn round(&self) -> Round {
        self.round
    }

    /// Bytes that [`Self::copy`] writes, to a few.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        let files = self.files().map(|(_, bytes)| bytes).sum::<u64>();
        files + self.journal.len() as u64
    }

    /// Copies everything.
    ///
    /// # Errors
    /// [`BackupError`]; what was written so far is the copier's to remove.
    pub fn copy(&self, copier: &mut Copier<'_>) -> Result<(), BackupError> {
        for (path, bytes) in self.files() {
            copier.copy(&*self.disk, &path, &path, bytes)?;
        }
        let size = self.checkpoint.journal;
        copier.write(&crate::journal::path(size, 0), &self.journal)?;
        let (path, bytes) = self.checkpoint.file();
        copier.write(&path, &bytes)
    }

    fn files(&self) -> impl Iterator<Item = (String, u64)> {
        let partitions = self.checkpoint.partitions.iter();
        partitions.flat_map(|(id, kept, _)| segment_files(*id, kept))
    }
}

fn segment_files(id: PartitionId, kept: &Kept) -> impl Iterator<Item = (String, u64)> {
    kept.segments.iter().flat_map(move |end| {
        let path =
            |extension| format!("{}/{}", dir(id), file_name(end.base, end.generation, extension));
        [(path("log"), end.bytes), (path("idx"), end.entries * ENTRY_BYTES)]
    })
}

/// Reads a backup once, and compares every file with its manifest.
///
/// # Errors
/// [`BackupError::Damaged`] with the first file that is; [`BackupError::NoManifest`]; the disk's.
pub fn verify(backup: &dyn Disk) -> Result<Manifest, BackupError> {
    let manifest = Manifest::read(backup)?;
    for file in &manifest.files {
        copy::check(backup, file)?;
    }
    Ok(manifest)
}

/// Makes a data directory of a backup, in the empty directory that `copier` writes to.
///
/// The log there goes on with a leader epoch that the broker which was backed up has not reached
/// and will not: clients that saw what came after the backup notice that it is not there.
///
/// # Errors
/// As [`verify`]; and those of writing. What was written so far is the copier's to remove.
pub fn restore(backup: &dyn Disk, copier: &mut Copier<'_>) -> Result<Manifest, BackupError> {
    let manifest = Manifest::read(backup)?;
    copier.expect_room(manifest.bytes())?;
    for file in &manifest.files {
        let copied = copier.copy(backup, &file.path, &file.path, file.bytes)?;
        if copied != *file {
            return Err(file.damaged("its checksum is wrong"));
        }
    }
    copier.sync_dirs()?;
    let target = copier.target();
    let mut checkpoint = Checkpoint::read(target)?.ok_or(BackupError::NoManifest)?;
    checkpoint.number += 1;
    checkpoint.epoch = LeaderEpoch(checkpoint.epoch.0.saturating_add(RESTORED_EPOCHS));
    checkpoint.write(target).map_err(BackupError::io("checkpoint"))?;
    Ok(manifest)
}
