//! All file I/O of the log, behind two small traits, so that the simulator can lose, tear and
//! reorder what was not synced.

mod real;
pub mod sim;

pub use real::RealDisk;

use std::io::{self, IoSlice};
use std::sync::Arc;

/// A directory tree. Paths are relative to its root, with `/` between names.
pub trait Disk: Send + Sync {
    /// Opens a file for reading and writing.
    ///
    /// # Errors
    /// `NotFound` when it does not exist; otherwise the system's.
    fn open(&self, path: &str) -> io::Result<Arc<dyn DiskFile>>;

    /// Opens a file for reading, also where nothing may be written.
    ///
    /// # Errors
    /// `NotFound` when it does not exist; otherwise the system's.
    fn open_to_read(&self, path: &str) -> io::Result<Arc<dyn DiskFile>> {
        self.open(path)
    }

    /// Creates an empty file, or empties it. Its name is durable after [`Self::sync_dir`].
    ///
    /// # Errors
    /// The system's.
    fn create(&self, path: &str) -> io::Result<Arc<dyn DiskFile>>;

    /// Creates a directory and its parents; it may exist.
    ///
    /// # Errors
    /// The system's.
    fn create_dir(&self, path: &str) -> io::Result<()>;

    /// Names in a directory, in no order; none when it does not exist.
    ///
    /// # Errors
    /// The system's.
    fn list(&self, dir: &str) -> io::Result<Vec<String>>;

    /// Removes a file; it may be missing.
    ///
    /// # Errors
    /// The system's.
    fn remove_file(&self, path: &str) -> io::Result<()>;

    /// Removes an empty directory; it may be missing.
    ///
    /// # Errors
    /// The system's.
    fn remove_dir(&self, path: &str) -> io::Result<()>;

    /// Makes the names in a directory durable.
    ///
    /// # Errors
    /// The system's.
    fn sync_dir(&self, dir: &str) -> io::Result<()>;

    /// How many syncs are best under way at once: many disks take as long for eight as for one.
    fn syncs_at_once(&self) -> usize {
        1
    }

    /// Bytes that can still be written.
    ///
    /// # Errors
    /// The system's.
    fn free_bytes(&self) -> io::Result<u64>;
}

/// An open file. Many threads read, one writes.
pub trait DiskFile: Send + Sync {
    /// Writes all pieces one after the other, from `at`.
    ///
    /// # Errors
    /// The system's; some bytes may have been written.
    fn write_at(&self, pieces: &[IoSlice<'_>], at: u64) -> io::Result<()>;

    /// Reads from `at` until the buffer is full or the file ends; says how much.
    ///
    /// # Errors
    /// The system's.
    fn read_at(&self, buffer: &mut [u8], at: u64) -> io::Result<usize>;

    /// Up to `bytes` bytes from `at`; fewer where the file ends.
    ///
    /// # Errors
    /// The system's.
    fn read(&self, bytes: usize, at: u64) -> io::Result<Vec<u8>> {
        let mut buffer = vec![0; bytes];
        let read = self.read_at(&mut buffer, at)?;
        buffer.truncate(read);
        Ok(buffer)
    }

    /// Has the system begin to write these bytes to the disk, without waiting: a following
    /// [`Self::sync`] of many files then finds most of it done. Only a hint: it promises nothing,
    /// and errors are the sync's to tell.
    fn begin_sync(&self, _at: u64, _bytes: u64) {}

    /// Makes written bytes and the length durable (fdatasync).
    ///
    /// # Errors
    /// The system's: what was written since the last success may be lost, and a second call
    /// proves nothing.
    fn sync(&self) -> io::Result<()>;

    /// Cuts or extends (with zeros) the file.
    ///
    /// # Errors
    /// The system's.
    fn set_len(&self, bytes: u64) -> io::Result<()>;

    /// The file's length in bytes.
    ///
    /// # Errors
    /// The system's.
    fn bytes(&self) -> io::Result<u64>;
}
