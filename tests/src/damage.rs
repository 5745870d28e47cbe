//! A disk that gives back other bytes than were written.

use crate::broker::{Broker, anabranch};
use crate::process::{run_any, say};
use crate::psql::{psql, query};
use std::fs;
use std::os::unix::fs::FileExt;

#[test]
fn damage_is_told_to_whoever_reads() {
    let mut broker = Broker::start();
    query(&broker, "CREATE STREAM readings");
    query(&broker, r#"INSERT INTO readings (_json) VALUES ('{"a": 1}'), ('{"a": 2}')"#);
    query(&broker, r#"INSERT INTO readings (_json) VALUES ('{"a": 3}')"#);
    assert!(broker.stop().success());
    // The stream's partition is the newest.
    let partitions = fs::read_dir(broker.data_dir().join("partitions")).expect("it is there");
    let name = |entry: fs::DirEntry| entry.file_name().to_string_lossy().parse::<u32>().ok();
    let newest = partitions.flatten().filter_map(name).max().expect("partitions");
    let path = broker.data_dir().join(format!("partitions/{newest}/{:020}.log", 0));
    let file = fs::File::options().read(true).write(true).open(path).expect("it is there");
    let mut byte = [0];
    // In the first batch, behind its header.
    file.read_exact_at(&mut byte, 80).expect("long enough");
    file.write_all_at(&[byte[0] ^ 1], 80).expect("ours");

    let mut verify = anabranch();
    verify
        .args(["log", "verify", "--set"])
        .arg(format!("data_dir={}", broker.data_dir().display()));
    let verified = run_any(&mut verify, &[]);
    assert!(!verified.status.success(), "{}", say(&verified));

    broker.restart();
    let read = run_any(psql(&broker).args(["-c", "SELECT _json FROM readings"]), &[]);
    assert_eq!(String::from_utf8_lossy(&read.stdout), "{\"a\": 3}\n", "{}", say(&read));
    assert!(say(&read).contains("damaged batches of readings, partition 0"), "{}", say(&read));
}
