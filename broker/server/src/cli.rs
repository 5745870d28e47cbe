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
    /// Consumer groups: what they have read, and where they go on.
    Groups {
        #[command(flatten)]
        settings: SettingsArgs,
        #[command(flatten)]
        broker: BrokerArgs,
        #[command(subcommand)]
        command: GroupsCommand,
    },
    /// Producers, and transactions that are not decided.
    Producers {
        #[command(flatten)]
        settings: SettingsArgs,
        #[command(flatten)]
        broker: BrokerArgs,
        #[command(subcommand)]
        command: ProducersCommand,
    },
    /// Who may do what.
    Acl {
        #[command(flatten)]
        settings: SettingsArgs,
        #[command(flatten)]
        broker: BrokerArgs,
        #[command(subcommand)]
        command: AclCommand,
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

/// Which broker to ask, and as whom.
#[derive(Debug, Args)]
pub(crate) struct BrokerArgs {
    /// The broker's Kafka address; `kafka.listen` if not given.
    #[arg(long, value_name = "HOST:PORT", global = true)]
    pub(crate) broker: Option<String>,
    /// Log in as this user, with the password in ANABRANCH_PASSWORD.
    #[arg(long, value_name = "NAME", global = true)]
    pub(crate) user: Option<String>,
    /// Speak TLS to a broker whose certificate one of these has signed (PEM).
    #[arg(long, value_name = "FILE", global = true)]
    pub(crate) tls_ca: Option<PathBuf>,
    /// Print JSON, an object a line.
    #[arg(long, global = true)]
    pub(crate) json: bool,
}

#[derive(Debug, Subcommand)]
pub(crate) enum GroupsCommand {
    /// List all groups with their lag.
    List,
    /// Show what a group has committed, and how far behind it is.
    Describe { group: String },
    /// Show a group's members.
    Members { group: String },
    /// Have a group without members go on elsewhere; shows what would change.
    Reset {
        group: String,
        /// The stream.
        #[arg(long)]
        stream: String,
        /// earliest, latest, an offset, or a time such as 2026-01-31T12:00:00Z.
        #[arg(long, value_name = "PLACE", value_parser = parse_reset)]
        to: ResetTo,
        /// Do it.
        #[arg(long)]
        execute: bool,
    },
    /// Forget a group without members and its offsets.
    Delete { group: String },
}

/// Where a group is to go on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum ResetTo {
    Earliest,
    Latest,
    Offset(i64),
    /// Milliseconds since 1970.
    Time(i64),
}

fn parse_reset(text: &str) -> Result<ResetTo, String> {
    match text {
        "earliest" => return Ok(ResetTo::Earliest),
        "latest" => return Ok(ResetTo::Latest),
        _ => {}
    }
    if let Ok(offset) = text.parse::<i64>() {
        return if offset < 0 {
            Err("offsets begin at 0".to_owned())
        } else {
            Ok(ResetTo::Offset(offset))
        };
    }
    chrono::DateTime::parse_from_rfc3339(text)
        .map(|time| ResetTo::Time(time.timestamp_millis()))
        .map_err(|_| {
            "write earliest, latest, an offset, or a time such as 2026-01-31T12:00:00Z".to_owned()
        })
}

#[derive(Debug, Subcommand)]
pub(crate) enum ProducersCommand {
    /// List the producers of a stream that wrote lately.
    List { stream: String },
    /// List transactional ids and their transactions.
    Transactions,
    /// Abort the open transaction of a transactional id; its producer can go no further.
    Abort { transactional_id: String },
}

#[derive(Debug, Subcommand)]
pub(crate) enum AclCommand {
    /// List grants.
    List {
        /// Of this user only.
        #[arg(long, value_name = "USER")]
        of: Option<String>,
    },
    /// Grant something, or deny it.
    Add(AclArgs),
    /// Take back what was granted or denied.
    Remove(AclArgs),
}

/// A grant.
#[derive(Debug, Args)]
pub(crate) struct AclArgs {
    /// Whose: a user's name, * for all.
    #[arg(long, value_name = "USER")]
    pub(crate) to: String,
    /// What: read, write, create, delete, alter, describe, describe_configs, alter_configs or all;
    /// with commas between.
    #[arg(long, value_delimiter = ',', required = true)]
    pub(crate) operation: Vec<String>,
    /// On this stream, * for all.
    #[arg(long)]
    pub(crate) stream: Option<String>,
    /// On this consumer group.
    #[arg(long)]
    pub(crate) group: Option<String>,
    /// On this transactional id.
    #[arg(long)]
    pub(crate) transactional_id: Option<String>,
    /// On the broker as a whole.
    #[arg(long)]
    pub(crate) cluster: bool,
    /// On everything whose name begins so.
    #[arg(long)]
    pub(crate) prefixed: bool,
    /// From this address only.
    #[arg(long, default_value = "*", value_name = "ADDRESS")]
    pub(crate) host: String,
    /// Deny it: that goes before any grant.
    #[arg(long)]
    pub(crate) deny: bool,
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
