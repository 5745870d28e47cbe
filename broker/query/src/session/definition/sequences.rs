//! CREATE, ALTER and DROP SEQUENCE.

use super::{Done, Session, stream_name, taken, unknown};
use crate::catalog::{find, is_taken, streams_of};
use crate::error::{Error, sqlstate};
use crate::sequences::relation_name;
use crate::statement::{Name, SequenceOptions, SequenceStatement, next_value_of};
use crate::write::parsed;
use anabranch_engine::{
    Column, ColumnType, ErrorKind, Filled, SequenceChange, SequenceOwner, SequenceSpec,
};
use datafusion::sql::sqlparser::ast::visit_expressions;
use std::ops::ControlFlow;

impl Session {
    pub(super) async fn define_sequence(
        &self,
        statement: SequenceStatement,
    ) -> Result<Done, Error> {
        match statement {
            SequenceStatement::Create { name, if_not_exists, options } => {
                self.create_sequence(&name, if_not_exists, &options).await
            }
            SequenceStatement::Alter { name, if_exists, options } => {
                self.alter_sequence(&name, if_exists, &options).await
            }
            SequenceStatement::Drop { names, if_exists } => {
                self.drop_sequences(&names, if_exists).await
            }
        }
    }

    async fn create_sequence(
        &self,
        name: &Name,
        if_not_exists: bool,
        options: &SequenceOptions,
    ) -> Result<Done, Error> {
        let engine = self.sql.engine();
        let name = stream_name(name)?;
        let mut done = Done::tag("CREATE SEQUENCE");
        if is_taken(engine, &name) {
            if if_not_exists {
                done.notices.push(format!("relation \"{name}\" already exists, skipping"));
                return Ok(done);
            }
            return Err(taken(&name));
        }
        let owner = options.owned_by.as_ref().map(|owner| self.owner(owner)).transpose()?;
        let data_type = options.data_type.unwrap_or(ColumnType::Bigint);
        engine.create_sequence(spec_of(&name, options, data_type)?).await?;
        if let Some(Some(owner)) = owner {
            engine.change_sequence(&name, SequenceChange::Own(Some(owner))).await?;
        }
        Ok(done)
    }

    async fn alter_sequence(
        &self,
        name: &Name,
        if_exists: bool,
        options: &SequenceOptions,
    ) -> Result<Done, Error> {
        let engine = self.sql.engine();
        let name = stream_name(name)?;
        let mut done = Done::tag("ALTER SEQUENCE");
        let sequence = match engine.sequence(&name) {
            Err(error) if error.kind == ErrorKind::NotFound && if_exists => {
                done.notices.push(format!("relation \"{name}\" does not exist, skipping"));
                return Ok(done);
            }
            found => found?,
        };
        let owner = options.owned_by.as_ref().map(|owner| self.owner(owner)).transpose()?;
        let merged = merged(&sequence.spec, options);
        let spec = spec_of(&name, &merged, options.data_type.unwrap_or(sequence.spec.data_type))?;
        let restart = options.restart.map(|value| value.unwrap_or(spec.start));
        if let Some(value) = restart
            && !(spec.min..=spec.max).contains(&value)
        {
            let (side, end) = match value < spec.min {
                true => ("less than MINVALUE", spec.min),
                false => ("greater than MAXVALUE", spec.max),
            };
            return Err(invalid(format!("RESTART value ({value}) cannot be {side} ({end})")));
        }
        engine.change_sequence(&name, SequenceChange::Count(Box::new(spec), restart)).await?;
        if let Some(owner) = owner {
            engine.change_sequence(&name, SequenceChange::Own(owner)).await?;
        }
        Ok(done)
    }

    fn owner(&self, owner: &Option<(Name, String)>) -> Result<Option<SequenceOwner>, Error> {
        let Some((stream, column)) = owner else { return Ok(None) };
        let name = stream_name(stream)?;
        let stream = find(self.sql.engine(), &name).ok_or_else(|| unknown(&name))?;
        if stream.columns.iter().all(|other| &other.name != column) {
            return Err(Error::new(
                sqlstate::UNDEFINED_COLUMN,
                format!("column \"{column}\" of relation \"{name}\" does not exist"),
            ));
        }
        Ok(Some(SequenceOwner { stream: stream.id, column: column.clone() }))
    }

    async fn drop_sequences(&self, names: &[Name], if_exists: bool) -> Result<Done, Error> {
        let engine = self.sql.engine();
        let mut done = Done::tag("DROP SEQUENCE");
        for name in names {
            let name = stream_name(name)?;
            match engine.sequence(&name) {
                Err(error) if error.kind == ErrorKind::NotFound && if_exists => {
                    done.notices.push(format!("sequence \"{name}\" does not exist, skipping"));
                    continue;
                }
                found => found?,
            };
            for stream in streams_of(engine) {
                if let Some(column) = stream.columns.iter().find(|column| uses(column, &name)) {
                    return Err(Error::new(
                        sqlstate::DEPENDENT_OBJECTS,
                        format!(
                            "cannot drop sequence {name} because other objects depend on it: \
                             column {} of stream {}",
                            column.name, stream.name
                        ),
                    )
                    .hint("ALTER STREAM … ALTER COLUMN … DROP DEFAULT, or drop the column"));
                }
            }
            engine.drop_sequence(&name).await?;
        }
        Ok(done)
    }
}

/// Whether a column's values come from the sequence.
pub(super) fn uses(column: &Column, name: &str) -> bool {
    match &column.filled {
        Some(Filled::Identity { sequence, .. }) => sequence == name,
        Some(Filled::Default(text)) => {
            let Ok(expr) = parsed(text) else { return false };
            let found = visit_expressions(&expr, |expr| match next_value_of(expr) {
                Some(of) if relation_name(&of) == name => ControlFlow::Break(()),
                _ => ControlFlow::Continue(()),
            });
            found.is_break()
        }
        _ => false,
    }
}

fn invalid(message: String) -> Error {
    Error::new(sqlstate::INVALID_PARAMETER, message)
}

/// What a sequence counts by, with what is to be changed of it.
fn merged(spec: &SequenceSpec, options: &SequenceOptions) -> SequenceOptions {
    let (least, greatest) = bounds(spec.data_type);
    let is_retyped = options.data_type.is_some_and(|data_type| data_type != spec.data_type);
    // A bound that the old type set goes with it.
    let kept = |bound: i64, of_type: i64| match is_retyped && bound == of_type {
        true => None,
        false => Some(Some(bound)),
    };
    SequenceOptions {
        start: options.start.or(Some(spec.start)),
        increment: options.increment.or(Some(spec.increment)),
        min: options.min.or(kept(spec.min, least)),
        max: options.max.or(kept(spec.max, greatest)),
        cache: options.cache.or(Some(spec.cache)),
        cycle: options.cycle.or(Some(spec.cycle)),
        ..SequenceOptions::default()
    }
}

fn bounds(data_type: ColumnType) -> (i64, i64) {
    match data_type {
        ColumnType::Smallint => (i64::from(i16::MIN), i64::from(i16::MAX)),
        ColumnType::Integer => (i64::from(i32::MIN), i64::from(i32::MAX)),
        _ => (i64::MIN, i64::MAX),
    }
}

/// How a sequence counts, with PostgreSQL's defaults (PostgreSQL 15, CREATE SEQUENCE).
pub(super) fn spec_of(
    name: &str,
    options: &SequenceOptions,
    data_type: ColumnType,
) -> Result<SequenceSpec, Error> {
    let (least, greatest) = bounds(data_type);
    let increment = options.increment.unwrap_or(1);
    if increment == 0 {
        return Err(invalid("INCREMENT must not be zero".to_owned()));
    }
    let (min_default, max_default) = if increment > 0 { (1, greatest) } else { (least, -1) };
    let min = options.min.flatten().unwrap_or(min_default);
    let max = options.max.flatten().unwrap_or(max_default);
    let type_name = match data_type {
        ColumnType::Smallint => "smallint",
        ColumnType::Integer => "integer",
        _ => "bigint",
    };
    for (word, bound) in [("MINVALUE", min), ("MAXVALUE", max)] {
        if !(least..=greatest).contains(&bound) {
            return Err(invalid(format!(
                "{word} ({bound}) is out of range for sequence data type {type_name}"
            )));
        }
    }
    if min >= max {
        return Err(invalid(format!("MINVALUE ({min}) must be less than MAXVALUE ({max})")));
    }
    let start = options.start.unwrap_or(if increment > 0 { min } else { max });
    if start < min {
        return Err(invalid(format!("START value ({start}) cannot be less than MINVALUE ({min})")));
    }
    if start > max {
        return Err(invalid(format!(
            "START value ({start}) cannot be greater than MAXVALUE ({max})"
        )));
    }
    let cache = options.cache.unwrap_or(1);
    if cache < 1 {
        return Err(invalid(format!("CACHE ({cache}) must be greater than zero")));
    }
    let cycle = options.cycle.unwrap_or(false);
    let (name, column) = (name.to_owned(), None);
    Ok(SequenceSpec { name, data_type, start, increment, min, max, cache, cycle, column })
}
