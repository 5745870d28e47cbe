//! What must hold of a history of snapshot isolation, checked against the log.

use serde::Deserialize;
use std::collections::BTreeMap;

/// One thing that was done: a transaction, or a record.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct Done {
    pub(super) id: String,
    /// Who had written the keys that it read; `None` where there was nothing.
    pub(super) reads: BTreeMap<String, Option<String>>,
    pub(super) writes: Vec<String>,
    pub(super) inserts: Vec<String>,
    pub(super) outcome: Outcome,
    /// Seconds of one clock.
    pub(super) began: f64,
    pub(super) ended: f64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Outcome {
    Yes,
    No,
    Unknown,
}

impl Done {
    pub(super) fn is_yes(&self) -> bool {
        self.outcome == Outcome::Yes
    }

    pub(super) fn is_transaction(&self) -> bool {
        !self.reads.is_empty()
    }

    fn written(&self) -> impl Iterator<Item = &String> {
        self.writes.iter().chain(&self.inserts)
    }
}

/// The writers of each key, in the order of the log.
pub(super) type Log = BTreeMap<String, Vec<String>>;

/// Checks a whole history against the log that it has left.
pub(super) fn check(history: &[Done], log: &Log) -> Result<(), String> {
    let places = Places::of(log)?;
    for done in history {
        whole(done, &places)?;
        overwrites_what_it_read(done, log, &places)?;
    }
    let present: Vec<&Done> =
        history.iter().filter(|done| places.at(done, done.written()).next().is_some()).collect();
    for reader in history.iter().filter(|done| done.is_transaction() && done.is_yes()) {
        for writer in &present {
            one_snapshot(reader, writer, &places)?;
        }
    }
    inserted_once(history, log)
}

/// Where each writer stands in a key's list.
struct Places<'a>(BTreeMap<(&'a str, &'a str), usize>);

impl<'a> Places<'a> {
    fn of(log: &'a Log) -> Result<Self, String> {
        let mut places = BTreeMap::new();
        for (key, writers) in log {
            for (at, writer) in writers.iter().enumerate() {
                if places.insert((key.as_str(), writer.as_str()), at).is_some() {
                    return Err(format!("{writer} stands twice in the log of {key}"));
                }
            }
        }
        Ok(Self(places))
    }

    fn of_writer(&self, key: &str, writer: &str) -> Option<usize> {
        self.0.get(&(key, writer)).copied()
    }

    fn at<'b>(
        &'b self,
        done: &'b Done,
        keys: impl Iterator<Item = &'b String> + 'b,
    ) -> impl Iterator<Item = (&'b String, usize)> + 'b {
        keys.filter_map(|key| Some((key, self.of_writer(key, &done.id)?)))
    }
}

/// All of it is there, or nothing; and what was answered is true.
fn whole(done: &Done, places: &Places<'_>) -> Result<(), String> {
    let there = places.at(done, done.written()).count();
    let all = done.written().count();
    let holds = match done.outcome {
        Outcome::Yes => there == all,
        Outcome::No => there == 0,
        Outcome::Unknown => there == 0 || there == all,
    };
    match holds {
        true => Ok(()),
        false => Err(format!("{there} of {all} writes are in the log: {done:?}")),
    }
}

/// The first to commit wins: nobody has written in between.
fn overwrites_what_it_read(done: &Done, log: &Log, places: &Places<'_>) -> Result<(), String> {
    for key in &done.writes {
        let (Some(read), Some(at)) = (done.reads.get(key), places.of_writer(key, &done.id)) else {
            continue;
        };
        let before = at.checked_sub(1).map(|before| &log[key][before]);
        if read.as_ref() != before {
            return Err(format!("an update of {key} was lost, {before:?}: {done:?}"));
        }
    }
    Ok(())
}

/// Of another's writes, a transaction sees all or none, and all that were acknowledged before it
/// began.
fn one_snapshot(reader: &Done, writer: &Done, places: &Places<'_>) -> Result<(), String> {
    if reader.id == writer.id {
        return Ok(());
    }
    let mut seen = None;
    for (key, at) in places.at(writer, writer.writes.iter()) {
        let Some(read) = reader.reads.get(key) else { continue };
        let read_at = match read {
            None => None,
            Some(by) => match places.of_writer(key, by) {
                Some(at) => Some(at),
                None => return Err(format!("{by} of {key} is not in the log: {reader:?}")),
            },
        };
        let sees = read_at >= Some(at);
        if writer.is_yes() && writer.ended < reader.began && !sees {
            return Err(format!("{reader:?} does not see {key} of {writer:?}, which had ended"));
        }
        if *seen.get_or_insert(sees) != sees {
            return Err(format!("{reader:?} sees a part of {writer:?}"));
        }
    }
    Ok(())
}

fn inserted_once(history: &[Done], log: &Log) -> Result<(), String> {
    for key in history.iter().flat_map(|done| &done.inserts) {
        let writers = log.get(key).map_or(&[][..], Vec::as_slice);
        if writers.len() > 1 {
            return Err(format!("{key} was inserted by {writers:?}"));
        }
    }
    Ok(())
}

/// The checker finds what it is there to find.
#[test]
fn broken_histories_are_noticed() {
    let done = |id: &str, reads: &[(&str, &str)], writes: &[&str], began: f64| Done {
        id: id.to_owned(),
        reads: reads.iter().map(|(k, w)| ((*k).to_owned(), Some((*w).to_owned()))).collect(),
        writes: writes.iter().map(ToString::to_string).collect(),
        inserts: Vec::new(),
        outcome: Outcome::Yes,
        began,
        ended: began + 0.5,
    };
    let log = |keys: &[(&str, &[&str])]| -> Log {
        let of = |writers: &[&str]| writers.iter().map(ToString::to_string).collect();
        keys.iter().map(|(key, writers)| ((*key).to_owned(), of(writers))).collect()
    };
    let first = done("a", &[("x", "0"), ("y", "0")], &["x", "y"], 1.0);
    let second = done("b", &[("x", "a"), ("y", "a")], &["x"], 2.0);
    let reader = done("r", &[("x", "b"), ("y", "a")], &[], 3.0);
    let sound = [first.clone(), second.clone(), reader];
    let good = log(&[("x", &["0", "a", "b"]), ("y", &["0", "a"])]);
    assert_eq!(check(&sound, &good), Ok(()));
    let fails = |history: &[Done], log: &Log, why: &str| {
        let wrong = check(history, log).expect_err(why);
        assert!(wrong.contains(why), "{why}: {wrong}");
    };
    // Half of a transaction is gone; one that was not to be is there.
    fails(&sound, &log(&[("x", &["0", "a", "b"]), ("y", &["0"])]), "1 of 2 writes");
    let refused = Done { outcome: Outcome::No, ..second.clone() };
    fails(&[first.clone(), refused], &good, "1 of 1 writes");
    // Somebody wrote between a read and its write.
    fails(&sound, &log(&[("x", &["0", "a", "p", "b"]), ("y", &["0", "a"])]), "was lost");
    fails(&sound, &log(&[("x", &["0", "a", "b", "a"]), ("y", &["0", "a"])]), "twice");
    // A snapshot that is none.
    let torn = done("r", &[("x", "a"), ("y", "0")], &[], 1.0);
    fails(&[first.clone(), torn], &log(&[("x", &["0", "a"]), ("y", &["0", "a"])]), "a part");
    let stale = done("r", &[("x", "a")], &[], 4.0);
    fails(&[first.clone(), second.clone(), stale], &good, "which had ended");
    let foul = done("r", &[("x", "q")], &[], 4.0);
    fails(&[first, second, foul], &good, "not in the log");
    let insert =
        |id: &str| Done { inserts: vec!["u".to_owned()], ..done(id, &[("x", "0")], &[], 1.0) };
    let twice = log(&[("x", &["0"]), ("u", &["c", "d"])]);
    fails(&[insert("c"), insert("d")], &twice, "was inserted by");
}
