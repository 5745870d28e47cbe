//! `anabranch-loadgen`: how fast is a broker, really? Produces, consumes and follows events
//! through every door, against Anabranch or anything else that speaks Kafka's protocol.
//!
//! What it takes care of: payloads are made before the clock runs; latency in an open loop counts
//! from when an event was *meant* to be sent, so that a stall is not left out (coordinated
//! omission); the warm-up is not measured; the broker's own CPU time and memory stand beside
//! every figure.

mod args;
mod consume;
mod drivers;
mod end_to_end;
mod error;
mod ingest;
mod machine;
mod measure;
mod pace;
mod payload;
mod plot;
mod probe;
mod progress;
mod rebalance;
mod report;
mod server;
mod table;
mod topic;
mod transactions;

use args::{Cli, Command};
use clap::Parser;
use error::Error;
use std::process::ExitCode;

fn main() -> ExitCode {
    let cli = Cli::parse();
    match run(cli) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("anabranch-loadgen: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(cli: Cli) -> Result<(), Error> {
    let (output, report) = match cli.command {
        Command::Ingest(args) => (args.output.clone(), ingest::run(&args)?),
        Command::Consume(args) => (args.output.clone(), consume::run(&args)?),
        Command::EndToEnd(args) => (args.output.clone(), end_to_end::run(&args)?),
        Command::Table(args) => (args.output.clone(), table::run(&args)?),
        Command::Transactions(args) => (args.output.clone(), transactions::run(&args)?),
        Command::Rebalance(args) => (args.output.clone(), rebalance::run(&args)?),
        Command::Delete(args) => return topic::run_delete(&args),
        Command::Machine(args) => return machine::run(&args),
    };
    report.print();
    if let Some(path) = &output.json {
        report.write_json(path)?;
    }
    if let Some(path) = &output.plot {
        plot::draw(path, &report)?;
    }
    if report.failed > 0 {
        return Err(Error::Failed { count: report.failed, first: report.first_failure });
    }
    Ok(())
}
