//! Faults under load, the short mode: each fault once. `tests/faults/README.md` says what happens;
//! the broker and the load end with the script, however it ends.

use crate::broker::{anabranch, root};
use crate::process::program;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::Stdio;
use std::sync::mpsc::channel;
use std::thread;
use std::time::{Duration, Instant};

/// Each fault once takes about a minute, on two busy cores some more.
const PATIENCE: Duration = Duration::from_secs(600);

#[test]
fn faults_lose_nothing_that_was_promised() {
    let broker = anabranch();
    let programs = Path::new(broker.get_program()).parent().expect("a file is in a directory");
    let mut child = program(root().join("tests/faults/run"))
        .arg("--bin")
        .arg(programs)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .expect("the script can be started");
    let output = BufReader::new(child.stdout.take().expect("piped"));
    let (sender, lines) = channel();
    thread::spawn(move || {
        for line in output.lines().map_while(Result::ok) {
            // A failed test stops listening.
            drop(sender.send(line));
        }
    });
    let began = Instant::now();
    // The end of its output is the end of the script. What it says is shown if the test fails.
    while let Ok(line) = lines.recv_timeout(PATIENCE.saturating_sub(began.elapsed())) {
        eprintln!("{line}");
    }
    if began.elapsed() >= PATIENCE {
        child.kill().expect("the script is our process");
    }
    let status = child.wait().expect("the script is our process");
    assert!(status.success(), "{status}");
}
