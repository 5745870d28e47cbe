//! ALTER TABLE … ADD PRIMARY KEY: the events of a stream become rows by a key of their columns.

use super::Session;
use crate::error::Error;
use crate::execute::Rows;
use crate::limits::{COPY_WRITE_BYTES, REKEYING_TRIES};
use crate::statement::{check_key, mark_key, quoted, second_key};
use crate::write::Rekeyed;
use anabranch_engine::{Column, ErrorKind, Mode, Rekeying, Stream};
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
        if engine.is_new(stream.id) {
            self.key_new(&stream, columns).await?;
            return Ok(Vec::new());
        }
        if self.transaction.is_some() {
            return Err(Error::unsupported(
                "a primary key cannot be added inside a transaction to a stream that was there \
                 before it",
            )
            .hint("run this outside of BEGIN … COMMIT (with autocommit)"));
        }
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

    /// Of a stream that its transaction has created: what that has written to it is written anew.
    async fn key_new(&mut self, old: &Stream, columns: Vec<Column>) -> Result<(), Error> {
        let key = columns.iter().filter(|column| column.in_key);
        let mut rows = self.rows_by(&old.name, key.map(|column| column.name.as_str())).await?;
        let engine = self.sql.engine().clone();
        let stream = engine.key_new_stream(&old.name, columns).await?;
        let mut rekeyed = Rekeyed::new(&stream, &self.sql);
        while let Some(batch) = rows.next().await? {
            let mut at = 0;
            while at < batch.num_rows() {
                at += rekeyed.add(&batch.slice(at, batch.num_rows() - at))?;
                if let Some(transaction) = &mut self.transaction {
                    transaction.absorb(rekeyed.take())?;
                }
            }
        }
        Ok(())
    }

    /// The rows of a stream as [`Rekeyed::add`] takes them.
    async fn rows_by<'a>(
        &self,
        stream: &str,
        key: impl Iterator<Item = &'a str>,
    ) -> Result<Rows, Error> {
        let columns: String = key.map(|name| format!(", {}", quoted(name))).collect();
        self.rows(&format!("SELECT _value, _ts{columns} FROM {}", quoted(stream))).await
    }

    /// Appends all rows by their new keys: values and times are those of the events.
    async fn write_anew(&self, rekeying: &Rekeying) -> Result<(), Error> {
        let mut rekeyed = Rekeyed::new(rekeying.stream(), &self.sql);
        let mut rows = self.rows_by(&rekeying.stream().name, rekeyed.columns()).await?;
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
}
