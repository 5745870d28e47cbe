//! What every disk must do, whether it is real or simulated.

use crate::disk::sim::SimDisk;
use crate::disk::{Disk, RealDisk};
use std::io::{ErrorKind, IoSlice};

fn conform(disk: &dyn Disk) {
    assert_eq!(
        disk.open("a").map(|_| ()).expect_err("nothing is there").kind(),
        ErrorKind::NotFound
    );
    let orphan = disk.create("no/dir").map(|_| ()).expect_err("no such directory");
    assert_eq!(orphan.kind(), ErrorKind::NotFound);
    assert!(disk.list("dir").expect("a missing directory is empty").is_empty());
    disk.create_dir("dir/inner").expect("parents are made");
    disk.create_dir("dir/inner").expect("it may exist");
    assert_eq!(disk.list("dir").expect("it exists"), ["inner"]);

    let file = disk.create("dir/inner/file").expect("the directory exists");
    // Many small pieces, more than one call of the system takes, some of them empty.
    let pieces: Vec<Vec<u8>> = (0..3_000).map(|number| vec![number as u8; number % 5]).collect();
    let slices: Vec<IoSlice<'_>> = pieces.iter().map(|piece| IoSlice::new(piece)).collect();
    file.write_at(&slices, 10).expect("there is room");
    let all = pieces.concat();
    assert_eq!(file.bytes().expect("open"), 10 + all.len() as u64);
    let mut read = vec![1; all.len() + 100];
    assert_eq!(file.read_at(&mut read, 10).expect("open"), all.len());
    assert_eq!(read[..all.len()], all);
    let mut hole = [1; 10];
    assert_eq!(file.read_at(&mut hole, 0).expect("open"), 10);
    assert_eq!(hole, [0; 10], "what was never written is zero");
    assert_eq!(file.read_at(&mut hole, 1 << 20).expect("open"), 0, "behind the end is nothing");
    file.sync().expect("sound");
    file.set_len(5).expect("sound");
    file.set_len(8).expect("sound");
    assert_eq!(file.read_at(&mut hole, 0).expect("open"), 8);

    // Another handle sees the same, and creating anew empties it.
    let again = disk.open("dir/inner/file").expect("it exists");
    assert_eq!(again.bytes().expect("open"), 8);
    disk.create("dir/inner/file").expect("it is emptied");
    assert_eq!(again.bytes().expect("open"), 0);

    disk.sync_dir("dir/inner").expect("sound");
    disk.sync_dir("").expect("sound");
    assert!(disk.remove_dir("dir/inner").is_err(), "it is not empty");
    disk.remove_file("dir/inner/file").expect("it exists");
    disk.remove_file("dir/inner/file").expect("it may be missing");
    again.write_at(&[IoSlice::new(b"x")], 0).expect("whoever has it open still has it");
    disk.remove_dir("dir/inner").expect("it is empty");
    disk.remove_dir("dir/inner").expect("it may be missing");
    assert!(disk.list("dir").expect("it exists").is_empty());
    assert!(disk.free_bytes().expect("sound") > 0);
}

#[test]
fn the_simulated_one() {
    conform(&SimDisk::new(1));
}

#[test]
fn the_real_one() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let root = directory.path().join("made");
    let disk = RealDisk::open(&root).expect("nobody else has it");
    let second = RealDisk::open(&root).expect_err("it is locked");
    assert_eq!(second.kind(), ErrorKind::WouldBlock);
    conform(&disk);
}
