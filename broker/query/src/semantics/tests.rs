use crate::error::Error;
use crate::session::Outcome;
use crate::statement::parse;
use crate::testing::Broker;
use datafusion::arrow::array::Array;
use std::fmt::Write;
use std::sync::Arc;

use super::Texts;
use super::types::PgType;

/// Type and value of an expression; `!` and the code if it fails.
async fn said(broker: &Broker, expression: &str) -> String {
    match value_of(broker, expression).await {
        Ok(value) => value,
        Err(error) => format!("!{}", error.sqlstate),
    }
}

async fn value_of(broker: &Broker, expression: &str) -> Result<String, Error> {
    let mut session = broker.session();
    let statement = parse(&format!("SELECT {expression}"))?.remove(0);
    let mut prepared = Arc::new(session.prepare(statement, Vec::new()).await?);
    let Outcome::Rows(mut rows, _) = session.execute(&mut prepared, Vec::new()).await? else {
        return Err(Error::internal("no rows"));
    };
    let of = PgType::of_field(rows.schema().field(0));
    let batch = rows.next().await?.ok_or_else(|| Error::internal("no row"))?;
    let array = batch.column(0);
    let value = if array.is_null(0) { "NULL".to_owned() } else { Texts::new(array)?.get(0) };
    Ok(format!("{} {value}", of.name()))
}

/// Each line of cases.txt is an expression, and what PostgreSQL 15 said of it.
#[tokio::test]
async fn expressions_mean_what_they_mean_in_postgresql() {
    let broker = Broker::start();
    let mut wrong = String::new();
    let cases = include_str!("cases.txt").lines().filter(|line| line.contains(" => "));
    for case in cases {
        let (expression, expected) = case.rsplit_once(" => ").expect("an arrow");
        let said = said(&broker, expression).await;
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
