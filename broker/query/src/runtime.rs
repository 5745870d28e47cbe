//! The threads that queries run on: their own, below those of the doors and the commit loop.

use crate::error::Error;
use crate::limits::QUERIES_MAX;
use parking_lot::Mutex;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::runtime::{Builder, Handle, Runtime};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinHandle;

/// How much nicer than the doors' threads (`nice`(1)).
const NICENESS: i32 = 5;

/// How long stopping waits for queries to notice.
const STOPPING_MAX: Duration = Duration::from_secs(5);

pub(crate) struct QueryRuntime {
    runtime: Mutex<Option<Runtime>>,
    handle: Handle,
    admission: Arc<Semaphore>,
}

impl QueryRuntime {
    pub(crate) fn start(threads: usize) -> Result<Self, Error> {
        let runtime = Builder::new_multi_thread()
            .worker_threads(threads.max(1))
            .thread_name("query")
            .on_thread_start(lower_priority)
            .enable_time()
            .build()
            .map_err(|error| Error::internal(format!("cannot start query threads: {error}")))?;
        let handle = runtime.handle().clone();
        Ok(Self {
            runtime: Mutex::new(Some(runtime)),
            handle,
            admission: Arc::new(Semaphore::new(QUERIES_MAX)),
        })
    }

    /// Runs `future` on the query threads; dropping the task cancels it.
    pub(crate) fn spawn<T: Send + 'static>(
        &self,
        future: impl Future<Output = T> + Send + 'static,
    ) -> Task<T> {
        Task { handle: self.handle.spawn(future) }
    }

    /// Runs `future` on the query threads and gives its result.
    pub(crate) async fn run<T: Send + 'static>(
        &self,
        future: impl Future<Output = Result<T, Error>> + Send + 'static,
    ) -> Result<T, Error> {
        self.spawn(future).await?
    }

    /// Waits until a query may run.
    pub(crate) async fn admit(admission: Arc<Semaphore>) -> Result<OwnedSemaphorePermit, Error> {
        admission.acquire_owned().await.map_err(|_| stopping())
    }

    pub(crate) fn admission(&self) -> Arc<Semaphore> {
        self.admission.clone()
    }

    /// Takes no more queries and ends those that run.
    pub(crate) fn stop(&self) {
        self.admission.close();
        if let Some(runtime) = self.runtime.lock().take() {
            runtime.shutdown_timeout(STOPPING_MAX);
        }
    }
}

impl Drop for QueryRuntime {
    fn drop(&mut self) {
        // A runtime must not be dropped, which waits, where a future is polled.
        if let Some(runtime) = self.runtime.lock().take() {
            runtime.shutdown_background();
        }
    }
}

fn stopping() -> Error {
    Error::new(crate::error::sqlstate::ADMIN_SHUTDOWN, "the broker is shutting down")
}

fn lower_priority() {
    // On Linux the priority is the thread's. Without it queries only share less fairly.
    if let Err(error) = rustix::process::setpriority_process(None, NICENESS) {
        tracing::debug!(%error, "query threads keep the usual priority");
    }
}

/// A future on the query threads.
pub(crate) struct Task<T> {
    handle: JoinHandle<T>,
}

impl<T> Future for Task<T> {
    type Output = Result<T, Error>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        Pin::new(&mut self.handle).poll(context).map_err(|error| {
            if error.is_panic() {
                Error::internal(
                    "the query failed in a way that is a bug; the broker's log has more",
                )
            } else {
                stopping()
            }
        })
    }
}

impl<T> Drop for Task<T> {
    fn drop(&mut self) {
        self.handle.abort();
    }
}
