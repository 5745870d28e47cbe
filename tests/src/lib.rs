//! Tests that cross crates: the real broker with real clients, crashes, the layers.
//!
//! One binary, since linking is what costs. `tests/run` installs the clients and runs it.

#[cfg(test)]
mod access;
#[cfg(test)]
mod admin;
#[cfg(test)]
mod backup;
#[cfg(test)]
mod broker;
#[cfg(test)]
mod clients;
#[cfg(test)]
mod compaction;
#[cfg(test)]
mod config;
#[cfg(test)]
mod copy;
#[cfg(test)]
mod corpus;
#[cfg(test)]
mod crash;
#[cfg(test)]
mod damage;
#[cfg(test)]
mod database_tools;
#[cfg(test)]
mod definitions;
#[cfg(test)]
#[path = "../fuzz/src/doors.rs"]
mod doors;
#[cfg(test)]
mod drivers;
#[cfg(test)]
mod faults;
#[cfg(test)]
mod histories;
#[cfg(test)]
mod kcat;
#[cfg(test)]
mod layers;
#[cfg(test)]
mod matrix;
#[cfg(test)]
mod metrics;
#[cfg(test)]
mod oracle;
#[cfg(test)]
mod pgbench;
#[cfg(test)]
mod process;
#[cfg(test)]
mod psql;
#[cfg(test)]
mod sql;
#[cfg(test)]
#[path = "../fuzz/src/targets.rs"]
mod targets;
#[cfg(test)]
mod tls;
#[cfg(test)]
mod tools;
#[cfg(test)]
mod tour;
#[cfg(test)]
mod transactions;
#[cfg(test)]
mod websocket;
