//! The places of a door: how many connections it has, in all and of each address.

use crate::metrics::{Metrics, Refusal};
use parking_lot::Mutex;
use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;

/// All places of one door.
#[derive(Debug)]
pub(crate) struct Places {
    max: usize,
    per_address_max: usize,
    taken: Mutex<Taken>,
    metrics: Arc<Metrics>,
}

/// Invariant: `all` is the sum of `by_address`, which has no zeros.
#[derive(Debug, Default)]
struct Taken {
    all: usize,
    by_address: HashMap<IpAddr, usize>,
}

/// A place among a door's connections; free again when dropped.
#[derive(Debug)]
pub struct Place {
    places: Arc<Places>,
    address: IpAddr,
}

impl Places {
    pub(crate) fn new(max: usize, per_address_max: usize, metrics: Arc<Metrics>) -> Arc<Self> {
        Arc::new(Self { max, per_address_max, taken: Mutex::default(), metrics })
    }

    /// Takes a place for a connection from `address`.
    pub(crate) fn take(self: &Arc<Self>, address: IpAddr) -> Result<Place, Refusal> {
        // An IPv4 client is the same one at a socket for both.
        let address = address.to_canonical();
        let mut taken = self.taken.lock();
        if taken.all >= self.max {
            return Err(Refusal::TooMany);
        }
        if taken.by_address.get(&address).is_some_and(|&count| count >= self.per_address_max) {
            return Err(Refusal::TooManyOfAddress);
        }
        taken.all += 1;
        *taken.by_address.entry(address).or_default() += 1;
        self.metrics.accepted.add(1);
        self.metrics.open.add(1);
        Ok(Place { places: Arc::clone(self), address })
    }

    fn give_back(&self, address: IpAddr) {
        let mut taken = self.taken.lock();
        taken.all -= 1;
        let count = taken.by_address.get_mut(&address).expect("its place was counted");
        *count -= 1;
        if *count == 0 {
            taken.by_address.remove(&address);
        }
        self.metrics.open.add(-1);
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.places.give_back(self.address);
    }
}
