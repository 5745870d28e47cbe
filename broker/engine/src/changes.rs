//! Creating, changing and dropping streams: each one record and its operations in one round.

use crate::applier::Feed;
use crate::catalog::{Catalog, NEXT_KEY, NextIds, dropped_key, encode_stream, marked, stream_key};
use crate::engine::{Engine, log_settings};
use crate::sequences::SequenceSpec;
use crate::settings::{check_settings, check_ttl, mode_of, options_of};
use crate::stream::{Check, Column, Mode, Stream};
use crate::{Error, ErrorKind};
use anabranch_log::{AppendError, Command, KnownProducer, Operation};
use anabranch_table::TableId;
use anabranch_types::{PartitionId, StreamId};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use tokio::sync::oneshot;

/// Most partitions of a stream.
const PARTITIONS_MAX: i32 = 10_000;
/// Most characters of a name (Kafka's rule).
const NAME_MAX: usize = 249;

/// What to create.
#[derive(Debug, Clone, Default)]
pub struct StreamSpec {
    /// Kafka's rules for topic names hold; `__*` is reserved.
    pub name: String,
    /// `None`: from `cleanup.policy` in `settings` (compact → Upsert), else Append.
    pub mode: Option<Mode>,
    /// `None`: the broker's default.
    pub partitions: Option<i32>,
    /// Declared columns.
    pub columns: Vec<Column>,
    /// What rows must be.
    pub checks: Vec<Check>,
    /// Sequences that are made with the stream and go with it.
    pub sequences: Vec<SequenceSpec>,
    /// Kafka's names and ours; unknown names and bad values are refused.
    pub settings: BTreeMap<String, String>,
}

/// One change of a stream.
#[derive(Debug, Clone)]
pub enum StreamChange {
    /// Declares columns and what rows must be (replacing what was declared).
    Define(Box<Definition>),
    /// Gives it another name. Grants stay with the old one.
    Rename(String),
    /// Sets (`Some`) or resets (`None`) settings.
    Settings(BTreeMap<String, Option<String>>),
    /// Adds partitions, to this many. Of a keyed stream, rows stay where they are: who writes a
    /// key next wins, in whatever partition.
    Partitions(i32),
}

/// What a stream is to be, and what was seen when that was decided.
#[derive(Debug, Clone)]
pub struct Definition {
    /// The stream as it was seen. If somebody else has defined it anew since, nothing is changed.
    pub seen: Arc<Stream>,
    /// All columns.
    pub columns: Vec<Column>,
    /// All checks.
    pub checks: Vec<Check>,
    /// All fields that were columns once.
    pub retired: Vec<String>,
    /// Sequences that are made with this and go with the stream.
    pub sequences: Vec<SequenceSpec>,
    /// Columns whose sequences go.
    pub dropped: Vec<String>,
}

impl Engine {
    /// Checks a spec without creating (Kafka's `validate_only`).
    ///
    /// # Errors
    /// What [`Self::create_stream`] would say.
    pub(crate) fn check_stream(&self, spec: &StreamSpec) -> Result<(), Error> {
        self.check_stream_among(spec, &self.catalog())
    }

    fn check_stream_among(&self, spec: &StreamSpec, others: &Catalog) -> Result<(), Error> {
        check_name(&spec.name)?;
        check_settings(&spec.settings)?;
        let partitions = spec.partitions.unwrap_or(self.partitions_default());
        if !(1..=PARTITIONS_MAX).contains(&partitions) {
            return Err(Error::new(
                ErrorKind::InvalidArgument,
                format!("{partitions} partitions: expected 1 to {PARTITIONS_MAX}"),
            ));
        }
        let mode = spec.mode.unwrap_or_else(|| mode_of(&spec.settings));
        check_columns(mode, &spec.columns)?;
        check_free(&spec.name, others)
    }

    /// Creates a stream, durable when this returns.
    ///
    /// # Errors
    /// [`ErrorKind::AlreadyExists`], `InvalidName`, `InvalidArgument`; the log's.
    pub(crate) async fn create_stream(&self, spec: StreamSpec) -> Result<Arc<Stream>, Error> {
        let engine = self.clone();
        to_the_end(async move { engine.create(spec).await }).await
    }

    async fn create(&self, mut spec: StreamSpec) -> Result<Arc<Stream>, Error> {
        let _one_at_a_time = self.inner.changing.lock().await;
        let mut next = self.next_ids()?;
        let sequences = std::mem::take(&mut spec.sequences);
        let stream = self.new_stream(spec, &self.catalog(), &mut next)?;
        let made = self.inner.sequences.made(sequences, Some(stream.id), &mut next)?;
        let mut entries = vec![(stream_key(stream.id), Some(encode_stream(&stream))), next.entry()];
        entries.extend(made.entries());
        let operations = stream.partitions.iter().map(|id| Operation::Create(*id)).collect();
        let settings = log_settings(&stream);
        self.inner.catalog_ledger.change(entries, operations, settings).await?;
        self.inner.sequences.add(made);
        self.feed(&stream, &stream.partitions);
        self.set_catalog(|catalog| catalog.with(Arc::clone(&stream)));
        Ok(stream)
    }

    /// A stream as `spec` has it, which is not in the log yet.
    pub(crate) fn new_stream(
        &self,
        mut spec: StreamSpec,
        others: &Catalog,
        next: &mut NextIds,
    ) -> Result<Arc<Stream>, Error> {
        for (name, value) in &*self.inner.stream_defaults.read() {
            // A mode that was asked for says what the policy is.
            if name != "cleanup.policy" || spec.mode.is_none() {
                spec.settings.entry(name.clone()).or_insert_with(|| value.clone());
            }
        }
        self.check_stream_among(&spec, others)?;
        spec.settings = check_settings(&spec.settings)?;
        let count = spec.partitions.unwrap_or(self.partitions_default()).unsigned_abs();
        let partitions = next.partitions(count);
        let mode = spec.mode.unwrap_or_else(|| mode_of(&spec.settings));
        // Both ways of saying it agree, so that Kafka's tools see what SQL declared.
        if mode == Mode::Upsert {
            spec.settings.entry("cleanup.policy".to_owned()).or_insert("compact".to_owned());
        }
        check_ttl(mode, &spec.settings)?;
        let table = (mode == Mode::Upsert).then(|| next.table());
        Ok(Arc::new(Stream {
            id: StreamId(uuid::Uuid::new_v4()),
            name: spec.name,
            mode,
            partitions,
            table,
            columns: spec.columns,
            checks: spec.checks,
            retired: Vec::new(),
            options: options_of(&spec.settings),
            settings: spec.settings,
        }))
    }

    /// The stream of a name; created if it is missing, where doors may.
    ///
    /// # Errors
    /// As [`Self::create_stream`]; [`ErrorKind::NotFound`] where they may not.
    pub(crate) async fn find_or_create(&self, name: &str) -> Result<Arc<Stream>, Error> {
        if let Some(stream) = self.catalog().by_name(name) {
            return Ok(Arc::clone(stream));
        }
        if !self.auto_create() {
            return self.catalog().find(name).cloned();
        }
        let spec = StreamSpec { name: name.to_owned(), ..StreamSpec::default() };
        match self.create_stream(spec).await {
            // Somebody was quicker; or it is a view.
            Err(error) if error.kind == ErrorKind::AlreadyExists => self
                .catalog()
                .by_name(name)
                .cloned()
                .ok_or(Error { kind: ErrorKind::InvalidName, ..error }),
            other => other,
        }
    }

    /// Changes a stream, durable when this returns.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`], `InvalidArgument`, `Unsupported`; the log's.
    pub(crate) async fn alter_stream(
        &self,
        name: &str,
        change: StreamChange,
    ) -> Result<Arc<Stream>, Error> {
        let (engine, name) = (self.clone(), name.to_owned());
        to_the_end(async move { engine.alter(&name, change).await }).await
    }

    /// Checks what [`StreamChange::Partitions`] would do.
    ///
    /// # Errors
    /// What [`Self::alter_stream`] would say.
    pub(crate) fn check_partitions(&self, name: &str, count: i32) -> Result<(), Error> {
        let stream = Arc::clone(self.catalog().find(name)?);
        refuse_internal(&stream)?;
        let now = stream.partitions.len();
        let more = usize::try_from(count).is_ok_and(|count| count > now);
        if more && count <= PARTITIONS_MAX {
            return Ok(());
        }
        Err(Error::new(
            ErrorKind::InvalidArgument,
            format!(
                "{name} has {now} partitions, which can only become more, up to {PARTITIONS_MAX}: \
                 {count} was asked for"
            ),
        ))
    }

    async fn alter(&self, name: &str, change: StreamChange) -> Result<Arc<Stream>, Error> {
        let _one_at_a_time = self.inner.changing.lock().await;
        let old = Arc::clone(self.catalog().find(name)?);
        refuse_internal(&old)?;
        let stream = match change {
            StreamChange::Partitions(count) => {
                self.check_partitions(name, count)?;
                let stream = Stream::clone(&old);
                return self.add_partitions(stream, count.unsigned_abs()).await;
            }
            StreamChange::Define(definition) => return self.define(&old, *definition).await,
            StreamChange::Rename(name) => return self.rename(&old, name).await,
            StreamChange::Settings(changes) => with_settings(&old, changes)?,
        };
        let mode = mode_of(&stream.settings);
        if mode != old.mode {
            return self.change_mode(stream, mode).await;
        }
        let stream = Arc::new(stream);
        let entries = vec![(stream_key(stream.id), Some(encode_stream(&stream)))];
        self.inner.catalog_ledger.put(entries).await?;
        self.configure(&stream);
        self.set_catalog(|catalog| catalog.with(Arc::clone(&stream)));
        Ok(stream)
    }

    async fn define(&self, old: &Stream, mut new: Definition) -> Result<Arc<Stream>, Error> {
        let (made, dropped) =
            (std::mem::take(&mut new.sequences), std::mem::take(&mut new.dropped));
        let stream = Arc::new(defined(old, new)?);
        let mut next = self.next_ids()?;
        let sequences = &self.inner.sequences;
        let made = sequences.made(made, Some(stream.id), &mut next)?;
        let owned = |column: &str| dropped.iter().any(|dropped| dropped == column);
        let gone = sequences.going(stream.id, owned).await;
        let mut entries = vec![(stream_key(stream.id), Some(encode_stream(&stream))), next.entry()];
        entries.extend(made.entries());
        entries.extend(gone.entries());
        self.inner.catalog_ledger.put(entries).await?;
        sequences.remove(gone);
        sequences.add(made);
        self.set_catalog(|catalog| catalog.with(Arc::clone(&stream)));
        Ok(stream)
    }

    async fn rename(&self, old: &Arc<Stream>, name: String) -> Result<Arc<Stream>, Error> {
        let stream = Arc::new(renamed(old, name, &self.catalog())?);
        let entries = vec![(stream_key(stream.id), Some(encode_stream(&stream)))];
        self.inner.catalog_ledger.put(entries).await?;
        self.set_catalog(|catalog| catalog.without(old).with(Arc::clone(&stream)));
        Ok(stream)
    }

    /// Makes a stream a table, of all that it holds, or a table a stream of events.
    async fn change_mode(&self, mut stream: Stream, mode: Mode) -> Result<Arc<Stream>, Error> {
        check_columns(mode, &stream.columns)?;
        stream.mode = mode;
        let mut entries = Vec::new();
        let gone = stream.table.take();
        if mode == Mode::Upsert {
            let mut next = self.next_ids()?;
            let table = next.table();
            // Until it is whole it is none: a restart removes it.
            let begun = vec![next.entry(), marked(dropped_key(table))];
            self.inner.catalog_ledger.put(begun).await?;
            stream.table = Some(table);
            if let Err(error) = self.fill(&stream, table).await {
                self.inner.applier.drop_table(table);
                return Err(error);
            }
            entries.push((dropped_key(table), None));
        }
        entries.extend(gone.map(|table| marked(dropped_key(table))));
        entries.push((stream_key(stream.id), Some(encode_stream(&stream))));
        self.inner.catalog_ledger.put(entries).await?;
        let stream = Arc::new(stream);
        self.configure(&stream);
        self.set_catalog(|catalog| catalog.with(Arc::clone(&stream)));
        if let Some(table) = gone {
            self.inner.applier.drop_table(table);
        }
        Ok(stream)
    }

    /// Applies what a stream holds to a new table; returns when that is as new as all others.
    async fn fill(&self, stream: &Stream, table: TableId) -> Result<(), Error> {
        let logs = stream.partitions.iter().filter_map(|id| self.partition(*id));
        let feeds = logs.map(|log| Feed { table, log }).collect();
        self.inner.applier.feed_from_the_start(feeds).await
    }

    async fn add_partitions(&self, mut stream: Stream, count: u32) -> Result<Arc<Stream>, Error> {
        let mut next = self.next_ids()?;
        let had = stream.partitions.len();
        let new = count - u32::try_from(had).expect("streams have few partitions");
        stream.partitions.extend(next.partitions(new));
        let stream = Arc::new(stream);
        let entries = vec![(stream_key(stream.id), Some(encode_stream(&stream))), next.entry()];
        let new = &stream.partitions[had..];
        let operations = new.iter().map(|id| Operation::Create(*id)).collect();
        let settings = log_settings(&stream);
        self.inner.catalog_ledger.change(entries, operations, settings).await?;
        self.feed(&stream, new);
        self.set_catalog(|catalog| catalog.with(Arc::clone(&stream)));
        Ok(stream)
    }

    /// Who has written to a partition, as far as it is remembered.
    ///
    /// # Errors
    /// The log's.
    pub(crate) async fn producers(
        &self,
        partition: PartitionId,
    ) -> Result<Vec<KnownProducer>, Error> {
        let (sender, receiver) = oneshot::channel();
        let reply = Box::new(move |producers| {
            // Who asked may have gone.
            let _ = sender.send(producers);
        });
        let sent = self.inner.log.send(Command::Producers(partition, reply));
        sent.map_err(|_| AppendError::Stopping)?;
        Ok(receiver.await.map_err(|_| AppendError::Stopping)?)
    }

    /// Drops a stream with its log, table and committed offsets; durable when this returns.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`]; the log's.
    pub(crate) async fn drop_stream(&self, name: &str) -> Result<(), Error> {
        let (engine, name) = (self.clone(), name.to_owned());
        to_the_end(async move { engine.drop(&name).await }).await
    }

    async fn drop(&self, name: &str) -> Result<(), Error> {
        let _one_at_a_time = self.inner.changing.lock().await;
        let stream = Arc::clone(self.catalog().find(name)?);
        refuse_internal(&stream)?;
        let mut entries = vec![(stream_key(stream.id), None)];
        if let Some(table) = stream.table {
            // Its rows are removed after this is durable, and again by the next start, which then
            // forgets it: a crash in between leaves none behind.
            entries.push(marked(dropped_key(table)));
        }
        let gone = self.inner.sequences.going(stream.id, |_| true).await;
        entries.extend(gone.entries());
        let operations = stream.partitions.iter().map(|id| Operation::Delete(*id)).collect();
        let settings = log_settings(&stream);
        self.inner.catalog_ledger.change(entries, operations, settings).await?;
        self.inner.sequences.remove(gone);
        self.set_catalog(|catalog| catalog.without(&stream));
        if let Some(table) = stream.table {
            self.inner.applier.drop_table(table);
        }
        self.forget_offsets(stream.id).await
    }

    pub(crate) fn set_catalog(&self, change: impl FnOnce(&Catalog) -> Catalog) {
        let mut catalog = self.inner.catalog.write();
        *catalog = Arc::new(change(&catalog));
    }

    pub(crate) fn next_ids(&self) -> Result<NextIds, Error> {
        let record = self.inner.catalog_ledger.get(NEXT_KEY.as_bytes());
        record.and_then(|json| serde_json::from_slice(&json).ok()).ok_or_else(|| {
            Error::new(ErrorKind::Storage, "the catalog does not know which ids are used")
        })
    }
}

/// A stream with another definition.
pub(crate) fn defined(old: &Stream, new: Definition) -> Result<Stream, Error> {
    if old.columns != new.seen.columns || old.checks != new.seen.checks {
        return Err(altered_meanwhile(&old.name));
    }
    check_columns(old.mode, &new.columns)?;
    let Definition { columns, checks, retired, .. } = new;
    Ok(Stream { columns, checks, retired, ..old.clone() })
}

/// A stream with another name, which none of the `others` has.
pub(crate) fn renamed(old: &Stream, name: String, others: &Catalog) -> Result<Stream, Error> {
    check_name(&name)?;
    check_free(&name, others)?;
    Ok(Stream { name, ..old.clone() })
}

/// A stream with settings set (`Some`) or reset (`None`). Its mode is what it was.
pub(crate) fn with_settings(
    old: &Stream,
    changes: BTreeMap<String, Option<String>>,
) -> Result<Stream, Error> {
    let mut settings = old.settings.clone();
    for (name, value) in changes {
        match value {
            Some(value) => settings.insert(name, value),
            None => settings.remove(&name),
        };
    }
    let settings = check_settings(&settings)?;
    check_ttl(mode_of(&settings), &settings)?;
    Ok(Stream { options: options_of(&settings), settings, ..old.clone() })
}

pub(crate) fn altered_meanwhile(name: &str) -> Error {
    let message = format!("{name} was altered by somebody else at the same time: try again");
    Error::new(ErrorKind::Conflict, message)
}

pub(crate) fn check_free(name: &str, others: &Catalog) -> Result<(), Error> {
    let what = match (others.by_name(name), others.view(name)) {
        (Some(_), _) => "stream",
        (None, Some(_)) => "view",
        (None, None) => return Ok(()),
    };
    Err(Error::new(ErrorKind::AlreadyExists, format!("the {what} {name} exists")))
}

pub(crate) fn refuse_internal(stream: &Stream) -> Result<(), Error> {
    if stream.is_internal() {
        return Err(Error::new(
            ErrorKind::InvalidName,
            format!("{} is the broker's own stream", stream.name),
        ));
    }
    Ok(())
}

pub(crate) fn check_name(name: &str) -> Result<(), Error> {
    let legal = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    let problem = if name.is_empty() || name == "." || name == ".." {
        "a stream needs a name other than . and .."
    } else if name.len() > NAME_MAX {
        "a stream's name has at most 249 characters"
    } else if !name.chars().all(legal) {
        "a stream's name is made of ASCII letters, digits, '.', '_' and '-'"
    } else if name.starts_with("__") {
        "names that begin with __ are the broker's own"
    } else {
        return Ok(());
    };
    let shown: String = name.chars().take(NAME_MAX).collect();
    Err(Error::new(ErrorKind::InvalidName, format!("{shown:?}: {problem}")))
}

pub(crate) fn check_columns(mode: Mode, columns: &[Column]) -> Result<(), Error> {
    let mut names = BTreeSet::new();
    if let Some(twice) = columns.iter().find(|column| !names.insert(&column.name)) {
        return Err(Error::new(
            ErrorKind::InvalidArgument,
            format!("column {} is declared twice", twice.name),
        ));
    }
    let keyed = columns.iter().any(|column| column.in_key);
    if mode == Mode::Append && keyed {
        return Err(Error::new(
            ErrorKind::InvalidArgument,
            "a primary key needs mode = 'upsert': rows of an append stream are its events",
        ));
    }
    Ok(())
}

/// Runs a change to its end, even if who asked goes: what is in memory would otherwise not follow
/// the log.
pub(crate) async fn to_the_end<T: Send + 'static, E: From<Error> + Send + 'static>(
    change: impl Future<Output = Result<T, E>> + Send + 'static,
) -> Result<T, E> {
    tokio::spawn(change).await.unwrap_or_else(|error| {
        Err(Error::new(ErrorKind::Internal, format!("the change did not end: {error}")).into())
    })
}
