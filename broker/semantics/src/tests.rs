use crate::columns::Texts;
use crate::error::Error;
use crate::types::PgType;
use datafusion::arrow::array::Array;
use datafusion::prelude::{SessionConfig, SessionContext};
use datafusion::sql::parser::Statement;
use datafusion::sql::sqlparser::dialect::PostgreSqlDialect;
use datafusion::sql::sqlparser::parser::Parser;
use std::fmt::Write;

/// What expressions are planned with, as the broker does it.
fn context() -> SessionContext {
    let mut config = SessionConfig::new();
    config.options_mut().sql_parser.dialect = datafusion::config::Dialect::PostgreSQL;
    config.options_mut().sql_parser.parse_float_as_decimal = true;
    let mut context = SessionContext::new_with_config(config);
    crate::register(&mut context).expect("the functions register");
    context
}

/// Type and value of an expression; `!` and the code if it fails.
async fn said(context: &SessionContext, expression: &str) -> String {
    match value_of(context, expression).await {
        Ok(value) => value,
        Err(error) => format!("!{}", error.sqlstate),
    }
}

async fn value_of(context: &SessionContext, expression: &str) -> Result<String, Error> {
    let text = format!("SELECT {expression}");
    let mut statements = Parser::parse_sql(&PostgreSqlDialect {}, &text)
        .map_err(|error| Error::syntax(error.to_string()))?;
    let mut statement = statements.remove(0);
    crate::desugar(&mut statement);
    let state = context.state();
    let plan = state.statement_to_plan(Statement::Statement(Box::new(statement))).await?;
    let frame = context.execute_logical_plan(crate::resolve(plan)?).await?;
    let of = PgType::of_field(frame.schema().field(0));
    let batches = frame.collect().await?;
    let batch = batches.first().ok_or_else(|| Error::internal("no row"))?;
    let array = batch.column(0);
    let value = if array.is_null(0) { "NULL".to_owned() } else { Texts::new(array)?.get(0) };
    Ok(format!("{} {value}", of.name()))
}

/// Each line of cases.txt is an expression, and what PostgreSQL 15 said of it.
#[tokio::test]
async fn expressions_mean_what_they_mean_in_postgresql() {
    let context = context();
    let mut wrong = String::new();
    let cases = include_str!("cases.txt").lines().filter(|line| line.contains(" => "));
    for case in cases {
        let (expression, expected) = case.rsplit_once(" => ").expect("an arrow");
        let said = said(&context, expression).await;
        // Of errors the class counts: its first two characters.
        let same = match (expected.strip_prefix('!'), said.strip_prefix('!')) {
            (Some(a), Some(b)) => a[..2] == b[..2],
            _ => said == expected,
        };
        if !same {
            let _ = writeln!(wrong, "{expression}\n    PostgreSQL: {expected}\n    here: {said}");
        }
    }
    assert!(wrong.is_empty(), "\n{wrong}");
}
