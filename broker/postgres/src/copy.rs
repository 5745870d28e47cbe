//! COPY over a connection (PostgreSQL 15, 55.2.6).
//!
//! ```text
//! CopyData ─> Reader: lines ─> fields ─> batches ─> query::CopyIn
//! query::Rows ─> Writer ─> CopyData
//! ```

mod binary;
mod fields;
mod lines;
mod read;
#[cfg(test)]
mod tests;
mod write;

pub(crate) use read::Reader;

use crate::connection::{Connection, End, Failure, cancelled, undisturbed};
use crate::encode::Format;
use crate::limits::FLUSH_BYTES;
use crate::out::CopyDirection;
use crate::wire::Message;
use anabranch_query::{CopyFormat, CopyIn, CopyOptions, CopyOut, SqlError, sqlstate};
use tokio_util::sync::CancellationToken;
use write::Writer;

fn format_of(options: &CopyOptions) -> Format {
    match options.format {
        CopyFormat::Text | CopyFormat::Csv => Format::Text,
        CopyFormat::Binary => Format::Binary,
    }
}

impl Connection {
    /// COPY … FROM STDIN, to its tag.
    pub(crate) async fn copy_in(
        &mut self,
        mut copy: CopyIn,
        cancel: &CancellationToken,
    ) -> Result<(), Failure> {
        let columns = copy.columns().fields().len();
        self.out.copy_begins(CopyDirection::In, format_of(copy.options()), columns);
        self.flush().await?;
        match self.take_rows(&mut copy, cancel).await {
            Ok(()) => {}
            Err(Failure::Sql(error)) => return Err(copy.abandon(error).await.into()),
            Err(end) => return Err(end),
        }
        // Too late to be cancelled: it is being appended.
        let uncancelled = CancellationToken::new();
        let (socket, shared, session) = self.parts();
        let finishing = session.finish_copy(copy);
        let done = undisturbed(socket, shared, &uncancelled, finishing).await?;
        self.done(done);
        Ok(())
    }

    /// Hands over what the client sends, until it says that this was all.
    async fn take_rows(
        &mut self,
        copy: &mut CopyIn,
        cancel: &CancellationToken,
    ) -> Result<(), Failure> {
        let mut reader = Reader::new(copy.stream(), copy.columns(), copy.options());
        let shared = self.shared();
        loop {
            let (message, _share) = tokio::select! {
                biased;
                () = cancel.cancelled() => return Err(cancelled().into()),
                // What is wrong with a row is told before the next is sent.
                error = copy.failed() => return Err(error.into()),
                message = self.next_message(&shared) => message?,
            };
            let is_last = match message {
                Message::CopyData(bytes) => {
                    reader.push(&bytes)?;
                    false
                }
                Message::CopyDone => {
                    reader.end();
                    true
                }
                Message::CopyFail(why) => {
                    let message = format!("COPY from stdin failed: {why}");
                    return Err(SqlError::new(sqlstate::QUERY_CANCELED, message).into());
                }
                // Drivers send them before they know that a COPY has begun.
                Message::Flush | Message::Sync => false,
                Message::Terminate => return Err(End::Gone.into()),
                other => {
                    let kind = other.kind();
                    let message =
                        format!("unexpected message type 0x{kind:02X} during COPY from stdin");
                    return Err(SqlError::new("08P01", message).into());
                }
            };
            while let Some(rows) = reader.next_rows()? {
                let (socket, shared, _) = self.parts();
                undisturbed(socket, shared, cancel, copy.write(rows)).await?;
            }
            if is_last {
                return Ok(());
            }
        }
    }

    /// COPY … TO STDOUT, to its tag.
    pub(crate) async fn copy_out(
        &mut self,
        mut copy: CopyOut,
        cancel: &CancellationToken,
    ) -> Result<(), Failure> {
        // What fails at its first row has not begun.
        let mut next = self.next_batch(&mut copy, cancel).await?;
        let schema = copy.rows.schema().clone();
        let mut writer = Writer::new(&copy.options, &schema);
        let format = format_of(&copy.options);
        self.out.copy_begins(CopyDirection::Out, format, schema.fields().len());
        writer.begin(&schema, &mut self.out.buffer);
        let mut sent = 0u64;
        while let Some(batch) = next {
            let mut rows = writer.rows(&batch)?;
            while rows.put_next(&mut self.out.buffer)? {
                sent += 1;
                if self.out.buffer.len() >= FLUSH_BYTES {
                    self.flush().await?;
                    if cancel.is_cancelled() {
                        return Err(cancelled().into());
                    }
                }
            }
            next = self.next_batch(&mut copy, cancel).await?;
        }
        writer.end(&mut self.out.buffer);
        self.out.copy_done();
        for notice in copy.rows.take_notices() {
            self.out.notice(&notice);
        }
        self.out.complete(format!("COPY {sent}"));
        Ok(())
    }

    async fn next_batch(
        &mut self,
        copy: &mut CopyOut,
        cancel: &CancellationToken,
    ) -> Result<Option<datafusion::arrow::array::RecordBatch>, Failure> {
        let (socket, shared, _) = self.parts();
        undisturbed(socket, shared, cancel, copy.rows.next()).await
    }
}
