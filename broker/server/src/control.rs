//! The control socket: how `anabranch backup` reaches the broker of a data directory.
//!
//! It stands in the data directory, and only the user who runs the broker (and root) may connect:
//! whoever may read the files may have a copy of them, so nobody has to log in, and nothing of it can
//! be reached over a network. A request is a line of JSON, an answer some: progress, then the end.
//! Who closes the connection gives up what it has asked for.

use anabranch_engine::{Backup, Session};
use serde::{Deserialize, Serialize};
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio_util::sync::CancellationToken;

/// A request is no longer.
const REQUEST_BYTES_MAX: u64 = 64 << 10;
/// Between two lines of progress.
const PROGRESS_EVERY: Duration = Duration::from_millis(200);

/// What can be asked for.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub(crate) enum Request {
    /// A backup into a directory, which is named in full.
    Backup { to: PathBuf, bytes_per_second: Option<u64> },
}

/// A line of an answer. The last is not [`Self::Progress`].
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Answer {
    /// Bytes copied, of how many.
    Progress { copied: u64, all: u64 },
    /// The backup is there.
    Made(Summary),
    /// It is not.
    Failed { message: String },
}

/// What a backup holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Summary {
    /// Everything up to this round is in it.
    pub(crate) round: u64,
    pub(crate) files: usize,
    pub(crate) bytes: u64,
}

impl From<&anabranch_engine::Manifest> for Summary {
    fn from(manifest: &anabranch_engine::Manifest) -> Self {
        Self { round: manifest.round.0, files: manifest.files.len(), bytes: manifest.bytes() }
    }
}

/// Where the socket of a data directory stands.
pub(crate) fn path(data_dir: &Path) -> PathBuf {
    data_dir.join("control")
}

/// Serves the socket of a data directory, which this process has locked, until `stop`. Without one
/// the broker runs all the same.
pub(crate) fn open(data_dir: &Path, session: Session, stop: CancellationToken) {
    let path = path(data_dir);
    match bind(&path) {
        Ok(listener) => {
            tokio::spawn(serve(listener, path, session, stop));
        }
        Err(error) => tracing::warn!(
            path = %path.display(),
            %error,
            "there is no control socket: `anabranch backup` works only while the broker is stopped"
        ),
    }
}

fn bind(path: &Path) -> io::Result<UnixListener> {
    // Of a process that was killed.
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let listener = UnixListener::bind(path)?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600))?;
    Ok(listener)
}

async fn serve(listener: UnixListener, path: PathBuf, session: Session, stop: CancellationToken) {
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = stop.cancelled() => break,
        };
        match accepted {
            Ok((stream, _)) if is_ours(&stream) => {
                let (session, stop) = (session.clone(), stop.clone());
                tokio::spawn(async move {
                    // Who asked has gone: there is nobody to tell.
                    let _ = answer(stream, session, stop).await;
                });
            }
            Ok(_) => tracing::warn!(target: "audit", "another user came to the control socket"),
            Err(error) => {
                tracing::warn!(%error, "a connection to the control socket failed");
                tokio::time::sleep(PROGRESS_EVERY).await;
            }
        }
    }
    // A later start removes it too.
    let _ = std::fs::remove_file(path);
}

/// Whether whoever connects runs as the same user, or as root.
fn is_ours(stream: &UnixStream) -> bool {
    let own = rustix::process::geteuid().as_raw();
    stream.peer_cred().is_ok_and(|peer| peer.uid() == own || peer.uid() == 0)
}

async fn answer(stream: UnixStream, session: Session, stop: CancellationToken) -> io::Result<()> {
    let (reader, mut writer) = stream.into_split();
    let mut reader = BufReader::new(reader.take(REQUEST_BYTES_MAX));
    let mut line = String::new();
    reader.read_line(&mut line).await?;
    let request = match serde_json::from_str(&line) {
        Ok(request) => request,
        Err(error) => {
            let message = format!("not a request of this version: {error}");
            return send(&mut writer, &Answer::Failed { message }).await;
        }
    };
    let Request::Backup { to, bytes_per_second } = request;
    let state = Arc::new(State::default());
    let working = Arc::clone(&state);
    let mut work = tokio::task::spawn_blocking(move || {
        let progress = |copied, all| working.progress(copied, all);
        session.back_up(&Backup { to: &to, bytes_per_second, progress: &progress })
    });
    let mut told = Instant::now();
    let mut rest = [0; 1];
    let made = loop {
        tokio::select! {
            made = &mut work => break made,
            read = reader.read(&mut rest) => {
                // Whoever asked says no more: it is gone.
                let _ = read?;
                state.stop();
                break (&mut work).await;
            }
            () = stop.cancelled(), if !state.is_stopped() => state.stop(),
            () = tokio::time::sleep(PROGRESS_EVERY) => {}
        }
        if told.elapsed() >= PROGRESS_EVERY {
            told = Instant::now();
            if send(&mut writer, &state.answer()).await.is_err() {
                state.stop();
            }
        }
    };
    let last = match made {
        Ok(Ok(manifest)) => Answer::Made(Summary::from(&manifest)),
        Ok(Err(error)) => {
            tracing::warn!(%error, "a backup failed");
            Answer::Failed { message: error.to_string() }
        }
        Err(panicked) => Answer::Failed { message: panicked.to_string() },
    };
    send(&mut writer, &last).await
}

async fn send(writer: &mut (impl AsyncWriteExt + Unpin), answer: &Answer) -> io::Result<()> {
    let mut line = serde_json::to_vec(answer)?;
    line.push(b'\n');
    writer.write_all(&line).await
}

/// What a backup and its connection share.
#[derive(Default)]
struct State {
    copied: AtomicU64,
    all: AtomicU64,
    stopped: AtomicBool,
}

impl State {
    fn progress(&self, copied: u64, all: u64) -> bool {
        self.copied.store(copied, Ordering::Relaxed);
        self.all.store(all, Ordering::Relaxed);
        !self.is_stopped()
    }

    fn stop(&self) {
        self.stopped.store(true, Ordering::Relaxed);
    }

    fn is_stopped(&self) -> bool {
        self.stopped.load(Ordering::Relaxed)
    }

    fn answer(&self) -> Answer {
        let load = |count: &AtomicU64| count.load(Ordering::Relaxed);
        Answer::Progress { copied: load(&self.copied), all: load(&self.all) }
    }
}
