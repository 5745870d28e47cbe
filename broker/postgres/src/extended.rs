//! The extended protocol: prepared statements and portals (PostgreSQL 15, 55.2.3).

use crate::connection::{Connection, Failure, Sending, undisturbed};
use crate::encode::Format;
use crate::limits::{PORTALS_MAX, PREPARED_MAX};
use crate::parameters;
use crate::types::{hint, of_catalogue, of_data_type};
use crate::wire::{Bind, Target};
use anabranch_query::{Outcome, Prepared, SqlError, parse, sqlstate};
use datafusion::scalar::ScalarValue;
use std::sync::Arc;

/// A prepared statement; `None` of an empty text.
pub(crate) struct Stored {
    prepared: Option<Arc<Prepared>>,
    /// Types that the client named, by parameter; 0 for "find out".
    oids: Vec<u32>,
}

/// A statement with its parameters bound.
pub(crate) struct Portal {
    prepared: Option<Arc<Prepared>>,
    parameters: Vec<ScalarValue>,
    formats: Vec<Format>,
    state: State,
}

enum State {
    New,
    Sending(Sending),
    /// The rows are a cursor of the session, by the portal's name.
    Cursor(&'static str),
    Done,
}

impl Connection {
    pub(crate) async fn parse(
        &mut self,
        name: String,
        text: &str,
        oids: Vec<u32>,
    ) -> Result<(), Failure> {
        if !name.is_empty() && self.statements.contains_key(&name) {
            return Err(SqlError::new(
                "42P05",
                format!("prepared statement \"{name}\" already exists"),
            )
            .into());
        }
        if self.statements.len() >= PREPARED_MAX {
            return Err(too_many("prepared statements", PREPARED_MAX));
        }
        let mut statements = parse(text)?;
        if statements.len() > 1 {
            return Err(SqlError::syntax(
                "cannot insert multiple commands into a prepared statement",
            )
            .into());
        }
        let prepared = match statements.pop() {
            None => None,
            Some(statement) => {
                let hints = oids.iter().map(|oid| hint(*oid)).collect();
                let cancel = self.begin();
                let (socket, shared, session) = self.parts();
                let preparing = session.prepare(statement, hints);
                Some(Arc::new(undisturbed(socket, shared, &cancel, preparing).await?))
            }
        };
        self.statements.insert(name, Stored { prepared, oids });
        self.out.parse_complete();
        Ok(())
    }

    pub(crate) fn bind(&mut self, bind: Bind) -> Result<(), Failure> {
        let stored =
            self.statements.get(&bind.statement).ok_or_else(|| unknown(&bind.statement))?;
        if self.portals.len() >= PORTALS_MAX {
            return Err(too_many("portals", PORTALS_MAX));
        }
        let exists = self.portals.contains_key(&bind.portal)
            || self.session.cursor_schema(&bind.portal).is_some();
        if !bind.portal.is_empty() && exists {
            return Err(SqlError::new(
                "42P03",
                format!("cursor \"{}\" already exists", bind.portal),
            )
            .into());
        }
        let expected = stored.prepared.as_ref().map_or(0, |prepared| prepared.parameters().len());
        if bind.parameters.len() != expected {
            return Err(SqlError::new(
                "08P01",
                format!(
                    "bind message supplies {} parameters, but prepared statement \"{}\" requires \
                     {expected}",
                    bind.parameters.len(),
                    bind.statement
                ),
            )
            .into());
        }
        let parameters = match &stored.prepared {
            None => Vec::new(),
            Some(prepared) => values(prepared, &stored.oids, &bind)?,
        };
        let columns = stored
            .prepared
            .as_ref()
            .and_then(|prepared| prepared.schema())
            .map_or(0, |schema| schema.fields().len());
        let formats = (0..columns)
            .map(|number| format_of(&bind.result_formats, number).map(Format::from_code))
            .collect::<Result<_, SqlError>>()?;
        let portal =
            Portal { prepared: stored.prepared.clone(), parameters, formats, state: State::New };
        self.portals.insert(bind.portal, portal);
        self.out.bind_complete();
        Ok(())
    }

    pub(crate) fn describe(&mut self, target: &Target) -> Result<(), Failure> {
        let (prepared, formats) = match target {
            Target::Statement(name) => {
                let stored = self.statements.get(name).ok_or_else(|| unknown(name))?;
                self.out.parameter_description(stored.parameter_oids());
                (stored.prepared.clone(), None)
            }
            // Cursors that were declared by a statement are portals, too.
            Target::Portal(name) if !self.portals.contains_key(name) => {
                let schema =
                    self.session.cursor_schema(name).ok_or_else(|| unknown_portal(name))?;
                let formats = vec![Format::Text; schema.fields().len()];
                self.out.row_description(&schema, &formats, false);
                return Ok(());
            }
            Target::Portal(name) => {
                let portal = self.portals.get(name).ok_or_else(|| unknown_portal(name))?;
                (portal.prepared.clone(), Some(portal.formats.clone()))
            }
        };
        match prepared.as_ref().and_then(|prepared| prepared.schema()) {
            None => self.out.no_data(),
            Some(schema) => {
                let formats = formats.unwrap_or_else(|| vec![Format::Text; schema.fields().len()]);
                let has_oids = prepared.as_ref().is_some_and(|prepared| prepared.has_oids());
                self.out.row_description(schema, &formats, has_oids);
            }
        }
        Ok(())
    }

    pub(crate) async fn execute(&mut self, name: &str, rows_max: i32) -> Result<(), Failure> {
        // The portal is put back unless it fails: then it is of no more use.
        let mut portal = self.portals.remove(name).ok_or_else(|| unknown_portal(name))?;
        // What is executed before one Sync is one transaction. A statement that is alone is not
        // made one of its own: it is tried again if somebody writes its keys meanwhile.
        let writes = portal.prepared.as_ref().is_some_and(|prepared| prepared.writes());
        if writes && !self.session.is_in_transaction() && !self.syncs_next().await? {
            self.session.begin_implicit();
        }
        self.execute_portal(name, &mut portal, rows_max).await?;
        self.portals.insert(name.to_owned(), portal);
        Ok(())
    }

    async fn execute_portal(
        &mut self,
        name: &str,
        portal: &mut Portal,
        rows_max: i32,
    ) -> Result<(), Failure> {
        let Some(prepared) = &mut portal.prepared else {
            self.out.empty_query();
            return Ok(());
        };
        let cancel = self.begin();
        if matches!(portal.state, State::New) {
            let before = prepared.clone();
            self.forget(before.statement());
            let (socket, shared, session) = self.parts();
            let executing = session.execute(prepared, portal.parameters.clone());
            let outcome = undisturbed(socket, shared, &cancel, executing).await?;
            self.keep_fresh(&before, prepared);
            match outcome {
                Outcome::Done(done) => {
                    portal.state = State::Done;
                    self.done(done);
                    return Ok(());
                }
                Outcome::CopyOut(copy) => {
                    portal.state = State::Done;
                    return self.copy_out(copy, &cancel).await;
                }
                Outcome::CopyIn(copy) => {
                    portal.state = State::Done;
                    return self.copy_in(copy, &cancel).await;
                }
                // Of an unnamed one, and of one that ends with this Sync, nobody else can say.
                Outcome::Rows(rows, verb)
                    if !name.is_empty() && self.session.is_in_transaction_block() =>
                {
                    self.session.open_portal(name, rows)?;
                    portal.state = State::Cursor(verb);
                }
                Outcome::Rows(rows, verb) => {
                    portal.state = State::Sending(Sending::new(rows, portal.formats.clone(), verb));
                }
            }
        }
        // Zero, and what is below, is no limit. Nothing is allocated for the number.
        let rows_max = u64::try_from(rows_max).ok().filter(|max| *max > 0).unwrap_or(u64::MAX);
        match &mut portal.state {
            State::Sending(sending) => {
                if self.send(sending, rows_max, &cancel).await? {
                    self.out.complete(sending.tag());
                    portal.state = State::Done;
                } else {
                    self.out.suspended();
                }
            }
            State::Cursor(verb) => {
                let rows = self.session.portal_rows(name, rows_max)?;
                let mut sending = Sending::new(rows, portal.formats.clone(), verb);
                self.send(&mut sending, u64::MAX, &cancel).await?;
                // As PostgreSQL does it: where the last row was asked for, too.
                match sending.has_sent(rows_max) {
                    true => self.out.suspended(),
                    false => self.out.complete(sending.tag()),
                }
            }
            // PostgreSQL 15, pquery.c: a portal that ran to its end gives no more rows.
            State::New | State::Done => self.out.complete("SELECT 0".to_owned()),
        }
        Ok(())
    }

    /// A statement that was planned again, since the catalog had changed, stays so.
    fn keep_fresh(&mut self, before: &Arc<Prepared>, now: &Arc<Prepared>) {
        if Arc::ptr_eq(before, now) {
            return;
        }
        for stored in self.statements.values_mut() {
            if stored.prepared.as_ref().is_some_and(|prepared| Arc::ptr_eq(prepared, before)) {
                stored.prepared = Some(now.clone());
            }
        }
    }

    /// Closing what does not exist is no error.
    pub(crate) fn close(&mut self, target: &Target) {
        match target {
            Target::Statement(name) => {
                self.statements.remove(name);
            }
            Target::Portal(name) => {
                self.portals.remove(name);
                self.session.close_portal(name);
            }
        }
        self.out.close_complete();
    }
}

impl Stored {
    fn parameter_oids(&self) -> Vec<u32> {
        let Some(prepared) = &self.prepared else {
            return Vec::new();
        };
        prepared
            .parameters()
            .iter()
            .enumerate()
            .map(|(number, data_type)| match self.oids.get(number) {
                Some(oid) if *oid != 0 => *oid,
                _ if prepared.has_oids() => of_catalogue(of_data_type(data_type)).oid(),
                _ => of_data_type(data_type).oid(),
            })
            .collect()
    }
}

fn values(prepared: &Prepared, oids: &[u32], bind: &Bind) -> Result<Vec<ScalarValue>, SqlError> {
    prepared
        .parameters()
        .iter()
        .zip(&bind.parameters)
        .enumerate()
        .map(|(number, (data_type, bytes))| {
            let of = parameters::wire_type(oids.get(number).copied(), data_type);
            let format = format_of(&bind.parameter_formats, number)?;
            parameters::value(number + 1, bytes.as_deref(), &of, format == 1)
        })
        .collect()
}

/// The format of number `number`: none given is text, one is for all.
fn format_of(formats: &[i16], number: usize) -> Result<i16, SqlError> {
    match formats {
        [] => Ok(0),
        [one] => Ok(*one),
        each => each.get(number).copied().ok_or_else(|| {
            SqlError::new("08P01", "the number of format codes does not match the message")
        }),
    }
}

fn unknown(name: &str) -> Failure {
    let message = match name {
        "" => "unnamed prepared statement does not exist".to_owned(),
        name => format!("prepared statement \"{name}\" does not exist"),
    };
    SqlError::new("26000", message).into()
}

fn unknown_portal(name: &str) -> Failure {
    SqlError::new("34000", format!("portal \"{name}\" does not exist")).into()
}

fn too_many(what: &str, max: usize) -> Failure {
    SqlError::new(
        sqlstate::PROGRAM_LIMIT_EXCEEDED,
        format!("a connection can have at most {max} {what}"),
    )
    .hint("close those that are no longer used")
    .into()
}
