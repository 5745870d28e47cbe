//! Random statements on PostgreSQL 15 and the broker, the short mode. `tests/oracle/run --help`
//! says what is compared.

use crate::broker::{anabranch, root};
use crate::process::program;
use std::path::Path;

/// Statements of the short mode: some ten seconds.
const QUERIES: &str = "1500";

/// Percent of the statements on which both agree, or of whose difference there is a written reason.
const AGREED_MIN: &str = "98";

#[test]
fn answers_are_those_of_postgresql() {
    let broker = anabranch();
    let programs = Path::new(broker.get_program()).parent().expect("a file is in a directory");
    let output = program(root().join("tests/oracle/run"))
        .arg("--bin")
        .arg(programs)
        .args(["--queries", QUERIES, "--agreed-min", AGREED_MIN])
        .output()
        .expect("the script can be started");
    eprintln!("{}", String::from_utf8_lossy(&output.stderr));
    eprintln!("{}", String::from_utf8_lossy(&output.stdout));
    assert!(output.status.success(), "{}", output.status);
}
