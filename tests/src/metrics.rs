//! The Grafana dashboard and the alert rules of `config/`: every query is asked of a real Prometheus
//! that scrapes the broker, and finds something.

use crate::broker::{Broker, anabranch, free_port, root};
use crate::clients::{Client, Record, Target, installed};
use crate::process::{PATIENCE, program, run};
use crate::psql::query;
use serde_json::{Value, json};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// Between two questions whether something is there yet.
const AGAIN: Duration = Duration::from_millis(200);

fn tool(name: &str) -> Command {
    program(PathBuf::from(installed("TEST_PROMETHEUS")).join(name))
}

fn alerts() -> PathBuf {
    root().join("config/prometheus-alerts.yml")
}

fn get(url: &str, parameters: &[(&str, &str)]) -> String {
    let mut curl = program("curl");
    curl.args(["-sS", "-G", "--retry", "50", "--retry-delay", "0", "--retry-connrefused", url]);
    for (name, value) in parameters {
        curl.args(["--data-urlencode", &format!("{name}={value}")]);
    }
    run(&mut curl, &[])
}

/// Every query of the dashboard.
fn dashboard_queries() -> Vec<String> {
    let text = fs::read_to_string(root().join("config/grafana-dashboard.json")).expect("there");
    let dashboard: Value = serde_json::from_str(&text).expect("JSON");
    let panels = dashboard["panels"].as_array().expect("panels");
    let targets = panels.iter().filter_map(|panel| panel["targets"].as_array()).flatten();
    targets.map(|target| target["expr"].as_str().expect("a query").to_owned()).collect()
}

/// A Prometheus that scrapes one broker.
struct Prometheus {
    child: Child,
    address: String,
    _dir: TempDir,
}

impl Prometheus {
    fn start(broker: &Broker) -> Self {
        let dir = TempDir::with_prefix("anabranch-prometheus-").expect("a temporary directory");
        let address = format!("127.0.0.1:{}", free_port());
        let config = json!({
            "global": { "scrape_interval": "1s", "evaluation_interval": "1s" },
            "rule_files": [alerts()],
            "scrape_configs": [{ "job_name": "anabranch",
                "static_configs": [{ "targets": [broker.web()] }] }],
        });
        let file = dir.path().join("prometheus.yml");
        // JSON is YAML.
        fs::write(&file, config.to_string()).expect("ours");
        let child = tool("prometheus")
            .arg(format!("--config.file={}", file.display()))
            .arg(format!("--storage.tsdb.path={}", dir.path().join("data").display()))
            .arg(format!("--web.listen-address={address}"))
            .arg("--log.level=error")
            .stdin(Stdio::null())
            .spawn()
            .expect("Prometheus can be started");
        Self { child, address, _dir: dir }
    }

    fn ask(&self, query: &str) -> Value {
        let url = format!("http://{}/api/v1/query", self.address);
        serde_json::from_str(&get(&url, &[("query", query)])).expect("JSON")
    }

    /// Asks until there is an answer with something in it: rates need two scrapes.
    #[track_caller]
    fn finds(&self, query: &str) {
        let began = Instant::now();
        loop {
            let answer = self.ask(query);
            let found = answer["data"]["result"].as_array().map_or(0, Vec::len);
            let is_starting = answer["status"] == "error" && answer["errorType"] == "unavailable";
            assert!(answer["status"] == "success" || is_starting, "{query}: {answer}");
            if found > 0 {
                return;
            }
            assert!(began.elapsed() < PATIENCE / 4, "{query} finds nothing");
            std::thread::sleep(AGAIN);
        }
    }
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        // It runs unless it failed.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// A broker that has done a little of everything.
fn busy() -> Broker {
    let at = Target::Ours(Box::new(Broker::start()));
    assert_eq!(
        Client::Confluent.admin(&at, &["create", "from", "1"]),
        json!({ "created": "from" })
    );
    assert_eq!(Client::Confluent.admin(&at, &["create", "to", "1"]), json!({ "created": "to" }));
    let record = |n: u32| Record::new(Some(b"key"), Some(n.to_string().as_bytes()));
    let records: Vec<Record> = (0..20).map(record).collect();
    Client::Confluent.produce(&at, "from", &[], &records);
    Client::Confluent.copy(&at, ["from", "to", "group", "id"], 10).finish();
    let Target::Ours(broker) = at else { unreachable!("just started") };
    query(&broker, "CREATE STREAM keyed (id integer PRIMARY KEY) WITH (mode = 'upsert')");
    query(&broker, "INSERT INTO keyed VALUES (1)");
    let mut backup = anabranch();
    backup
        .args(["backup", "--set", &format!("data_dir={}", broker.data_dir().display()), "--to"])
        .arg(broker.data_dir().with_file_name("backup"));
    run(&mut backup, &[]);
    *broker
}

#[test]
fn every_query_finds_something() {
    let broker = busy();
    let prometheus = Prometheus::start(&broker);
    let queries = dashboard_queries();
    assert!(queries.len() > 40, "{}", queries.len());
    for query in queries {
        let query = query.replace("$instance", ".*").replace("$__rate_interval", "10s");
        assert!(!query.contains('$'), "{query}");
        prometheus.finds(&query);
    }
    prometheus.finds("anabranch_group_lag_records{group=\"group\", stream=\"from\"} >= 10");
    // What the rules compare must be there, whatever the comparison says.
    let rules = get(&format!("http://{}/api/v1/rules", prometheus.address), &[]);
    let rules: Value = serde_json::from_str(&rules).expect("JSON");
    let rules = rules["data"]["groups"][0]["rules"].as_array().expect("rules");
    assert!(rules.len() > 10, "{rules:?}");
    for rule in rules {
        assert_eq!(rule["lastError"], Value::Null, "{rule}");
        let query = rule["query"].as_str().expect("a query");
        for metric in metrics_of(query) {
            prometheus.finds(&metric);
        }
    }
}

/// Names of metrics in a query; a name that is matched by a pattern is for the eye.
fn metrics_of(query: &str) -> Vec<String> {
    let words = query.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_'));
    words
        .filter(|word| word.starts_with("anabranch_") && !word.ends_with('_'))
        .map(ToOwned::to_owned)
        .collect()
}

#[test]
fn alerts_fire_when_they_should() {
    let dir = TempDir::with_prefix("anabranch-alerts-").expect("a temporary directory");
    let copy = |from: &Path| {
        let name = from.file_name().expect("a file");
        fs::copy(from, dir.path().join(name)).expect("ours");
    };
    copy(&alerts());
    copy(&root().join("tests/metrics/alerts.yml"));
    run(tool("promtool").args(["check", "rules"]).arg(alerts()), &[]);
    run(tool("promtool").args(["test", "rules"]).arg(dir.path().join("alerts.yml")), &[]);
}
