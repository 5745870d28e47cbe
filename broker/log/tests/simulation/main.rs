//! The log under accidents: power failures, kills, failing syncs, full disks, at any moment.
//!
//! A run follows from one seed: commands, their order, what the disk forgets and when the process
//! dies. What the log answers and shows is compared with a [`model`], which knows nothing of files.
//!
//! `ANABRANCH_SIM_SEEDS=100000` runs more seeds, from `ANABRANCH_SIM_FIRST` on;
//! `ANABRANCH_SIM_SEED=4711` runs one.

mod damage;
mod generate;
mod judge;
mod model;
mod reads;
mod world;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use world::{Figures, World};

/// Seeds of an ordinary test run: some seconds.
const SEEDS: u64 = 1_500;

#[test]
fn accidents_lose_nothing_that_was_promised() {
    let variable = |name: &str| {
        let text = std::env::var(name).ok()?;
        Some(text.parse::<u64>().unwrap_or_else(|_| panic!("{name} must be a number: {text}")))
    };
    if let Some(seed) = variable("ANABRANCH_SIM_SEED") {
        run(seed);
        return;
    }
    let count = variable("ANABRANCH_SIM_SEEDS").unwrap_or(SEEDS);
    let first = variable("ANABRANCH_SIM_FIRST").unwrap_or(0);
    let next = AtomicU64::new(first);
    let worker = || {
        let mut total = Figures::default();
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= first + count {
                return Ok(total);
            }
            match catch_unwind(AssertUnwindSafe(|| run(seed))) {
                Ok(figures) => total.add(&figures),
                Err(_) => {
                    next.store(first + count, Ordering::Relaxed);
                    return Err(seed);
                }
            }
        }
    };
    let mut total = Figures::default();
    thread::scope(|scope| {
        let threads = thread::available_parallelism().map_or(1, Into::into);
        let workers: Vec<_> = (0..threads).map(|_| scope.spawn(worker)).collect();
        for one in workers {
            match one.join().expect("seeds that panic are caught") {
                Ok(figures) => total.add(&figures),
                Err(seed) => panic!(
                    "seed {seed} failed, after {} that passed; replay it with: \
                     ANABRANCH_SIM_SEED={seed} cargo test -p anabranch-log --test simulation",
                    seed - first
                ),
            }
        }
    });
    if count >= SEEDS {
        total.assert_everything_happened();
    }
}

fn run(seed: u64) -> Figures {
    let mut world = World::new(seed);
    let lives = world.lives();
    for _ in 0..lives {
        world.open();
        world.live();
        world.accident();
    }
    world.open();
    world.finish()
}
