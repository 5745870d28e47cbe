//! CREATE, ALTER and DROP STREAM.

use super::{Done, Outcome, Session};
use crate::catalog::{PUBLIC, find};
use crate::error::{Error, sqlstate};
use crate::execute::Rows;
use crate::infer;
use crate::limits::COLUMNS_MAX;
use crate::statement::{AlterStream, CreateStream, DropStream, Kind, Name, StreamAction};
use anabranch_engine::{Column, ErrorKind, Stream, StreamChange, StreamSpec};
use datafusion::arrow::array::{RecordBatch, StringArray};
use datafusion::arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use std::sync::Arc;

/// What ALTER STREAM gives.
pub(super) fn schema_of(alter: &AlterStream) -> Option<SchemaRef> {
    matches!(alter.action, StreamAction::InferSchema).then(schema_of_lines)
}

impl Session {
    /// Executes a definition. Definitions are durable at once, and no part of a transaction.
    pub(super) async fn define(&mut self, kind: Kind) -> Result<Outcome, Error> {
        let prints =
            matches!(&kind, Kind::Alter(AlterStream { action: StreamAction::InferSchema, .. }));
        self.commit_implicit().await?;
        if self.transaction.is_some() && !prints {
            return Err(Error::unsupported("streams cannot be defined inside a transaction").hint(
                "run CREATE, ALTER and DROP STREAM outside of BEGIN … COMMIT (with autocommit)",
            ));
        }
        match kind {
            Kind::Create(create) => self.create(create).await.map(Outcome::Done),
            Kind::Alter(alter) => self.alter(alter).await,
            Kind::Drop(drop) => self.drop_streams(drop).await.map(Outcome::Done),
            _ => Err(Error::internal("no definition")),
        }
    }

    async fn create(&self, create: CreateStream) -> Result<Done, Error> {
        let name = stream_name(&create.name)?;
        let mut done = Done { notices: create.notices, ..Done::tag("CREATE STREAM") };
        if create.if_not_exists && find(self.sql.engine(), &name).is_some() {
            done.notices.push(format!("stream \"{name}\" already exists, skipping"));
            return Ok(done);
        }
        let spec = StreamSpec {
            name: name.clone(),
            mode: create.mode,
            partitions: create.partitions,
            columns: create.columns,
            settings: create.settings,
        };
        match self.sql.engine().create_stream(spec).await {
            Ok(_) => Ok(done),
            Err(error) if error.kind == ErrorKind::AlreadyExists && create.if_not_exists => {
                done.notices.push(format!("stream \"{name}\" already exists, skipping"));
                Ok(done)
            }
            Err(error) => Err(error.into()),
        }
    }

    async fn alter(&self, alter: AlterStream) -> Result<Outcome, Error> {
        let name = stream_name(&alter.name)?;
        let mut done = Done { notices: alter.notices, ..Done::tag("ALTER STREAM") };
        let Some(stream) = find(self.sql.engine(), &name) else {
            if alter.if_exists {
                done.notices.push(format!("stream \"{name}\" does not exist, skipping"));
                return Ok(Outcome::Done(done));
            }
            return Err(unknown(&name));
        };
        let change = match alter.action {
            StreamAction::InferSchema => return self.infer(stream).await,
            StreamAction::Settings(settings) => StreamChange::Settings(settings),
            StreamAction::AddColumns(columns) => {
                StreamChange::SetColumns(extended(&stream, columns, &mut done.notices)?)
            }
        };
        self.sql.engine().alter_stream(&name, change).await?;
        Ok(Outcome::Done(done))
    }

    async fn infer(&self, stream: Arc<Stream>) -> Result<Outcome, Error> {
        let schema = schema_of_lines();
        let engine = self.sql.engine().clone();
        let lines =
            self.sql.runtime.run(async move { infer::definition(&engine, &stream) }).await?;
        let batch = RecordBatch::try_new(
            schema.clone(),
            vec![Arc::new(StringArray::from_iter_values(lines))],
        )?;
        Ok(Outcome::Rows(Rows::ready(schema, [batch]), "SELECT"))
    }

    async fn drop_streams(&self, drop: DropStream) -> Result<Done, Error> {
        let mut done = Done::tag("DROP STREAM");
        let names = drop.names.iter().map(stream_name).collect::<Result<Vec<_>, _>>()?;
        if let Some(missing) = names.iter().find(|name| find(self.sql.engine(), name).is_none())
            && !drop.if_exists
        {
            return Err(unknown(missing));
        }
        for name in names {
            match self.sql.engine().drop_stream(&name).await {
                Ok(()) => {}
                Err(error) if error.kind == ErrorKind::NotFound && drop.if_exists => {
                    done.notices.push(format!("stream \"{name}\" does not exist, skipping"));
                }
                Err(error) => return Err(error.into()),
            }
        }
        Ok(done)
    }
}

fn schema_of_lines() -> SchemaRef {
    Arc::new(Schema::new(vec![Field::new("ddl", DataType::Utf8, false)]))
}

/// Streams are in `public`; `log.orders` and `sys.streams` follow from them.
pub(crate) fn stream_name(name: &Name) -> Result<String, Error> {
    match name.schema.as_deref() {
        None | Some(PUBLIC) => Ok(name.name.clone()),
        Some(schema) => Err(Error::new(
            sqlstate::WRONG_OBJECT_TYPE,
            format!("\"{schema}.{}\" cannot be created, altered, dropped or written", name.name),
        )
        .hint(format!(
            "streams are in the schema public; a stream whose name has a dot is \"{schema}.{}\", \
             in quotes",
            name.name
        ))),
    }
}

pub(crate) fn unknown(name: &str) -> Error {
    Error::new(sqlstate::UNDEFINED_TABLE, format!("stream \"{name}\" does not exist"))
        .hint("SELECT name FROM sys.streams lists the streams")
}

/// The stream's columns and the new ones. Nothing is rewritten: columns are read out of the
/// events.
fn extended(
    stream: &Stream,
    added: Vec<(Column, bool)>,
    notices: &mut Vec<String>,
) -> Result<Vec<Column>, Error> {
    let mut columns = stream.columns.clone();
    for (column, may_exist) in added {
        if columns.iter().any(|other| other.name == column.name) {
            if !may_exist {
                return Err(Error::new(
                    sqlstate::DUPLICATE_COLUMN,
                    format!(
                        "column \"{}\" of stream \"{}\" already exists",
                        column.name, stream.name
                    ),
                ));
            }
            notices.push(format!("column \"{}\" already exists, skipping", column.name));
            continue;
        }
        columns.push(column);
    }
    if columns.len() > COLUMNS_MAX {
        return Err(Error::new("54011", format!("streams can have at most {COLUMNS_MAX} columns")));
    }
    Ok(columns)
}
