//! SQL over one engine: what all sessions share.

use crate::catalog::{self, DATABASE, Database, PUBLIC};
use crate::error::Error as SqlError;
use crate::json_rows::JsonRows;
use crate::limits::SCAN_ROWS;
use crate::processes::Processes;
use crate::runtime::QueryRuntime;
use crate::sequences::SequenceCalls;
use crate::session::Session;
use anabranch_engine::{Error, Session as EngineSession};
use datafusion::catalog::MemoryCatalogProviderList;
use datafusion::common::config::Dialect;
use datafusion::execution::SessionStateBuilder;
use datafusion::execution::disk_manager::{DiskManagerBuilder, DiskManagerMode};
use datafusion::execution::memory_pool::FairSpillPool;
use datafusion::execution::runtime_env::{RuntimeEnv, RuntimeEnvBuilder};
use datafusion::execution::session_state::SessionState;
use datafusion::prelude::{SessionConfig, SessionContext};
use datafusion_pg_catalog::pg_catalog::context::EmptyContextProvider;
use datafusion_pg_catalog::setup_pg_catalog;
use datafusion_pg_catalog::sql::PostgresCompatibilityParser;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// How queries run.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Threads of the query runtime.
    pub threads: usize,
    /// Bytes that sorts, joins and aggregates may hold together.
    pub memory_bytes_max: usize,
    /// Longest time of one statement, where the session does not say; `None` for no limit.
    pub statement_timeout: Option<Duration>,
    /// Where sorts and aggregates that need more memory put what does not fit; `None`: such
    /// queries fail.
    pub spill_dir: Option<PathBuf>,
}

impl Default for Settings {
    /// As many threads as the machine has, 512 MiB, no time limit, no spilling.
    fn default() -> Self {
        Self {
            threads: std::thread::available_parallelism().map_or(2, usize::from),
            memory_bytes_max: 512 << 20,
            statement_timeout: None,
            spill_dir: None,
        }
    }
}

/// SQL over one engine: what the PostgreSQL and web doors share.
pub struct Sql {
    engine: EngineSession,
    settings: Settings,
    pub(crate) runtime: Arc<QueryRuntime>,
    state: SessionState,
    compatibility: Arc<PostgresCompatibilityParser>,
    sequences: SequenceCalls,
    pub(crate) processes: Arc<Processes>,
}

impl std::fmt::Debug for Sql {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Sql").field("settings", &self.settings).finish_non_exhaustive()
    }
}

impl Sql {
    /// Starts the query threads.
    ///
    /// # Errors
    /// When they cannot be started.
    pub fn start(engine: EngineSession, settings: Settings) -> Result<Arc<Self>, Error> {
        Self::start_inner(engine, settings).map_err(Into::into)
    }

    fn start_inner(engine: EngineSession, settings: Settings) -> Result<Arc<Self>, SqlError> {
        let sequences = SequenceCalls::new(engine.clone());
        let processes = Arc::new(Processes::default());
        let memory = memory(&settings)?;
        let state = session_state(&engine, &sequences, &settings, memory, &processes)?;
        Ok(Arc::new(Self {
            sequences,
            runtime: Arc::new(QueryRuntime::start(settings.threads)?),
            engine,
            settings,
            state,
            compatibility: Arc::new(PostgresCompatibilityParser::new()),
            processes,
        }))
    }

    /// The same, as far as somebody else may use the engine: on the same threads, with tables of
    /// its own. Takes milliseconds.
    ///
    /// # Errors
    /// When nothing can be planned.
    pub fn of(&self, engine: EngineSession) -> Result<Arc<Self>, Error> {
        // One memory for all: a bound that each login had anew would be none.
        let memory = Arc::clone(self.state.runtime_env());
        let sequences = self.sequences.of(engine.clone());
        let state = session_state(&engine, &sequences, &self.settings, memory, &self.processes)?;
        Ok(Arc::new(Self {
            sequences,
            runtime: Arc::clone(&self.runtime),
            engine,
            settings: self.settings.clone(),
            state,
            compatibility: Arc::clone(&self.compatibility),
            processes: Arc::clone(&self.processes),
        }))
    }

    /// The engine below.
    #[must_use]
    pub fn engine(&self) -> &EngineSession {
        &self.engine
    }

    /// How queries run.
    #[must_use]
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Runs one SELECT (or SHOW) and gives its rows as JSON objects, for doors that do not speak
    /// Arrow. Other statements are refused.
    ///
    /// # Errors
    /// `InvalidArgument`: the statement does not parse or plan.
    pub async fn json_rows(self: &Arc<Self>, statement: &str) -> Result<JsonRows, Error> {
        let mut session = Session::new(self.clone(), "web");
        JsonRows::start(&mut session, statement).await.map_err(Into::into)
    }

    /// Takes no more queries and waits, not for long, until those that run have ended. Blocks:
    /// not to be called where futures are polled.
    pub fn stop(&self) {
        self.runtime.stop();
    }

    /// What statements are planned with.
    pub(crate) fn state(&self) -> &SessionState {
        &self.state
    }

    /// What functions of sequences do.
    pub(crate) fn sequences(&self) -> &SequenceCalls {
        &self.sequences
    }

    /// Rewrites what psql and tools ask the system catalogue.
    pub(crate) fn compatibility(&self) -> &PostgresCompatibilityParser {
        &self.compatibility
    }

    /// Whether `pg_catalog` has a relation of this name, and `public` has none.
    pub(crate) fn is_catalogue_relation(&self, name: &str) -> bool {
        let database = self.state.catalog_list().catalog(DATABASE);
        let has = |schema: &str| {
            let schema = database.as_ref().and_then(|database| database.schema(schema));
            schema.is_some_and(|schema| schema.table_exist(name))
        };
        has("pg_catalog") && !has(PUBLIC)
    }
}

/// What all queries share: memory, and where to put what does not fit.
fn memory(settings: &Settings) -> Result<Arc<RuntimeEnv>, SqlError> {
    let disk = match &settings.spill_dir {
        None => DiskManagerMode::Disabled,
        Some(directory) => DiskManagerMode::Directories(vec![directory.clone()]),
    };
    let memory = RuntimeEnvBuilder::new()
        .with_memory_pool(Arc::new(FairSpillPool::new(settings.memory_bytes_max)))
        .with_disk_manager_builder(DiskManagerBuilder::default().with_mode(disk))
        .build_arc()?;
    Ok(memory)
}

fn session_state(
    engine: &EngineSession,
    sequences: &SequenceCalls,
    settings: &Settings,
    memory: Arc<RuntimeEnv>,
    processes: &Arc<Processes>,
) -> Result<SessionState, SqlError> {
    let mut config = SessionConfig::new()
        .with_default_catalog_and_schema(DATABASE, PUBLIC)
        .with_create_default_catalog_and_schema(false)
        .with_information_schema(false)
        .with_target_partitions(settings.threads.max(1))
        .with_batch_size(SCAN_ROWS);
    config.options_mut().sql_parser.dialect = Dialect::PostgreSQL;
    // Numbers with a point are exact.
    config.options_mut().sql_parser.parse_float_as_decimal = true;
    let catalogs = MemoryCatalogProviderList::new();
    let database = Arc::new(Database::new(engine.clone(), Arc::clone(processes))?);
    datafusion::catalog::CatalogProviderList::register_catalog(
        &catalogs,
        DATABASE.to_owned(),
        database,
    );
    let state = SessionStateBuilder::new_with_default_features()
        .with_config(config)
        .with_runtime_env(memory)
        .with_catalog_list(Arc::new(catalogs))
        .build();
    let mut context = SessionContext::new_with_state(state);
    setup_pg_catalog(&context, DATABASE, EmptyContextProvider).map_err(|error| *error)?;
    catalog::register(&mut context, engine, sequences)?;
    Ok(context.state())
}
