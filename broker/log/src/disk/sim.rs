//! A disk in memory that forgets as real ones do.
//!
//! What was not synced may be lost at a crash, in whole or in part: each write by itself, torn at
//! sectors, in any order; the name of a file or directory until the directory above was synced. A
//! sync can be told to fail: then, as on Linux, the pages count as clean although they never
//! reached the disk, so a later sync succeeds without making them durable.

use super::{Disk, DiskFile};
use parking_lot::Mutex;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, IoSlice};
use std::sync::Arc;

const SECTOR: usize = 512;

/// The simulated disk; clones are the same disk.
#[derive(Clone)]
pub struct SimDisk {
    state: Arc<Mutex<State>>,
}

struct State {
    files: BTreeMap<String, Arc<Mutex<Contents>>>,
    dirs: BTreeSet<String>,
    /// Names as a crash right now would find them.
    durable_names: BTreeMap<String, Arc<Mutex<Contents>>>,
    durable_dirs: BTreeSet<String>,
    faults: Faults,
    rng: StdRng,
    /// The process has died: every call fails until the accident is over.
    dead: bool,
    /// Files opened before the last crash belong to a dead process.
    life: u64,
}

/// What may go wrong, each as one chance in so many; 0 is never.
#[derive(Clone, Copy, Debug, Default)]
pub struct Faults {
    /// A sync fails.
    pub sync_fails: u32,
    /// The process dies in the middle of a write, or before a sync or a change of names: every
    /// call fails from then on.
    pub dies: u32,
    /// Bytes that fit on the disk; 0 is no bound. A write beyond it is cut off and fails.
    pub capacity: u64,
}

#[derive(Default, Clone)]
struct Contents {
    now: Vec<u8>,
    durable: Vec<u8>,
    pending: Vec<Change>,
}

#[derive(Clone)]
enum Change {
    Write { at: usize, bytes: Vec<u8> },
    Length(usize),
}

impl SimDisk {
    /// An empty disk; all its accidents follow from `seed`.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        let state = State {
            files: BTreeMap::new(),
            dirs: BTreeSet::new(),
            durable_names: BTreeMap::new(),
            durable_dirs: BTreeSet::new(),
            faults: Faults::default(),
            rng: StdRng::seed_from_u64(seed),
            dead: false,
            life: 0,
        };
        Self { state: Arc::new(Mutex::new(state)) }
    }

    /// Sets what may go wrong from now on.
    pub fn set_faults(&self, faults: Faults) {
        self.state.lock().faults = faults;
    }

    /// Power goes: what was not synced is lost, kept or torn, and every open file is dead.
    pub fn crash(&self) {
        let state = &mut *self.state.lock();
        state.begin_life();
        let dirs: BTreeSet<String> = state.dirs.union(&state.durable_dirs).cloned().collect();
        let unsure: BTreeSet<&String> =
            state.dirs.symmetric_difference(&state.durable_dirs).collect();
        let lost: BTreeSet<String> =
            unsure.into_iter().filter(|_| state.rng.random_bool(0.5)).cloned().collect();
        let is_lost = |path: &str| {
            let mut above = path;
            while !above.is_empty() && !lost.contains(above) {
                above = parent(above);
            }
            !above.is_empty()
        };
        state.dirs = dirs.into_iter().filter(|dir| !is_lost(dir)).collect();
        state.durable_dirs.clone_from(&state.dirs);
        let mut names = BTreeMap::new();
        // A name that was created or removed but not synced may have made it or not.
        let all: BTreeSet<&String> = state.files.keys().chain(state.durable_names.keys()).collect();
        for name in all {
            let now = state.files.get(name);
            let durable = state.durable_names.get(name);
            let kept = if state.rng.random_bool(0.5) { now } else { durable };
            // With a directory goes what was in it.
            let above = parent(name);
            let findable = above.is_empty() || state.dirs.contains(above);
            if let Some(contents) = kept.filter(|_| findable) {
                names.insert(name.clone(), Arc::clone(contents));
            }
        }
        for contents in names.values_mut() {
            let old = contents.lock().clone();
            let survived = survive(old, &mut state.rng);
            *contents = Arc::new(Mutex::new(survived));
        }
        state.durable_names.clone_from(&names);
        state.files = names;
    }

    /// The process is killed: its open files are dead, but what it wrote can still be read, though
    /// it is no more durable than before.
    pub fn kill(&self) {
        self.state.lock().begin_life();
    }

    /// Flips a bit of a file behind everybody's back. Says whether there was one to flip.
    pub fn damage(&self, path: &str, at: u64) -> bool {
        let state = self.state.lock();
        let Some(contents) = state.files.get(path) else { return false };
        let mut contents = contents.lock();
        let at = at as usize;
        let there = at < contents.now.len();
        if there {
            contents.now[at] ^= 0x10;
        }
        if at < contents.durable.len() {
            contents.durable[at] ^= 0x10;
        }
        there
    }

    /// Paths of all files.
    #[must_use]
    pub fn paths(&self) -> Vec<String> {
        self.state.lock().files.keys().cloned().collect()
    }

    fn handle(&self, life: u64, contents: Arc<Mutex<Contents>>) -> Arc<dyn DiskFile> {
        Arc::new(SimFile { disk: self.clone(), life, contents })
    }
}

/// What a crash leaves of a file.
fn survive(old: Contents, rng: &mut StdRng) -> Contents {
    let mut bytes = old.durable;
    let mut pending = old.pending;
    // The system writes back in any order.
    for at in (1..pending.len()).rev() {
        if rng.random_bool(0.3) {
            pending.swap(at, rng.random_range(0..=at));
        }
    }
    for change in pending {
        match change {
            Change::Length(length) if rng.random_bool(0.5) => bytes.resize(length, 0),
            Change::Length(_) => {}
            Change::Write { at, bytes: written } => match rng.random_range(0..3) {
                0 => {}
                1 => put(&mut bytes, at, &written),
                _ => {
                    for (number, sector) in written.chunks(SECTOR).enumerate() {
                        if rng.random_bool(0.5) {
                            put(&mut bytes, at + number * SECTOR, sector);
                        }
                    }
                }
            },
        }
    }
    Contents { now: bytes.clone(), durable: bytes, pending: Vec::new() }
}

fn put(bytes: &mut Vec<u8>, at: usize, written: &[u8]) {
    if bytes.len() < at + written.len() {
        bytes.resize(at + written.len(), 0);
    }
    bytes[at..at + written.len()].copy_from_slice(written);
}

fn parent(path: &str) -> &str {
    path.rsplit_once('/').map_or("", |(dir, _)| dir)
}

fn dead() -> io::Error {
    io::Error::other("simulated: the process has died")
}

impl State {
    /// Whatever was opened before is dead; nothing goes wrong until it is asked for again.
    fn begin_life(&mut self) {
        self.life += 1;
        self.dead = false;
        self.faults = Faults::default();
    }

    fn alive(&self) -> io::Result<()> {
        if self.dead { Err(dead()) } else { Ok(()) }
    }

    fn fate(&mut self) -> io::Result<Fate> {
        self.alive()?;
        let dies = self.faults.dies;
        if dies > 0 && self.rng.random_ratio(1, dies) {
            self.dead = true;
            return Ok(Fate::Dies);
        }
        Ok(Fate::Well)
    }

    /// Changes names, or dies before or after.
    fn change(&mut self, change: impl FnOnce(&mut Self)) -> io::Result<()> {
        let fate = self.fate()?;
        if fate == Fate::Well || self.rng.random_bool(0.5) {
            change(self);
        }
        if fate == Fate::Dies { Err(dead()) } else { Ok(()) }
    }

    fn free_bytes(&self) -> u64 {
        if self.faults.capacity == 0 {
            return u64::MAX;
        }
        let used: u64 = self.files.values().map(|contents| contents.lock().now.len() as u64).sum();
        self.faults.capacity.saturating_sub(used)
    }
}

impl Disk for SimDisk {
    fn open(&self, path: &str) -> io::Result<Arc<dyn DiskFile>> {
        let state = self.state.lock();
        state.alive()?;
        let contents = state.files.get(path).ok_or(io::ErrorKind::NotFound)?;
        Ok(self.handle(state.life, Arc::clone(contents)))
    }

    fn create(&self, path: &str) -> io::Result<Arc<dyn DiskFile>> {
        let mut state = self.state.lock();
        if !state.dirs.contains(parent(path)) && !parent(path).is_empty() {
            return Err(io::ErrorKind::NotFound.into());
        }
        let contents = state.files.get(path).cloned().unwrap_or_default();
        state.change(|state| {
            let mut inner = contents.lock();
            inner.now.clear();
            inner.pending.push(Change::Length(0));
            state.files.insert(path.to_owned(), Arc::clone(&contents));
        })?;
        Ok(self.handle(state.life, contents))
    }

    fn create_dir(&self, path: &str) -> io::Result<()> {
        self.state.lock().change(|state| {
            let mut whole = String::new();
            for name in path.split('/') {
                whole.push_str(name);
                state.dirs.insert(whole.clone());
                whole.push('/');
            }
        })
    }

    fn list(&self, dir: &str) -> io::Result<Vec<String>> {
        let state = self.state.lock();
        state.alive()?;
        let prefix = format!("{dir}/");
        let names = state.files.keys().chain(&state.dirs).filter_map(|path| {
            path.strip_prefix(&prefix).filter(|name| !name.contains('/')).map(str::to_owned)
        });
        Ok(names.collect())
    }

    fn remove_file(&self, path: &str) -> io::Result<()> {
        self.state.lock().change(|state| {
            state.files.remove(path);
        })
    }

    fn remove_dir(&self, path: &str) -> io::Result<()> {
        if !self.list(path)?.is_empty() {
            return Err(io::ErrorKind::DirectoryNotEmpty.into());
        }
        self.state.lock().change(|state| {
            state.dirs.remove(path);
        })
    }

    fn sync_dir(&self, dir: &str) -> io::Result<()> {
        let state = &mut *self.state.lock();
        if state.fate()? == Fate::Dies {
            return Err(dead());
        }
        if !dir.is_empty() && !state.dirs.contains(dir) {
            return Err(io::ErrorKind::NotFound.into());
        }
        let fails = state.faults.sync_fails;
        if fails > 0 && state.rng.random_ratio(1, fails) {
            return Err(io::Error::other("simulated: the sync of a directory failed"));
        }
        let durable = &mut state.durable_names;
        durable.retain(|path, _| parent(path) != dir);
        let here = state.files.iter().filter(|(path, _)| parent(path) == dir);
        durable.extend(here.map(|(path, contents)| (path.clone(), Arc::clone(contents))));
        state.durable_dirs.retain(|path| parent(path) != dir);
        let here = state.dirs.iter().filter(|path| parent(path) == dir);
        state.durable_dirs.extend(here.cloned());
        Ok(())
    }

    fn free_bytes(&self) -> io::Result<u64> {
        let state = self.state.lock();
        state.alive()?;
        Ok(state.free_bytes())
    }
}

struct SimFile {
    disk: SimDisk,
    life: u64,
    contents: Arc<Mutex<Contents>>,
}

/// What befalls a call.
#[derive(PartialEq)]
enum Fate {
    Well,
    Dies,
}

impl SimFile {
    fn fate(&self, state: &mut State) -> io::Result<Fate> {
        if state.life != self.life {
            return Err(dead());
        }
        state.fate()
    }

    /// Bytes of a write up to `end` that fit on the disk.
    fn fits(&self, state: &State, bytes: usize, end: usize) -> usize {
        let free = state.free_bytes();
        let growth = end.saturating_sub(self.contents.lock().now.len()) as u64;
        bytes - (growth.saturating_sub(free) as usize).min(bytes)
    }
}

impl DiskFile for SimFile {
    fn write_at(&self, pieces: &[IoSlice<'_>], at: u64) -> io::Result<()> {
        let state = &mut *self.disk.state.lock();
        let fate = self.fate(state)?;
        let mut bytes = Vec::with_capacity(pieces.iter().map(|piece| piece.len()).sum());
        pieces.iter().for_each(|piece| bytes.extend_from_slice(piece));
        if fate == Fate::Dies {
            bytes.truncate(state.rng.random_range(0..=bytes.len()));
        }
        let fit = self.fits(state, bytes.len(), at as usize + bytes.len());
        let full = fit < bytes.len();
        bytes.truncate(fit);
        let mut contents = self.contents.lock();
        put(&mut contents.now, at as usize, &bytes);
        contents.pending.push(Change::Write { at: at as usize, bytes });
        match fate {
            Fate::Dies => Err(dead()),
            Fate::Well if full => Err(io::ErrorKind::StorageFull.into()),
            Fate::Well => Ok(()),
        }
    }

    fn read_at(&self, buffer: &mut [u8], at: u64) -> io::Result<usize> {
        let state = self.disk.state.lock();
        if state.life != self.life || state.dead {
            return Err(dead());
        }
        let contents = self.contents.lock();
        let from = (at as usize).min(contents.now.len());
        let count = buffer.len().min(contents.now.len() - from);
        buffer[..count].copy_from_slice(&contents.now[from..from + count]);
        Ok(count)
    }

    fn sync(&self) -> io::Result<()> {
        let state = &mut *self.disk.state.lock();
        if self.fate(state)? == Fate::Dies {
            return Err(dead());
        }
        let fails = state.faults.sync_fails;
        let mut contents = self.contents.lock();
        if fails > 0 && state.rng.random_ratio(1, fails) {
            // The pages are called clean; some got there, some did not, for ever.
            let survived = survive(contents.clone(), &mut state.rng);
            contents.durable = survived.durable;
            contents.pending.clear();
            return Err(io::Error::other("simulated: the sync failed"));
        }
        // Only what was written since the last sync: a page that a failed sync lost stays lost,
        // although it can be read, until it is written anew.
        for change in std::mem::take(&mut contents.pending) {
            match change {
                Change::Length(length) => contents.durable.resize(length, 0),
                Change::Write { at, bytes } => put(&mut contents.durable, at, &bytes),
            }
        }
        Ok(())
    }

    fn set_len(&self, bytes: u64) -> io::Result<()> {
        let state = &mut *self.disk.state.lock();
        if self.fate(state)? == Fate::Dies {
            return Err(dead());
        }
        let mut contents = self.contents.lock();
        contents.now.resize(bytes as usize, 0);
        contents.pending.push(Change::Length(bytes as usize));
        Ok(())
    }

    fn bytes(&self) -> io::Result<u64> {
        Ok(self.contents.lock().now.len() as u64)
    }
}
