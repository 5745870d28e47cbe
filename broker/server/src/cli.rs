//! The command line.

use crate::settings::{Bytes, Override};
use clap::{Args, Parser, Subcommand};
use std::path::PathBuf;

/// An event broker in which a stream and a table are the same thing.
#[derive(Debug, Parser)]
#[command(name = "anabranch", version, arg_required_else_help = true)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run the broker until SIGINT or SIGTERM.
    Serve {
        #[command(flatten)]
        settings: SettingsArgs,
        /// Start although the journal is damaged before its end, without the records behind the
        /// damage. They were acknowledged, and are lost by this.
        #[arg(long)]
        accept_journal_damage: bool,
    },
    /// Check the settings; print every one with its value and where it comes from.
    CheckConfig(SettingsArgs),
    /// List the streams of the running broker.
    Streams {
        #[command(flatten)]
        settings: SettingsArgs,
        /// The broker's own streams too.
        #[arg(long)]
        internal: bool,
    },
    /// Copy everything into a directory, while the broker runs or not; or check such a copy.
    Backup {
        #[command(flatten)]
        settings: SettingsArgs,
        #[command(flatten)]
        backup: BackupArgs,
    },
    /// Make a data directory of a backup.
    Restore {
        #[command(flatten)]
        settings: SettingsArgs,
        #[command(flatten)]
        restore: RestoreArgs,
    },
    /// Look at the log on disk, read-only, whether or not a broker serves it.
    #[command(subcommand)]
    Log(LogCommand),
}

#[derive(Debug, Subcommand)]
pub(crate) enum LogCommand {
    /// Print the batches of a partition.
    Dump {
        #[command(flatten)]
        settings: SettingsArgs,
        #[command(flatten)]
        dump: DumpArgs,
    },
    /// Read everything and check every checksum; fails if anything is damaged.
    Verify(SettingsArgs),
}

/// Where to copy to.
#[derive(Debug, Args)]
pub(crate) struct BackupArgs {
    /// The directory of the backup, on the broker's machine: empty, or not there yet.
    #[arg(long, value_name = "DIRECTORY", required_unless_present = "verify")]
    pub(crate) to: Option<PathBuf>,
    /// Copy at most so much a second, such as 100MB.
    #[arg(long, value_name = "SIZE")]
    pub(crate) rate: Option<Bytes>,
    /// Read this backup, and compare every file with its checksum, instead.
    #[arg(long, value_name = "DIRECTORY", conflicts_with_all = ["to", "rate"])]
    pub(crate) verify: Option<PathBuf>,
    /// Print JSON.
    #[arg(long)]
    pub(crate) json: bool,
}

/// What to restore.
#[derive(Debug, Args)]
pub(crate) struct RestoreArgs {
    /// The directory of the backup.
    #[arg(long, value_name = "DIRECTORY")]
    pub(crate) from: PathBuf,
    /// The data directory to make: empty, or not there yet; that of the settings if not given.
    #[arg(long, value_name = "DIRECTORY")]
    pub(crate) data_dir: Option<PathBuf>,
    /// Print JSON.
    #[arg(long)]
    pub(crate) json: bool,
}

/// What to print of the log.
#[derive(Debug, Args)]
pub(crate) struct DumpArgs {
    /// The partition: `STREAM/INDEX`, or its number in the log, as `log verify` lists them.
    pub(crate) partition: String,
    /// The offset to begin with.
    #[arg(long, default_value_t = 0)]
    pub(crate) from: i64,
    /// Batches to print at most.
    #[arg(long, default_value_t = u64::MAX, hide_default_value = true)]
    pub(crate) limit: u64,
    /// The records too.
    #[arg(long)]
    pub(crate) records: bool,
}

/// Where settings come from. Each wins over those before it: defaults, the configuration file,
/// environment variables (`kafka.listen` is ANABRANCH_KAFKA_LISTEN), the command line.
#[derive(Debug, Args)]
pub(crate) struct SettingsArgs {
    /// The configuration file, in TOML; none is needed.
    #[arg(short, long, value_name = "FILE", env = "ANABRANCH_CONFIG")]
    pub(crate) config: Option<PathBuf>,
    /// A setting, such as kafka.listen=127.0.0.1:9192; can be given more than once.
    #[arg(short, long = "set", value_name = "KEY=VALUE", value_parser = parse_override)]
    pub(crate) overrides: Vec<Override>,
}

fn parse_override(text: &str) -> Result<Override, String> {
    let (key, value) = text
        .split_once('=')
        .ok_or_else(|| "write KEY=VALUE, such as kafka.listen=127.0.0.1:9192".to_owned())?;
    Ok(Override { key: key.trim().to_owned(), value: value.to_owned() })
}
