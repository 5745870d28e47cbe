//! Removing files a little at a time. A file system that frees gigabytes at once is busy for
//! seconds (ext4 that discards: 0.8 s a gigabyte), and so would be the segment writer, and so
//! would everybody who waits for it.
//!
//! Nothing here is wanted any more, and a durable checkpoint says so: whatever is left when the
//! process ends, the next start removes.

use crate::disk::{Disk, DiskFile};
use crate::segment::dir;
use anabranch_types::PartitionId;
use std::collections::VecDeque;
use std::io;
use std::sync::Arc;

pub(crate) struct Sweep {
    disk: Arc<dyn Disk>,
    /// Bytes freed at a time.
    step_bytes: u64,
    unwanted: VecDeque<Unwanted>,
    /// The file at the front, and how long it still is.
    shrinking: Option<(Arc<dyn DiskFile>, u64)>,
}

enum Unwanted {
    File(String),
    Partition(PartitionId),
}

impl Sweep {
    pub(crate) fn new(disk: Arc<dyn Disk>, step_bytes: u64) -> Self {
        Self { disk, step_bytes, unwanted: VecDeque::new(), shrinking: None }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.unwanted.is_empty()
    }

    /// Leaves everything to the next start.
    pub(crate) fn clear(&mut self) {
        self.unwanted.clear();
        self.shrinking = None;
    }

    /// Has a file removed, whose name no new file will have.
    pub(crate) fn file(&mut self, path: String) {
        self.unwanted.push_back(Unwanted::File(path));
    }

    /// Has a deleted partition's directory removed.
    pub(crate) fn partition(&mut self, id: PartitionId) {
        self.unwanted.push_back(Unwanted::Partition(id));
    }

    /// Frees at most one step's bytes. Says which partition has gone with that.
    ///
    /// # Errors
    /// The disk's; what it concerns is left for the next start.
    pub(crate) fn step(&mut self) -> io::Result<Option<PartitionId>> {
        match self.unwanted.pop_front() {
            None => Ok(None),
            Some(Unwanted::File(path)) => {
                if !self.shrink(&path)? {
                    self.unwanted.push_front(Unwanted::File(path));
                }
                Ok(None)
            }
            Some(Unwanted::Partition(id)) => {
                let directory = dir(id);
                let names = self.disk.list(&directory)?;
                if names.is_empty() {
                    self.disk.remove_dir(&directory)?;
                    return Ok(Some(id));
                }
                self.unwanted.push_front(Unwanted::Partition(id));
                for name in names {
                    self.unwanted.push_front(Unwanted::File(format!("{directory}/{name}")));
                }
                Ok(None)
            }
        }
    }

    /// Says whether the file has gone.
    fn shrink(&mut self, path: &str) -> io::Result<bool> {
        let (file, bytes) = match self.shrinking.take() {
            Some(known) => known,
            None => match self.disk.open(path) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(true),
                file => {
                    let file = file?;
                    let bytes = file.bytes()?;
                    (file, bytes)
                }
            },
        };
        if bytes <= self.step_bytes {
            self.disk.remove_file(path)?;
            return Ok(true);
        }
        let bytes = bytes - self.step_bytes;
        file.set_len(bytes)?;
        self.shrinking = Some((file, bytes));
        Ok(false)
    }
}
