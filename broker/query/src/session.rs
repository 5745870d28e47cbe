//! A session: settings, a transaction, and statements one after another.

mod copy;
mod cursors;
mod definition;
mod prepared;
mod roles;
mod settings;
mod templates;
#[cfg(test)]
mod tests;
mod transaction;

pub(crate) use definition::{stream_name, unknown};
pub(crate) use settings::defaults;
pub use settings::{REPORTED, VERSION};
pub use transaction::TransactionState;

use crate::copy::{CopyIn, CopyOptions, CopyOut};
use crate::error::{Error, sqlstate};
use crate::execute::{Execution, Rows};
use crate::plan::{PlanContext, QueryPlan};
use crate::processes::Registered;
use crate::rows::text_of;
use crate::sequences::Remembering;
use crate::sql::Sql;
use crate::statement::{
    ConfiguredValue, CursorStatement, Kind, PreparedStatement, SessionStatement, SetValue,
    Statement,
};
use crate::write::WritePlan;
use anabranch_engine::Session as EngineSession;
use copy::CopyKind;
use cursors::Cursors;
use datafusion::arrow::datatypes::{DataType, SchemaRef};
use datafusion::scalar::ScalarValue;
use settings::SessionSettings;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use templates::Templates;
use transaction::Transaction;

/// One client's session. Statements of a session run one at a time.
pub struct Session {
    sql: Arc<Sql>,
    /// The engine as this client may use it. Until that makes a difference, `sql` may be one for
    /// all.
    own: EngineSession,
    user: String,
    process: Registered,
    settings: SessionSettings,
    transaction: Option<Transaction>,
    templates: Templates,
    remembering: Remembering,
    cursors: Cursors,
    /// By the names that PREPARE gave.
    prepared: HashMap<String, Arc<Prepared>>,
}

/// A statement that was planned once, to be executed many times.
pub struct Prepared {
    statement: Statement,
    hints: Vec<Option<DataType>>,
    plan: Plan,
    /// What it was planned with, and the catalog then.
    sql: Arc<Sql>,
    catalog_version: u64,
}

enum Plan {
    Query(Arc<QueryPlan>),
    Write(Arc<WritePlan>),
    Copy(CopyKind, CopyOptions),
    /// DECLARE: the cursor's query.
    Declare(Arc<Prepared>),
    /// Needs no plan; gives these columns, if any.
    Other(Option<SchemaRef>),
}

/// What executing a statement gives.
pub enum Outcome {
    /// Rows, and the word for the command's tag (`SELECT`, `SHOW`, `INSERT 0`, …), to which the
    /// number of rows is added.
    Rows(Rows, &'static str),
    /// Nothing but a tag.
    Done(Done),
    /// Rows that go out as COPY's.
    CopyOut(CopyOut),
    /// COPY waits for rows; [`Session::finish_copy`] ends it.
    CopyIn(CopyIn),
}

/// A statement without rows is done.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Done {
    /// PostgreSQL's command tag.
    pub tag: String,
    /// What the client should know.
    pub notices: Vec<String>,
    /// Settings that clients are told of when they change.
    pub reported: Vec<(&'static str, String)>,
}

impl Done {
    pub(crate) fn tag(tag: impl Into<String>) -> Self {
        Self { tag: tag.into(), ..Self::default() }
    }
}

impl Plan {
    fn parameters(&self) -> &[DataType] {
        match self {
            Self::Query(plan) => &plan.parameters,
            Self::Write(plan) => plan.parameters(),
            Self::Declare(query) => query.parameters(),
            Self::Copy(..) | Self::Other(_) => &[],
        }
    }

    fn schema(&self) -> Option<&SchemaRef> {
        match self {
            Self::Query(plan) => Some(&plan.schema),
            Self::Write(plan) => plan.returning_schema(),
            Self::Copy(..) | Self::Declare(_) => None,
            Self::Other(schema) => schema.as_ref(),
        }
    }
}

impl Prepared {
    /// Types of `$1`, `$2`, …
    #[must_use]
    pub fn parameters(&self) -> &[DataType] {
        self.plan.parameters()
    }

    /// The result's columns; `None` for statements without rows, and for COPY, whose columns come
    /// when it is executed.
    #[must_use]
    pub fn schema(&self) -> Option<&SchemaRef> {
        self.plan.schema()
    }

    /// Whether it writes rows.
    #[must_use]
    pub fn writes(&self) -> bool {
        matches!(self.plan, Plan::Write(_))
    }

    /// Whether its arrays of integers are arrays of oids: it reads the system catalogue alone.
    #[must_use]
    pub fn has_oids(&self) -> bool {
        matches!(&self.plan, Plan::Query(plan) if plan.is_of_catalogue)
    }

    fn query_plan(&self) -> Option<&Arc<QueryPlan>> {
        match &self.plan {
            Plan::Query(plan) => Some(plan),
            _ => None,
        }
    }

    /// What was prepared.
    #[must_use]
    pub fn statement(&self) -> &Statement {
        &self.statement
    }
}

impl Session {
    /// A session of `user`, as they call themselves.
    #[must_use]
    pub fn new(sql: Arc<Sql>, user: &str) -> Self {
        let own = sql.engine().clone();
        Self::of_client(sql, own, user)
    }

    /// The same, of a client whose own session of the engine is `own`. `sql` may be one that many
    /// share while nobody can be denied anything; from then on the client has one of its own.
    #[must_use]
    pub fn of_client(sql: Arc<Sql>, own: EngineSession, user: &str) -> Self {
        let settings = SessionSettings::new(&sql);
        let process = sql.processes.begin(own.user().as_deref().unwrap_or(user));
        let remembering = Remembering { calls: sql.sequences().clone(), session: process.id() };
        Self {
            sql,
            own,
            user: user.to_owned(),
            process,
            settings,
            transaction: None,
            cursors: Cursors::default(),
            prepared: HashMap::new(),
            templates: Templates::default(),
            remembering,
        }
    }

    /// Sees to it that nobody else's rights are used. A transaction goes on as it began.
    fn take_own_sql(&mut self) -> Result<(), Error> {
        if !self.own.is_free()
            && self.transaction.is_none()
            && !self.sql.engine().is_same(&self.own)
        {
            self.sql = self.sql.of(self.own.clone())?;
        }
        Ok(())
    }

    /// Its number, as PostgreSQL's process id.
    #[must_use]
    pub fn process_id(&self) -> i32 {
        self.process.id()
    }

    /// The SQL that it speaks to.
    #[must_use]
    pub fn sql(&self) -> &Arc<Sql> {
        &self.sql
    }

    /// A setting's value.
    #[must_use]
    pub fn setting(&self, name: &str) -> Option<String> {
        match name.to_lowercase().as_str() {
            "is_superuser" => Some(self.is_superuser().to_owned()),
            "session_authorization" => Some(self.user_name()),
            _ => self.settings.get(name),
        }
    }

    /// Who it says it is, unless it has logged in.
    fn user_name(&self) -> String {
        self.own.user().unwrap_or_else(|| self.user.clone())
    }

    fn is_superuser(&self) -> &'static str {
        if self.own.sees_all() { "on" } else { "off" }
    }

    /// Sets what a client gives at the start (`options`, `application_name`, …). Names that do
    /// not exist are passed over, as drivers send what other servers know.
    ///
    /// # Errors
    /// 22023 for a value that is refused.
    pub fn set_at_start(&mut self, name: &str, value: &str) -> Result<(), Error> {
        match self.settings.set(name, &SetValue::Text(value.to_owned())) {
            Err(error) if error.sqlstate == sqlstate::UNDEFINED_OBJECT => Ok(()),
            other => other.map(|_| ()),
        }
    }

    /// Where its transaction stands.
    #[must_use]
    pub fn transaction_state(&self) -> TransactionState {
        match &self.transaction {
            None => TransactionState::None,
            Some(transaction) if transaction.implicit => TransactionState::None,
            Some(transaction) if transaction.failed => TransactionState::Failed,
            Some(_) => TransactionState::Open,
        }
    }

    /// A statement failed: an open transaction can only be rolled back now.
    pub fn fail(&mut self) {
        match &mut self.transaction {
            Some(transaction) if transaction.implicit => drop(self.end_transaction()),
            Some(transaction) => transaction.failed = true,
            None => {}
        }
    }

    /// Plans `statement`. `hints` are types of parameters that the client named.
    ///
    /// # Errors
    /// What is wrong with the statement.
    pub async fn prepare(
        &mut self,
        statement: Statement,
        hints: Vec<Option<DataType>>,
    ) -> Result<Prepared, Error> {
        self.check_transaction(&statement)?;
        self.take_own_sql()?;
        let catalog_version = self.sql.engine().catalog().version();
        let plan = match &statement.kind {
            Kind::Copy(copy) => self.plan_copy(copy).await?,
            Kind::Cursor(CursorStatement::Declare(declare)) => {
                let query = declare.query.as_ref().clone();
                Plan::Declare(Arc::new(Box::pin(self.prepare(query, hints.clone())).await?))
            }
            _ => self.plan(&statement, &hints).await?,
        };
        Ok(Prepared { statement, hints, plan, sql: self.sql.clone(), catalog_version })
    }

    /// Plans what is neither COPY nor DECLARE.
    async fn plan(&self, statement: &Statement, hints: &[Option<DataType>]) -> Result<Plan, Error> {
        Ok(match &statement.kind {
            Kind::Query(query) => {
                let (sql, context) = (self.sql.clone(), self.plan_context());
                let (query, text) = (query.as_ref().clone(), statement.text.clone());
                let hints = hints.to_vec();
                let planning =
                    Box::pin(
                        async move { QueryPlan::new(&sql, &context, &text, query, &hints).await },
                    );
                Plan::Query(Arc::new(self.sql.runtime.run(planning).await?))
            }
            Kind::Insert(..) | Kind::Update(..) | Kind::Delete(..) | Kind::Truncate(_) => {
                let (sql, context) = (self.sql.clone(), self.plan_context());
                let (kind, hints) = (statement.kind.clone(), hints.to_vec());
                let planning =
                    Box::pin(async move { WritePlan::new(&sql, &context, kind, &hints).await });
                Plan::Write(Arc::new(self.sql.runtime.run(planning).await?))
            }
            Kind::Session(SessionStatement::Show(name)) => {
                Plan::Other(Some(settings::show_schema(name.as_deref())))
            }
            Kind::Alter(alter) => Plan::Other(definition::schema_of(alter)),
            Kind::Cursor(CursorStatement::Fetch(fetch)) if !fetch.moves => {
                Plan::Other(self.cursors.schema(&fetch.name))
            }
            Kind::Prepared(PreparedStatement::Execute { name, .. }) => {
                Plan::Other(self.schema_of_prepared(name))
            }
            _ => Plan::Other(None),
        })
    }

    /// Executes a prepared statement.
    ///
    /// # Errors
    /// As the statement fails. The caller then calls [`Self::fail`].
    pub async fn execute(
        &mut self,
        prepared: &mut Arc<Prepared>,
        parameters: Vec<ScalarValue>,
    ) -> Result<Outcome, Error> {
        self.check_transaction(&prepared.statement)?;
        self.take_own_sql()?;
        self.refresh(prepared).await?;
        match (&prepared.plan, &prepared.statement.kind) {
            (plan @ (Plan::Query(_) | Plan::Write(_)), _) => self.run_plan(plan, parameters).await,
            (Plan::Copy(kind, options), _) => self.copy(kind, options).await,
            (Plan::Declare(query), Kind::Cursor(CursorStatement::Declare(declare))) => {
                let (declare, query) = (declare.clone(), query.clone());
                self.declare(&declare, &query, parameters).await
            }
            (Plan::Other(schema), Kind::Cursor(statement)) => {
                let (statement, schema) = (statement.clone(), schema.clone());
                self.cursor(statement, schema.as_ref()).await
            }
            (Plan::Other(schema), Kind::Prepared(statement)) => {
                let (statement, schema) = (statement.clone(), schema.clone());
                self.prepared(statement, schema.as_ref()).await
            }
            (Plan::Other(_), Kind::Session(statement)) => {
                let statement = statement.clone();
                self.session_statement(statement).await
            }
            (Plan::Other(_), Kind::Role(statement)) => {
                let statement = statement.clone();
                self.roles(statement).await.map(Outcome::Done)
            }
            (Plan::Other(_) | Plan::Declare(_), kind) => {
                let kind = kind.clone();
                Box::pin(self.define(kind)).await
            }
        }
    }

    /// Executes what gives rows, or writes.
    async fn run_plan(
        &mut self,
        plan: &Plan,
        parameters: Vec<ScalarValue>,
    ) -> Result<Outcome, Error> {
        match plan {
            Plan::Query(plan) => {
                let parameters = plan.cast_parameters(parameters)?;
                self.configure(plan, &parameters)?;
                let execution = self.reading(plan).await?;
                if let Some(locks) = &plan.locks {
                    self.lock(locks, &execution, &parameters).await?;
                }
                Ok(Outcome::Rows(execution.start(plan.clone(), parameters).await?, "SELECT"))
            }
            Plan::Write(plan) => Box::pin(self.write(plan.clone(), parameters)).await,
            Plan::Copy(..) | Plan::Declare(_) | Plan::Other(_) => {
                Err(Error::internal("no plan to execute"))
            }
        }
    }

    /// Plans again what the catalog has overtaken, or was planned with what others may see.
    async fn refresh(&mut self, prepared: &mut Arc<Prepared>) -> Result<(), Error> {
        let is_current = Arc::ptr_eq(&prepared.sql, &self.sql)
            && prepared.catalog_version == self.sql.engine().catalog().version();
        if is_current || matches!(prepared.plan, Plan::Other(_)) {
            return Ok(());
        }
        let again = self.prepare(prepared.statement.clone(), prepared.hints.clone()).await?;
        let types = |prepared: &Prepared| {
            prepared.schema().map(|schema| {
                let types = schema.fields().iter().map(|field| field.data_type().clone());
                types.collect::<Vec<_>>()
            })
        };
        if types(prepared) != types(&again) || prepared.parameters() != again.parameters() {
            return Err(Error::unsupported("cached plan must not change result type")
                .hint("the stream was altered: prepare the statement again"));
        }
        *prepared = Arc::new(again);
        Ok(())
    }

    fn plan_context(&self) -> PlanContext {
        PlanContext {
            user: self.user_name(),
            version: format!("PostgreSQL {VERSION} (Anabranch {})", env!("CARGO_PKG_VERSION")),
            process_id: self.process.id(),
            settings: self.all_settings(),
        }
    }

    /// With what changes by itself.
    fn all_settings(&self) -> Arc<SettingsMap> {
        let mut all = self.settings.all();
        let is_read_only = match &self.transaction {
            Some(transaction) => transaction.is_read_only(),
            None => self.settings.is_read_only(),
        };
        let truth = [
            ("transaction_read_only", if is_read_only { "on" } else { "off" }.to_owned()),
            ("is_superuser", self.is_superuser().to_owned()),
            ("session_authorization", self.user_name()),
        ];
        for (name, value) in truth {
            if all.get(name) != Some(&value) {
                Arc::make_mut(&mut all).insert(name.to_owned(), value);
            }
        }
        all
    }

    /// How to run a query: as the transaction sees things, where there is one.
    async fn reading(&mut self, plan: &QueryPlan) -> Result<Execution, Error> {
        let mut execution = self.execution();
        if plan.reads_streams
            && let Some(transaction) = &mut self.transaction
        {
            execution.snapshot = Some(transaction.snapshot(&execution).await?);
        }
        Ok(execution)
    }

    fn execution(&self) -> Execution {
        let timeout = self.settings.statement_timeout();
        Execution { sql: self.sql.clone(), snapshot: None, timeout, may_wait: true }
    }

    fn check_transaction(&self, statement: &Statement) -> Result<(), Error> {
        match self.transaction_state() {
            TransactionState::Failed if !statement.ends_transaction() => Err(Error::new(
                sqlstate::TRANSACTION_FAILED,
                "current transaction is aborted, commands ignored until end of transaction block",
            )),
            _ => Ok(()),
        }
    }

    async fn session_statement(&mut self, statement: SessionStatement) -> Result<Outcome, Error> {
        let done = match statement {
            SessionStatement::Show(name) => {
                return settings::show(&self.all_settings(), name.as_deref())
                    .map(|rows| Outcome::Rows(rows, "SHOW"));
            }
            SessionStatement::Set { name, value, local } => self.set(&name, &value, local)?,
            SessionStatement::Reset(Some(name)) => {
                Done { tag: "RESET".to_owned(), ..self.set(&name, &SetValue::Default, false)? }
            }
            SessionStatement::Reset(None) => {
                Done { reported: self.settings.reset_all(), ..Done::tag("RESET") }
            }
            SessionStatement::Discard => {
                if self.transaction.is_some() {
                    return Err(Error::new(
                        sqlstate::TRANSACTION_ACTIVE,
                        "DISCARD ALL cannot run inside a transaction block",
                    ));
                }
                self.remembering.calls.forget(self.process_id());
                self.cursors.close_all();
                self.deallocate(None);
                Done { reported: self.settings.reset_all(), ..Done::tag("DISCARD ALL") }
            }
            // The door forgets those that it keeps.
            SessionStatement::Deallocate(name) => {
                self.deallocate(name.as_deref());
                Done::tag(if name.is_some() { "DEALLOCATE" } else { "DEALLOCATE ALL" })
            }
            SessionStatement::Unlisten => Done::tag("UNLISTEN"),
            SessionStatement::Characteristics { read_only: None } => Done::tag("SET"),
            SessionStatement::Characteristics { read_only: Some(read_only) } => {
                let value = if read_only { "on" } else { "off" };
                let value = SetValue::Text(value.to_owned());
                self.set("default_transaction_read_only", &value, false)?
            }
            transaction => {
                let done = self.transaction_statement(transaction.clone()).await;
                let committed = done.as_ref().is_ok_and(|done| done.tag == "COMMIT");
                self.cursors.follow(&transaction, self.transaction.is_some(), committed);
                done?
            }
        };
        Ok(Outcome::Done(done))
    }

    /// Does what `set_config` asks for.
    fn configure(&mut self, plan: &QueryPlan, parameters: &[ScalarValue]) -> Result<(), Error> {
        for configured in plan.configures() {
            let value = match &configured.value {
                ConfiguredValue::Constant(value) => Some(value.clone()),
                ConfiguredValue::Parameter(number) => number
                    .checked_sub(1)
                    .and_then(|at| text_of(parameters.get(at)?))
                    .map(ToOwned::to_owned),
            };
            // NULL is the default (PostgreSQL 15, guc.c).
            let value = value.map_or(SetValue::Default, SetValue::Text);
            self.set(&configured.name, &value, configured.local)?;
        }
        Ok(())
    }

    fn set(&mut self, name: &str, value: &SetValue, local: bool) -> Result<Done, Error> {
        if local && self.transaction.is_none() {
            return Ok(Done {
                notices: vec!["SET LOCAL can only be used in transaction blocks".to_owned()],
                ..Done::tag("SET")
            });
        }
        let before = self.settings.get(name);
        let (notices, reported) = self.settings.set(name, value)?;
        if let (true, Some(transaction), Some(before)) = (local, &mut self.transaction, before) {
            transaction.restore_later(name, before);
        }
        Ok(Done { notices, reported, ..Done::tag("SET") })
    }
}

/// Settings by name.
pub(crate) type SettingsMap = BTreeMap<String, String>;
