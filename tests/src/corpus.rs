//! Every seed of the fuzz targets, and everything that fuzzing ever found (`tests/fuzz`).

#[path = "../fuzz/src/targets.rs"]
mod targets;

use std::path::Path;
use targets::TARGETS;

#[test]
fn seeds_are_refused_or_understood() {
    for target in TARGETS {
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
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus");
    for target in TARGETS {
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
