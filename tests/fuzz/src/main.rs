//! The fuzzer: one binary for all targets, since linking is what costs. `FUZZ_TARGET` says which;
//! with `FUZZ_SEEDS` it writes that target's seeds into a directory first.
#![no_main]

#[cfg(feature = "doors")]
mod doors;
mod targets;

use std::path::Path;
use std::sync::LazyLock;
use targets::Target;

static CHOSEN: LazyLock<&'static Target> = LazyLock::new(|| {
    let name = std::env::var("FUZZ_TARGET").unwrap_or_default();
    let target = targets().find(|target| target.name == name).unwrap_or_else(|| {
        let names: Vec<_> = targets().map(|target| target.name).collect();
        panic!("FUZZ_TARGET is {name:?}; it must be one of {names:?}")
    });
    if let Ok(directory) = std::env::var("FUZZ_SEEDS") {
        for (number, seed) in (target.seeds)().iter().enumerate() {
            let path = Path::new(&directory).join(format!("seed-{number:03}"));
            std::fs::write(path, seed).expect("FUZZ_SEEDS names a directory that can be written");
        }
    }
    target
});

fn targets() -> impl Iterator<Item = &'static Target> {
    #[cfg(feature = "doors")]
    let doors = doors::TARGETS;
    #[cfg(not(feature = "doors"))]
    let doors: &[Target] = &[];
    targets::TARGETS.iter().chain(doors)
}

libfuzzer_sys::fuzz_target!(|data: &[u8]| (CHOSEN.run)(data));
