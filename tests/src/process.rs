//! Running programs: bounded in time, with everything they said when they fail.

use std::ffi::OsStr;
use std::io::{Read, Write};
use std::process::{Command, Output, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::Duration;

/// No program of a test takes longer on two busy cores.
pub(crate) const PATIENCE: Duration = Duration::from_secs(120);

/// A program to be run. Cargo points its tests at the libraries that they were built with, and
/// kcat would load the load generator's librdkafka instead of Debian's.
pub(crate) fn program(name: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new(name);
    command.env_remove("LD_LIBRARY_PATH");
    command
}

/// Runs a program to its end with `input` as standard input. Panics unless it succeeds.
#[track_caller]
pub(crate) fn run(command: &mut Command, input: &[u8]) -> String {
    let shown = format!("{command:?}");
    let output = run_any(command, input);
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{shown}: {}\n{error}", output.status);
    String::from_utf8(output.stdout).expect("programs print UTF-8")
}

/// Runs a program to its end, however that is.
#[track_caller]
pub(crate) fn run_any(command: &mut Command, input: &[u8]) -> Output {
    let shown = format!("{command:?}");
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| panic!("{shown}: {error}"));
    let mut stdin = child.stdin.take().expect("piped");
    let input = input.to_vec();
    // A program that does not read everything closes the pipe, and its status says why.
    thread::spawn(move || drop(stdin.write_all(&input)));
    let stdout = read_all(child.stdout.take().expect("piped"));
    let stderr = read_all(child.stderr.take().expect("piped"));
    let Ok(out) = stdout.recv_timeout(PATIENCE) else {
        child.kill().expect("the program is ours");
        child.wait().expect("the program is ours");
        let said = stderr.recv().expect("a killed program closes its output");
        panic!("{shown}: not done in {PATIENCE:?}\n{}", String::from_utf8_lossy(&said));
    };
    let stderr = stderr.recv_timeout(PATIENCE).expect("both outputs close at the end");
    let status = child.wait().expect("the program is ours");
    Output { status, stdout: out, stderr }
}

/// What a program said on both outputs.
pub(crate) fn say(output: &Output) -> String {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    text(&output.stdout) + &text(&output.stderr)
}

/// Reads to the end on a thread of its own.
fn read_all(mut from: impl Read + Send + 'static) -> Receiver<Vec<u8>> {
    let (sender, receiver) = channel();
    thread::spawn(move || {
        let mut bytes = Vec::new();
        // What was read before an error is what there is to show.
        let _ = from.read_to_end(&mut bytes);
        drop(sender.send(bytes));
    });
    receiver
}
