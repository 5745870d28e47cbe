//! Streams and their records, as far as they may be seen, read and changed.

use super::{Remembered, Session, Who};
use crate::catalog::Catalog;
use crate::changes::{StreamChange, StreamSpec};
use crate::cut::Cut;
use crate::draft::RelationChange;
use crate::interest::Interest;
use crate::marks::Marks;
use crate::rekey::Rekeying;
use crate::stream::{Column, Stream};
use crate::views::ViewSpec;
use crate::{Error, ErrorKind};
use anabranch_access::{CLUSTER, Identity, Operation, Resource, ResourceKind};
use anabranch_log::{KnownProducer, PartitionLog};
use anabranch_types::{Offset, PartitionId, StreamId};
use std::sync::Arc;
use std::time::Duration;

/// What a stream is called.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StreamRef<'a> {
    /// By name (Kafka: topic).
    Name(&'a str),
    /// By id (Kafka: topic id).
    Id(StreamId),
}

fn stream(name: &str) -> Resource<'_> {
    Resource { kind: ResourceKind::Topic, name }
}

impl Remembered {
    fn visible(&mut self, who: &Identity, catalog: Arc<Catalog>) -> Arc<Catalog> {
        if let Some((of, visible)) = &self.catalog
            && Arc::ptr_eq(of, &catalog)
        {
            return Arc::clone(visible);
        }
        let mut may = |name: &str| self.decide(who, Operation::Describe, stream(name));
        let visible = Arc::new(catalog.only(&mut may));
        self.catalog = Some((catalog, Arc::clone(&visible)));
        visible
    }
}

impl Session {
    /// The streams now, as far as they may be described.
    #[must_use]
    pub fn catalog(&self) -> Arc<Catalog> {
        let catalog = self.whole_catalog();
        if self.sees_all() {
            return catalog;
        }
        match &*self.who {
            Who::Broker => catalog,
            Who::Somebody(caller) => caller
                .with(&self.engine, |remembered, identity| remembered.visible(identity, catalog)),
        }
    }

    /// A stream to which they may do `operation`. A name that may not be used is denied whether
    /// there is such a stream or not.
    ///
    /// # Errors
    /// `Denied`, `NotFound`.
    pub fn look_up(
        &self,
        which: StreamRef<'_>,
        operation: Operation,
    ) -> Result<Arc<Stream>, Error> {
        let catalog = self.whole_catalog();
        match which {
            StreamRef::Name(name) => {
                self.check_stream_access(operation, name)?;
                catalog.find(name).cloned()
            }
            StreamRef::Id(id) => {
                let found = catalog.by_id(id).cloned().ok_or_else(|| {
                    Error::new(ErrorKind::NotFound, "there is no stream of this id")
                })?;
                self.check_stream_access(operation, &found.name)?;
                Ok(found)
            }
        }
    }

    /// Whether they may create a stream of this name.
    ///
    /// # Errors
    /// `Denied`.
    pub fn check_create(&self, name: &str) -> Result<(), Error> {
        let cluster = Resource { kind: ResourceKind::Cluster, name: CLUSTER };
        if self.may(Operation::Create, cluster) {
            return Ok(());
        }
        self.check_stream_access(Operation::Create, name)
    }

    /// Whether they may drop the stream of this name.
    ///
    /// # Errors
    /// `Denied`.
    pub fn check_drop(&self, name: &str) -> Result<(), Error> {
        let cluster = Resource { kind: ResourceKind::Cluster, name: CLUSTER };
        if self.may(Operation::Delete, cluster) {
            return Ok(());
        }
        self.check_stream_access(Operation::Delete, name)
    }

    /// The log of a partition, to read. Reading may touch the disk.
    ///
    /// Nothing if there is none, or it may not be read; [`Self::look_up`] says which.
    #[must_use]
    pub fn partition(&self, id: PartitionId) -> Option<Arc<PartitionLog>> {
        self.check_partition(Operation::Read, id).ok()?;
        self.engine.partition(id)
    }

    /// How far a partition goes, if its stream may be described.
    #[must_use]
    pub fn marks(&self, id: PartitionId) -> Option<Marks> {
        self.check_partition(Operation::Describe, id).ok()?;
        self.engine.partition(id).map(Marks)
    }

    /// See [`Interest`]. Of what may not be read it tells nothing.
    #[must_use]
    pub fn interest(&self, partitions: &[PartitionId]) -> Interest {
        let interest = Interest::new();
        for id in partitions {
            if let Some(log) = self.partition(*id) {
                interest.add(&log);
            }
        }
        interest
    }

    /// A cut that shows every write acknowledged before this call; waits for the applier.
    ///
    /// # Errors
    /// [`ErrorKind::TimedOut`] when tables are too far behind; the tables' own failure.
    pub async fn cut(&self, timeout: Duration) -> Result<Cut, Error> {
        let (round, view) = self.engine.cut(timeout).await?;
        Ok(Cut::new(round, view, self.clone()))
    }

    /// The newest cut that tables show, without waiting for any.
    #[must_use]
    pub fn applied(&self) -> Cut {
        let (round, view) = self.engine.applied();
        Cut::new(round, view, self.clone())
    }

    /// Checks a spec without creating (Kafka's `validate_only`).
    ///
    /// # Errors
    /// What [`Self::create_stream`] would say.
    pub fn check_stream(&self, spec: &StreamSpec) -> Result<(), Error> {
        self.check_create(&spec.name)?;
        self.engine.check_stream(spec)
    }

    /// Whether the stream was created in this session's draft: nobody else knows it.
    #[must_use]
    pub fn is_new(&self, stream: StreamId) -> bool {
        self.draft().is_some_and(|draft| draft.is_new(stream))
    }

    /// Makes a stream of events, of which none is appended yet, a table of these columns, some of
    /// which are its key.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`], `Denied`; `Unsupported` unless it was created in this session's
    /// draft; the log's.
    pub async fn key_new_stream(
        &self,
        name: &str,
        columns: Vec<Column>,
    ) -> Result<Arc<Stream>, Error> {
        self.check_stream_access(Operation::Alter, name)?;
        let none = || Error::new(ErrorKind::Unsupported, "there is no draft");
        self.draft().ok_or_else(none)?.key_stream(name, columns).await
    }

    /// Creates a stream, durable when this returns; in a draft, once that is in force.
    ///
    /// # Errors
    /// [`ErrorKind::AlreadyExists`], `Denied`, `InvalidName`, `InvalidArgument`; the log's.
    pub async fn create_stream(&self, spec: StreamSpec) -> Result<Arc<Stream>, Error> {
        self.check_create(&spec.name)?;
        match self.draft() {
            Some(draft) => draft.create_stream(spec).await,
            None => self.engine.create_stream(spec).await,
        }
    }

    /// The stream of a name, if it may be described; created if it is missing, where doors may.
    ///
    /// # Errors
    /// As [`Self::create_stream`]; [`ErrorKind::NotFound`] where they may not.
    pub async fn find_or_create(&self, name: &str) -> Result<Arc<Stream>, Error> {
        self.check_stream_access(Operation::Describe, name)?;
        if self.engine.auto_create() && self.whole_catalog().by_name(name).is_none() {
            self.check_create(name)?;
        }
        self.engine.find_or_create(name).await
    }

    /// Begins to make a stream of events a table of these columns, some of which are its key.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`], `Denied`; `InvalidArgument` if it is keyed; `Conflict` while a
    /// transaction is open on it; the log's.
    pub async fn begin_rekeying(
        &self,
        name: &str,
        columns: Vec<Column>,
    ) -> Result<Rekeying, Error> {
        self.check_stream_access(Operation::Alter, name)?;
        self.engine.begin_rekeying(name, columns).await
    }

    /// Changes a stream, durable when this returns.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`], `Denied`, `InvalidArgument`, `Unsupported`; the log's.
    pub async fn alter_stream(
        &self,
        name: &str,
        change: StreamChange,
    ) -> Result<Arc<Stream>, Error> {
        let operation = match &change {
            StreamChange::Settings(_) => Operation::AlterConfigs,
            StreamChange::Define(_) | StreamChange::Rename(_) | StreamChange::Partitions(_) => {
                Operation::Alter
            }
        };
        self.check_stream_access(operation, name)?;
        if let StreamChange::Rename(new) = &change {
            self.check_create(new)?;
        }
        match self.draft() {
            Some(draft) => draft.alter_stream(name, change).await,
            None => self.engine.alter_stream(name, change).await,
        }
    }

    /// Checks what [`StreamChange::Partitions`] would do.
    ///
    /// # Errors
    /// What [`Self::alter_stream`] would say.
    pub fn check_partitions(&self, name: &str, count: i32) -> Result<(), Error> {
        self.check_stream_access(Operation::Alter, name)?;
        self.engine.check_partitions(name, count)
    }

    /// Drops a stream with its log, table and committed offsets; durable when this returns.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`], `Denied`; the log's.
    pub async fn drop_stream(&self, name: &str) -> Result<(), Error> {
        self.check_drop(name)?;
        match self.draft() {
            Some(draft) => draft.drop_stream(name),
            None => self.engine.drop_stream(name).await,
        }
    }

    /// Creates a view; one of the same name makes room for it if `replaces`. Durable when this
    /// returns; in a draft, once that is in force.
    ///
    /// # Errors
    /// [`ErrorKind::AlreadyExists`], `Denied`, `InvalidName`; the log's.
    pub async fn create_view(&self, spec: ViewSpec, replaces: bool) -> Result<(), Error> {
        self.check_create(&spec.name)?;
        if replaces && self.whole_catalog().view(&spec.name).is_some() {
            self.check_stream_access(Operation::Alter, &spec.name)?;
        }
        self.change_relation(RelationChange::CreateView { spec, replaces }).await
    }

    /// Gives a view another name, as [`Self::create_view`] does.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`], `AlreadyExists`, `Denied`, `InvalidName`; the log's.
    pub async fn rename_view(&self, name: &str, to: String) -> Result<(), Error> {
        self.check_stream_access(Operation::Alter, name)?;
        self.check_create(&to)?;
        self.change_relation(RelationChange::RenameView { name: name.to_owned(), to }).await
    }

    /// Drops a view, as [`Self::create_view`] creates it.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`], `Denied`; the log's.
    pub async fn drop_view(&self, name: &str) -> Result<(), Error> {
        self.check_drop(name)?;
        self.change_relation(RelationChange::DropView { name: name.to_owned() }).await
    }

    /// Forgets the records before an offset of each partition; durable when this returns.
    ///
    /// # Errors
    /// `Denied`; the log's.
    pub async fn delete_records(&self, to: Vec<(PartitionId, Offset)>) -> Result<(), Error> {
        for (id, _) in &to {
            self.check_partition(Operation::Delete, *id)?;
        }
        self.engine.delete_records(to).await
    }

    /// Who has written to a partition, as far as it is remembered.
    ///
    /// # Errors
    /// `Denied`; the log's.
    pub async fn producers(&self, partition: PartitionId) -> Result<Vec<KnownProducer>, Error> {
        self.check_partition(Operation::Read, partition)?;
        self.engine.producers(partition).await
    }
}
