//! Running plans, and handing their rows over at the client's speed.

mod held;

pub(crate) use held::Held;

use crate::error::Error;
use crate::limits::RESULT_BATCHES;
use crate::plan::QueryPlan;
use crate::runtime::{QueryRuntime, Task};
use crate::scan::QueryContext;
use crate::snapshot::Snapshot;
use crate::sql::Sql;
use anabranch_engine::Cut;
use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::datatypes::SchemaRef;
use datafusion::execution::TaskContext;
use datafusion::execution::session_state::SessionState;
use datafusion::physical_plan::{ExecutionPlan, execute_stream};
use datafusion::scalar::ScalarValue;
use futures::StreamExt;
use parking_lot::Mutex;
use std::collections::{HashMap, VecDeque};
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;

/// How long a query waits for tables to catch up with the log, where nothing shorter is set.
const CUT_WAIT_MAX: Duration = Duration::from_secs(30);

/// The rows of a query, as they come. Dropping them cancels the query.
pub struct Rows {
    schema: SchemaRef,
    source: Source,
    notices: Arc<Mutex<Vec<String>>>,
}

enum Source {
    Ready(VecDeque<RecordBatch>),
    Running { batches: mpsc::Receiver<Result<RecordBatch, Error>>, _task: Task<()> },
    Held(held::Part),
}

impl Rows {
    /// Rows that are there already.
    pub(crate) fn ready(schema: SchemaRef, batches: impl IntoIterator<Item = RecordBatch>) -> Self {
        Self {
            schema,
            source: Source::Ready(batches.into_iter().collect()),
            notices: Arc::default(),
        }
    }

    fn of_part(schema: SchemaRef, part: held::Part) -> Self {
        Self { schema, source: Source::Held(part), notices: Arc::default() }
    }

    /// The columns: names as PostgreSQL gives them. Columns of batches are in this order, under
    /// whatever names.
    #[must_use]
    pub fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    /// Some more rows; `None` at the end.
    ///
    /// # Errors
    /// As the query fails.
    pub async fn next(&mut self) -> Result<Option<RecordBatch>, Error> {
        match &mut self.source {
            Source::Ready(batches) => Ok(batches.pop_front()),
            Source::Running { batches, .. } => batches.recv().await.transpose(),
            Source::Held(part) => part.next().await,
        }
    }

    /// What the client should know; complete once all rows were taken.
    #[must_use]
    pub fn take_notices(&self) -> Vec<String> {
        std::mem::take(&mut self.notices.lock())
    }

    pub(crate) fn add_notice(&self, notice: String) {
        self.notices.lock().push(notice);
    }
}

/// What an execution needs besides its plan.
#[derive(Clone)]
pub(crate) struct Execution {
    pub(crate) sql: Arc<Sql>,
    /// What the transaction sees, if there is one.
    pub(crate) snapshot: Option<Snapshot>,
    pub(crate) timeout: Option<Duration>,
    /// Whether it runs where a disk may be waited for.
    pub(crate) may_wait: bool,
}

impl Execution {
    /// Starts `plan`. Its rows come as fast as they are taken.
    pub(crate) async fn start(
        self,
        plan: Arc<QueryPlan>,
        parameters: Vec<ScalarValue>,
    ) -> Result<Rows, Error> {
        if plan.point.is_some() {
            return self.read_point(plan, parameters).await;
        }
        let schema = plan.schema.clone();
        let notices: Arc<Mutex<Vec<String>>> = Arc::default();
        let (sender, batches) = mpsc::channel(RESULT_BATCHES);
        let runtime_sql = self.sql.clone();
        let running = {
            let (sender, notices) = (sender, notices.clone());
            let timeout = self.timeout;
            async move {
                let work = self.pump(&plan, &parameters, &sender, &notices);
                if let Err(error) = within(timeout, work).await {
                    // A client that has gone away needs no error.
                    let _ = sender.send(Err(error)).await;
                }
            }
        };
        let task = runtime_sql.runtime.spawn(running);
        Ok(Rows { schema, source: Source::Running { batches, _task: task }, notices })
    }

    async fn read_point(
        self,
        plan: Arc<QueryPlan>,
        parameters: Vec<ScalarValue>,
    ) -> Result<Rows, Error> {
        let schema = plan.schema.clone();
        // Rows in memory are read here: two changes of threads took as long as all the rest.
        let snapshot = within(self.timeout, self.snapshot()).await?;
        let read = move |may_wait| match &plan.point {
            Some(point) => point.read(&snapshot, &parameters, may_wait),
            None => Err(Error::internal("no lookup to do")),
        };
        let found = match read(false)? {
            Some(found) => Some(found),
            None => self.sql.runtime.run(async move { read(true) }).await?,
        };
        let (batch, notice) = found.ok_or_else(|| Error::internal("a lookup did not wait"))?;
        let rows = Rows::ready(schema, [batch]);
        if let Some(notice) = notice {
            rows.add_notice(notice);
        }
        Ok(rows)
    }

    /// What the transaction sees, or everything that was acknowledged until now.
    pub(crate) async fn snapshot(&self) -> Result<Snapshot, Error> {
        match &self.snapshot {
            Some(snapshot) => Ok(snapshot.clone().waiting(self.may_wait)),
            None => Ok(Snapshot::new(self.new_cut().await?).waiting(self.may_wait)),
        }
    }

    /// A cut that shows everything that was acknowledged until now.
    pub(crate) async fn new_cut(&self) -> Result<Cut, Error> {
        let wait = self.timeout.map_or(CUT_WAIT_MAX, |timeout| timeout.min(CUT_WAIT_MAX));
        Ok(self.sql.engine().cut(wait).await?)
    }

    async fn pump(
        &self,
        plan: &QueryPlan,
        parameters: &[ScalarValue],
        sender: &mpsc::Sender<Result<RecordBatch, Error>>,
        notices: &Mutex<Vec<String>>,
    ) -> Result<(), Error> {
        let mut permit = Some(QueryRuntime::admit(self.sql.runtime.admission()).await?);
        let mut state = self.sql.state().clone();
        state.mark_start_execution();
        let (logical, is_optimized) = plan.bind(parameters)?;
        let physical: Arc<dyn ExecutionPlan> = if is_optimized {
            state.query_planner().create_physical_plan(&logical, &state).await?
        } else {
            state.create_physical_plan(&logical).await?
        };
        let mut config = state.config().clone();
        let query = if plan.reads_streams {
            let query = Arc::new(QueryContext::new(self.snapshot().await?));
            config.set_extension(query.clone());
            Some(query)
        } else {
            None
        };
        let mut batches = execute_stream(physical, task_context(&state, config))?;
        while let Some(batch) = batches.next().await {
            let batch = batch?;
            if batch.num_rows() == 0 {
                continue;
            }
            let Err(full) = sender.try_send(Ok(batch)) else {
                continue;
            };
            // While the client does not take its rows (a cursor), others may run.
            drop(permit.take());
            if sender.send(full.into_inner()).await.is_err() {
                return Ok(());
            }
            permit = Some(QueryRuntime::admit(self.sql.runtime.admission()).await?);
        }
        if let Some(query) = query {
            notices.lock().extend(query.notices());
        }
        Ok(())
    }
}

/// Functions are bound in the plan; a context only carries settings and memory.
fn task_context(
    state: &SessionState,
    config: datafusion::prelude::SessionConfig,
) -> Arc<TaskContext> {
    Arc::new(TaskContext::new(
        None,
        state.session_id().to_owned(),
        config,
        HashMap::new(),
        HashMap::new(),
        HashMap::new(),
        HashMap::new(),
        state.runtime_env().clone(),
    ))
}

/// Does `work`, unless it takes longer than `timeout`.
pub(crate) async fn within<T>(
    timeout: Option<Duration>,
    work: impl Future<Output = Result<T, Error>>,
) -> Result<T, Error> {
    match timeout {
        None => work.await,
        Some(limit) => {
            tokio::time::timeout(limit, work).await.unwrap_or_else(|_| Err(Error::timed_out()))
        }
    }
}
