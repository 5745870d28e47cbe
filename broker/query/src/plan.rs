//! From a query's syntax to a plan that can be run again and again.

mod lock;
mod point;
#[cfg(test)]
mod tests;

pub(crate) use lock::LockPlan;
pub(crate) use point::PointRead;

use crate::catalog::{LOG, PUBLIC, find};
use crate::error::Error;
use crate::rows::{Layout, Relation};
use crate::scan::StreamTable;
use crate::sql::Sql;
use crate::statement::{
    Configured, OutputNames, SessionFacts, bind_sequence_calls, expand_views, hide_system_columns,
    output_names, replace_default_lookups, replace_session_functions, rewrite_catalogue,
    unique_projection,
};
use anabranch_semantics::{cast_value, desugar, resolve};
use datafusion::arrow::datatypes::{DataType, Field, FieldRef, Schema, SchemaRef};
use datafusion::catalog::default_table_source::source_as_provider;
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::common::{ParamValues, TableReference};
use datafusion::execution::session_state::SessionState;
use datafusion::logical_expr::{Expr, LogicalPlan, Volatility};
use datafusion::scalar::ScalarValue;
use datafusion::sql::parser::Statement as DfStatement;
use datafusion::sql::sqlparser::ast::{self, VisitMut, VisitorMut};
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::sync::Arc;

/// A query that was planned, with its parameters still open.
pub(crate) struct QueryPlan {
    logical: LogicalPlan,
    /// Optimized already, where nothing in it depends on the time of execution.
    optimized: Option<LogicalPlan>,
    /// How to answer without executing, if it is that simple.
    pub(crate) point: Option<PointRead>,
    /// Rows that a transaction locks with it.
    pub(crate) locks: Option<LockPlan>,
    /// Whether streams are read, and a cut is needed.
    pub(crate) reads_streams: bool,
    /// Types of `$1`, `$2`, …
    pub(crate) parameters: Vec<DataType>,
    /// The result's columns, named as PostgreSQL would.
    pub(crate) schema: SchemaRef,
    /// What `set_config` sets when it is executed.
    configures: Vec<Configured>,
    /// Whether nothing but the system catalogue is read.
    pub(crate) is_of_catalogue: bool,
}

/// What planning needs of the session.
#[derive(Clone)]
pub(crate) struct PlanContext {
    pub(crate) user: String,
    pub(crate) version: String,
    pub(crate) process_id: i32,
    pub(crate) settings: Arc<BTreeMap<String, String>>,
}

impl PlanContext {
    /// What functions of the session tell.
    pub(crate) fn facts(&self) -> SessionFacts<'_> {
        SessionFacts {
            user: &self.user,
            version: &self.version,
            process_id: self.process_id,
            settings: &self.settings,
        }
    }
}

/// What a statement is planned with.
#[derive(Clone, Copy)]
struct Given<'a> {
    sql: &'a Sql,
    context: &'a PlanContext,
    /// Of the result's columns, as the client's statement names them.
    names: &'a OutputNames,
    hints: &'a [Option<DataType>],
}

impl QueryPlan {
    /// Plans `statement`. `hints` are the parameter types that the client named.
    pub(crate) async fn new(
        sql: &Sql,
        context: &PlanContext,
        text: &str,
        mut statement: ast::Statement,
        hints: &[Option<DataType>],
    ) -> Result<Self, Error> {
        let expanded = expand_views(&mut statement, sql.engine())?;
        let locks = Box::pin(LockPlan::take(sql, context, &mut statement, hints)).await?;
        let names = output_names(&statement);
        let bound = bind_sequence_calls(&mut statement, context.process_id);
        let bound = replace_default_lookups(&mut statement) || bound || expanded;
        let text = if bound { Cow::Owned(statement.to_string()) } else { Cow::Borrowed(text) };
        let given = Given { sql, context, names: &names, hints };
        let planned = Box::pin(Self::unlocked(given, &text, statement)).await?;
        Ok(Self { locks, ..planned })
    }

    async fn unlocked(
        given: Given<'_>,
        text: &str,
        mut statement: ast::Statement,
    ) -> Result<Self, Error> {
        if !is_about_catalogue(text) {
            return Self::of(given, statement, Dialect::PostgreSql).await;
        }
        let approximate = approximate(given.sql, text, &statement);
        rewrite_catalogue(&mut statement, &|name| given.sql.is_catalogue_relation(name));
        if approximate.is_some() {
            let _ = statement.visit(&mut NoDomains);
        }
        let planned = Self::of(given, statement, Dialect::PostgreSql).await;
        let planned = match (planned, approximate) {
            (Err(first), Some(statement)) => {
                tracing::debug!(error = first.message, text, "planned approximately");
                let other = Self::of(given, statement, Dialect::Catalogue).await;
                // What PostgreSQL's meaning fails for is what the client should know.
                other.map_err(|_| first)
            }
            (planned, _) => planned,
        }?;
        let is_of_catalogue = !planned.reads_streams;
        Ok(Self { is_of_catalogue, ..planned })
    }

    async fn of(
        given: Given<'_>,
        mut statement: ast::Statement,
        dialect: Dialect,
    ) -> Result<Self, Error> {
        let Given { sql, context, names, hints } = given;
        unique_projection(&mut statement);
        let configures = replace_session_functions(&mut statement, &context.facts());
        hide_system_columns(&mut statement, &|schema, name| visible_layout(sql, schema, name));
        let state = sql.state();
        let mut logical = match Box::pin(to_plan(state, statement.clone(), dialect)).await {
            // Types of parameters may be what it failed for.
            Err(error) if hints.iter().all(Option::is_none) => return Err(error),
            other => other,
        };
        let needs_hints = match &logical {
            Err(_) => true,
            Ok(plan) => {
                plan.get_parameter_types()?.values().any(Option::is_none)
                    || loses(hints, &parameter_types(plan)?)
            }
        };
        if needs_hints && hints.iter().any(Option::is_some) {
            let _ = statement.visit(&mut HintTypes { hints });
            logical = Box::pin(to_plan(state, statement, dialect)).await;
        }
        Ok(Self { configures, ..Self::from_logical(state, logical?, names)? })
    }

    /// What `set_config` sets: name, value, and whether for the transaction only.
    pub(crate) fn configures(&self) -> &[Configured] {
        &self.configures
    }

    /// Of a plan made elsewhere.
    pub(crate) fn from_logical(
        state: &SessionState,
        logical: LogicalPlan,
        names: &OutputNames,
    ) -> Result<Self, Error> {
        let parameters = parameter_types(&logical)?;
        let (streams, stable) = facts_of(&logical)?;
        let optimized = match stable {
            true => Some(state.optimize(&logical)?),
            false => None,
        };
        let schema = renamed(logical.schema().as_arrow(), names);
        let point = optimized.as_ref().and_then(|plan| PointRead::of(plan, &schema));
        let configures = Vec::new();
        let reads_streams = streams;
        let is_of_catalogue = false;
        Ok(Self {
            logical,
            optimized,
            point,
            locks: None,
            reads_streams,
            parameters,
            schema,
            configures,
            is_of_catalogue,
        })
    }

    /// The result's columns with the relations that they come from, as planned.
    pub(crate) fn columns(&self) -> impl Iterator<Item = (Option<TableReference>, FieldRef)> {
        let columns = self.logical.schema().iter();
        columns.map(|(relation, field)| (relation.cloned(), field.clone()))
    }

    /// The plan with parameters bound, ready for the physical planner. Whether it is optimized
    /// already comes with it.
    pub(crate) fn bind(&self, parameters: &[ScalarValue]) -> Result<(LogicalPlan, bool), Error> {
        let (plan, is_optimized) = match &self.optimized {
            Some(optimized) => (optimized.clone(), true),
            None => (self.logical.clone(), false),
        };
        if self.parameters.is_empty() {
            return Ok((plan, is_optimized));
        }
        let values = ParamValues::from(parameters.to_vec());
        Ok((plan.replace_params_with_values(&values)?, is_optimized))
    }

    /// Brings the client's values to the types that the plan has.
    pub(crate) fn cast_parameters(
        &self,
        values: Vec<ScalarValue>,
    ) -> Result<Vec<ScalarValue>, Error> {
        cast_parameters(&self.parameters, values)
    }
}

/// Whether a value that a client sends would be rounded to the integer that the plan takes it
/// for: it is compared as what it is, then.
fn loses(hints: &[Option<DataType>], types: &[DataType]) -> bool {
    hints.iter().zip(types).any(|(hint, of)| {
        let has_fraction =
            matches!(hint, Some(DataType::LargeBinary | DataType::Float32 | DataType::Float64));
        has_fraction && matches!(of, DataType::Int16 | DataType::Int32 | DataType::Int64)
    })
}

/// Whose operators and types a statement has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Dialect {
    /// PostgreSQL's (see [`anabranch_semantics`]).
    PostgreSql,
    /// DataFusion's, for which statements about the system catalogue are rewritten.
    Catalogue,
}

/// Brings values to types; there must be as many.
pub(crate) fn cast_parameters(
    types: &[DataType],
    values: Vec<ScalarValue>,
) -> Result<Vec<ScalarValue>, Error> {
    if values.len() != types.len() {
        return Err(Error::new(
            "08P01",
            format!("{} parameters were given, the statement has {}", values.len(), types.len()),
        ));
    }
    values
        .into_iter()
        .zip(types)
        .enumerate()
        .map(|(number, (value, data_type))| {
            if &value.data_type() == data_type {
                return Ok(value);
            }
            cast_value(&value, data_type).map_err(|error| {
                let message = format!("parameter ${}: {}", number + 1, error.message);
                Error { message, ..error.into() }
            })
        })
        .collect()
}

/// Columns that `*` must not show, of streams in `public`.
pub(crate) fn visible_layout(sql: &Sql, schema: Option<&str>, name: &str) -> Option<Arc<Layout>> {
    match schema {
        None | Some(PUBLIC) => {
            find(sql.engine(), name).map(|stream| Layout::new(&stream, Relation::Rows))
        }
        Some(LOG) => find(sql.engine(), name).map(|stream| Layout::new(&stream, Relation::Log)),
        _ => None,
    }
}

pub(crate) async fn to_plan(
    state: &SessionState,
    mut statement: ast::Statement,
    dialect: Dialect,
) -> Result<LogicalPlan, Error> {
    if dialect == Dialect::PostgreSql {
        desugar(&mut statement);
    }
    let plan = state.statement_to_plan(DfStatement::Statement(Box::new(statement))).await?;
    match &plan {
        LogicalPlan::Ddl(_)
        | LogicalPlan::Dml(_)
        | LogicalPlan::Copy(_)
        | LogicalPlan::Statement(_) => {
            Err(Error::internal("a query was planned as something else"))
        }
        _ if dialect == Dialect::PostgreSql => Ok(resolve(plan)?),
        _ => Ok(plan),
    }
}

/// Whether a statement may name what only the system catalogue has.
fn is_about_catalogue(text: &str) -> bool {
    let lower = text.to_ascii_lowercase();
    let words = ["pg_", "information_schema", "regclass", "regtype", "regproc", "to_reg", "oid"];
    words.iter().any(|word| lower.contains(word))
}

/// A statement about the system catalogue as it is rewritten for DataFusion's own meaning, for
/// what cannot be planned with PostgreSQL's. The rules cut corners that must not be cut for data
/// (a correlated subquery becomes NULL), so there is none where a stream is read.
fn approximate(sql: &Sql, text: &str, statement: &ast::Statement) -> Option<ast::Statement> {
    let reads_stream = sql
        .state()
        .resolve_table_references(&DfStatement::Statement(Box::new(statement.clone())))
        .is_ok_and(|tables| {
            tables.iter().any(|table| visible_layout(sql, table.schema(), table.table()).is_some())
        });
    if reads_stream {
        return None;
    }
    let mut statement = match sql.compatibility().parse(text) {
        Ok(mut statements) if statements.len() == 1 => statements.remove(0),
        _ => statement.clone(),
    };
    let _ = statement.visit(&mut EmptyArrays);
    Some(statement)
}

/// `ARRAY(SELECT …)`, which DataFusion does not take, becomes the empty array: of the system
/// catalogue it asks for the members of roles and the like, and there are none.
struct EmptyArrays;

impl VisitorMut for EmptyArrays {
    type Break = ();

    fn pre_visit_expr(&mut self, expr: &mut ast::Expr) -> ControlFlow<()> {
        if let ast::Expr::Function(function) = expr
            && matches!(function.args, ast::FunctionArguments::Subquery(_))
            && function.name.to_string().eq_ignore_ascii_case("array")
        {
            let empty = ast::Value::SingleQuotedString("{}".to_owned());
            *expr = ast::Expr::Value(empty.with_empty_span());
        }
        ControlFlow::Continue(())
    }
}

/// A recursive query as a value becomes NULL: of the system catalogue it asks for the type that a
/// domain is made of, and there are no domains.
struct NoDomains;

impl VisitorMut for NoDomains {
    type Break = ();

    fn pre_visit_expr(&mut self, expr: &mut ast::Expr) -> ControlFlow<()> {
        if let ast::Expr::Subquery(query) = expr
            && query.with.as_ref().is_some_and(|with| with.recursive)
        {
            *expr = ast::Expr::Cast {
                kind: ast::CastKind::Cast,
                expr: Box::new(ast::Expr::Value(ast::Value::Null.with_empty_span())),
                data_type: ast::DataType::Integer(None),
                array: false,
                format: None,
            };
        }
        ControlFlow::Continue(())
    }
}

/// Gives parameters the types that the client named, as casts.
struct HintTypes<'a> {
    hints: &'a [Option<DataType>],
}

impl VisitorMut for HintTypes<'_> {
    type Break = ();

    fn post_visit_expr(&mut self, expr: &mut ast::Expr) -> ControlFlow<()> {
        if let Some(number) = placeholder_number(expr)
            && let Some(Some(hint)) = self.hints.get(number - 1)
            && let Some(data_type) = sql_type(hint)
        {
            *expr = ast::Expr::Cast {
                kind: ast::CastKind::Cast,
                expr: Box::new(expr.clone()),
                data_type,
                array: false,
                format: None,
            };
        }
        ControlFlow::Continue(())
    }
}

/// `n` of `$n`, from 1.
pub(crate) fn placeholder_number(expr: &ast::Expr) -> Option<usize> {
    let ast::Expr::Value(value) = expr else {
        return None;
    };
    let ast::Value::Placeholder(text) = &value.value else {
        return None;
    };
    text.strip_prefix('$')?.parse().ok().filter(|number| *number > 0)
}

/// The SQL type of an Arrow type that parameters have.
pub(crate) fn sql_type(data_type: &DataType) -> Option<ast::DataType> {
    use ast::{DataType as Sql, ExactNumberInfo, TimezoneInfo};
    Some(match data_type {
        DataType::Boolean => Sql::Boolean,
        DataType::Int16 => Sql::SmallInt(None),
        DataType::Int32 => Sql::Integer(None),
        DataType::Int64 => Sql::BigInt(None),
        DataType::Float32 => Sql::Real,
        DataType::Float64 => Sql::DoublePrecision,
        DataType::Utf8 | DataType::Utf8View => Sql::Text,
        DataType::LargeUtf8 => Sql::JSONB,
        DataType::LargeBinary => Sql::Numeric(ExactNumberInfo::None),
        DataType::FixedSizeBinary(16) => Sql::Uuid,
        DataType::Time64(_) => Sql::Time(None, TimezoneInfo::None),
        DataType::Interval(_) => Sql::Interval { fields: None, precision: None },
        DataType::List(item) => Sql::Array(ast::ArrayElemTypeDef::SquareBracket(
            Box::new(sql_type(item.data_type())?),
            None,
        )),
        DataType::Binary | DataType::BinaryView => Sql::Bytea,
        DataType::Date32 => Sql::Date,
        DataType::Timestamp(_, None) => Sql::Timestamp(None, TimezoneInfo::None),
        DataType::Timestamp(_, Some(_)) => Sql::Timestamp(None, TimezoneInfo::Tz),
        DataType::Decimal128(precision, scale) => Sql::Numeric(ExactNumberInfo::PrecisionAndScale(
            u64::from(*precision),
            i64::from(*scale),
        )),
        _ => return None,
    })
}

/// Types of `$1`, `$2`, …; text where nothing tells.
pub(crate) fn parameter_types(plan: &LogicalPlan) -> Result<Vec<DataType>, Error> {
    let found = plan.get_parameter_types()?;
    let mut types = Vec::new();
    for (name, data_type) in found {
        let number: usize = name
            .strip_prefix('$')
            .and_then(|number| number.parse().ok())
            .filter(|number| (1..=65_535).contains(number))
            .ok_or_else(|| Error::syntax(format!("there is no parameter {name}")))?;
        if types.len() < number {
            types.resize(number, DataType::Utf8);
        }
        types[number - 1] = data_type.unwrap_or(DataType::Utf8);
    }
    Ok(types)
}

/// Whether `plan` reads streams, and whether it can be optimized once and for all.
fn facts_of(plan: &LogicalPlan) -> Result<(bool, bool), Error> {
    let mut streams = false;
    let mut stable = !matches!(plan, LogicalPlan::Explain(_) | LogicalPlan::Analyze(_));
    plan.apply_with_subqueries(|node| {
        if let LogicalPlan::TableScan(scan) = node
            && let Ok(provider) = source_as_provider(&scan.source)
        {
            streams |= provider.downcast_ref::<StreamTable>().is_some();
        }
        node.apply_expressions(|expr| {
            stable &= !depends_on_time(expr);
            Ok(TreeNodeRecursion::Continue)
        })
    })?;
    Ok((streams, stable))
}

/// `now()` and the like become constants when a plan is optimized.
pub(crate) fn depends_on_time(expr: &Expr) -> bool {
    use datafusion::common::tree_node::TreeNode;
    expr.exists(|expr| {
        Ok(matches!(
            expr,
            Expr::ScalarFunction(function)
                if function.func.signature().volatility == Volatility::Stable
        ))
    })
    .unwrap_or(true)
}

fn renamed(schema: &Schema, names: &OutputNames) -> SchemaRef {
    let given = |number: usize| schema.field(number).name().clone();
    let names = names.apply(schema.fields().len(), given);
    let fields: Vec<Field> = schema
        .fields()
        .iter()
        .zip(names)
        .map(|(field, name)| field.as_ref().clone().with_name(name))
        .collect();
    Arc::new(Schema::new(fields))
}
