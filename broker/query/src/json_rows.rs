//! Rows as JSON, for doors that do not speak Arrow.

use crate::error::Error as SqlError;
use crate::execute::Rows;
use crate::rows::{write_json_string, write_json_value};
use crate::session::{Outcome, Session};
use crate::statement::{self, Kind, SessionStatement};
use anabranch_engine::Error;
use bytes::Bytes;
use datafusion::arrow::array::RecordBatch;
use std::sync::Arc;

/// The rows of a query as JSON objects, some at a time.
pub struct JsonRows {
    rows: Rows,
    /// `"name":` of each column.
    names: Vec<Vec<u8>>,
}

impl JsonRows {
    pub(crate) async fn start(session: &mut Session, text: &str) -> Result<Self, SqlError> {
        let mut statements = statement::parse(text)?;
        let (Some(statement), true) = (statements.pop(), statements.is_empty()) else {
            return Err(SqlError::syntax("exactly one statement is taken"));
        };
        if !matches!(statement.kind, Kind::Query(_) | Kind::Session(SessionStatement::Show(_))) {
            return Err(SqlError::unsupported("only queries are taken here")
                .hint("write through psql, or POST events"));
        }
        let mut prepared = Arc::new(session.prepare(statement, Vec::new()).await?);
        match session.execute(&mut prepared, Vec::new()).await? {
            Outcome::Rows(rows, _) => {
                let names = rows.schema().fields().iter().map(|field| {
                    let mut name = Vec::new();
                    write_json_string(field.name(), &mut name);
                    name.push(b':');
                    name
                });
                Ok(Self { names: names.collect(), rows })
            }
            _ => Err(SqlError::internal("a query gave no rows")),
        }
    }

    /// Some more rows, one JSON object a line (each ends in `\n`), a batch at a time; `None` at
    /// the end. Dropping this cancels the query.
    ///
    /// # Errors
    /// As the query fails: `TimedOut`, `TooLarge` (memory), `Storage`, …
    pub async fn next_lines(&mut self) -> Result<Option<Bytes>, Error> {
        match self.rows.next().await? {
            None => Ok(None),
            Some(batch) => Ok(Some(self.lines(&batch).map_err(SqlError::from)?)),
        }
    }

    fn lines(&self, batch: &RecordBatch) -> Result<Bytes, datafusion::arrow::error::ArrowError> {
        let mut out = Vec::new();
        let schema = self.rows.schema().clone();
        for row in 0..batch.num_rows() {
            out.push(b'{');
            for (number, name) in self.names.iter().enumerate() {
                if number > 0 {
                    out.push(b',');
                }
                out.extend_from_slice(name);
                write_json_value(batch.column(number), row, schema.field(number), &mut out)?;
            }
            out.extend_from_slice(b"}\n");
        }
        Ok(Bytes::from(out))
    }
}
