//! Keys by their hash: 128 bits with a seed of their own, so that two keys never meet, not even
//! by somebody's intention.

use ahash::RandomState;
use anabranch_types::Offset;
use std::collections::{HashMap, HashSet};
use std::hash::{BuildHasherDefault, Hasher};

type Hash = (u64, u64);

#[derive(Default)]
struct KeyHasher {
    states: [RandomState; 2],
}

impl KeyHasher {
    fn hash(&self, key: &[u8]) -> Hash {
        (self.states[0].hash_one(key), self.states[1].hash_one(key))
    }
}

/// What is hashed already.
#[derive(Default)]
struct Hashed(u64);

impl Hasher for Hashed {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, _: &[u8]) {
        unreachable!("hashes are numbers")
    }

    fn write_u64(&mut self, hash: u64) {
        self.0 ^= hash;
    }
}

/// The last offset of each key.
pub(super) struct KeyMap {
    hasher: KeyHasher,
    newest: HashMap<Hash, Offset, BuildHasherDefault<Hashed>>,
    keys_max: usize,
}

impl KeyMap {
    pub(super) fn new(keys_max: usize) -> Self {
        Self { hasher: KeyHasher::default(), newest: HashMap::default(), keys_max }
    }

    pub(super) fn insert(&mut self, key: &[u8], offset: Offset) {
        self.newest.insert(self.hasher.hash(key), offset);
    }

    pub(super) fn newest(&self, key: &[u8]) -> Option<Offset> {
        self.newest.get(&self.hasher.hash(key)).copied()
    }

    pub(super) fn is_full(&self) -> bool {
        self.newest.len() >= self.keys_max
    }
}

/// A set of keys.
#[derive(Default)]
pub struct KeySet {
    hasher: KeyHasher,
    keys: HashSet<Hash, BuildHasherDefault<Hashed>>,
}

impl KeySet {
    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    pub(crate) fn insert(&mut self, key: &[u8]) {
        self.keys.insert(self.hasher.hash(key));
    }

    pub(crate) fn remove(&mut self, key: &[u8]) {
        self.keys.remove(&self.hasher.hash(key));
    }

    pub(crate) fn contains(&self, key: &[u8]) -> bool {
        self.keys.contains(&self.hasher.hash(key))
    }
}
