//! Definitions of a transaction: streams, views and sequences as it alone sees them until they are put in
//! force, in one round with what it has written.
//!
//! Partitions of a new stream are in the log at once, so that all that reads streams reads these
//! too. They belong to no stream yet: a start removes them, as it does those of [`crate::rekey`].
//!
//! Invariant: what somebody else has changed since the draft saw it, the draft does not change.

use crate::catalog::{
    Catalog, NextIds, dropped_key, encode_stream, marked, stream_key, to_json, unfinished_key,
};
use crate::changes::{
    StreamChange, StreamSpec, altered_meanwhile, check_columns, check_free, check_name, defined,
    refuse_internal, renamed, to_the_end, with_settings,
};
use crate::engine::{Engine, log_settings};
use crate::ledger::Together;
use crate::sequences::{
    DraftedSequences, Found, Sequence, SequenceChange, SequenceError, SequenceSpec, SequenceStatus,
};
use crate::session::Session;
use crate::settings::mode_of;
use crate::stream::{Column, Mode, Stream};
use crate::views::{View, ViewSpec, missing as missing_view, view_key};
use crate::{Error, ErrorKind};
use anabranch_access::Operation as Access;
use anabranch_log::{Append, Operation};
use anabranch_table::TableId;
use anabranch_types::{PartitionId, StreamId};
use parking_lot::{Mutex, MutexGuard};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// Definitions that are not in force yet. Dropping it forgets them.
pub struct Draft {
    session: Session,
    is_over: bool,
}

/// A point to go back to.
#[derive(Clone)]
pub struct DraftMark(State);

/// What a session sees that has a draft.
pub(crate) struct Drafted {
    engine: Engine,
    state: Mutex<State>,
    laid: Mutex<Laid>,
    seen: Mutex<Option<Seen>>,
}

/// Of which catalog and which version of the draft, and what that makes.
type Seen = (Arc<Catalog>, u64, Arc<Catalog>);

#[derive(Default, Clone)]
struct State {
    /// Rises with every change.
    version: u64,
    /// Rises whenever something is forgotten.
    backs: u64,
    streams: BTreeMap<StreamId, Change<Stream>>,
    views: BTreeMap<u32, Change<View>>,
    sequences: DraftedSequences,
}

/// A stream or view as it was, unless it is new, and as it is going to be, unless it goes.
#[derive(Clone)]
struct Change<T> {
    seen: Option<Arc<T>>,
    next: Option<Arc<T>>,
}

/// One change of what is no stream.
pub(crate) enum RelationChange {
    CreateSequence(SequenceSpec),
    DropSequence {
        name: String,
    },
    CreateView {
        spec: ViewSpec,
        /// Whether one of the same name makes room.
        replaces: bool,
    },
    RenameView {
        name: String,
        to: String,
    },
    DropView {
        name: String,
    },
}

/// How often the draft had gone back when something was begun.
#[derive(Clone, Copy)]
struct Backs(u64);

/// What is in the log and in tables for streams of the draft, also those that it has dropped again.
#[derive(Default)]
struct Laid {
    is_over: bool,
    partitions: Vec<PartitionId>,
    tables: Vec<TableId>,
}

impl Session {
    /// The same with a draft: definitions that it makes are seen by it alone.
    #[must_use]
    pub fn begin_draft(&self) -> Draft {
        let drafted = Drafted {
            engine: self.engine.clone(),
            state: Mutex::default(),
            laid: Mutex::default(),
            seen: Mutex::default(),
        };
        Draft { session: self.with_draft(Arc::new(drafted)), is_over: false }
    }
}

impl Draft {
    /// Who sees and makes its definitions.
    #[must_use]
    pub fn session(&self) -> &Session {
        &self.session
    }

    /// Where it stands.
    #[must_use]
    pub fn mark(&self) -> DraftMark {
        DraftMark(self.drafted().state.lock().clone())
    }

    /// Forgets what came after `mark`.
    pub fn go_back(&self, mark: DraftMark) {
        let mut state = self.drafted().state.lock();
        *state = State { version: state.version + 1, backs: state.backs + 1, ..mark.0 };
    }

    /// Forgets all of it.
    pub fn clear(&self) {
        self.go_back(DraftMark(State::default()));
    }

    /// Whether records that were written to a stream as it was are still to be appended: the draft
    /// has neither dropped it since nor given it keys. What others have done to it, the log tells.
    #[must_use]
    pub fn keeps(&self, stream: &Stream) -> bool {
        let state = self.drafted().state.lock();
        let change = state.streams.get(&stream.id);
        change
            .is_none_or(|change| change.next.as_ref().is_some_and(|next| next.mode == stream.mode))
    }

    /// Puts it in force, in one round with `append`: all of it or nothing; durable when this
    /// returns.
    ///
    /// # Errors
    /// `Conflict`: somebody else has changed what it changes, or a precondition does not hold;
    /// `AlreadyExists`, `Denied`; the log's.
    pub async fn commit(self, append: Option<Append>) -> Result<(), Error> {
        for part in append.iter().flat_map(|append| &append.parts) {
            self.session.check_partition(Access::Write, part.partition)?;
        }
        // Whoever asked may go: the change comes to its end.
        to_the_end(async move {
            let mut draft = self;
            draft.drafted().put_in_force(append).await?;
            draft.is_over = true;
            Ok(())
        })
        .await
    }

    pub(crate) fn drafted(&self) -> &Arc<Drafted> {
        self.session.draft().expect("its session has one")
    }
}

impl Drop for Draft {
    fn drop(&mut self) {
        if !self.is_over {
            self.clear();
            self.drafted().remove_laid();
        }
    }
}

impl State {
    fn put(&mut self, old: Option<&Arc<Stream>>, next: Option<Arc<Stream>>) {
        self.version += 1;
        put(&mut self.streams, |stream| stream.id, old, next);
    }

    fn put_view(&mut self, old: Option<&Arc<View>>, next: Option<Arc<View>>) {
        self.version += 1;
        put(&mut self.views, |view| view.id, old, next);
    }

    /// A catalog with what this changes.
    fn apply(&self, to: &Catalog, version: u64) -> Catalog {
        let mut catalog = to.of_version(version);
        // What goes first: others may have its name.
        self.streams.keys().for_each(|id| catalog.replace(*id, None));
        self.views.keys().for_each(|id| catalog.replace_view(*id, None));
        for (id, change) in &self.streams {
            catalog.replace(*id, change.next.as_ref());
        }
        for (id, change) in &self.views {
            catalog.replace_view(*id, change.next.as_ref());
        }
        catalog
    }

    fn next(&self) -> impl Iterator<Item = &Arc<Stream>> {
        self.streams.values().filter_map(|change| change.next.as_ref())
    }

    /// Streams that were there and go.
    fn gone(&self) -> impl Iterator<Item = &Arc<Stream>> {
        let gone = self.streams.values().filter(|change| change.next.is_none());
        gone.filter_map(|change| change.seen.as_ref())
    }

    /// Whether all is as it was seen, and names are free.
    fn check(&self, now: &Catalog) -> Result<(), Error> {
        for seen in self.streams.values().filter_map(|change| change.seen.as_ref()) {
            if !now.by_id(seen.id).is_some_and(|now| Arc::ptr_eq(now, seen)) {
                return Err(altered_meanwhile(&seen.name));
            }
        }
        for seen in self.views.values().filter_map(|change| change.seen.as_ref()) {
            if !now.view(&seen.spec.name).is_some_and(|now| Arc::ptr_eq(now, seen)) {
                return Err(altered_meanwhile(&seen.spec.name));
            }
        }
        let mut others = now.of_version(0);
        self.streams.keys().for_each(|id| others.replace(*id, None));
        self.views.keys().for_each(|id| others.replace_view(*id, None));
        let views = self.views.values().filter_map(|change| change.next.as_ref());
        let names = self.next().map(|stream| &stream.name).chain(views.map(|view| &view.spec.name));
        names.into_iter().try_for_each(|name| check_free(name, &others))
    }
}

fn put<K: Ord, T>(
    all: &mut BTreeMap<K, Change<T>>,
    id: impl Fn(&T) -> K,
    old: Option<&Arc<T>>,
    next: Option<Arc<T>>,
) {
    let Some(id) = old.or(next.as_ref()).map(|of| id(of)) else { return };
    let seen = match all.remove(&id) {
        Some(change) => change.seen,
        None => old.cloned(),
    };
    // What was made here and goes again was never there.
    if seen.is_some() || next.is_some() {
        all.insert(id, Change { seen, next });
    }
}

impl Drafted {
    /// All streams, as the draft has them.
    pub(crate) fn catalog(&self) -> Arc<Catalog> {
        let now = self.engine.catalog();
        let state = self.state.lock();
        if state.version == 0 {
            return now;
        }
        let mut seen = self.seen.lock();
        if let Some((of, version, catalog)) = &*seen
            && Arc::ptr_eq(of, &now)
            && *version == state.version
        {
            return Arc::clone(catalog);
        }
        // Both rise alone, so no two catalogs have one version.
        let version = now.version() + state.version;
        let catalog = Arc::new(state.apply(&now, version));
        *seen = Some((now, state.version, Arc::clone(&catalog)));
        catalog
    }

    /// Whether nobody else knows the stream.
    pub(crate) fn is_new(&self, id: StreamId) -> bool {
        self.state.lock().streams.get(&id).is_some_and(|change| change.seen.is_none())
    }

    pub(crate) async fn create_stream(
        self: &Arc<Self>,
        spec: StreamSpec,
    ) -> Result<Arc<Stream>, Error> {
        let draft = Arc::clone(self);
        let begun = self.backs();
        to_the_end(async move { draft.create(spec, begun).await }).await
    }

    async fn create(&self, mut spec: StreamSpec, begun: Backs) -> Result<Arc<Stream>, Error> {
        let engine = &self.engine;
        let _one_at_a_time = engine.inner.changing.lock().await;
        let mut next = engine.next_ids()?;
        let made = std::mem::take(&mut spec.sequences);
        let stream = engine.new_stream(spec, &self.catalog(), &mut next)?;
        let mut sequences = self.state.lock().sequences.clone();
        sequences.make(made, Some(stream.id), &mut next, &engine.inner.sequences)?;
        self.lay_out(&stream, &stream.partitions, &next).await?;
        let mut state = self.since(begun)?;
        state.sequences = sequences;
        state.put(None, Some(Arc::clone(&stream)));
        Ok(stream)
    }

    fn backs(&self) -> Backs {
        Backs(self.state.lock().backs)
    }

    /// For what has waited: whoever asked for it may have gone, and then something else gone back.
    fn since(&self, begun: Backs) -> Result<MutexGuard<'_, State>, Error> {
        let state = self.state.lock();
        if state.backs != begun.0 {
            let message = "the transaction has gone back behind this definition";
            return Err(Error::new(ErrorKind::Conflict, message));
        }
        Ok(state)
    }

    /// Makes partitions and a table for a stream of the draft.
    async fn lay_out(
        &self,
        stream: &Stream,
        partitions: &[PartitionId],
        next: &NextIds,
    ) -> Result<(), Error> {
        let mut entries = vec![next.entry()];
        entries.extend(stream.table.map(|table| marked(dropped_key(table))));
        entries.extend(partitions.iter().map(|id| marked(unfinished_key(*id))));
        let operations = partitions.iter().map(|id| Operation::Create(*id)).collect();
        let ledger = &self.engine.inner.catalog_ledger;
        ledger.change(entries, operations, log_settings(stream)).await?;
        self.engine.feed(stream, &stream.partitions);
        let is_over = {
            let mut laid = self.laid.lock();
            laid.partitions.extend(partitions);
            laid.tables.extend(stream.table);
            laid.is_over
        };
        if is_over {
            self.remove_laid();
        }
        Ok(())
    }

    /// Numbers for so many sequences and views; they are durable, so that none comes twice.
    async fn relation_ids(&self, count: usize) -> Result<NextIds, Error> {
        let _one_at_a_time = self.engine.inner.changing.lock().await;
        let first = self.engine.next_ids()?;
        let mut next = first;
        for _ in 0..count {
            next.relation();
        }
        if count > 0 {
            self.engine.inner.catalog_ledger.put(vec![next.entry()]).await?;
        }
        Ok(first)
    }

    pub(crate) async fn alter_stream(
        self: &Arc<Self>,
        name: &str,
        change: StreamChange,
    ) -> Result<Arc<Stream>, Error> {
        let (draft, name) = (Arc::clone(self), name.to_owned());
        let begun = self.backs();
        to_the_end(async move { draft.alter(&name, change, begun).await }).await
    }

    async fn alter(
        &self,
        name: &str,
        change: StreamChange,
        begun: Backs,
    ) -> Result<Arc<Stream>, Error> {
        let catalog = self.catalog();
        let old = catalog.find(name)?;
        refuse_internal(old)?;
        let next = match change {
            StreamChange::Partitions(_) => return Err(stands_alone("the number of partitions")),
            StreamChange::Rename(name) => renamed(old, name, &catalog)?,
            StreamChange::Settings(changes) => {
                let next = with_settings(old, changes)?;
                if mode_of(&next.settings) != old.mode {
                    return Err(stands_alone("the mode of a stream"));
                }
                next
            }
            StreamChange::Define(mut definition) => {
                let made = std::mem::take(&mut definition.sequences);
                let dropped = std::mem::take(&mut definition.dropped);
                let stream = defined(old, *definition)?;
                let goes = |column: &str| dropped.iter().any(|dropped| dropped == column);
                let in_force = self.engine.sequences();
                let all = &self.engine.inner.sequences;
                let mut next = self.relation_ids(made.len()).await?;
                let mut state = self.since(begun)?;
                let mut sequences = state.sequences.clone();
                sequences.drop_owned(stream.id, goes, all, in_force)?;
                sequences.make(made, Some(stream.id), &mut next, all)?;
                state.sequences = sequences;
                stream
            }
        };
        let next = Arc::new(next);
        self.since(begun)?.put(Some(old), Some(Arc::clone(&next)));
        Ok(next)
    }

    /// Makes a stream of events of this draft, which are not appended yet, a keyed one.
    pub(crate) async fn key_stream(
        self: &Arc<Self>,
        name: &str,
        columns: Vec<Column>,
    ) -> Result<Arc<Stream>, Error> {
        let (draft, name) = (Arc::clone(self), name.to_owned());
        let begun = self.backs();
        to_the_end(async move { draft.key(&name, columns, begun).await }).await
    }

    async fn key(
        &self,
        name: &str,
        columns: Vec<Column>,
        begun: Backs,
    ) -> Result<Arc<Stream>, Error> {
        let catalog = self.catalog();
        let old = catalog.find(name)?;
        if !self.is_new(old.id) || old.mode == Mode::Upsert {
            return Err(stands_alone("the primary key of a stream"));
        }
        check_columns(Mode::Upsert, &columns)?;
        let engine = &self.engine;
        let _one_at_a_time = engine.inner.changing.lock().await;
        let mut next = engine.next_ids()?;
        let table = next.table();
        let stream = Arc::new(old.keyed(columns, old.partitions.clone(), table));
        self.lay_out(&stream, &[], &next).await?;
        self.since(begun)?.put(Some(old), Some(Arc::clone(&stream)));
        Ok(stream)
    }

    pub(crate) fn drop_stream(&self, name: &str) -> Result<(), Error> {
        let catalog = self.catalog();
        let old = catalog.find(name)?;
        refuse_internal(old)?;
        let in_force = self.engine.sequences();
        let mut state = self.state.lock();
        state.sequences.drop_owned(old.id, |_| true, &self.engine.inner.sequences, in_force)?;
        state.put(Some(old), None);
        Ok(())
    }

    pub(crate) async fn change_relation(
        self: &Arc<Self>,
        change: RelationChange,
    ) -> Result<(), Error> {
        match change {
            RelationChange::CreateSequence(spec) => self.create_sequence(spec).await,
            RelationChange::DropSequence { name } => self.drop_sequence(&name),
            RelationChange::CreateView { spec, replaces } => self.create_view(spec, replaces).await,
            RelationChange::RenameView { name, to } => self.rename_view(&name, to),
            RelationChange::DropView { name } => self.drop_view(&name),
        }
    }

    async fn create_view(self: &Arc<Self>, spec: ViewSpec, replaces: bool) -> Result<(), Error> {
        check_name(&spec.name)?;
        let catalog = self.catalog();
        let old = catalog.view(&spec.name).filter(|_| replaces).cloned();
        if let Some(old) = old {
            let next = View { id: old.id, spec };
            self.state.lock().put_view(Some(&old), Some(Arc::new(next)));
            return Ok(());
        }
        check_free(&spec.name, &catalog)?;
        let (draft, begun) = (Arc::clone(self), self.backs());
        to_the_end(async move {
            let id = draft.relation_ids(1).await?.relation();
            draft.since(begun)?.put_view(None, Some(Arc::new(View { id, spec })));
            Ok(())
        })
        .await
    }

    fn rename_view(&self, name: &str, to: String) -> Result<(), Error> {
        let catalog = self.catalog();
        let old = catalog.view(name).ok_or_else(|| missing_view(name))?;
        check_name(&to)?;
        check_free(&to, &catalog)?;
        let spec = ViewSpec { name: to, ..old.spec.clone() };
        let next = View { id: old.id, spec };
        self.state.lock().put_view(Some(old), Some(Arc::new(next)));
        Ok(())
    }

    fn drop_view(&self, name: &str) -> Result<(), Error> {
        let catalog = self.catalog();
        let old = catalog.view(name).ok_or_else(|| missing_view(name))?;
        self.state.lock().put_view(Some(old), None);
        Ok(())
    }

    pub(crate) fn sequences(&self) -> Vec<SequenceStatus> {
        self.state.lock().sequences.all(self.engine.sequences())
    }

    pub(crate) fn sequence(&self, name: &str) -> Result<Sequence, Error> {
        match self.find_sequence(name)? {
            Found::Own(live) => Ok(live.status().sequence),
            Found::InForce(sequence) => Ok(sequence),
        }
    }

    fn find_sequence(&self, name: &str) -> Result<Found, Error> {
        self.state.lock().sequences.find(name, &self.engine.inner.sequences)
    }

    async fn create_sequence(self: &Arc<Self>, spec: SequenceSpec) -> Result<(), Error> {
        let (draft, begun) = (Arc::clone(self), self.backs());
        to_the_end(async move {
            let mut next = draft.relation_ids(1).await?;
            let mut state = draft.since(begun)?;
            state.version += 1;
            state.sequences.make(vec![spec], None, &mut next, &draft.engine.inner.sequences)
        })
        .await
    }

    pub(crate) async fn change_sequence(
        &self,
        name: &str,
        change: SequenceChange,
    ) -> Result<(), SequenceError> {
        let is_done = {
            let mut state = self.state.lock();
            state.version += 1;
            state.sequences.change(name, &change, &self.engine.inner.sequences)?
        };
        if is_done { Ok(()) } else { self.engine.change_sequence(name, change).await }
    }

    fn drop_sequence(&self, name: &str) -> Result<(), Error> {
        let mut state = self.state.lock();
        state.version += 1;
        state.sequences.drop(name, &self.engine.inner.sequences)
    }

    pub(crate) async fn next_values(
        &self,
        name: &str,
        count: usize,
    ) -> Result<Vec<i64>, SequenceError> {
        match self.find_sequence(name)? {
            Found::Own(live) => self.engine.take_values(&live, count).await,
            Found::InForce(_) => self.engine.next_values(name, count).await,
        }
    }

    async fn put_in_force(&self, append: Option<Append>) -> Result<(), Error> {
        let (engine, inner) = (&self.engine, &self.engine.inner);
        let parts = append.iter().flat_map(|append| &append.parts);
        let bytes = parts.map(|part| part.batch.len()).sum();
        let _one_at_a_time = inner.changing.lock().await;
        let _reserved = engine.reserve(bytes).await;
        let state = self.state.lock().clone();
        state.check(&engine.catalog())?;
        let sequences = state.sequences.clone().land(&inner.sequences).await?;
        let (laid, laid_tables) = {
            let laid = self.laid.lock();
            (laid.partitions.clone(), laid.tables.clone())
        };
        let kept: BTreeSet<_> = state.next().flat_map(|stream| &stream.partitions).collect();
        let kept_tables: BTreeSet<_> = state.next().filter_map(|stream| stream.table).collect();
        let (begun, left): (Vec<TableId>, Vec<TableId>) =
            laid_tables.into_iter().partition(|table| kept_tables.contains(table));
        let dropped: Vec<TableId> = state.gone().filter_map(|stream| stream.table).collect();

        let key = |stream: &Arc<Stream>| stream_key(stream.id);
        let mut entries: Vec<_> = state.gone().map(|stream| (key(stream), None)).collect();
        let next = state.next().map(|stream| (key(stream), Some(encode_stream(stream))));
        entries.extend(next);
        entries.extend(
            state
                .views
                .iter()
                .map(|(id, change)| (view_key(*id), change.next.as_deref().map(to_json))),
        );
        entries.extend(sequences.entries());
        entries.extend(laid.iter().map(|id| (unfinished_key(*id), None)));
        entries.extend(begun.into_iter().map(|table| (dropped_key(table), None)));
        entries.extend(dropped.iter().map(|table| marked(dropped_key(*table))));

        let gone = state.gone().flat_map(|stream| &stream.partitions);
        let unused = laid.iter().filter(|id| !kept.contains(id));
        let operations = gone.chain(unused).map(|id| Operation::Delete(*id)).collect();
        let together = Together { operations, append, ..Together::default() };
        inner.catalog_ledger.change_with(entries, together).await?;

        *self.laid.lock() = Laid { is_over: true, ..Laid::default() };
        *self.state.lock() =
            State { version: state.version + 1, backs: state.backs + 1, ..State::default() };
        sequences.done(&inner.sequences);
        state.next().for_each(|stream| engine.configure(stream));
        engine.set_catalog(|catalog| state.apply(catalog, catalog.version() + 1));
        for table in dropped.into_iter().chain(left) {
            inner.applier.drop_table(table);
        }
        for stream in state.gone() {
            engine.forget_offsets(stream.id).await?;
        }
        Ok(())
    }

    /// Removes what is in the log and in tables for nobody.
    fn remove_laid(&self) {
        let laid =
            std::mem::replace(&mut *self.laid.lock(), Laid { is_over: true, ..Laid::default() });
        self.engine.remove_unfinished_later(laid.partitions, laid.tables);
    }
}

fn stands_alone(what: &str) -> Error {
    let message = format!("{what} cannot be changed inside a transaction");
    Error::new(ErrorKind::Unsupported, message)
}
