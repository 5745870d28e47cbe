//! Backups of a running broker, and what becomes a data directory again.
//!
//! Tables are copied first, the log after them: so the log has every round that the tables show,
//! and a start applies the rest, as after a crash. In between nothing is compacted that the tables
//! may not have seen.

use crate::engine::Engine;
use crate::session::Session;
use crate::{Error, ErrorKind};
use anabranch_access::Operation;
use anabranch_log::Command;
use anabranch_log::backup::{self, Copier, MANIFEST, Pace};
pub use anabranch_log::backup::{BackupError, Manifest};
use anabranch_log::disk::{Disk, RealDisk};
use crossbeam::channel::bounded;
use parking_lot::Mutex;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

/// Where tables stand in a data directory, and in a backup.
const TABLES: &str = "tables";
/// Where they are linked to while they are copied.
const LINKED: &str = "tables.backup";

/// What backups have come to since the start.
#[derive(Default)]
pub(crate) struct Backups {
    pub(crate) made: AtomicU64,
    pub(crate) failed: AtomicU64,
    pub(crate) last_ms: AtomicI64,
    /// One at a time.
    running: Mutex<()>,
}

/// What to back up to.
pub struct Backup<'a> {
    /// A directory that is empty, or does not exist.
    pub to: &'a Path,
    /// Bytes a second to copy at most; as fast as the disk without.
    pub bytes_per_second: Option<u64>,
    /// Told of the bytes copied so far, and of all there are; says whether to go on.
    pub progress: &'a dyn Fn(u64, u64) -> bool,
}

impl Session {
    /// Makes a backup of everything that was acknowledged before the call, and maybe of some more.
    /// Blocks; appends and reads go on meanwhile.
    ///
    /// # Errors
    /// `Denied`; `AlreadyExists`, of files in the directory; `Conflict`: another is being made;
    /// `DiskFull`; `Unavailable`, when it was stopped; `Storage`. Nothing is left in the directory.
    pub fn back_up(&self, plan: &Backup<'_>) -> Result<Manifest, Error> {
        self.check_cluster(Operation::Alter)?;
        let counts = &self.engine().inner.backups;
        let Some(_one) = counts.running.try_lock() else {
            return Err(Error::new(
                ErrorKind::Conflict,
                "another backup is being made: wait for it",
            ));
        };
        let made = self.engine().back_up(plan);
        match &made {
            Ok(manifest) => {
                counts.made.fetch_add(1, Ordering::Relaxed);
                counts.last_ms.store(manifest.created.0, Ordering::Relaxed);
            }
            Err(_) => {
                counts.failed.fetch_add(1, Ordering::Relaxed);
            }
        }
        made
    }
}

impl Engine {
    fn back_up(&self, plan: &Backup<'_>) -> Result<Manifest, Error> {
        let existed = plan.to.exists();
        let target = open_target(plan.to)?;
        let all = AtomicU64::new(0);
        let go_on =
            |copied| !self.is_stopped() && (plan.progress)(copied, all.load(Ordering::Relaxed));
        let data_dir = &self.inner.settings.data_dir;
        // Appends must not be refused because of a backup.
        let is_same_disk = device(plan.to) == device(data_dir);
        let free_min = if is_same_disk { self.inner.settings.disk_reserve_bytes } else { 0 };
        let mut copier = Copier::new(&target, Pace::new(plan.bytes_per_second), free_min, &go_on)
            .map_err(|error| writing(plan.to, &error))?;
        let made = self.copy_everything(&mut copier, &all);
        // Whoever has the linked files may be gone: they are also removed at a start.
        let removed = remove_leftovers(data_dir);
        let result =
            made.map_err(|error| writing(plan.to, &error)).and_then(|made| removed.map(|()| made));
        if result.is_err() {
            if let Err(error) = copier.remove() {
                tracing::warn!(to = %plan.to.display(), %error, "what there is of a failed backup is left");
            }
            let _ = target.remove_file("lock");
            if !existed {
                let _ = std::fs::remove_dir(plan.to);
            }
            return result;
        }
        let _ = target.remove_file("lock");
        result
    }

    fn copy_everything(
        &self,
        copier: &mut Copier<'_>,
        all: &AtomicU64,
    ) -> Result<Manifest, BackupError> {
        let inner = &self.inner;
        let data_dir = &inner.settings.data_dir;
        let created = self.now();
        let pin = inner.log.shared().pin();
        let tables_error = |error: &dyn std::fmt::Display| BackupError::Io {
            path: TABLES.to_owned(),
            source: io::Error::other(error.to_string()),
        };
        remove_leftovers(data_dir).map_err(|error| tables_error(&error))?;
        let linked = data_dir.join(LINKED);
        let has_tables = inner.tables.copy(&linked).map_err(|error| tables_error(&error))?;
        let (asked, taken) = bounded(1);
        let stopped = || BackupError::Stopped;
        inner.log.send(Command::Snapshot(asked)).map_err(|_| stopped())?;
        let snapshot = taken.recv().map_err(|_| {
            let why = inner.log.shared().failure();
            why.map_or(BackupError::Stopped, |why| tables_error(&why))
        })??;
        drop(pin);
        let mut table_files = Vec::new();
        if has_tables {
            for entry in std::fs::read_dir(&linked).map_err(|error| tables_error(&error))? {
                let entry = entry.map_err(|error| tables_error(&error))?;
                let bytes = entry.metadata().map_err(|error| tables_error(&error))?.len();
                table_files.push((entry.file_name().to_string_lossy().into_owned(), bytes));
            }
        }
        let bytes = snapshot.bytes() + table_files.iter().map(|(_, bytes)| bytes).sum::<u64>();
        all.store(bytes, Ordering::Relaxed);
        copier.expect_room(bytes)?;
        if has_tables {
            let disk = RealDisk::open_unlocked(&linked).map_err(|error| tables_error(&error))?;
            for (name, bytes) in table_files {
                copier.copy(&disk, &name, &format!("{TABLES}/{name}"), bytes)?;
            }
        }
        snapshot.copy(copier)?;
        copier.finish(snapshot.round(), self.cluster_id(), created)
    }
}

/// Reads a whole backup, and compares it with its manifest.
///
/// # Errors
/// `Corrupt`, with the file's name; `NotFound`: it is no backup; `Storage`.
pub fn verify_backup(from: &Path) -> Result<Manifest, Error> {
    let disk = open_backup(from)?;
    backup::verify(&disk).map_err(|error| reading(from, &error))
}

/// Makes a data directory of a backup. `to` is empty, or does not exist.
///
/// # Errors
/// As [`verify_backup`]; `AlreadyExists`, of files in `to`; `DiskFull`. Nothing is left there.
pub fn restore(from: &Path, to: &Path) -> Result<Manifest, Error> {
    let disk = open_backup(from)?;
    let existed = to.exists();
    let target = open_target(to)?;
    let mut copier =
        Copier::new(&target, Pace::new(None), 0, &|_| true).map_err(|error| writing(to, &error))?;
    backup::restore(&disk, &mut copier).map_err(|error| {
        let error = match &error {
            BackupError::NoRoom { .. } | BackupError::Io { .. } => writing(to, &error),
            _ => reading(from, &error),
        };
        if copier.remove().is_ok() && target.remove_file("lock").is_ok() && !existed {
            let _ = std::fs::remove_dir(to);
        }
        error
    })
}

/// Locks a directory to write to. One that is not empty gets not even a lock.
fn open_target(to: &Path) -> Result<RealDisk, Error> {
    let io = |error| writing(to, &BackupError::Io { path: ".".to_owned(), source: error });
    let is_empty = match std::fs::read_dir(to) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => true,
        names => names.map_err(io)?.next().is_none(),
    };
    if !is_empty {
        return Err(writing(to, &BackupError::NotEmpty));
    }
    RealDisk::open(to).map_err(io)
}

fn open_backup(from: &Path) -> Result<RealDisk, Error> {
    RealDisk::open_unlocked(from).map_err(|error| {
        Error::new(
            ErrorKind::NotFound,
            format!("cannot read the backup {}: {error}", from.display()),
        )
    })
}

/// Nobody is to change a backup by serving it.
pub(crate) fn refuse_a_backup(data_dir: &Path) -> Result<(), Error> {
    if !data_dir.join(MANIFEST).exists() {
        return Ok(());
    }
    let message = format!(
        "{0} is a backup: make a data directory of it with `anabranch restore --from {0} --data-dir \
         DIRECTORY`",
        data_dir.display()
    );
    Err(Error::new(ErrorKind::InvalidArgument, message))
}

/// Links of a backup that was killed hold room.
pub(crate) fn remove_leftovers(data_dir: &Path) -> Result<(), Error> {
    match std::fs::remove_dir_all(data_dir.join(LINKED)) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            let path = data_dir.join(LINKED);
            Err(Error::new(
                ErrorKind::Storage,
                format!("cannot remove {}: {error}", path.display()),
            ))
        }
        _ => Ok(()),
    }
}

fn device(path: &Path) -> Option<u64> {
    std::fs::metadata(path).ok().map(|found| found.dev())
}

fn reading(from: &Path, error: &BackupError) -> Error {
    Error::new(kind(error), format!("{}: {error}", from.display()))
}

fn writing(to: &Path, error: &BackupError) -> Error {
    Error::new(kind(error), format!("{}: {error}", to.display()))
}

fn kind(error: &BackupError) -> ErrorKind {
    match error {
        BackupError::Damaged { .. } => ErrorKind::Corrupt,
        BackupError::NoManifest => ErrorKind::NotFound,
        BackupError::NotEmpty => ErrorKind::AlreadyExists,
        BackupError::NoRoom { .. } => ErrorKind::DiskFull,
        BackupError::Io { source, .. } if source.kind() == io::ErrorKind::StorageFull => {
            ErrorKind::DiskFull
        }
        BackupError::Stopped => ErrorKind::Unavailable,
        BackupError::Io { .. } | BackupError::Log(_) => ErrorKind::Storage,
    }
}
