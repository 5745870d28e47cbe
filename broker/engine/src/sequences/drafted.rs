//! Sequences of definitions that are not in force yet.

use super::{
    Going, Live, Made, Sequence, SequenceChange, SequenceError, SequenceSpec, SequenceStatus,
    Sequences, State, exists, missing, new_sequence,
};
use crate::catalog::NextIds;
use crate::changes::{altered_meanwhile, check_name};
use crate::ledger::Entry;
use crate::{Error, ErrorKind};
use anabranch_types::StreamId;
use std::collections::BTreeMap;
use std::sync::Arc;
use tokio::sync::OwnedMutexGuard;

/// What a draft has done to sequences.
#[derive(Default, Clone)]
pub(crate) struct DraftedSequences {
    /// Its own. Their values are durable once it is in force: until then nothing is written.
    made: BTreeMap<String, Arc<Live>>,
    /// Those that were there before.
    changed: BTreeMap<String, Changed>,
    dropped: BTreeMap<String, Arc<Live>>,
}

/// A sequence as it was, and as it is going to be.
#[derive(Clone)]
struct Changed {
    live: Arc<Live>,
    seen: Sequence,
    next: Sequence,
}

/// Where a sequence is.
pub(crate) enum Found {
    /// In the draft alone.
    Own(Arc<Live>),
    /// In force. The draft may see it in another way.
    InForce(Sequence),
}

impl DraftedSequences {
    pub(crate) fn find(&self, name: &str, all: &Sequences) -> Result<Found, Error> {
        if let Some(live) = self.made.get(name) {
            return Ok(Found::Own(Arc::clone(live)));
        }
        if let Some(changed) = self.changed.get(name) {
            return Ok(Found::InForce(changed.next.clone()));
        }
        if self.dropped.contains_key(name) {
            return Err(missing(name));
        }
        Ok(Found::InForce(all.find(name)?.status().sequence))
    }

    /// All sequences as the draft sees them, by name.
    pub(crate) fn all(&self, in_force: Vec<SequenceStatus>) -> Vec<SequenceStatus> {
        let name = |status: &SequenceStatus| status.sequence.spec.name.clone();
        let mut all: BTreeMap<String, SequenceStatus> = in_force
            .into_iter()
            .map(|status| (name(&status), status))
            .filter(|(name, _)| !self.dropped.contains_key(name))
            .collect();
        for (name, changed) in &self.changed {
            if let Some(status) = all.get_mut(name) {
                status.sequence = changed.next.clone();
            }
        }
        all.extend(self.made.iter().map(|(name, live)| (name.clone(), live.status())));
        all.into_values().collect()
    }

    /// Makes sequences that nobody else sees.
    pub(crate) fn make(
        &mut self,
        specs: Vec<SequenceSpec>,
        stream: Option<StreamId>,
        next: &mut NextIds,
        all: &Sequences,
    ) -> Result<(), Error> {
        for spec in specs {
            check_name(&spec.name)?;
            if self.find(&spec.name, all).is_ok() {
                return Err(exists(&spec.name));
            }
            let name = spec.name.clone();
            let sequence = new_sequence(spec, stream, next);
            let last = sequence.spec.start;
            // As if all of its values were durable: none is to be written.
            let state =
                State { sequence, last, is_called: false, ahead: usize::MAX, is_dropped: false };
            self.made.insert(name, Live::of(state));
        }
        Ok(())
    }

    /// Changes a sequence. Whether that was done: the value of one that is in force is not a
    /// draft's to set.
    pub(crate) fn change(
        &mut self,
        name: &str,
        change: &SequenceChange,
        all: &Sequences,
    ) -> Result<bool, SequenceError> {
        match (self.find(name, all)?, change) {
            (Found::Own(live), change) => {
                // Another one: who goes back to a savepoint goes back to the one that was.
                let mut state = live.state.lock().clone();
                state.change(change.clone())?;
                self.made.insert(name.to_owned(), Live::of(state));
            }
            (Found::InForce(_), SequenceChange::Set(..)) => return Ok(false),
            (Found::InForce(_), SequenceChange::Count(..)) => {
                let message = format!(
                    "how the sequence {name} counts cannot be changed inside a transaction"
                );
                return Err(Error::new(ErrorKind::Unsupported, message).into());
            }
            (Found::InForce(sequence), change) => {
                let live = all.find(name)?;
                let mut state = live.state.lock().clone();
                let seen = std::mem::replace(&mut state.sequence, sequence);
                state.change(change.clone())?;
                let new = Changed { live, seen, next: state.sequence.clone() };
                self.changed.entry(name.to_owned()).or_insert(new).next = state.sequence;
            }
        }
        Ok(true)
    }

    pub(crate) fn drop(&mut self, name: &str, all: &Sequences) -> Result<(), Error> {
        self.find(name, all)?;
        if self.made.remove(name).is_none() {
            self.changed.remove(name);
            self.dropped.insert(name.to_owned(), all.find(name)?);
        }
        Ok(())
    }

    /// Drops what goes with columns of a stream.
    pub(crate) fn drop_owned(
        &mut self,
        stream: StreamId,
        column: impl Fn(&str) -> bool,
        all: &Sequences,
        in_force: Vec<SequenceStatus>,
    ) -> Result<(), Error> {
        for SequenceStatus { sequence, .. } in self.all(in_force) {
            let owner = sequence.owner.as_ref();
            if owner.is_some_and(|owner| owner.stream == stream && column(&owner.column)) {
                self.drop(&sequence.spec.name, all)?;
            }
        }
        Ok(())
    }

    /// Holds everything that is to be put in force; to be called by one who changes the catalog.
    pub(crate) async fn land(self, all: &Sequences) -> Result<Landing, Error> {
        for name in self.made.keys().filter(|name| !self.dropped.contains_key(*name)) {
            all.check_free(name)?;
        }
        let mut going = Vec::new();
        for (name, live) in self.dropped {
            let gate = hold(&name, &live, all).await?;
            going.push((live, gate));
        }
        let mut changed = Vec::new();
        for (name, Changed { live, seen, next }) in self.changed {
            let gate = hold(&name, &live, all).await?;
            let now = live.state.lock().clone();
            if now.sequence != seen {
                return Err(altered_meanwhile(&name));
            }
            changed.push((live, gate, State { sequence: next, ahead: 0, ..now }));
        }
        let mut made = Vec::new();
        for live in self.made.into_values() {
            let gate = Arc::clone(&live.gate).lock_owned().await;
            made.push((live, gate));
        }
        Ok(Landing { made, going: Going(going), changed })
    }
}

/// Holds a sequence that was there when the draft changed it.
async fn hold(name: &str, live: &Arc<Live>, all: &Sequences) -> Result<OwnedMutexGuard<()>, Error> {
    let gate = Arc::clone(&live.gate).lock_owned().await;
    match all.find(name) {
        Ok(now) if Arc::ptr_eq(&now, live) => Ok(gate),
        _ => Err(altered_meanwhile(name)),
    }
}

/// Sequences of a draft that is about to be in force.
pub(crate) struct Landing {
    made: Vec<(Arc<Live>, OwnedMutexGuard<()>)>,
    going: Going,
    changed: Vec<(Arc<Live>, OwnedMutexGuard<()>, State)>,
}

impl Landing {
    pub(crate) fn entries(&self) -> impl Iterator<Item = Entry> {
        let changed = self.changed.iter();
        let changed = changed.map(|(_, _, state)| state.entry(state.last, state.is_called));
        let made = self.made.iter().map(|(live, _)| {
            let state = live.state.lock();
            state.entry(state.last, state.is_called)
        });
        // What is made may have the name of one that goes.
        self.going.entries().chain(changed).chain(made)
    }

    pub(crate) fn done(self, all: &Sequences) {
        all.remove(self.going);
        for (live, _gate, state) in self.changed {
            *live.state.lock() = state;
        }
        for (live, _gate) in &self.made {
            // No value behind the one that was written is durable.
            live.state.lock().ahead = 0;
        }
        all.add(Made(self.made.into_iter().map(|(live, _gate)| live).collect()));
    }
}
