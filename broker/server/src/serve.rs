//! The wiring, on one page: take the addresses, open the engine, open the doors, wait for a
//! signal, close everything in the opposite order.

use crate::control;
use crate::doors::{DoorError, Doors, bind_kafka, bind_postgres, bind_web};
use crate::settings::{Settings, SettingsError, variable};
use anabranch_engine::Engine;
use anabranch_net::{Encryption, TlsError};
use anabranch_query::Sql;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::signal::unix::{Signal, SignalKind, signal};

/// What to do about a journal that is damaged before its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum JournalDamage {
    /// Do not start: acknowledged records stand behind the damage.
    Refuse,
    /// Start without what stands behind the damage.
    Accept,
}

/// Why the broker did not start, or stopped by itself.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ServeError {
    #[error(transparent)]
    Settings(#[from] SettingsError),
    #[error(transparent)]
    Tls(#[from] TlsError),
    #[error(
        "cannot open the data directory {dir}: {source}; `data_dir` (or the environment variable \
         {variable}) sets another"
    )]
    Open { dir: String, source: anabranch_engine::Error, variable: String },
    #[error("cannot start the threads of queries: {0}")]
    Sql(#[source] anabranch_engine::Error),
    #[error("cannot start the runtime: {0}")]
    Runtime(#[source] io::Error),
    #[error("the {door} door failed: {source}")]
    Door { door: &'static str, source: DoorError },
    #[error("the {door} door ended by itself; the log lines say why")]
    DoorEnded { door: &'static str },
}

/// Runs the broker until a signal or the failure of a door. `started` is when the process began.
pub(crate) fn serve(
    settings: Settings,
    damage: JournalDamage,
    started: Instant,
) -> Result<(), ServeError> {
    raise_open_files();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .thread_name("door")
        .enable_all()
        .build()
        .map_err(ServeError::Runtime)?;
    runtime.block_on(run(settings, damage, started))
}

async fn run(
    settings: Settings,
    damage: JournalDamage,
    started: Instant,
) -> Result<(), ServeError> {
    let signals = Signals::new().map_err(ServeError::Runtime)?;
    let encryption = settings.tls.open()?;
    // A taken port is found before a long recovery; clients that come during it wait.
    let kafka = bind_kafka(&settings, &encryption)?;
    let postgres = bind_postgres(&settings, &encryption)?;
    let web = bind_web(&settings, &encryption, kafka.as_ref(), postgres.as_ref())?;

    let engine = open(&settings, damage).await?;
    let mut doors = Doors::default();
    if let Encryption::Offered(tls) | Encryption::Required(tls) = encryption {
        tokio::spawn(tls.follow(doors.stop.clone()));
    }
    if let Some(kafka) = kafka {
        let (addresses, engine, stop) = (kafka.addresses(), engine.clone(), doors.stop.clone());
        let serving = async move {
            kafka.serve(engine, stop).await;
            Ok(())
        };
        doors.open("kafka", &addresses, serving);
    }
    let sql = start_sql(&settings, &engine).await?;
    if let Some(postgres) = postgres {
        let (addresses, sql, stop) = (postgres.addresses(), Arc::clone(&sql), doors.stop.clone());
        let serving = async move {
            postgres.serve(sql, stop).await;
            Ok(())
        };
        doors.open("postgres", &addresses, serving);
    }
    if let Some(web) = web {
        let addresses = web.addresses();
        let (engine, sql, stop) = (engine.own_session(), Arc::clone(&sql), doors.stop.clone());
        let serving = web.serve(engine, sql, stop);
        let serving =
            serving.map_err(|source| ServeError::Door { door: "web", source: source.into() })?;
        let serving = async move {
            serving.await;
            Ok(())
        };
        doors.open("web", &addresses, serving);
    }
    control::open(&settings.data_dir, engine.own_session(), doors.stop.clone());
    tracing::info!(elapsed_ms = millis(started.elapsed()), "ready");

    let ended = tokio::select! {
        name = signals.received() => {
            tracing::info!("{name}: stopping");
            Ok(())
        }
        error = doors.failed() => Err(error),
    };
    let closing = Instant::now();
    doors.close().await;
    blocking(move || {
        sql.stop();
        engine.stop();
    })
    .await;
    tracing::info!(elapsed_ms = millis(closing.elapsed()), "stopped");
    ended
}

async fn open(settings: &Settings, damage: JournalDamage) -> Result<Engine, ServeError> {
    let dir = settings.data_dir.display().to_string();
    tracing::info!(dir, "opening the data directory");
    let engine = engine_settings(settings, damage);
    let variable = variable("data_dir");
    let opened = blocking(move || Engine::open(engine)).await;
    opened.map_err(|source| ServeError::Open { dir, source, variable })
}

/// The settings as the engine takes them.
pub(crate) fn engine_settings(
    settings: &Settings,
    damage: JournalDamage,
) -> anabranch_engine::Settings {
    anabranch_engine::Settings {
        data_dir: settings.data_dir.clone(),
        partitions_default: settings.streams.partitions.get() as i32,
        auto_create: settings.streams.auto_create,
        disk_reserve_bytes: settings.disk.reserve_bytes.get(),
        journal_file_bytes: settings.journal.file_bytes.get(),
        compaction_pause: Duration::from_secs(
            settings.streams.compaction_pause_seconds.get() as u64
        ),
        accept_journal_damage: damage == JournalDamage::Accept,
    }
}

async fn start_sql(settings: &Settings, engine: &Engine) -> Result<Arc<Sql>, ServeError> {
    let queries = anabranch_query::Settings {
        memory_bytes_max: settings.sql.memory_bytes_max.get_usize(),
        spill_dir: Some(settings.data_dir.join("spill")),
        ..anabranch_query::Settings::default()
    };
    // PostgreSQL clients are not asked who they are.
    let engine = engine.session("");
    blocking(move || Sql::start(engine, queries)).await.map_err(ServeError::Sql)
}

/// The signals that stop the broker.
struct Signals {
    interrupt: Signal,
    terminate: Signal,
}

impl Signals {
    fn new() -> io::Result<Self> {
        Ok(Self {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
        })
    }

    /// The name of the first that comes. A second one ends the process at once: whatever is
    /// acknowledged is on disk.
    async fn received(mut self) -> &'static str {
        let name = self.either().await;
        tokio::spawn(async move {
            let again = self.either().await;
            tracing::warn!("{again} again: ending at once");
            std::process::exit(1);
        });
        name
    }

    async fn either(&mut self) -> &'static str {
        tokio::select! {
            _ = self.interrupt.recv() => "SIGINT",
            _ = self.terminate.recv() => "SIGTERM",
        }
    }
}

/// Lets the process hold as many connections and segments as the system allows; the usual limit
/// of 1,024 is there for programs that use `select`.
fn raise_open_files() {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    if current != maximum
        && let Err(error) = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum })
    {
        tracing::warn!("open files stay limited to {current:?}: {error}");
    }
}

/// Runs what blocks on a thread of its own.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done,
        Err(panicked) => std::panic::resume_unwind(panicked.into_panic()),
    }
}

fn millis(elapsed: Duration) -> u64 {
    u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX)
}
