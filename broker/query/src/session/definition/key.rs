//! ALTER TABLE … ADD PRIMARY KEY: the events of a stream become rows by a key of their columns.

use super::super::{Outcome, Plan, Session};
use crate::error::{Error, sqlstate};
use crate::execute::Rows;
use crate::limits::{COPY_WRITE_BYTES, REKEYING_TRIES};
use crate::sequences::quoted_name;
use crate::statement::{check_key, mark_key, second_key};
use crate::write::Rekeyed;
use anabranch_engine::{ErrorKind, Mode, Rekeying, Stream};
use std::sync::Arc;

impl Session {
    /// Adds it; gives notices. Whoever writes to the stream meanwhile is not held up: it is done
    /// again.
    pub(super) async fn add_key(
        &mut self,
        stream: Arc<Stream>,
        key: &[String],
    ) -> Result<Vec<String>, Error> {
        if stream.key_columns().next().is_some() {
            return Err(second_key(&stream.name));
        }
        if stream.mode == Mode::Upsert {
            return Err(Error::unsupported(format!(
                "rows of \"{}\" are told apart by their records' keys, which stay as they are",
                stream.name
            ))
            .hint("create another stream and INSERT INTO it SELECT from this one"));
        }
        let mut columns = stream.columns.clone();
        mark_key(columns.iter_mut().collect(), key)?;
        check_key(columns.iter())?;
        let engine = self.sql.engine().clone();
        let mut tries = 0;
        loop {
            tries += 1;
            let rekeying = engine.begin_rekeying(&stream.name, columns.clone()).await?;
            self.write_anew(&rekeying).await?;
            match rekeying.finish().await {
                Ok(_) => break,
                Err(error) if error.kind == ErrorKind::Conflict && tries < REKEYING_TRIES => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(vec![format!(
            "the rows of \"{}\" were written anew, by their keys: who reads its log begins at its \
             start",
            stream.name
        )])
    }

    /// Appends all rows by their new keys: values and times are those of the events.
    async fn write_anew(&mut self, rekeying: &Rekeying) -> Result<(), Error> {
        let mut rekeyed = Rekeyed::new(rekeying.stream(), &self.sql);
        let columns = rekeyed.columns().map(|name| format!(", {}", quoted_name(name)));
        let text = format!(
            "SELECT _value, _ts{} FROM {}",
            columns.collect::<String>(),
            quoted_name(&rekeying.stream().name)
        );
        let mut rows = self.read(&text).await?;
        let engine = self.sql.engine().clone();
        while let Some(batch) = rows.next().await? {
            let mut at = 0;
            while at < batch.num_rows() {
                at += rekeyed.add(&batch.slice(at, batch.num_rows() - at))?;
                if rekeyed.bytes() >= COPY_WRITE_BYTES {
                    rekeyed.take().append(&engine).await?;
                }
            }
        }
        rekeyed.take().append(&engine).await
    }

    /// What a query gives that is made here.
    async fn read(&mut self, text: &str) -> Result<Rows, Error> {
        let plan = self.plan_text(text).await?;
        match (&plan, self.run_plan(&plan, Vec::new()).await?) {
            (Plan::Query(_), Outcome::Rows(rows, _)) => Ok(rows),
            _ => Err(Error::new(sqlstate::INTERNAL_ERROR, "a query gave no rows")),
        }
    }
}
