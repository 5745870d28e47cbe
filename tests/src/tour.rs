//! The README's tour, by the README's own commands, on the real flights.

use crate::broker::{Broker, root};
use crate::clients::installed;
use crate::process::{program, run, run_any};
use crate::psql::{error, query, value};
use crate::websocket::Socket;
use serde_json::json;
use std::process::Command;

/// The commands of the README's tour: its blocks of `sh`, in order.
fn commands() -> Vec<String> {
    let readme = std::fs::read_to_string(root().join("README.md")).expect("there is a README");
    let tour = readme.split("\n## Five-minute tour\n").nth(1).expect("the README has a tour");
    let tour = tour.split("\n## ").next().expect("a section has a beginning");
    let blocks = tour.split("```sh\n").skip(1);
    blocks.map(|block| block.split("```").next().expect("a block ends").to_owned()).collect()
}

/// Runs a block of the README against the test's broker.
fn bash(broker: &Broker, block: &str) -> Command {
    let block = block
        .replace("127.0.0.1:9092", &broker.kafka())
        .replace("127.0.0.1:8080", &broker.web())
        .replace("PGPORT=5433", &format!("PGPORT={}", broker.postgres_port()));
    let mut command = program("bash");
    command
        .args(["-eu", "-c", &block])
        .current_dir(root())
        .env("PGHOST", "127.0.0.1")
        .env("PGPORT", broker.postgres_port().to_string());
    command
}

#[test]
fn the_tour_works_as_it_is_written() {
    installed("TEST_FLIGHTS");
    let mut broker = Broker::start();
    let mut commands = commands().into_iter();
    let mut next = |broker: &Broker, contains: &str| -> String {
        let block = commands.next().expect("another step");
        assert!(block.contains(contains), "{contains:?} was to come, not {block}");
        run(&mut bash(broker, &block), &[])
    };
    let count =
        |broker: &Broker, from: &str| value(broker, &format!("SELECT count(*) FROM {from}"));

    next(&broker, "events flights | kcat");
    let carriers = next(&broker, "_json->>'carrier'");
    assert!(carriers.contains("UA") && carriers.contains("58665"), "{carriers}");
    assert_eq!(count(&broker, "flights"), "336776");

    next(&broker, "ALTER STREAM flights INFER SCHEMA");
    assert_eq!(count(&broker, "flights WHERE carrier = 'UA' AND dep_delay IS NULL"), "686");
    assert_eq!(count(&broker, "flights WHERE tailnum IS NULL"), "2512");
    let delays = next(&broker, "FROM flights f JOIN weather w");
    assert_eq!(count(&broker, "weather"), "26115");
    for origin in ["EWR", "JFK", "LGA"] {
        assert!(delays.contains(origin), "{delays}");
    }
    let listed = run(&mut bash(&broker, "psql -XAt -c '\\d'"), &[]);
    assert!(listed.contains("flights") && listed.contains("weather"), "{listed}");

    let counts = next(&broker, "CREATE STREAM aircraft");
    assert!(counts.contains("4043") && counts.contains("334264"), "{counts}");
    let block = commands.next().expect("the unknown aircraft");
    let refused = run_any(&mut bash(&broker, &block), &[]);
    let said = String::from_utf8_lossy(&refused.stdout);
    assert!(
        said.contains("2512 % Delivery failed for message: Broker: Broker failed to"),
        "{said}"
    );
    assert!(said.contains("invalid_record") && said.contains("key"), "{said}");
    assert_eq!(count(&broker, "log.aircraft"), "334264", "nothing of it is there");

    let mut socket = Socket::open(&broker);
    socket.send(&json!({
        "id": 1, "op": "subscribe", "table": "aircraft", "filter": "carrier = 'UA'",
    }));
    let united = socket.snapshot(1);
    assert_eq!(united.len().to_string(), count(&broker, "aircraft WHERE carrier = 'UA'"));
    let block = commands.next().expect("the insert");
    let consumed = run(&mut bash(&broker, &block), &[]);
    assert!(consumed.contains("N1ANA"), "{consumed}");
    let change = socket.change(1);
    assert_eq!((&change["op"], &change["key"]), (&json!("upsert"), &json!("N1ANA")));
    assert_eq!(change["row"]["dest"], json!("ZRH"));
    let again = "INSERT INTO aircraft (tailnum, carrier) VALUES ('N1ANA', 'UA')";
    assert!(error(&broker, again).contains("23505"), "the key exists");

    broker.kill();
    broker.restart();
    assert_eq!(count(&broker, "flights"), "336776");
    assert_eq!(count(&broker, "weather"), "26115");
    assert_eq!(count(&broker, "aircraft"), "4044");
    // The table is the fold of the log: of each key the event with the highest stamp.
    let fold = "SELECT count(*) FROM aircraft a JOIN (SELECT _key, max(_offset) AS last \
                FROM log.aircraft GROUP BY 1) l ON a._key = l._key AND a._offset = l.last";
    assert_eq!(query(&broker, fold), ["4044"]);
    assert!(commands.next().is_none(), "the tour has more steps than this test");
}
