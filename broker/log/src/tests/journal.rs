//! What was written is read again, and nothing else.

use crate::Error;
use crate::disk::Disk;
use crate::disk::sim::SimDisk;
use crate::journal::{Journal, JournalFiles, JournalSize, Link, Replay};
use anabranch_types::Round;
use proptest::prelude::*;
use std::io::IoSlice;
use std::sync::Arc;

const SIZE: JournalSize = JournalSize { file_bytes: 16 << 10, files: 3 };

fn link(boot: u64) -> Link {
    Link { boot, round: Round(1), ..Link::default() }
}

fn write(disk: &SimDisk, rounds: &[Vec<u8>]) -> Journal {
    let disk: Arc<dyn Disk> = Arc::new(disk.clone());
    let files = Arc::new(JournalFiles::new(disk, SIZE));
    let mut journal = Journal::start(files, link(5)).expect("the disk is sound");
    for round in rounds {
        let (left, right) = round.split_at(round.len() / 2);
        journal.write(&[IoSlice::new(left), IoSlice::new(right)]).expect("the disk is sound");
        journal.sync().expect("the disk is sound");
    }
    journal
}

fn read(disk: &SimDisk, from: Link) -> Result<(Vec<Vec<u8>>, Link), Error> {
    let mut replay = Replay::new(Arc::new(disk.clone()), SIZE, from);
    let mut rounds = Vec::new();
    while let Some((round, body)) = replay.next()? {
        assert_eq!(round.0, from.round.0 + rounds.len() as u64);
        rounds.push(body);
    }
    Ok((rounds, replay.next_link()))
}

/// Bodies of rounds that fit into the journal without overwriting any.
fn rounds() -> impl Strategy<Value = Vec<Vec<u8>>> {
    let size = prop_oneof![0..200usize, 3_900..4_200usize, Just(SIZE.round_bytes_max())];
    let body = (size, any::<u8>()).prop_map(|(bytes, fill)| vec![fill; bytes]);
    prop::collection::vec(body, 0..9).prop_map(|mut all: Vec<Vec<u8>>| {
        let mut bytes = 0;
        all.retain(|body| {
            bytes += body.len() + 8192;
            bytes <= SIZE.file_bytes as usize * 2
        });
        all
    })
}

proptest! {
    #[test]
    fn replay_gives_what_was_written(rounds in rounds()) {
        let disk = SimDisk::new(1);
        let journal = write(&disk, &rounds);
        let (found, next) = read(&disk, link(5)).expect("nothing is damaged");
        prop_assert_eq!(&found, &rounds);
        // Where to go on may be a file further, if the last one is full.
        prop_assert_eq!((next.round, next.before), (journal.next().round, journal.next().before));
    }

    #[test]
    fn a_cut_anywhere_leaves_whole_rounds(rounds in rounds(), byte in 0..60_000u64) {
        let disk = SimDisk::new(1);
        write(&disk, &rounds);
        let path = format!("journal/{}", byte / SIZE.file_bytes);
        if !disk.damage(&path, byte % SIZE.file_bytes) {
            return Ok(());
        }
        match read(&disk, link(5)) {
            Ok((found, _)) => {
                // Padding, or the last record.
                prop_assert!(found.len() + 1 >= rounds.len());
                prop_assert_eq!(&found[..], &rounds[..found.len()]);
            }
            Err(Error::JournalDamaged { round, later, .. }) => {
                prop_assert!((1..rounds.len() as u64).contains(&round.0));
                prop_assert_eq!(later, round.next());
            }
            Err(other) => prop_assert!(false, "{}", other),
        }
    }
}

#[test]
fn records_of_another_boot_do_not_count() {
    let disk = SimDisk::new(1);
    write(&disk, &[b"one".to_vec(), b"two".to_vec()]);
    assert_eq!(read(&disk, link(6)).expect("nothing is damaged").0.len(), 0);
}

#[test]
fn a_full_turn_overwrites_the_oldest() {
    let disk = SimDisk::new(1);
    let body = vec![1; SIZE.round_bytes_max()];
    let journal = write(&disk, &vec![body; 4]);
    assert_eq!(journal.next().position.file, 3);
    // The first round has gone: whoever still needed it must be told.
    assert!(matches!(
        read(&disk, link(5)),
        Err(Error::JournalDamaged { round: Round(1), later: Round(4 | 2), .. })
    ));
}

#[test]
fn a_file_of_another_size_is_made_anew() {
    let disk = SimDisk::new(1);
    disk.create_dir("journal").expect("the disk is sound");
    let file = disk.create("journal/0").expect("the disk is sound");
    file.write_at(&[IoSlice::new(&[7; 100])], 0).expect("the disk is sound");
    let rounds = [b"one".to_vec()];
    write(&disk, &rounds);
    assert_eq!(read(&disk, link(5)).expect("nothing is damaged").0, rounds);
}
