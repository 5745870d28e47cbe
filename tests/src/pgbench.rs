//! pgbench: its three scripts, and the sums that must be equal after them.

use crate::broker::Broker;
use crate::clients::installed;
use crate::process::{program, run};
use crate::psql::{query, value};
use std::path::Path;

#[test]
fn its_balances_are_equal_after_its_scripts() {
    let broker = Broker::start();
    let pgbench = || {
        let mut pgbench = program(Path::new(&installed("TEST_POSTGRESQL")).join("pgbench"));
        pgbench.args(["-h", "127.0.0.1", "-p", &broker.postgres_port().to_string()]);
        pgbench.args(["-U", "tester"]);
        pgbench
    };
    // Tables, rows by COPY (more of them than the journal would hold in one round), VACUUM, and
    // then the primary keys; and again, over what there is.
    for _ in 0..2 {
        run(pgbench().args(["-i", "-s", "2", "-q", "anabranch"]), &[]);
    }
    assert_eq!(value(&broker, "SELECT count(*) FROM pgbench_accounts"), "200000");
    let bench = |script: &str, protocol: &str, clients: u32, transactions: u32| {
        let mut pgbench = pgbench();
        pgbench.args(["-n", "-s", "2", "-b", script, "-M", protocol, "-c", &clients.to_string()]);
        // Everybody writes the same branches: who comes second tries again.
        pgbench.args(["-t", &transactions.to_string(), "--max-tries=1000", "anabranch"]);
        let said = run(&mut pgbench, &[]);
        let wanted = clients * transactions;
        let processed = format!("number of transactions actually processed: {wanted}/{wanted}");
        assert!(said.contains(&processed), "{said}");
    };
    bench("select-only", "prepared", 4, 250);
    bench("tpcb-like", "simple", 2, 50);
    bench("tpcb-like", "extended", 4, 25);
    bench("simple-update", "prepared", 4, 50);
    let sums = query(
        &broker,
        "SELECT (SELECT sum(abalance) FROM pgbench_accounts), (SELECT sum(delta) FROM \
         pgbench_history), (SELECT count(*) FROM pgbench_history)",
    );
    let cells: Vec<&str> = sums[0].split('|').collect();
    assert_eq!((cells[0], cells[2]), (cells[1], "400"), "accounts and history: {sums:?}");
    // Only the first script changes tellers and branches.
    let equal = value(
        &broker,
        "SELECT (SELECT sum(tbalance) FROM pgbench_tellers) = (SELECT sum(bbalance) FROM \
         pgbench_branches)",
    );
    assert_eq!(equal, "t");
}
