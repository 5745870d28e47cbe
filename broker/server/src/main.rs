//! The broker's binary, `anabranch`: settings, wiring, shutdown and administration.
//!
//! It stands above everything else: it opens the engine, hands it to the doors, and closes it.

mod admin;
mod backup;
mod cli;
mod control;
mod doors;
mod log;
mod metrics;
mod serve;
mod settings;
mod streams;
mod telemetry;

use clap::Parser;
use cli::{Cli, Command, LogCommand, SettingsArgs};
use log::Verdict;
use serve::JournalDamage;
use settings::{Loaded, SettingsError};
use std::error::Error;
use std::io::Write;
use std::process::ExitCode;
use std::time::Instant;

/// Gives memory back after peaks, and is fast with many threads.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let started = Instant::now();
    match run(Cli::parse().command, started) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Standard error may be closed; there is nobody else to tell.
            let _ = writeln!(std::io::stderr(), "error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(command: Command, started: Instant) -> Result<(), Box<dyn Error>> {
    match command {
        Command::Serve { settings, accept_journal_damage } => {
            let Loaded { settings, warnings, .. } = load(&settings)?;
            telemetry::start(&settings.telemetry)?;
            for warning in warnings {
                tracing::warn!("{warning}");
            }
            let damage =
                if accept_journal_damage { JournalDamage::Accept } else { JournalDamage::Refuse };
            Ok(serve::serve(settings, damage, started)?)
        }
        Command::CheckConfig(args) => {
            let loaded = load(&args)?;
            telemetry::check(&loaded.settings.telemetry)?;
            loaded.settings.tls.open()?;
            for warning in &loaded.warnings {
                writeln!(std::io::stderr(), "warning: {warning}")?;
            }
            Ok(std::io::stdout().write_all(loaded.to_toml().as_bytes())?)
        }
        Command::Streams { settings, internal } => {
            let table = streams::list(&load(&settings)?.settings, internal)?;
            Ok(writeln!(std::io::stdout(), "{table}")?)
        }
        Command::Groups { settings, broker, command } => {
            Ok(admin::groups(&load(&settings)?.settings, &broker, &command)?)
        }
        Command::Producers { settings, broker, command } => {
            Ok(admin::producers(&load(&settings)?.settings, &broker, &command)?)
        }
        Command::Acl { settings, broker, command } => {
            Ok(admin::acl(&load(&settings)?.settings, &broker, &command)?)
        }
        Command::Backup { settings, backup } => {
            backup::back_up(&load(&settings)?.settings, &backup)
        }
        Command::Restore { settings, restore } => {
            backup::restore(&load(&settings)?.settings, &restore)
        }
        Command::Log(LogCommand::Dump { settings, dump }) => {
            log::dump(&load(&settings)?.settings.data_dir, &dump)
        }
        Command::Log(LogCommand::Verify(settings)) => {
            match log::verify(&load(&settings)?.settings.data_dir)? {
                Verdict::Whole => Ok(()),
                Verdict::Damaged => Err("the log is damaged: see above".into()),
            }
        }
    }
}

fn load(args: &SettingsArgs) -> Result<Loaded, SettingsError> {
    settings::load(args.config.as_deref(), std::env::vars_os(), &args.overrides)
}
