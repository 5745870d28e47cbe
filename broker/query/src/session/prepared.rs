//! PREPARE, EXECUTE and DEALLOCATE by statement (PostgreSQL 15, PREPARE).
//!
//! What was prepared by statement is the session's; what was prepared by the protocol's messages
//! is the door's. DEALLOCATE reaches both.

use super::{Done, Outcome, Session};
use crate::error::{Error, sqlstate};
use crate::limits::PREPARED_MAX;
use crate::statement::{PreparedStatement, Statement};
use datafusion::arrow::datatypes::SchemaRef;
use datafusion::scalar::ScalarValue;
use std::sync::Arc;

impl Session {
    /// What EXECUTE gives.
    pub(super) fn schema_of_prepared(&self, name: &str) -> Option<SchemaRef> {
        self.prepared.get(name).and_then(|prepared| prepared.schema().cloned())
    }

    pub(super) async fn prepared(
        &mut self,
        statement: PreparedStatement,
        described: Option<&SchemaRef>,
    ) -> Result<Outcome, Error> {
        match statement {
            PreparedStatement::Prepare { name, statement } => {
                if self.prepared.contains_key(&name) {
                    return Err(Error::new(
                        sqlstate::DUPLICATE_PREPARED,
                        format!("prepared statement \"{name}\" already exists"),
                    ));
                }
                if self.prepared.len() >= PREPARED_MAX {
                    return Err(Error::new(
                        sqlstate::PROGRAM_LIMIT_EXCEEDED,
                        format!("a session can PREPARE at most {PREPARED_MAX} statements"),
                    )
                    .hint("DEALLOCATE those that are no longer used"));
                }
                let prepared = Box::pin(self.prepare(*statement, Vec::new())).await?;
                self.prepared.insert(name, Arc::new(prepared));
                Ok(Outcome::Done(Done::tag("PREPARE")))
            }
            PreparedStatement::Execute { name, values } => {
                let mut prepared = self.prepared.get(&name).cloned().ok_or_else(|| {
                    Error::new(
                        sqlstate::UNDEFINED_PREPARED,
                        format!("prepared statement \"{name}\" does not exist"),
                    )
                })?;
                if described.is_some_and(|described| Some(described) != prepared.schema()) {
                    return Err(Error::unsupported("cached plan must not change result type")
                        .hint("the statement is another one: prepare EXECUTE again"));
                }
                let values = match values {
                    Some(values) => self.values(*values).await?,
                    None => Vec::new(),
                };
                let expected = prepared.parameters().len();
                if values.len() != expected {
                    return Err(Error::syntax(format!(
                        "wrong number of parameters for prepared statement \"{name}\": expected \
                         {expected}, got {}",
                        values.len()
                    )));
                }
                let outcome = Box::pin(self.execute(&mut prepared, values)).await?;
                self.prepared.insert(name, prepared);
                Ok(outcome)
            }
        }
    }

    /// The values in the one row of `query`.
    async fn values(&mut self, query: Statement) -> Result<Vec<ScalarValue>, Error> {
        let mut query = Arc::new(Box::pin(self.prepare(query, Vec::new())).await?);
        let Outcome::Rows(mut rows, _) = Box::pin(self.execute(&mut query, Vec::new())).await?
        else {
            return Err(Error::internal("values without rows"));
        };
        let Some(batch) = rows.next().await? else {
            return Err(Error::internal("values without a row"));
        };
        let columns = batch.columns().iter();
        Ok(columns
            .map(|column| ScalarValue::try_from_array(column, 0))
            .collect::<Result<_, _>>()?)
    }

    /// Forgets one, or all.
    pub(super) fn deallocate(&mut self, name: Option<&str>) {
        match name {
            Some(name) => {
                self.prepared.remove(name);
            }
            None => self.prepared.clear(),
        }
    }
}
