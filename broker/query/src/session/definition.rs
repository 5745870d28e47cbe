//! CREATE, ALTER and DROP of streams and sequences.

mod alter;
mod columns;
mod fit;
mod key;
mod sequences;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod transaction_tests;
mod views;
#[cfg(test)]
mod views_tests;

use super::{Done, Outcome, Plan, Session};
use crate::catalog::{PUBLIC, find, is_taken};
use crate::error::{Error, sqlstate};
use crate::execute::Rows;
use crate::infer;
use crate::statement::{
    AlterStream, CreateStream, DropStream, Filling, Kind, Name, Needless, SequenceStatement,
    StreamAction, ViewStatement, parse, quoted,
};
use crate::write::validate;
use anabranch_engine::{ErrorKind, Mode, Stream, StreamId, StreamOptions, StreamSpec};
use columns::Drafts;
use datafusion::arrow::array::{RecordBatch, StringArray};
use datafusion::arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use std::collections::BTreeSet;
use std::sync::Arc;

/// What ALTER STREAM gives.
pub(super) fn schema_of(alter: &AlterStream) -> Option<SchemaRef> {
    prints(alter).then(schema_of_lines)
}

fn prints(alter: &AlterStream) -> bool {
    matches!(alter.actions.as_slice(), [StreamAction::InferSchema])
}

/// What it is called; `None` of what changes nothing.
fn verb(kind: &Kind) -> Option<String> {
    match kind {
        Kind::Alter(alter) if prints(alter) => None,
        Kind::Create(create) => Some(format!("CREATE {}", create.word)),
        Kind::Alter(alter) => Some(format!("ALTER {}", alter.word)),
        Kind::Drop(drop) => Some(format!("DROP {}", drop.word)),
        Kind::Sequence(SequenceStatement::Create { .. }) => Some("CREATE SEQUENCE".to_owned()),
        Kind::Sequence(SequenceStatement::Alter { .. }) => Some("ALTER SEQUENCE".to_owned()),
        Kind::Sequence(SequenceStatement::Drop { .. }) => Some("DROP SEQUENCE".to_owned()),
        Kind::View(ViewStatement::Create { .. }) => Some("CREATE VIEW".to_owned()),
        Kind::View(ViewStatement::Rename { .. }) => Some("ALTER VIEW".to_owned()),
        Kind::View(ViewStatement::Drop { .. }) => Some("DROP VIEW".to_owned()),
        _ => None,
    }
}

/// Whether it changes one thing after another, all of which are to be in force at once.
fn has_steps(kind: &Kind) -> bool {
    match kind {
        Kind::Alter(alter) => !matches!(alter.actions.as_slice(), [StreamAction::Settings(_)]),
        Kind::Drop(_) | Kind::View(ViewStatement::Drop { .. }) => true,
        _ => false,
    }
}

impl Session {
    /// Executes a definition: at once, or at COMMIT where a transaction is open.
    pub(super) async fn define(&mut self, kind: Kind) -> Result<Outcome, Error> {
        if let Some(verb) = verb(&kind) {
            if self.stands_alone(&kind) {
                self.commit_implicit().await?;
            } else if self.transaction.is_none() && has_steps(&kind) {
                self.begin_implicit();
                let done = match self.begin_definitions(&verb) {
                    Ok(()) => Box::pin(self.define_now(kind)).await,
                    Err(error) => Err(error),
                };
                match done {
                    Ok(_) => self.commit_implicit().await?,
                    Err(_) => drop(self.end_transaction()),
                }
                return done;
            }
            self.begin_definitions(&verb)?;
        }
        self.define_now(kind).await
    }

    async fn define_now(&mut self, kind: Kind) -> Result<Outcome, Error> {
        match kind {
            Kind::Create(create) => Box::pin(self.create(create)).await.map(Outcome::Done),
            Kind::Alter(alter) if prints(&alter) => self.infer(&alter.name, alter.if_exists).await,
            Kind::Alter(alter) => Box::pin(self.alter(alter)).await.map(Outcome::Done),
            Kind::Drop(drop) => self.drop_streams(drop).await.map(Outcome::Done),
            Kind::Sequence(statement) => self.define_sequence(statement).await.map(Outcome::Done),
            Kind::View(statement) => self.define_view(statement).await.map(Outcome::Done),
            Kind::Needless(needless) => self.needless(needless).map(Outcome::Done),
            _ => Err(Error::internal("no definition")),
        }
    }

    /// Whether it is done at once and cannot be undone. Inside BEGIN … COMMIT it fails then.
    fn stands_alone(&self, kind: &Kind) -> bool {
        match kind {
            Kind::Alter(alter) => match alter.actions.as_slice() {
                [StreamAction::AddKey(_)] => {
                    let engine = self.sql.engine();
                    let stream = find(engine, &alter.name.name);
                    stream.is_some_and(|stream| !engine.is_new(stream.id))
                }
                [StreamAction::Settings(settings)] => settings.contains_key("cleanup.policy"),
                _ => false,
            },
            Kind::Sequence(SequenceStatement::Alter { .. }) => true,
            _ => false,
        }
    }

    fn needless(&self, needless: Needless) -> Result<Done, Error> {
        if let Some(name) = &needless.stream {
            let name = stream_name(name)?;
            find(self.sql.engine(), &name).ok_or_else(|| unknown(&name))?;
        }
        Ok(Done { notices: vec![needless.notice], ..Done::tag(needless.tag) })
    }

    async fn create(&mut self, mut create: CreateStream) -> Result<Done, Error> {
        let name = stream_name(&create.name)?;
        let notices = std::mem::take(&mut create.notices);
        let mut done = Done { notices, ..Done::tag(format!("CREATE {}", create.word)) };
        let engine = self.sql.engine().clone();
        if create.if_not_exists && find(&engine, &name).is_some() {
            done.notices.push(format!("stream \"{name}\" already exists, skipping"));
            return Ok(done);
        }
        if find(&engine, &name).is_none() && is_taken(&engine, &name) {
            return Err(taken(&name));
        }
        let mut drafts = Drafts::new(&name, |name| engine.sequence(name).is_ok());
        if let Some(filling) = &create.query {
            if !create.columns.is_empty() {
                return Err(Error::syntax("the columns of CREATE … AS come from the query"));
            }
            drafts.columns.extend(self.columns_of(filling).await?);
        }
        for new in create.columns {
            drafts.add_column(new)?;
        }
        for check in create.checks {
            drafts.add_check(check)?;
        }
        let stream = Stream {
            id: StreamId(Default::default()),
            name: name.clone(),
            mode: create.mode.unwrap_or(Mode::Append),
            partitions: Vec::new(),
            table: None,
            columns: drafts.columns,
            checks: drafts.checks,
            retired: Vec::new(),
            settings: create.settings,
            options: StreamOptions::default(),
        };
        let made: Vec<_> = drafts.sequences.iter().map(|spec| spec.name.clone()).collect();
        validate(&self.sql, &self.plan_context(), &stream, &made)?;
        let spec = StreamSpec {
            name: name.clone(),
            mode: create.mode,
            partitions: create.partitions,
            columns: stream.columns,
            checks: stream.checks,
            sequences: drafts.sequences,
            settings: stream.settings,
        };
        match engine.create_stream(spec).await {
            Ok(_) => {}
            Err(error) if error.kind == ErrorKind::AlreadyExists && create.if_not_exists => {
                done.notices.push(format!("stream \"{name}\" already exists, skipping"));
                return Ok(done);
            }
            Err(error) => return Err(error.into()),
        }
        match create.query {
            Some(filling) if filling.with_data => {
                done.tag = self.fill(&name, &filling).await?;
            }
            _ => {}
        }
        Ok(done)
    }

    /// Columns for what a query gives.
    async fn columns_of(&self, filling: &Filling) -> Result<Vec<anabranch_engine::Column>, Error> {
        match self.plan_text(&filling.query.to_string()).await? {
            Plan::Query(plan) => columns::columns_of_schema(&plan.schema, &filling.names),
            _ => Err(Error::internal("no query")),
        }
    }

    /// Plans a statement that is made here.
    async fn plan_text(&self, text: &str) -> Result<Plan, Error> {
        let statement = parse(text)?.pop().ok_or_else(|| Error::internal("no statement"))?;
        Box::pin(self.plan(&statement, &[])).await
    }

    /// Inserts what the query gives; if that fails, the stream goes.
    async fn fill(&mut self, name: &str, filling: &Filling) -> Result<String, Error> {
        let text = format!("INSERT INTO {} {}", quoted(name), filling.query);
        let filled = self.run_write(&text).await;
        match filled {
            Ok(tag) => Ok(tag.replace("INSERT 0", "SELECT")),
            Err(error) => {
                self.sql.engine().drop_stream(name).await?;
                Err(error)
            }
        }
    }

    /// Runs a statement that writes; gives its tag.
    async fn run_write(&mut self, text: &str) -> Result<String, Error> {
        let Plan::Write(plan) = self.plan_text(text).await? else {
            return Err(Error::internal("a statement that writes nothing"));
        };
        match Box::pin(self.write(plan, Vec::new())).await? {
            Outcome::Done(done) => Ok(done.tag),
            _ => Err(Error::internal("a statement without rows gave some")),
        }
    }

    async fn infer(&self, name: &Name, if_exists: bool) -> Result<Outcome, Error> {
        let name = stream_name(name)?;
        let Some(stream) = find(self.sql.engine(), &name) else {
            if if_exists {
                let notices = vec![format!("stream \"{name}\" does not exist, skipping")];
                return Ok(Outcome::Done(Done { notices, ..Done::tag("ALTER STREAM") }));
            }
            return Err(unknown(&name));
        };
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
        let mut done = Done::tag(format!("DROP {}", drop.word));
        let mut names = drop.names.iter().map(stream_name).collect::<Result<BTreeSet<_>, _>>()?;
        let engine = self.sql.engine();
        let catalog = engine.catalog();
        for name in &names {
            if catalog.view(name).is_some() {
                let message = format!("\"{name}\" is not a table");
                return Err(Error::new(sqlstate::WRONG_OBJECT_TYPE, message)
                    .hint("use DROP VIEW to remove a view"));
            }
            if find(engine, name).is_none() && !drop.if_exists {
                return Err(unknown(name));
            }
        }
        names.retain(|name| {
            let exists = find(engine, name).is_some();
            if !exists {
                done.notices.push(format!("stream \"{name}\" does not exist, skipping"));
            }
            exists
        });
        self.drop_dependents(&names, "stream", drop.cascade, &mut done).await?;
        for name in names {
            engine.drop_stream(&name).await?;
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

fn taken(name: &str) -> Error {
    Error::new(sqlstate::DUPLICATE_TABLE, format!("relation \"{name}\" already exists"))
}
