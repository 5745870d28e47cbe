//! What a backup consists of: a text file, so that it can be read without this program.
//!
//! ```text
//! anabranch backup 1
//! round 4711
//! cluster Xw3S…
//! created 1760000000000
//! 1f0c11ab 65536 partitions/16/00000000000000000000.log
//! …
//! manifest 09ab33f1
//! ```
//! The numbers before a path are the CRC-32C of the file, in hexadecimal, and its bytes; the last
//! line has that of all lines above it.

use super::BackupError;
use crate::disk::Disk;
use crate::limits::MANIFEST_BYTES_MAX;
use anabranch_types::{Round, Timestamp};
use std::fmt::Write as _;
use std::io;

/// The manifest's name in the backup's directory.
pub const MANIFEST: &str = "backup.manifest";

const FIRST_LINE: &str = "anabranch backup 1";

/// The list of a backup's files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Manifest {
    /// The last round that is in it.
    pub round: Round,
    /// Kafka's cluster id of the broker.
    pub cluster: String,
    /// When the backup was begun.
    pub created: Timestamp,
    /// In the order in which they were written.
    pub files: Vec<BackupFile>,
}

/// A file of a backup.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BackupFile {
    /// Relative to the backup's directory, with `/` between names.
    pub path: String,
    /// Its length.
    pub bytes: u64,
    /// CRC-32C of its contents.
    pub crc: u32,
}

impl BackupFile {
    pub(crate) fn damaged(&self, reason: impl Into<String>) -> BackupError {
        BackupError::Damaged { path: self.path.clone(), reason: reason.into() }
    }
}

impl Manifest {
    /// Bytes of all files.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.files.iter().map(|file| file.bytes).sum()
    }

    /// Reads the manifest of a backup.
    ///
    /// # Errors
    /// [`BackupError::NoManifest`]; [`BackupError::Damaged`]; the disk's.
    pub fn read(backup: &dyn Disk) -> Result<Self, BackupError> {
        let file = match backup.open(MANIFEST) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(BackupError::NoManifest);
            }
            file => file.map_err(BackupError::io(MANIFEST))?,
        };
        let damaged = |reason: &str| BackupError::Damaged {
            path: MANIFEST.to_owned(),
            reason: reason.to_owned(),
        };
        let length = file.bytes().map_err(BackupError::io(MANIFEST))?;
        if length > MANIFEST_BYTES_MAX {
            return Err(damaged("it is too long"));
        }
        let mut bytes = vec![0; length as usize];
        let read = file.read_at(&mut bytes, 0).map_err(BackupError::io(MANIFEST))?;
        bytes.truncate(read);
        let text = String::from_utf8(bytes).map_err(|_| damaged("it is no text"))?;
        Self::parse(&text).ok_or_else(|| damaged("its checksum or its form is wrong"))
    }

    pub(crate) fn encode(&self) -> String {
        let mut text = format!(
            "{FIRST_LINE}\nround {}\ncluster {}\ncreated {}\n",
            self.round.0, self.cluster, self.created.0
        );
        for BackupFile { path, bytes, crc } in &self.files {
            // Writing into a String cannot fail.
            let _ = writeln!(text, "{crc:08x} {bytes} {path}");
        }
        let crc = crc32c::crc32c(text.as_bytes());
        let _ = writeln!(text, "manifest {crc:08x}");
        text
    }

    pub(crate) fn parse(text: &str) -> Option<Self> {
        let last = text.trim_end_matches('\n').rfind('\n')? + 1;
        let (body, end) = text.split_at(last);
        let crc = end.trim_end_matches('\n').strip_prefix("manifest ")?;
        if u32::from_str_radix(crc, 16).ok()? != crc32c::crc32c(body.as_bytes()) {
            return None;
        }
        let mut lines = body.lines();
        if lines.next()? != FIRST_LINE {
            return None;
        }
        let mut field = |name: &str| lines.next()?.strip_prefix(name)?.strip_prefix(' ');
        let round = Round(field("round")?.parse().ok()?);
        let cluster = field("cluster")?.to_owned();
        let created = Timestamp(field("created")?.parse().ok()?);
        let files = lines.map(parse_file).collect::<Option<_>>()?;
        Some(Self { round, cluster, created, files })
    }
}

fn parse_file(line: &str) -> Option<BackupFile> {
    let mut words = line.splitn(3, ' ');
    let crc = u32::from_str_radix(words.next()?, 16).ok()?;
    let bytes = words.next()?.parse().ok()?;
    let path = words.next()?.to_owned();
    // Whatever a manifest says, nothing is written elsewhere.
    let is_inside = path.split('/').all(|name| !matches!(name, "" | "." | ".."));
    is_inside.then_some(BackupFile { path, bytes, crc })
}
