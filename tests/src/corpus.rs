//! Every seed of the fuzz targets, and everything that fuzzing ever found (`tests/fuzz`).

use crate::{doors, targets};
use targets::Target;

/// Changes of each seed that a run of the tests tries.
const MUTATIONS: u64 = 300;

fn all() -> impl Iterator<Item = &'static Target> {
    targets::TARGETS.iter().chain(doors::TARGETS)
}

#[test]
fn seeds_are_refused_or_understood() {
    for target in all() {
        let seeds = (target.seeds)();
        assert!(!seeds.is_empty(), "{} starts from nothing", target.name);
        for seed in seeds {
            (target.run)(&seed);
            // What a cut connection or a torn file leaves.
            for end in 0..seed.len().min(256) {
                (target.run)(&seed[..end]);
            }
        }
    }
}

/// A panic names the file by what was printed last.
#[test]
fn findings_stay_fixed() {
    let corpus = crate::broker::root().join("tests/fuzz/corpus");
    for target in all() {
        let directory = corpus.join(target.name);
        if !directory.exists() {
            continue;
        }
        for entry in std::fs::read_dir(&directory).expect("the corpus can be listed") {
            let path = entry.expect("the corpus can be listed").path();
            let data = std::fs::read(&path).expect("the corpus can be read");
            eprintln!("{}", path.display());
            (target.run)(&data);
        }
    }
}

/// Bytes of the seeds changed, taken away, put in, or replaced by numbers at the edge. The fuzzer
/// goes further; this goes with every change of the code.
#[test]
fn changed_seeds_are_refused_or_understood() {
    let mutations = std::env::var("ANABRANCH_TEST_MUTATIONS").ok();
    let mutations = mutations.and_then(|count| count.parse().ok()).unwrap_or(MUTATIONS);
    for target in all() {
        for (number, seed) in (target.seeds)().iter().enumerate() {
            for mutation in 0..mutations {
                let changed = changed(seed, (number as u64) << 32 | mutation);
                named(target.name, number, mutation, || (target.run)(&changed));
            }
        }
    }
}

/// Says which change it was that something panicked at.
fn named(name: &str, seed: usize, mutation: u64, run: impl FnOnce()) {
    struct Say<'a>(&'a str, usize, u64);
    impl Drop for Say<'_> {
        fn drop(&mut self) {
            if std::thread::panicking() {
                eprintln!("{}: seed {}, mutation {}", self.0, self.1, self.2);
            }
        }
    }
    let _say = Say(name, seed, mutation);
    run();
}

fn changed(seed: &[u8], number: u64) -> Vec<u8> {
    let mut state = number.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    // xorshift64*
    let mut next = |below: usize| {
        state ^= state >> 12;
        state ^= state << 25;
        state ^= state >> 27;
        (state.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) as usize % below.max(1)
    };
    let mut bytes = seed.to_vec();
    for _ in 0..=next(4) {
        let at = next(bytes.len());
        match next(5) {
            0 if !bytes.is_empty() => bytes[at] = next(256) as u8,
            1 if !bytes.is_empty() => bytes[at] ^= 1 << next(8),
            2 if !bytes.is_empty() => drop(bytes.remove(at)),
            3 => bytes.insert(at, next(256) as u8),
            _ => {
                let edge: [u8; 4] =
                    [[0; 4], [0xff; 4], [0x7f, 0xff, 0xff, 0xff], [0x80, 0, 0, 0]][next(4)];
                let end = (at + 4).min(bytes.len());
                bytes.splice(at..end, edge);
            }
        }
    }
    bytes
}
