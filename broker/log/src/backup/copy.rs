//! Copying files a piece at a time, at a pace, with a checksum of each.

use super::BackupError;
use super::manifest::{BackupFile, MANIFEST, Manifest};
use crate::disk::{Disk, DiskFile};
use crate::limits::{BACKUP_PIECE_BYTES, BACKUP_SYNC_BYTES};
use anabranch_types::{Round, Timestamp};
use std::collections::BTreeSet;
use std::io::{self, IoSlice};
use std::time::{Duration, Instant};

/// How fast to copy, so that the commit loop's syncs do not wait behind it.
#[derive(Debug, Clone, Copy)]
pub struct Pace {
    bytes_per_second: Option<u64>,
    began: Instant,
}

impl Pace {
    /// At most so many bytes in a second; as fast as the disk without a number.
    #[must_use]
    pub fn new(bytes_per_second: Option<u64>) -> Self {
        Self { bytes_per_second: bytes_per_second.filter(|rate| *rate > 0), began: Instant::now() }
    }

    /// How long to wait until `bytes` may have been copied since the beginning.
    fn wait(&self, bytes: u64) -> Duration {
        let Some(rate) = self.bytes_per_second else { return Duration::ZERO };
        let due = Duration::from_secs_f64(bytes as f64 / rate as f64);
        due.saturating_sub(self.began.elapsed())
    }
}

/// Writes a backup, or a data directory from one, and knows what it has written.
pub struct Copier<'a> {
    target: &'a dyn Disk,
    pace: Pace,
    /// Told of the bytes copied so far; says whether to go on.
    go_on: &'a dyn Fn(u64) -> bool,
    /// Bytes of the target's disk that others need.
    free_bytes_min: u64,
    files: Vec<BackupFile>,
    /// Was created, and is not whole yet.
    unfinished: Option<String>,
    dirs: BTreeSet<String>,
    copied: u64,
}

impl<'a> Copier<'a> {
    /// A copier into `target`, which is empty but for its lock. `go_on` is told of the bytes copied
    /// so far, and ends it by saying no; `free_bytes_min` bytes of the disk are left free.
    ///
    /// # Errors
    /// [`BackupError::NotEmpty`]; the disk's.
    pub fn new(
        target: &'a dyn Disk,
        pace: Pace,
        free_bytes_min: u64,
        go_on: &'a dyn Fn(u64) -> bool,
    ) -> Result<Self, BackupError> {
        let names = target.list("").map_err(BackupError::io("."))?;
        if names.iter().any(|name| name != "lock") {
            return Err(BackupError::NotEmpty);
        }
        let (files, dirs) = (Vec::new(), BTreeSet::new());
        let unfinished = None;
        Ok(Self { target, pace, go_on, free_bytes_min, files, unfinished, dirs, copied: 0 })
    }

    pub(crate) fn target(&self) -> &'a dyn Disk {
        self.target
    }

    /// Bytes copied so far.
    #[must_use]
    pub fn copied(&self) -> u64 {
        self.copied
    }

    /// Refuses what would not fit.
    ///
    /// # Errors
    /// [`BackupError::NoRoom`]; the disk's.
    pub fn expect_room(&self, bytes: u64) -> Result<(), BackupError> {
        let free = self.target.free_bytes().map_err(BackupError::io("."))?;
        let needed = bytes.saturating_add(self.free_bytes_min);
        if free < needed { Err(BackupError::NoRoom { needed, free }) } else { Ok(()) }
    }

    /// Copies the first `bytes` bytes of a file. Durable when this returns, but for its name.
    ///
    /// # Errors
    /// The disk's; the file is shorter; stopped.
    pub fn copy(
        &mut self,
        from: &dyn Disk,
        path: &str,
        to: &str,
        bytes: u64,
    ) -> Result<BackupFile, BackupError> {
        let source = from.open_to_read(path).map_err(BackupError::io(path))?;
        let target = self.create(to)?;
        let mut piece = vec![0; BACKUP_PIECE_BYTES.min(bytes as usize)];
        let (mut at, mut synced, mut crc) = (0, 0, 0);
        while at < bytes {
            let count = piece.len().min((bytes - at) as usize);
            let piece = &mut piece[..count];
            let read = source.read_at(piece, at).map_err(BackupError::io(path))?;
            if read < count {
                let file = BackupFile { path: path.to_owned(), bytes, crc };
                let there = at + read as u64;
                return Err(file.damaged(format!("it has {there} bytes, there should be {bytes}")));
            }
            crc = crc32c::crc32c_append(crc, piece);
            target.write_at(&[IoSlice::new(piece)], at).map_err(BackupError::io(to))?;
            at += count as u64;
            if at - synced >= BACKUP_SYNC_BYTES {
                // Or the system writes it all at once, and the journal's syncs wait for that.
                target.sync().map_err(BackupError::io(to))?;
                synced = at;
                self.expect_room(0)?;
            }
            self.took(count as u64)?;
        }
        target.sync().map_err(BackupError::io(to))?;
        let file = BackupFile { path: to.to_owned(), bytes, crc };
        self.files.push(file.clone());
        Ok(file)
    }

    /// Writes a file.
    ///
    /// # Errors
    /// The disk's; stopped.
    pub fn write(&mut self, path: &str, contents: &[u8]) -> Result<(), BackupError> {
        let target = self.create(path)?;
        target.write_at(&[IoSlice::new(contents)], 0).map_err(BackupError::io(path))?;
        target.sync().map_err(BackupError::io(path))?;
        let bytes = contents.len() as u64;
        self.files.push(BackupFile { path: path.to_owned(), bytes, crc: crc32c::crc32c(contents) });
        self.took(bytes)
    }

    /// Writes the manifest, which makes a backup of what was written.
    ///
    /// # Errors
    /// The disk's.
    pub fn finish(
        &mut self,
        round: Round,
        cluster: &str,
        created: Timestamp,
    ) -> Result<Manifest, BackupError> {
        self.sync_dirs()?;
        let cluster = cluster.to_owned();
        let manifest = Manifest { round, cluster, created, files: self.files.clone() };
        self.write(MANIFEST, manifest.encode().as_bytes())?;
        self.target.sync_dir("").map_err(BackupError::io("."))?;
        Ok(manifest)
    }

    pub(crate) fn sync_dirs(&self) -> Result<(), BackupError> {
        for dir in self.dirs.iter().map(String::as_str).chain([""]) {
            self.target.sync_dir(dir).map_err(BackupError::io(dir))?;
        }
        Ok(())
    }

    /// Removes everything that was written.
    ///
    /// # Errors
    /// The disk's: some of it is still there.
    pub fn remove(self) -> io::Result<()> {
        let paths = self.files.iter().map(|file| &file.path);
        for path in paths.chain(&self.unfinished) {
            self.target.remove_file(path)?;
        }
        // The deepest first.
        self.dirs.iter().rev().try_for_each(|dir| self.target.remove_dir(dir))
    }

    fn create(&mut self, path: &str) -> Result<std::sync::Arc<dyn DiskFile>, BackupError> {
        if let Some((dir, _)) = path.rsplit_once('/') {
            let ends = dir.match_indices('/').map(|(at, _)| at).chain([dir.len()]);
            self.dirs.extend(ends.map(|end| dir[..end].to_owned()));
            self.target.create_dir(dir).map_err(BackupError::io(dir))?;
        }
        let file = self.target.create(path).map_err(BackupError::io(path))?;
        self.unfinished = Some(path.to_owned());
        Ok(file)
    }

    fn took(&mut self, bytes: u64) -> Result<(), BackupError> {
        self.copied += bytes;
        if !(self.go_on)(self.copied) {
            return Err(BackupError::Stopped);
        }
        let mut left = self.pace.wait(self.copied);
        while !left.is_zero() {
            std::thread::sleep(left.min(Duration::from_millis(100)));
            if !(self.go_on)(self.copied) {
                return Err(BackupError::Stopped);
            }
            left = self.pace.wait(self.copied);
        }
        Ok(())
    }
}

/// Compares a file of a backup with what the manifest says.
pub(super) fn check(backup: &dyn Disk, file: &BackupFile) -> Result<(), BackupError> {
    let source = match backup.open_to_read(&file.path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Err(file.damaged("it is missing"));
        }
        source => source.map_err(BackupError::io(&file.path))?,
    };
    let there = source.bytes().map_err(BackupError::io(&file.path))?;
    if there != file.bytes {
        let reason = format!("it has {there} bytes, there should be {}", file.bytes);
        return Err(file.damaged(reason));
    }
    let mut piece = vec![0; BACKUP_PIECE_BYTES.min(file.bytes as usize)];
    let (mut at, mut crc) = (0, 0);
    while at < file.bytes {
        let read = source.read_at(&mut piece, at).map_err(BackupError::io(&file.path))?;
        if read == 0 {
            break;
        }
        crc = crc32c::crc32c_append(crc, &piece[..read]);
        at += read as u64;
    }
    if crc == file.crc { Ok(()) } else { Err(file.damaged("its checksum is wrong")) }
}
