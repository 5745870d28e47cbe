//! The layers of the architecture: which crate may depend on which, read from `cargo metadata`.

use crate::broker::root;
use crate::process::run;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

/// Crates of the project that each may depend on, also in its tests. A new edge is a decision:
/// it comes with its reason in `broker/ARCHITECTURE.md`.
const EDGES: [(&str, &[&str]); 15] = [
    ("types", &[]),
    ("net", &["types"]),
    ("access", &[]),
    ("log", &["types"]),
    ("table", &["types"]),
    ("engine", &["types", "access", "log", "table"]),
    ("semantics", &[]),
    ("query", &["types", "engine", "semantics"]),
    ("kafka", DOOR),
    ("postgres", DOOR),
    ("web", DOOR),
    ("server", &["types", "net", "log", "table", "engine", "query", "kafka", "postgres", "web"]),
    ("client", &["types"]),
    ("loadgen", &["types", "client"]),
    (
        "tests",
        &[
            "types", "net", "access", "log", "table", "engine", "query", "kafka", "postgres",
            "web", "server", "client", "loadgen",
        ],
    ),
];

/// A door knows no other door, and reaches log and tables only through the engine.
const DOOR: &[&str] = &["types", "net", "engine", "query"];

/// Heavy dependencies, and the crates that may have them.
const HEAVY: [(&str, &[&str]); 3] = [
    ("rocksdb", &["table"]),
    ("datafusion", &["semantics", "query", "postgres"]),
    ("rdkafka", &["loadgen"]),
];

#[test]
fn edges_point_down() {
    let allowed: BTreeMap<&str, &[&str]> = EDGES.into_iter().collect();
    let found = dependencies();
    let names: BTreeSet<&str> = found.keys().map(String::as_str).collect();
    assert_eq!(names, allowed.keys().copied().collect(), "the crates of the workspace");
    for (name, dependencies) in &found {
        for dependency in dependencies {
            if let Some(ours) = dependency.strip_prefix("anabranch-") {
                assert!(allowed[name.as_str()].contains(&ours), "{name} must not know {ours}");
            }
        }
    }
}

#[test]
fn heavy_dependencies_stay_in_their_crates() {
    for (name, dependencies) in dependencies() {
        for (heavy, allowed) in HEAVY {
            let has = dependencies.contains(heavy);
            assert!(!has || allowed.contains(&name.as_str()), "{name} must not have {heavy}");
        }
    }
}

/// The direct dependencies of each crate of the workspace, by its name without the prefix.
fn dependencies() -> BTreeMap<String, BTreeSet<String>> {
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.args(["metadata", "--no-deps", "--locked", "--format-version", "1"]).current_dir(root());
    let metadata: Value = serde_json::from_str(&run(&mut cargo, &[])).expect("cargo prints JSON");
    let name = |of: &Value| of["name"].as_str().expect("everything has a name").to_owned();
    let packages = metadata["packages"].as_array().expect("packages").iter();
    packages
        .map(|package| {
            let dependencies = package["dependencies"].as_array().expect("dependencies");
            let short = name(package).strip_prefix("anabranch-").expect("our prefix").to_owned();
            (short, dependencies.iter().map(name).collect())
        })
        .collect()
}
