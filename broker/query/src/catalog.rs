//! What can be named in SQL.
//!
//! ```text
//! anabranch ─┬─ public              streams: their rows; views
//!            ├─ log                 streams: their events
//!            ├─ sys                 streams, partitions
//!            ├─ pg_catalog          what psql and drivers ask for
//!            └─ information_schema  the standard's part of it
//! ```
//! Everything is looked up in the engine's catalog when a statement is planned: nothing here is
//! kept, so nothing can be stale.

mod cells;
mod computed;
mod functions;
mod information;
mod pg;
mod sys;

pub(crate) use functions::definitions::COLUMN_DEFAULT;
pub(crate) use functions::register;
pub(crate) use pg::system_oid;
pub(crate) use sys::{DEAD_LETTERS, dead_letters, streams_of};

use crate::error::Error;
use crate::processes::Processes;
use crate::rows::{Relation, arrow_type};
use crate::scan::StreamTable;
use anabranch_engine::{Session as EngineSession, Stream, View};
use async_trait::async_trait;
use datafusion::arrow::datatypes::{Field, Schema, SchemaRef};
use datafusion::catalog::{CatalogProvider, SchemaProvider, TableProvider};
use datafusion::error::{DataFusionError, Result};
use std::fmt;
use std::sync::Arc;

/// The one database.
pub(crate) const DATABASE: &str = "anabranch";
/// Rows.
pub(crate) const PUBLIC: &str = "public";
/// Events.
pub(crate) const LOG: &str = "log";
/// Schemas, in the order they are listed.
pub(crate) const SCHEMAS: [&str; 5] = [PUBLIC, LOG, "sys", "pg_catalog", "information_schema"];

/// The database for DataFusion.
pub(crate) struct Database {
    engine: EngineSession,
    pg: Arc<pg::PgCatalog>,
}

impl Database {
    pub(crate) fn new(engine: EngineSession, processes: Arc<Processes>) -> Result<Self, Error> {
        let pg = Arc::new(pg::PgCatalog::new(engine.clone(), processes)?);
        Ok(Self { engine, pg })
    }
}

impl fmt::Debug for Database {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Database").finish_non_exhaustive()
    }
}

impl CatalogProvider for Database {
    fn schema_names(&self) -> Vec<String> {
        SCHEMAS.iter().map(ToString::to_string).collect()
    }

    fn schema(&self, name: &str) -> Option<Arc<dyn SchemaProvider>> {
        let engine = self.engine.clone();
        match name {
            PUBLIC => Some(Arc::new(Streams { engine, relation: Relation::Rows })),
            LOG => Some(Arc::new(Streams { engine, relation: Relation::Log })),
            "sys" => Some(Arc::new(sys::Sys { engine })),
            "pg_catalog" => Some(self.pg.clone()),
            "information_schema" => Some(Arc::new(information::Information { engine })),
            _ => None,
        }
    }

    /// `setup_pg_catalog` registers its own tables together with its functions; ours stand above
    /// them (see [`pg`]).
    fn register_schema(
        &self,
        _: &str,
        _: Arc<dyn SchemaProvider>,
    ) -> Result<Option<Arc<dyn SchemaProvider>>> {
        Ok(None)
    }
}

/// The schemas `public` and `log`.
struct Streams {
    engine: EngineSession,
    relation: Relation,
}

impl Streams {
    /// Relations of `pg_catalog` that are found without naming it.
    fn of_catalogue(&self, name: &str) -> Option<Result<Arc<dyn TableProvider>>> {
        let is_hidden = find(&self.engine, name).is_some();
        match self.relation {
            Relation::Rows if !is_hidden => pg::definitions_of(&self.engine, name),
            _ => None,
        }
    }

    fn is_sequence(&self, name: &str) -> bool {
        self.relation == Relation::Rows && pg::is_sequence(&self.engine, name)
    }
}

impl fmt::Debug for Streams {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Streams").field("relation", &self.relation).finish_non_exhaustive()
    }
}

#[async_trait]
impl SchemaProvider for Streams {
    fn table_names(&self) -> Vec<String> {
        streams_of(&self.engine).iter().map(|stream| stream.name.clone()).collect()
    }

    async fn table(&self, name: &str) -> Result<Option<Arc<dyn TableProvider>>, DataFusionError> {
        if let Some(relation) = self.of_catalogue(name) {
            return relation.map(Some);
        }
        if self.is_sequence(name) {
            let (engine, name) = (self.engine.clone(), name.to_owned());
            let rows = move |schema| pg::sequence_row(&engine, &name, schema);
            return computed::computed(pg::sequence_schema(), rows).map(Some);
        }
        Ok(find(&self.engine, name).map(|stream| {
            Arc::new(StreamTable::new(self.engine.clone(), stream, self.relation)) as _
        }))
    }

    fn table_exist(&self, name: &str) -> bool {
        find(&self.engine, name).is_some()
            || self.is_sequence(name)
            || self.of_catalogue(name).is_some()
    }
}

/// A stream that is not the broker's own.
pub(crate) fn find(engine: &EngineSession, name: &str) -> Option<Arc<Stream>> {
    engine.catalog().by_name(name).filter(|stream| !stream.is_internal()).cloned()
}

/// Whether a relation of `public` has the name.
pub(crate) fn is_taken(engine: &EngineSession, name: &str) -> bool {
    find(engine, name).is_some()
        || engine.catalog().view(name).is_some()
        || engine.sequence(name).is_ok()
}

/// The columns of a view.
fn view_schema(view: &View) -> SchemaRef {
    let fields = view
        .spec
        .columns
        .iter()
        .map(|column| Field::new(&column.name, arrow_type(column.data_type), true));
    Arc::new(Schema::new(fields.collect::<Vec<_>>()))
}
