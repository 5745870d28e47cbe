//! Removing files in steps.

use super::sim_disk;
use crate::sweep::Sweep;
use anabranch_types::PartitionId;
use std::io::IoSlice;
use std::sync::Arc;

#[test]
fn files_are_removed_a_little_at_a_time() {
    let disk = sim_disk();
    for (id, name, bytes) in [(1, "a", 1_000), (1, "b", 0), (2, "a", 350), (2, "b", 100)] {
        disk.create_dir(&format!("partitions/{id}")).expect("made");
        let file = disk.create(&format!("partitions/{id}/{name}")).expect("made");
        file.write_at(&[IoSlice::new(&vec![7; bytes])], 0).expect("written");
    }
    let mut sweep = Sweep::new(Arc::clone(&disk), 100);
    sweep.partition(PartitionId(1));
    sweep.file("partitions/2/a".to_owned());
    sweep.file("partitions/2/missing".to_owned());
    let bytes = || {
        let paths = ["partitions/1/a", "partitions/1/b", "partitions/2/a", "partitions/2/b"];
        paths.map(|path| disk.open(path).map_or(0, |file| file.bytes().expect("it is there")))
    };
    let mut gone = Vec::new();
    let mut steps = 0;
    while !sweep.is_empty() {
        let before: u64 = bytes().iter().sum();
        gone.extend(sweep.step().expect("nothing fails"));
        assert!(before - bytes().iter().sum::<u64>() <= 100, "at most a step at a time");
        steps += 1;
    }
    assert!(steps < 30, "{steps} steps for 14 steps' bytes, four names and a directory");
    assert_eq!(gone, [PartitionId(1)]);
    assert_eq!(disk.list("partitions").expect("it is there"), ["2"]);
    assert_eq!(disk.list("partitions/2").expect("it is there"), ["b"]);
    assert_eq!(bytes(), [0, 0, 0, 100]);
}
