//! The sample configurations, and what the program says about settings.

use crate::broker::{Broker, anabranch, free_port, root};
use crate::process::{run, run_any};
use std::net::TcpListener;
use std::process::Command;

#[track_caller]
fn check_fails(command: &mut Command, expected: &[&str]) {
    let output = run_any(command, &[]);
    let error = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{error}");
    for part in expected {
        assert!(error.contains(part), "{part:?} is missing in {error}");
    }
}

#[test]
fn samples_are_valid() {
    let samples = root().join("config").read_dir().expect("config/ exists");
    let mut count = 0;
    for sample in samples {
        let path = sample.expect("readable").path();
        if path.extension().is_none_or(|extension| extension != "toml") {
            continue;
        }
        run(anabranch().args(["check-config", "--config"]).arg(&path), &[]);
        count += 1;
    }
    assert!(count > 0);
}

#[test]
fn settings_tell_where_they_come_from() {
    let mut check = anabranch();
    check.args(["check-config", "--set", "kafka.listen=127.0.0.1:1"]);
    check.env("ANABRANCH_DATA_DIR", "/somewhere").env("ANABRANCH_SERVICE_HOST", "10.0.0.1");
    let output = run_any(&mut check, &[]);
    let said = String::from_utf8_lossy(&output.stdout);
    let line = |key: &str| said.lines().find(|line| line.starts_with(key)).unwrap_or_default();
    assert!(line("kafka.listen").contains("# command line"), "{said}");
    assert!(line("data_dir").contains("# ANABRANCH_DATA_DIR"), "{said}");
    assert!(line("web.listen").contains("# default"), "{said}");
    let warned = String::from_utf8_lossy(&output.stderr);
    assert!(warned.contains("ANABRANCH_SERVICE_HOST is not used"), "{warned}");
}

#[test]
fn mistakes_name_key_and_remedy() {
    check_fails(
        anabranch().args(["check-config", "--set", "kafka.lisen=127.0.0.1:1"]),
        &["kafka.lisen", "did you mean `kafka.listen`?"],
    );
    check_fails(
        anabranch().args(["serve", "--set", "web.listen=0.0.0.0:8080"]),
        &["`web.listen`", "allow_insecure"],
    );
    check_fails(
        anabranch().args(["serve", "--set", "telemetry.filter=a=b=c"]),
        &["`telemetry.filter`"],
    );
}

#[test]
fn a_taken_port_names_its_key() {
    let port = free_port();
    let _taken = TcpListener::bind(("127.0.0.1", port)).expect("the port was free");
    let dir = tempfile::tempdir().expect("a temporary directory");
    check_fails(
        anabranch()
            .args(["serve", "--set", &format!("kafka.listen=127.0.0.1:{port}")])
            .env("ANABRANCH_DATA_DIR", dir.path()),
        &["is taken", "`kafka.listen`", "ANABRANCH_KAFKA_LISTEN"],
    );
}

#[test]
fn the_data_directory_is_one_broker_s() {
    let broker = Broker::start();
    let mut second = anabranch();
    second.args(["serve", "--set", "kafka.listen=127.0.0.1:0", "--set", "postgres.listen=off"]);
    second.args(["--set", "web.listen=off"]).env("ANABRANCH_DATA_DIR", broker.data_dir());
    check_fails(&mut second, &["data_dir", &broker.data_dir().display().to_string()]);
}

#[test]
fn a_signal_stops_it_in_order() {
    let mut broker = Broker::start();
    assert!(broker.stop().success());
    broker.restart();
    assert!(broker.stop().success());
}
