//! The command line.

use crate::settings::Override;
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
