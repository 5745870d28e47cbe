//! The real broker as a process: started on free ports and an empty directory, killed, started
//! again.

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, OnceLock};
use std::thread;
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// How long a broker may take to be ready, or to stop, on two busy cores.
const PATIENCE: Duration = Duration::from_secs(60);
/// Ports for brokers: below those that the system gives to outgoing connections, lest a client
/// that tries again connects to itself while its broker is down.
const PORTS: std::ops::Range<u16> = 15_000..32_000;
/// Lines of the broker's log that a failing test prints.
const LOG_LINES_SHOWN: usize = 60;

/// A broker of this test.
pub(crate) struct Broker {
    dir: TempDir,
    settings: Vec<String>,
    kafka: u16,
    postgres: u16,
    web: u16,
    process: Option<Process>,
}

struct Process {
    child: Child,
    log: Arc<Mutex<Vec<String>>>,
}

impl Broker {
    /// Starts a broker with an empty data directory; returns when it is ready.
    pub(crate) fn start() -> Self {
        Self::start_with(&[])
    }

    /// The same, with settings such as `streams.partitions=4`.
    pub(crate) fn start_with(settings: &[&str]) -> Self {
        let mut broker = Self {
            dir: TempDir::with_prefix("anabranch-test-").expect("a temporary directory"),
            settings: settings.iter().map(ToString::to_string).collect(),
            kafka: free_port(),
            postgres: free_port(),
            web: free_port(),
            process: None,
        };
        broker.restart();
        broker
    }

    /// Starts the broker again where it was, and returns how long that took until it was ready.
    #[track_caller]
    pub(crate) fn restart(&mut self) -> Duration {
        assert!(self.process.is_none(), "kill or stop the broker first");
        let started = Instant::now();
        let mut command = anabranch();
        command.args(["serve", "--set"]).arg(format!("data_dir={}", self.data_dir().display()));
        for setting in [
            format!("kafka.listen={}", self.kafka()),
            format!("postgres.listen=127.0.0.1:{}", self.postgres),
            format!("web.listen={}", self.web()),
            "telemetry.format=json".to_owned(),
        ] {
            command.args(["--set", &setting]);
        }
        for setting in &self.settings {
            command.args(["--set", setting]);
        }
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the broker's program can be started");
        let stderr = child.stderr.take().expect("piped");
        let log = Arc::new(Mutex::new(Vec::new()));
        let (ready, is_ready) = channel();
        let lines = Arc::clone(&log);
        thread::spawn(move || follow(BufReader::new(stderr), &lines, &ready));
        self.process = Some(Process { child, log });
        self.wait_until_ready(&is_ready);
        started.elapsed()
    }

    #[track_caller]
    fn wait_until_ready(&self, is_ready: &Receiver<()>) {
        // Either the line came, or the process ended and closed its standard error.
        assert!(is_ready.recv_timeout(PATIENCE).is_ok(), "not ready: {}", self.log());
    }

    /// Ends the broker as a power cut would as far as it can tell (SIGKILL).
    pub(crate) fn kill(&mut self) {
        let mut process = self.process.take().expect("the broker runs");
        process.child.kill().expect("the broker is our process");
        process.child.wait().expect("the broker is our process");
    }

    /// Ends the broker by SIGTERM.
    #[track_caller]
    pub(crate) fn stop(&mut self) -> ExitStatus {
        let process = self.process.as_mut().expect("the broker runs");
        let pid = Pid::from_child(&process.child);
        kill_process(pid, Signal::TERM).expect("the broker is our process");
        let asked = Instant::now();
        let status = loop {
            if let Some(status) = process.child.try_wait().expect("the broker is our process") {
                break status;
            }
            assert!(asked.elapsed() < PATIENCE, "did not stop: {}", self.log());
            // The system offers no way to wait for a process with a time-out.
            thread::sleep(Duration::from_millis(5));
            continue;
        };
        self.process = None;
        status
    }

    /// Where Kafka clients connect.
    pub(crate) fn kafka(&self) -> String {
        format!("127.0.0.1:{}", self.kafka)
    }

    /// The port where PostgreSQL clients connect.
    pub(crate) fn postgres_port(&self) -> u16 {
        self.postgres
    }

    /// Where HTTP and WebSocket clients connect.
    pub(crate) fn web(&self) -> String {
        format!("127.0.0.1:{}", self.web)
    }

    /// Where the broker keeps its data.
    pub(crate) fn data_dir(&self) -> PathBuf {
        self.dir.path().join("data")
    }

    /// How many lines of this level its log has.
    pub(crate) fn log_lines(&self, level: &str) -> usize {
        let process = self.process.as_ref().expect("the broker runs");
        let word = format!("\"level\":\"{level}\"");
        let log = process.log.lock().expect("no holder panics");
        log.iter().filter(|line| line.contains(&word)).count()
    }

    /// The last lines of the broker's log.
    pub(crate) fn log(&self) -> String {
        let Some(process) = &self.process else { return "not running".to_owned() };
        let log = process.log.lock().expect("no holder panics");
        log[log.len().saturating_sub(LOG_LINES_SHOWN)..].join("\n")
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        if thread::panicking() {
            eprintln!("the broker's log:\n{}", self.log());
        }
        if self.process.is_some() {
            self.kill();
        }
    }
}

/// Keeps the log, and tells when the broker is ready.
fn follow(stderr: impl BufRead, log: &Mutex<Vec<String>>, ready: &Sender<()>) {
    for line in stderr.lines().map_while(Result::ok) {
        let json: Option<Value> = serde_json::from_str(&line).ok();
        if json.is_some_and(|json| json["message"] == "ready") {
            // Nobody waits for a second one.
            let _ = ready.send(());
        }
        log.lock().expect("no holder panics").push(line);
    }
}

/// The broker's program, without this environment's settings. Built beforehand, with the tests.
pub(crate) fn anabranch() -> Command {
    static PROGRAM: OnceLock<PathBuf> = OnceLock::new();
    let program = PROGRAM.get_or_init(|| {
        let test = std::env::current_exe().expect("a test is a file");
        let profile = test.ancestors().nth(2).expect("tests stand in target/PROFILE/deps");
        let program = profile.join("anabranch");
        assert!(program.exists(), "{} is missing: run tests/run", program.display());
        program
    });
    let mut command = crate::process::program(program);
    for (name, _) in std::env::vars_os() {
        if name.to_str().is_some_and(|name| name.starts_with("ANABRANCH_")) {
            command.env_remove(name);
        }
    }
    command
}

/// The top of the checkout, as cargo tells whom it runs: another one may have been compiled.
pub(crate) fn root() -> &'static Path {
    static ROOT: OnceLock<PathBuf> = OnceLock::new();
    ROOT.get_or_init(|| {
        let member = std::env::var_os("CARGO_MANIFEST_DIR")
            .unwrap_or_else(|| env!("CARGO_MANIFEST_DIR").into());
        Path::new(&member).parent().expect("the tests are a member").to_owned()
    })
}

/// A port that nobody has now.
pub(crate) fn free_port() -> u16 {
    static NEXT: OnceLock<AtomicU16> = OnceLock::new();
    let span = PORTS.end - PORTS.start;
    let next = NEXT.get_or_init(|| {
        // Other test processes start elsewhere.
        let start = (std::process::id() % u32::from(span)) as u16;
        AtomicU16::new(start.wrapping_mul(61) % span)
    });
    for _ in 0..span {
        let port = PORTS.start + next.fetch_add(1, Ordering::Relaxed) % span;
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
    panic!("no port between {} and {} is free", PORTS.start, PORTS.end);
}
