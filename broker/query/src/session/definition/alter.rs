//! ALTER STREAM.

use super::columns::{Drafts, columns_of};
use super::{Done, Session, stream_name, unknown};
use crate::catalog::{find, is_taken};
use crate::error::{Error, sqlstate};
use crate::statement::{AlterStream, NewCheck, NewColumn, Retyped, StreamAction, folded, quoted};
use crate::write::{missing_value, parsed, validate};
use anabranch_engine::{
    Check, Column, ColumnType, Definition, Filled, SequenceChange, Stream, StreamChange,
};
use datafusion::sql::sqlparser::ast::{self, Ident, VisitMut, VisitorMut};
use std::ops::ControlFlow;
use std::sync::Arc;

/// A stream as it is going to be.
struct Altered<'a> {
    seen: Arc<Stream>,
    drafts: Drafts<'a>,
    retired: Vec<String>,
    /// Columns whose sequences go.
    dropped: Vec<String>,
    /// From, to.
    renamed: Vec<(String, String)>,
    notices: Vec<String>,
    /// What rows that there are must not be.
    refused: Vec<Refused>,
    retyped: Vec<Retyped>,
    /// New columns for which rows that there are may need a value.
    added: Vec<String>,
}

/// A condition that no row may hold, and the error if one does.
struct Refused {
    condition: String,
    error: Error,
}

impl Session {
    pub(super) async fn alter(&mut self, alter: AlterStream) -> Result<Done, Error> {
        let name = stream_name(&alter.name)?;
        let tag = format!("ALTER {}", alter.word);
        let mut done = Done { notices: alter.notices, ..Done::tag(tag) };
        let engine = self.sql.engine().clone();
        let Some(stream) = find(&engine, &name) else {
            if alter.if_exists {
                done.notices.push(format!("stream \"{name}\" does not exist, skipping"));
                return Ok(done);
            }
            return Err(unknown(&name));
        };
        match alter.actions.as_slice() {
            [StreamAction::Settings(settings)] => {
                engine.alter_stream(&name, StreamChange::Settings(settings.clone())).await?;
                return Ok(done);
            }
            [StreamAction::Rename(new)] => {
                if is_taken(&engine, new) {
                    return Err(super::taken(new));
                }
                self.refuse_dependents(&name, "stream")?;
                engine.alter_stream(&name, StreamChange::Rename(new.clone())).await?;
                return Ok(done);
            }
            [StreamAction::AddKey(key)] => {
                done.notices.extend(Box::pin(self.add_key(stream, key)).await?);
                return Ok(done);
            }
            _ => {}
        }
        let mut drafts = Drafts::new(&name, |name| engine.sequence(name).is_ok());
        drafts.columns.clone_from(&stream.columns);
        drafts.checks.clone_from(&stream.checks);
        let mut altered = Altered {
            retired: stream.retired.clone(),
            seen: stream,
            drafts,
            dropped: Vec::new(),
            renamed: Vec::new(),
            notices: Vec::new(),
            refused: Vec::new(),
            retyped: Vec::new(),
            added: Vec::new(),
        };
        let cascades =
            |action: &_| matches!(action, StreamAction::DropColumn { cascade: true, .. });
        let cascade = alter.actions.iter().any(cascades);
        for action in alter.actions {
            altered.apply(action)?;
        }
        let made: Vec<_> = altered.drafts.sequences.iter().map(|spec| spec.name.clone()).collect();
        let context = self.plan_context();
        let next = altered.stream();
        validate(&self.sql, &context, &next, &made)?;
        for name in &altered.added {
            let Some(column) = next.columns.iter().find(|column| &column.name == name) else {
                continue;
            };
            let missing = missing_value(&self.sql, &context, &next, column)?;
            let missing = missing.filter(|json| json != "null");
            if missing.is_none() && (column.not_null || column.filled.is_some()) {
                self.check_added(&next, column, &mut altered.notices).await?;
            }
            let columns = &mut altered.drafts.columns;
            if let Some(column) = columns.iter_mut().find(|column| &column.name == name) {
                column.missing = missing;
            }
        }
        for refused in &altered.refused {
            if self.any_row(&altered.seen.name, &refused.condition).await? {
                return Err(refused.error.clone());
            }
        }
        for retyped in altered.retyped.iter().filter(|retyped| !retyped.misfits_are_null) {
            self.check_fit(&next, retyped).await?;
        }
        let owned = altered.renamed_sequences(&engine);
        let definition = altered.definition(&mut done.notices);
        engine.alter_stream(&name, StreamChange::Define(Box::new(definition))).await?;
        for (sequence, column) in owned {
            engine.change_sequence(&sequence, SequenceChange::RenameColumn(column)).await?;
        }
        self.check_views(&name, cascade, &mut done).await?;
        Ok(done)
    }

    /// Rows that there are have no value of a new column that computes one for each row.
    async fn check_added(
        &self,
        stream: &Stream,
        column: &Column,
        notices: &mut Vec<String>,
    ) -> Result<(), Error> {
        if !self.any_row(&stream.name, "true").await? {
            return Ok(());
        }
        let name = &column.name;
        if column.not_null {
            return Err(contains_nulls(&stream.name, name).hint(
                "ADD COLUMN without NOT NULL (and with nextval as its DEFAULT), UPDATE … SET it, \
                 then ALTER COLUMN … SET NOT NULL",
            ));
        }
        notices.push(format!(
            "column \"{name}\" is null in rows that there are: UPDATE … SET {name} = DEFAULT \
             fills it"
        ));
        Ok(())
    }
}

fn contains_nulls(stream: &str, column: &str) -> Error {
    Error::new(
        sqlstate::NOT_NULL_VIOLATION,
        format!("column \"{column}\" of relation \"{stream}\" contains null values"),
    )
}

impl Altered<'_> {
    fn apply(&mut self, action: StreamAction) -> Result<(), Error> {
        match action {
            StreamAction::AddColumn(new, may_exist) => self.add_column(*new, may_exist),
            StreamAction::DropColumn { name, if_exists, cascade } => {
                self.drop_column(&name, if_exists, cascade)
            }
            StreamAction::RenameColumn(from, to) => self.rename_column(&from, to),
            StreamAction::SetDefault(name, expr) => {
                let column = self.column_with_default(&name)?;
                column.filled = Some(Filled::Default(expr.to_string()));
                Ok(())
            }
            StreamAction::DropDefault(name) => {
                self.column_with_default(&name)?.filled = None;
                Ok(())
            }
            StreamAction::SetNotNull(name) => {
                let error = contains_nulls(&self.seen.name, &name);
                let column = self.column(&name)?;
                column.not_null = true;
                let condition = format!("{} IS NULL", quoted(&name));
                self.refused.push(Refused { condition, error });
                Ok(())
            }
            StreamAction::DropNotNull(name) => self.drop_not_null(&name),
            StreamAction::SetType(retyped) => self.retype(retyped),
            StreamAction::AddCheck(check) => self.add_check(check),
            StreamAction::DropConstraint(name, if_exists) => self.drop_check(&name, if_exists),
            StreamAction::RenameConstraint(from, to) => {
                self.check(&from)?.name = to;
                Ok(())
            }
            StreamAction::Rename(_)
            | StreamAction::Settings(_)
            | StreamAction::AddKey(_)
            | StreamAction::InferSchema => Err(Error::syntax(
                "RENAME, SET, RESET, ADD PRIMARY KEY and INFER SCHEMA stand alone",
            )),
        }
    }

    fn missing(&self, column: &str) -> Error {
        Error::new(
            sqlstate::UNDEFINED_COLUMN,
            format!("column \"{column}\" of relation \"{}\" does not exist", self.seen.name),
        )
    }

    fn column(&mut self, name: &str) -> Result<&mut Column, Error> {
        let missing = self.missing(name);
        let mut columns = self.drafts.columns.iter_mut();
        columns.find(|column| column.name == name).ok_or(missing)
    }

    fn column_with_default(&mut self, name: &str) -> Result<&mut Column, Error> {
        let stream = self.seen.name.clone();
        let column = self.column(name)?;
        let what = match column.filled {
            Some(Filled::Generated(_)) => "a generated column",
            Some(Filled::Identity { .. }) => "an identity column",
            _ => return Ok(column),
        };
        Err(Error::syntax(format!("column \"{name}\" of relation \"{stream}\" is {what}")))
    }

    fn check(&mut self, name: &str) -> Result<&mut Check, Error> {
        let stream = self.seen.name.clone();
        let mut checks = self.drafts.checks.iter_mut();
        checks.find(|check| check.name == name).ok_or_else(|| {
            Error::new(
                sqlstate::UNDEFINED_OBJECT,
                format!("constraint \"{name}\" of relation \"{stream}\" does not exist"),
            )
        })
    }

    fn exists(&self, name: &str) -> bool {
        self.drafts.columns.iter().any(|column| column.name == name)
    }

    fn duplicate(&self, name: &str) -> Error {
        let stream = &self.seen.name;
        Error::new(
            sqlstate::DUPLICATE_COLUMN,
            format!("column \"{name}\" of stream \"{stream}\" already exists"),
        )
    }

    fn add_column(&mut self, mut new: NewColumn, may_exist: bool) -> Result<(), Error> {
        let name = new.column.name.clone();
        if self.exists(&name) {
            if !may_exist {
                return Err(self.duplicate(&name));
            }
            self.notices.push(format!("column \"{name}\" already exists, skipping"));
            return Ok(());
        }
        let is_used = |field: &str| {
            self.retired.iter().any(|retired| retired == field)
                || self.drafts.columns.iter().any(|column| column.field() == field)
        };
        if is_used(&name) {
            let mut number = 2;
            while is_used(&format!("{name}_{number}")) {
                number += 1;
            }
            let field = format!("{name}_{number}");
            self.notices.push(format!(
                "events have values of another column in the field \"{name}\": column \"{name}\" \
                 is their field \"{field}\""
            ));
            new.column.field = Some(field);
        }
        self.drafts.add_column(new)?;
        self.added.push(name);
        Ok(())
    }

    fn drop_column(&mut self, name: &str, if_exists: bool, cascade: bool) -> Result<(), Error> {
        if !self.exists(name) {
            if !if_exists {
                return Err(self.missing(name));
            }
            self.notices.push(format!("column \"{name}\" does not exist, skipping"));
            return Ok(());
        }
        if self.column(name)?.in_key {
            return Err(Error::unsupported(format!(
                "column \"{name}\" is part of the primary key, which stays as it is"
            ))
            .hint("create another stream and INSERT INTO it SELECT from this one"));
        }
        let columns = self.drafts.columns.clone();
        for other in columns.iter().filter(|other| other.name != name) {
            if let Some(Filled::Generated(text)) = &other.filled
                && columns_of(&parsed(text)?, &columns).contains(name)
            {
                if !cascade {
                    return Err(Error::new(
                        sqlstate::DEPENDENT_OBJECTS,
                        format!(
                            "cannot drop column {name} of stream {} because column {} depends on it",
                            self.seen.name, other.name
                        ),
                    )
                    .hint("use DROP … CASCADE to drop the dependent columns too"));
                }
                self.drop_column(&other.name, true, true)?;
            }
        }
        // As in PostgreSQL, constraints that name the column go with it.
        let mut kept = Vec::new();
        for check in std::mem::take(&mut self.drafts.checks) {
            if !columns_of(&parsed(&check.expression)?, &columns).contains(name) {
                kept.push(check);
            }
        }
        self.drafts.checks = kept;
        let field = self.column(name)?.field().to_owned();
        if !self.retired.contains(&field) {
            self.retired.push(field);
        }
        self.drafts.columns.retain(|column| column.name != name);
        self.dropped.push(name.to_owned());
        Ok(())
    }

    fn rename_column(&mut self, from: &str, to: String) -> Result<(), Error> {
        if self.exists(&to) {
            return Err(self.duplicate(&to));
        }
        let column = self.column(from)?;
        let field = column.field().to_owned();
        column.name.clone_from(&to);
        column.field = (field != to).then_some(field);
        for column in &mut self.drafts.columns {
            if let Some(Filled::Generated(text)) = &mut column.filled {
                *text = renamed(text, from, &to)?;
            }
        }
        for check in &mut self.drafts.checks {
            check.expression = renamed(&check.expression, from, &to)?;
        }
        self.renamed.push((from.to_owned(), to));
        Ok(())
    }

    fn drop_not_null(&mut self, name: &str) -> Result<(), Error> {
        let stream = self.seen.name.clone();
        let column = self.column(name)?;
        if matches!(column.filled, Some(Filled::Identity { .. })) {
            return Err(Error::syntax(format!(
                "column \"{name}\" of relation \"{stream}\" is an identity column"
            )));
        }
        if column.in_key {
            return Err(Error::new(
                sqlstate::INVALID_TABLE_DEFINITION,
                format!("column \"{name}\" is in a primary key"),
            ));
        }
        column.not_null = false;
        Ok(())
    }

    fn retype(&mut self, retyped: Retyped) -> Result<(), Error> {
        let column = self.column(&retyped.column)?;
        if column.in_key && retyped.data_type != column.data_type {
            return Err(Error::unsupported(format!(
                "column \"{}\" is part of the primary key: its type is how keys are written",
                retyped.column
            ))
            .hint("create another stream and INSERT INTO it SELECT from this one"));
        }
        let is_text = column.data_type == ColumnType::Text;
        column.data_type = retyped.data_type;
        column.length = retyped.length;
        match retyped.length {
            Some(length) if is_text && !retyped.misfits_are_null => {
                let name = quoted(&retyped.column);
                let kind = if length.is_fixed { "character" } else { "character varying" };
                let condition = format!("char_length({name}) > {}", length.max);
                let message = format!("value too long for type {kind}({})", length.max);
                self.refused.push(Refused { condition, error: Error::new("22001", message) });
            }
            _ => self.retyped.push(retyped),
        }
        Ok(())
    }

    fn add_check(&mut self, check: NewCheck) -> Result<(), Error> {
        let condition = format!("NOT ({})", check.expression);
        let looks = !check.is_not_valid;
        self.drafts.add_check(check)?;
        if let (true, Some(check)) = (looks, self.drafts.checks.last()) {
            let message = format!(
                "check constraint \"{}\" of relation \"{}\" is violated by some row",
                check.name, self.seen.name
            );
            self.refused.push(Refused { condition, error: Error::new("23514", message) });
        }
        Ok(())
    }

    fn drop_check(&mut self, name: &str, if_exists: bool) -> Result<(), Error> {
        if name == format!("{}_pkey", self.seen.name) && self.seen.key_columns().next().is_some() {
            return Err(Error::unsupported("a primary key cannot be dropped")
                .hint("create another stream and INSERT INTO it SELECT from this one"));
        }
        match self.check(name) {
            Err(_) if if_exists => {
                self.notices.push(format!("constraint \"{name}\" does not exist, skipping"));
            }
            found => {
                found?;
                self.drafts.checks.retain(|check| check.name != name);
            }
        }
        Ok(())
    }

    /// The stream as it is going to be.
    fn stream(&self) -> Stream {
        Stream {
            columns: self.drafts.columns.clone(),
            checks: self.drafts.checks.clone(),
            ..Stream::clone(&self.seen)
        }
    }

    /// Sequences that go with a column that has another name now, and that name.
    fn renamed_sequences(&self, engine: &anabranch_engine::Session) -> Vec<(String, String)> {
        let mut found = Vec::new();
        for (from, to) in &self.renamed {
            for one in engine.sequences() {
                let owner = one.sequence.owner.as_ref();
                let owned = owner
                    .is_some_and(|owner| owner.stream == self.seen.id && &owner.column == from);
                if owned {
                    found.push((one.sequence.spec.name.clone(), to.clone()));
                }
            }
        }
        found
    }

    fn definition(self, notices: &mut Vec<String>) -> Definition {
        notices.extend(self.notices);
        Definition {
            seen: self.seen,
            columns: self.drafts.columns,
            checks: self.drafts.checks,
            retired: self.retired,
            sequences: self.drafts.sequences,
            dropped: self.dropped,
        }
    }
}

/// An expression with another name for a column.
fn renamed(text: &str, from: &str, to: &str) -> Result<String, Error> {
    struct Rename<'a> {
        from: &'a str,
        to: &'a str,
    }
    impl VisitorMut for Rename<'_> {
        type Break = ();
        fn pre_visit_expr(&mut self, expr: &mut ast::Expr) -> ControlFlow<()> {
            if let ast::Expr::Identifier(ident) = expr
                && folded(ident) == self.from
            {
                *ident = Ident::with_quote('"', self.to);
            }
            ControlFlow::Continue(())
        }
    }
    let mut expr = parsed(text)?;
    let _ = expr.visit(&mut Rename { from, to });
    Ok(expr.to_string())
}
