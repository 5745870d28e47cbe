//! Copying, and what is wrong with a copy. Backups of a log at work are simulated.

use super::{contents, sim_disk};
use crate::backup::{BackupError, Copier, MANIFEST, Manifest, Pace, restore, verify};
use crate::disk::sim::{Faults, SimDisk};
use crate::disk::{Disk, RealDisk};
use anabranch_types::{Round, Timestamp};
use std::cell::Cell;
use std::io::IoSlice;

const FILES: [(&str, usize); 3] =
    [("partitions/16/a.log", 3_000_000), ("partitions/16/a.idx", 0), ("tables/MANIFEST-1", 77)];

fn write(disk: &dyn Disk, path: &str, contents: &[u8]) {
    disk.create_dir(path.rsplit_once('/').expect("in a directory").0).expect("made");
    let file = disk.create(path).expect("made");
    file.write_at(&[IoSlice::new(contents)], 0).expect("written");
}

fn source() -> SimDisk {
    let disk = SimDisk::new(1);
    for (path, bytes) in FILES {
        // Longer than what is copied, as a file that grows.
        let all: Vec<u8> = (0..bytes + 10).map(|at| (at % 251) as u8).collect();
        write(&disk, path, &all);
    }
    disk
}

fn copy_all(from: &dyn Disk, copier: &mut Copier<'_>) -> Result<Manifest, BackupError> {
    for (path, bytes) in FILES {
        copier.copy(from, path, path, bytes as u64)?;
    }
    copier.finish(Round(7), "cluster", Timestamp(1_000))
}

fn backup() -> SimDisk {
    let to = SimDisk::new(2);
    let mut copier = Copier::new(&to, Pace::new(None), 0, &|_| true).expect("it is empty");
    copy_all(&source(), &mut copier).expect("nothing fails");
    to
}

#[test]
fn the_manifest_is_text() {
    let to = backup();
    let file = to.open(MANIFEST).expect("it was written");
    let text = String::from_utf8(contents(&*file)).expect("text");
    let expected = "anabranch backup 1\nround 7\ncluster cluster\ncreated 1000\n";
    assert!(text.starts_with(expected), "{text}");
    assert!(text.contains(" 3000000 partitions/16/a.log\n"), "{text}");
    assert!(text.contains("\n00000000 0 partitions/16/a.idx\n"), "{text}");
    let manifest = verify(&to).expect("sound");
    assert_eq!(Manifest::parse(&text), Some(manifest.clone()));
    assert_eq!(manifest.bytes(), 3_000_077);
    for outside in ["../a", "/a", "a/../../b", "."] {
        let mut other = manifest.clone();
        other.files[0].path = outside.to_owned();
        assert_eq!(Manifest::parse(&other.encode()), None, "{outside}");
    }
}

#[test]
fn damage_is_found_and_named() {
    let check = |path: &str, damage: &dyn Fn(&SimDisk)| {
        let to = backup();
        damage(&to);
        let named = |error: BackupError| match error {
            BackupError::Damaged { path, .. } => path,
            other => panic!("{other}"),
        };
        assert_eq!(named(verify(&to).expect_err("it is damaged")), path);
        let target = sim_disk();
        let mut copier = Copier::new(&*target, Pace::new(None), 0, &|_| true).expect("empty");
        assert_eq!(named(restore(&to, &mut copier).expect_err("it is damaged")), path);
    };
    for (path, bytes) in FILES.into_iter().filter(|(_, bytes)| *bytes > 0) {
        for at in [0, bytes / 2, bytes - 1] {
            check(path, &|disk| assert!(disk.damage(path, at as u64)));
        }
        check(path, &|disk| disk.open(path).expect("there").set_len(5).expect("cut"));
    }
    for at in [0, 30, 60] {
        check(MANIFEST, &|disk| assert!(disk.damage(MANIFEST, at)));
    }
    check(MANIFEST, &|disk| disk.open(MANIFEST).expect("there").set_len(60).expect("cut"));
    let to = backup();
    to.remove_file(MANIFEST).expect("it is there");
    assert!(matches!(verify(&to), Err(BackupError::NoManifest)));
    let to = backup();
    to.remove_file(FILES[2].0).expect("it is there");
    let error = verify(&to).expect_err("a file is missing");
    assert_eq!(
        error.to_string(),
        "tables/MANIFEST-1 of the backup is damaged: it is missing; use another backup"
    );
}

#[test]
fn what_does_not_succeed_is_removed() {
    let check = |capacity: u64, stop_after: u64| {
        let to = SimDisk::new(2);
        to.set_faults(Faults { capacity, ..Faults::default() });
        let go_on = |copied| copied < stop_after;
        let mut copier = Copier::new(&to, Pace::new(None), 0, &go_on).expect("it is empty");
        let error = copy_all(&source(), &mut copier).expect_err("it cannot succeed");
        copier.remove().expect("removing needs no room");
        assert_eq!(to.paths(), Vec::<String>::new(), "{error}");
        assert!(to.list("").expect("sound").is_empty(), "{error}");
        error
    };
    // As the disk says it, with the file.
    let full = check(2_000_000, u64::MAX).to_string();
    assert!(full.starts_with("partitions/16/a.log: "), "{full}");
    assert!(matches!(check(0, 2_000_000), BackupError::Stopped));
    let to = SimDisk::new(2);
    to.set_faults(Faults { capacity: 1_000, ..Faults::default() });
    let copier = Copier::new(&to, Pace::new(None), 500, &|_| true).expect("it is empty");
    assert!(matches!(copier.expect_room(400), Ok(())));
    assert!(matches!(copier.expect_room(600), Err(BackupError::NoRoom { needed: 1_100, .. })));
}

#[test]
fn nothing_is_overwritten() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let disk = RealDisk::open(directory.path()).expect("nobody has it");
    assert!(Copier::new(&disk, Pace::new(None), 0, &|_| true).is_ok(), "but for the lock");
    write(&disk, "mine/file", b"x");
    let copier = Copier::new(&disk, Pace::new(None), 0, &|_| true);
    assert!(matches!(copier.err(), Some(BackupError::NotEmpty)));
}

#[test]
fn the_pace_is_kept() {
    let to = sim_disk();
    let began = std::time::Instant::now();
    let asked = Cell::new(0);
    let go_on = |_| {
        asked.set(asked.get() + 1);
        true
    };
    let mut copier =
        Copier::new(&*to, Pace::new(Some(10_000_000)), 0, &go_on).expect("it is empty");
    copy_all(&source(), &mut copier).expect("nothing fails");
    assert!(began.elapsed().as_millis() >= 300, "3 MB at 10 MB/s");
    assert!(asked.get() > 5, "it can be stopped while it waits");
}
