//! What tests share: an engine in a directory that goes away, and statements as text.

use crate::error::Error;
use crate::session::{Outcome, Session};
use crate::sql::{Settings, Sql};
use crate::statement::parse;
use anabranch_engine::{Append, Atomicity, Engine, Mode, Part, Session as EngineSession, key_hash};
use anabranch_semantics::Texts;
use anabranch_types::batch::{BatchBuilder, Compression, Ending, ValidateOptions, validate};
use anabranch_types::{Sequence, Timestamp};
use datafusion::arrow::array::ArrayRef;
use datafusion::arrow::datatypes::DataType;
use datafusion::arrow::util::display::array_value_to_string;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// A broker without doors.
pub(crate) struct Broker {
    pub(crate) engine: EngineSession,
    pub(crate) sql: Arc<Sql>,
    _directory: tempfile::TempDir,
}

impl Drop for Broker {
    fn drop(&mut self) {
        let (sql, engine) = (self.sql.clone(), self.engine.clone());
        // Stopping blocks, which a test's own runtime does not take.
        let stopping = std::thread::spawn(move || {
            sql.stop();
            engine.stop();
        });
        stopping.join().expect("stopping does not panic");
    }
}

/// What a statement gave.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Given {
    pub(crate) columns: Vec<String>,
    /// Cells as text; nulls are empty.
    pub(crate) rows: Vec<Vec<String>>,
    pub(crate) tag: String,
    pub(crate) notices: Vec<String>,
}

impl Given {
    /// Rows as lines, cells with `|` between.
    pub(crate) fn lines(&self) -> Vec<String> {
        self.rows.iter().map(|row| row.join("|")).collect()
    }
}

impl Broker {
    pub(crate) fn start() -> Self {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let mut settings = anabranch_engine::Settings::new(directory.path());
        settings.disk_reserve_bytes = 0;
        let engine = Engine::open(settings).expect("an engine").own_session();
        let settings = Settings { threads: 2, ..Settings::default() };
        let sql = Sql::start(engine.clone(), settings).expect("query threads");
        Self { engine, sql, _directory: directory }
    }

    pub(crate) fn session(&self) -> Session {
        Session::new(self.sql.clone(), "tester")
    }

    /// Runs statements in a session of their own; gives what the last one gave.
    pub(crate) async fn run(&self, text: &str) -> Given {
        match run(&mut self.session(), text).await {
            Ok(given) => given,
            Err(error) => panic!("{text}: {} {error} {:?}", error.sqlstate, error.hint),
        }
    }

    /// The lines of a query.
    pub(crate) async fn lines(&self, text: &str) -> Vec<String> {
        self.run(text).await.lines()
    }

    /// The code of a statement that must fail.
    pub(crate) async fn fails(&self, text: &str) -> Error {
        match run(&mut self.session(), text).await {
            Ok(given) => panic!("{text} did not fail: {given:?}"),
            Err(error) => error,
        }
    }

    /// A transaction of one batch; `meanwhile` happens before it ends.
    pub(crate) async fn transact(
        &self,
        stream: &str,
        records: &[(Option<&str>, Option<&str>)],
        ending: Ending,
        meanwhile: impl Future<Output = ()>,
    ) {
        let catalog = self.engine.catalog();
        let to = catalog.by_name(stream).expect("the stream is there").partitions[0];
        // Each its own id: nobody is fenced.
        static IDS: AtomicU64 = AtomicU64::new(0);
        let name = IDS.fetch_add(1, Ordering::Relaxed).to_string();
        let known = self.engine.init_transactional(&name, 60_000, None).await;
        let (id, epoch) = known.expect("a new id");
        self.engine.add_to_transaction(&name, id, epoch, &[to]).await.expect("current");
        let mut builder = BatchBuilder::default();
        builder.set_producer(id, epoch, Sequence(0));
        builder.set_transactional();
        for (key, value) in records {
            let time = Timestamp(1_000);
            builder.push(time, key.map(str::as_bytes), value.map(str::as_bytes), &[]);
        }
        let batch = builder.build().expect("not compressed");
        let passed = validate(&batch, ValidateOptions::default(), key_hash, &mut Vec::new());
        let part = Part::new(to, batch.freeze(), passed.expect("just built"));
        let parts = std::iter::once(part).collect();
        let append = Append { parts, atomicity: Atomicity::AllParts, preconditions: None };
        self.engine.append(append).await.expect("within the transaction");
        meanwhile.await;
        let after = anabranch_engine::EpochAfter::Same;
        self.engine.end_transaction(&name, id, epoch, ending, after).await.expect("open");
    }

    /// Produces records as a Kafka client would: key, value, partition.
    pub(crate) async fn produce(
        &self,
        stream: &str,
        records: &[(Option<&str>, Option<&str>, usize)],
    ) {
        self.produce_with(stream, records, Compression::None).await;
    }

    pub(crate) async fn produce_with(
        &self,
        stream: &str,
        records: &[(Option<&str>, Option<&str>, usize)],
        compression: Compression,
    ) {
        let found = self.engine.find_or_create(stream).await.expect("a stream");
        let keyed = found.mode == Mode::Upsert;
        for &(key, value, partition) in records {
            let mut builder = BatchBuilder::default().compression(compression);
            let (key, value) = (key.map(str::as_bytes), value.map(str::as_bytes));
            builder.push(self.engine.now(), key, value, &[(b"source", Some(b"test"))]);
            let batch = builder.build().expect("a batch").freeze();
            let options = ValidateOptions { keys_required: keyed, hash_keys: keyed };
            let passed = validate(&batch, options, key_hash, &mut Vec::new()).expect("valid");
            let part = Part::new(found.partitions[partition], batch, passed);
            let append = Append {
                parts: [part].into_iter().collect(),
                atomicity: Atomicity::EachPart,
                preconditions: None,
            };
            self.engine.append(append).await.expect("an append");
        }
    }
}

/// Runs statements; gives what the last one gave.
pub(crate) async fn run(session: &mut Session, text: &str) -> Result<Given, Error> {
    let mut given = Given::default();
    for statement in parse(text)? {
        let executed = async {
            let mut prepared = Arc::new(session.prepare(statement, Vec::new()).await?);
            let outcome = session.execute(&mut prepared, Vec::new()).await?;
            collect(outcome).await
        };
        match executed.await {
            Ok(result) => given = result,
            Err(error) => {
                session.fail();
                return Err(error);
            }
        }
    }
    Ok(given)
}

pub(crate) async fn collect(outcome: Outcome) -> Result<Given, Error> {
    match outcome {
        Outcome::Done(done) => {
            Ok(Given { tag: done.tag, notices: done.notices, ..Given::default() })
        }
        Outcome::CopyOut(_) | Outcome::CopyIn(_) => Err(Error::internal("COPY needs a door")),
        Outcome::Rows(mut rows, verb) => {
            let columns = rows.schema().fields().iter().map(|field| field.name().clone()).collect();
            let mut cells = Vec::new();
            while let Some(batch) = rows.next().await? {
                for row in 0..batch.num_rows() {
                    let line = batch
                        .columns()
                        .iter()
                        .map(|array| shown(array, row))
                        .collect::<Result<Vec<_>, Error>>()?;
                    cells.push(line);
                }
            }
            Ok(Given {
                columns,
                tag: format!("{verb} {}", cells.len()),
                rows: cells,
                notices: rows.take_notices(),
            })
        }
    }
}

/// Types that Arrow has not as clients see them, others as Arrow shows them.
fn shown(array: &ArrayRef, row: usize) -> Result<String, Error> {
    match array.data_type() {
        DataType::LargeBinary
        | DataType::FixedSizeBinary(_)
        | DataType::Interval(_)
        | DataType::List(_) => Ok(Texts::new(array)?.get(row)),
        _ => Ok(array_value_to_string(array, row)?),
    }
}
