//! pgbench: its three scripts, and the sums that must be equal after them.

use crate::broker::Broker;
use crate::clients::installed;
use crate::process::{program, run};
use crate::psql::{query, value};
use std::path::Path;

const ACCOUNTS: u32 = 100_000;

/// As `pgbench -i` makes them.
fn tables(broker: &Broker) {
    for table in [
        "pgbench_branches (bid int PRIMARY KEY, bbalance int, filler text)",
        "pgbench_tellers (tid int PRIMARY KEY, bid int, tbalance int, filler text)",
        "pgbench_accounts (aid int PRIMARY KEY, bid int, abalance int, filler text)",
        "pgbench_history (tid int, bid int, aid int, delta int, mtime timestamp, filler text)",
    ] {
        query(broker, &format!("CREATE TABLE {table}"));
    }
    query(broker, "INSERT INTO pgbench_branches VALUES (1, 0, '')");
    query(broker, "INSERT INTO pgbench_tellers SELECT n, 1, 0, '' FROM generate_series(1, 10) n");
    query(
        broker,
        &format!(
            "INSERT INTO pgbench_accounts SELECT n, 1, 0, '' FROM generate_series(1, {ACCOUNTS}) n"
        ),
    );
}

#[test]
fn its_balances_are_equal_after_its_scripts() {
    let broker = Broker::start();
    tables(&broker);
    let bench = |script: &str, protocol: &str, clients: u32, transactions: u32| {
        let mut pgbench = program(Path::new(&installed("TEST_POSTGRESQL")).join("pgbench"));
        pgbench.args(["-h", "127.0.0.1", "-p", &broker.postgres_port().to_string()]);
        pgbench.args([
            "-U",
            "tester",
            "-n",
            "-s",
            "1",
            "-b",
            script,
            "-M",
            protocol,
            "-c",
            &clients.to_string(),
        ]);
        // Everybody writes the one branch: who comes second tries again.
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
