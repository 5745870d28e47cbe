//! The settings of a stream: Kafka's topic configuration, `durability`, and `ttl.ms`.
//!
//! Every name of Kafka 4 is accepted, kept and described, since applications set many; the ones
//! that something here acts on are parsed into [`StreamOptions`].

use crate::stream::{CompactionOptions, Durability, Mode, StreamOptions, Timestamps};
use crate::{Error, ErrorKind};
use std::collections::BTreeMap;

/// A setting that exists.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KnownSetting {
    /// Its name.
    pub name: &'static str,
    /// What holds where it was not set.
    pub default: &'static str,
    /// What values look like.
    pub kind: SettingKind,
}

/// What values of a setting look like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SettingKind {
    /// `true` or `false`.
    Boolean,
    /// A whole number from the first to the second.
    Number(i64, i64),
    /// The same, but for the third.
    NumberBut(i64, i64, i64),
    /// A number between 0 and 1.
    Fraction,
    /// One of these words.
    Word(&'static [&'static str]),
    /// Words of these, with commas between.
    Words(&'static [&'static str]),
    /// Replicas, as `partition:broker` with commas between, or `*`.
    Replicas,
    /// Anything.
    Text,
}

use SettingKind::{Boolean, Fraction, Number, NumberBut, Replicas, Word, Words};

const fn known(name: &'static str, default: &'static str, kind: SettingKind) -> KnownSetting {
    KnownSetting { name, default, kind }
}

const LONG: SettingKind = Number(0, i64::MAX);
const LONG_OR_NONE: SettingKind = Number(-1, i64::MAX);

/// All settings, by name. Source: Apache Kafka 4 documentation, "Topic Configs".
pub const KNOWN_SETTINGS: &[KnownSetting] = &[
    known("cleanup.policy", "delete", Words(&["compact", "delete"])),
    known(
        "compression.type",
        "producer",
        Word(&["uncompressed", "zstd", "lz4", "snappy", "gzip", "producer"]),
    ),
    known("compression.gzip.level", "-1", NumberBut(-1, 9, 0)),
    known("compression.lz4.level", "9", Number(1, 17)),
    known("compression.zstd.level", "3", Number(-131_072, 22)),
    known("delete.retention.ms", "86400000", LONG),
    known("durability", "fsync", Word(&["fsync", "os"])),
    known("file.delete.delay.ms", "60000", LONG),
    known("flush.messages", "9223372036854775807", Number(1, i64::MAX)),
    known("flush.ms", "9223372036854775807", LONG),
    known("follower.replication.throttled.replicas", "", Replicas),
    known("index.interval.bytes", "4096", Number(0, i32::MAX as i64)),
    known("leader.replication.throttled.replicas", "", Replicas),
    known("local.retention.bytes", "-2", Number(-2, i64::MAX)),
    known("local.retention.ms", "-2", Number(-2, i64::MAX)),
    known("max.compaction.lag.ms", "9223372036854775807", Number(1, i64::MAX)),
    known("max.message.bytes", "1048588", Number(0, i32::MAX as i64)),
    known("message.timestamp.after.max.ms", "3600000", LONG),
    known("message.timestamp.before.max.ms", "9223372036854775807", LONG),
    known("message.timestamp.type", "CreateTime", Word(&["CreateTime", "LogAppendTime"])),
    known("min.cleanable.dirty.ratio", "0.5", Fraction),
    known("min.compaction.lag.ms", "0", LONG),
    known("min.insync.replicas", "1", Number(1, i32::MAX as i64)),
    known("preallocate", "false", Boolean),
    known("remote.log.copy.disable", "false", Boolean),
    known("remote.log.delete.on.disable", "false", Boolean),
    known("remote.storage.enable", "false", Word(&["false"])),
    known("retention.bytes", "-1", Number(i64::MIN, i64::MAX)),
    known("retention.ms", "604800000", LONG_OR_NONE),
    known("segment.bytes", "1073741824", Number(1_048_576, i32::MAX as i64)),
    known("segment.index.bytes", "10485760", Number(4, i32::MAX as i64)),
    known("segment.jitter.ms", "0", LONG),
    known("segment.ms", "604800000", Number(1, i64::MAX)),
    known("ttl.ms", "-1", NumberBut(-1, i64::MAX, 0)),
    known("unclean.leader.election.enable", "false", Boolean),
];

/// The setting of a name.
#[must_use]
pub fn known_setting(name: &str) -> Option<&'static KnownSetting> {
    KNOWN_SETTINGS.iter().find(|setting| setting.name == name)
}

/// Checks every name and value; says how they are kept.
pub(crate) fn check_settings(
    settings: &BTreeMap<String, String>,
) -> Result<BTreeMap<String, String>, Error> {
    let check = |(name, value): (&String, &String)| {
        let setting = known_setting(name).ok_or_else(|| {
            Error::new(ErrorKind::InvalidArgument, format!("there is no setting {name}"))
        })?;
        Ok((name.clone(), check_setting(setting, value)?))
    };
    settings.iter().map(check).collect()
}

/// Checks a value, and says how it is kept: as Kafka describes it, without blanks around it.
///
/// # Errors
/// [`ErrorKind::InvalidArgument`], with what was expected.
pub fn check_setting(setting: &KnownSetting, value: &str) -> Result<String, Error> {
    let plain = normal(setting.kind, value);
    match check_value(setting.kind, &plain) {
        Ok(()) => Ok(plain),
        Err(expected) => {
            let message = format!("{} = {value}: expected {expected}", setting.name);
            Err(Error::new(ErrorKind::InvalidArgument, message))
        }
    }
}

/// A value without blanks, truth in small letters, numbers without zeros in front.
fn normal(kind: SettingKind, value: &str) -> String {
    let value = value.trim();
    match kind {
        Boolean => value.to_ascii_lowercase(),
        Number(..) | NumberBut(..) => {
            value.parse().map_or_else(|_| value.to_owned(), |number: i64| number.to_string())
        }
        Fraction => {
            value.parse().map_or_else(|_| value.to_owned(), |number: f64| format!("{number:?}"))
        }
        Words(_) | Replicas => value.split(',').map(str::trim).collect::<Vec<_>>().join(","),
        Word(_) | SettingKind::Text => value.to_owned(),
    }
}

/// Checks a value that is in its normal form.
fn check_value(kind: SettingKind, value: &str) -> Result<(), String> {
    let (good, expected) = match kind {
        Boolean => (matches!(value, "true" | "false"), "true or false".to_owned()),
        Number(least, most) => (
            value.parse().is_ok_and(|number: i64| (least..=most).contains(&number)),
            format!("a whole number from {least} to {most}"),
        ),
        NumberBut(least, most, not) => (
            value
                .parse()
                .is_ok_and(|number: i64| number != not && (least..=most).contains(&number)),
            format!("a whole number from {least} to {most}, but not {not}"),
        ),
        Fraction => (
            value.parse().is_ok_and(|number: f64| (0.0..=1.0).contains(&number)),
            "a number from 0 to 1".to_owned(),
        ),
        Word(words) => (words.contains(&value), format!("one of {}", words.join(", "))),
        Words(words) => (
            value.is_empty() || value.split(',').all(|word| words.contains(&word)),
            format!("some of {}, with commas between", words.join(", ")),
        ),
        Replicas => (
            matches!(value, "" | "*") || value.split(',').all(is_replica),
            "partition:broker, with commas between, or *".to_owned(),
        ),
        SettingKind::Text => (true, String::new()),
    };
    if good { Ok(()) } else { Err(expected) }
}

fn is_replica(words: &str) -> bool {
    let number = |word: &str| word.parse::<u32>().is_ok();
    words.split_once(':').is_some_and(|(partition, broker)| number(partition) && number(broker))
}

/// The mode that Kafka's cleanup policy asks for.
pub(crate) fn mode_of(settings: &BTreeMap<String, String>) -> Mode {
    match settings.get("cleanup.policy") {
        Some(policy) if policy.contains("compact") => Mode::Upsert,
        _ => Mode::Append,
    }
}

/// Rows have a time to live; events have `retention.ms`.
pub(crate) fn check_ttl(mode: Mode, settings: &BTreeMap<String, String>) -> Result<(), Error> {
    let has_ttl = options_of(settings).ttl_ms.is_some();
    if mode == Mode::Append && has_ttl {
        return Err(Error::new(
            ErrorKind::InvalidArgument,
            "ttl.ms is for streams with keys: events of others go by retention.ms",
        ));
    }
    Ok(())
}

/// Parses checked settings.
pub(crate) fn options_of(settings: &BTreeMap<String, String>) -> StreamOptions {
    let text = |name: &str| -> &str {
        let default = known_setting(name).map_or("", |setting| setting.default);
        settings.get(name).map_or(default, String::as_str).trim()
    };
    let number = |name: &str| -> i64 { text(name).parse().unwrap_or(-1) };
    let fraction = |name: &str| -> f64 { text(name).parse().unwrap_or(1.0) };
    // Without a policy, nothing is ever removed.
    let deletes = text("cleanup.policy").contains("delete");
    StreamOptions {
        durability: match text("durability") {
            "os" => Durability::Os,
            _ => Durability::Fsync,
        },
        retention_ms: u64::try_from(number("retention.ms")).ok().filter(|_| deletes),
        retention_bytes: u64::try_from(number("retention.bytes")).ok().filter(|_| deletes),
        segment_bytes: u32::try_from(number("segment.bytes")).unwrap_or(1 << 30),
        segment_ms: number("segment.ms").unsigned_abs(),
        ttl_ms: u64::try_from(number("ttl.ms")).ok(),
        compaction: CompactionOptions {
            delete_retention_ms: number("delete.retention.ms").unsigned_abs(),
            min_lag_ms: number("min.compaction.lag.ms").unsigned_abs(),
            max_lag_ms: number("max.compaction.lag.ms").unsigned_abs(),
            dirty_millionths: (fraction("min.cleanable.dirty.ratio") * 1e6) as u32,
        },
        batch_bytes_max: u32::try_from(number("max.message.bytes")).unwrap_or(u32::MAX),
        timestamps: match text("message.timestamp.type") {
            "LogAppendTime" => Timestamps::Append,
            _ => Timestamps::Producer,
        },
        time_before_ms_max: number("message.timestamp.before.max.ms"),
        time_after_ms_max: number("message.timestamp.after.max.ms"),
    }
}

#[cfg(test)]
mod tests {
    use super::{KNOWN_SETTINGS, check_setting, check_settings, known_setting, options_of};
    use std::collections::BTreeMap;

    #[test]
    fn every_default_is_a_legal_value() {
        for setting in KNOWN_SETTINGS {
            let settings = BTreeMap::from([(setting.name.to_owned(), setting.default.to_owned())]);
            assert_eq!(check_settings(&settings).expect(setting.name), settings);
            assert_eq!(options_of(&settings), options_of(&BTreeMap::new()), "{}", setting.name);
        }
    }

    #[test]
    fn values_are_kept_as_kafka_describes_them() {
        let check = |name: &str, value: &str, expected: &str| {
            let setting = known_setting(name).expect("known");
            assert_eq!(check_setting(setting, value).expect("legal"), expected, "{name}");
        };
        check("retention.ms", " 05000 ", "5000");
        check("preallocate", " TRUE", "true");
        check("cleanup.policy", " compact , delete ", "compact,delete");
        check("compression.type", " zstd ", "zstd");
        check("min.cleanable.dirty.ratio", "0.50", "0.5");
        check("leader.replication.throttled.replicas", " 0:1, 1:1", "0:1,1:1");
    }

    #[test]
    fn a_bad_value_is_named_with_what_was_expected() {
        let check = |name: &str, value: &str, expected: &str| {
            let settings = BTreeMap::from([(name.to_owned(), value.to_owned())]);
            let error = check_settings(&settings).expect_err("bad");
            assert_eq!(error.message, expected);
        };
        check("durability", "maybe", "durability = maybe: expected one of fsync, os");
        check("preallocate", "yes", "preallocate = yes: expected true or false");
        check("no.such", "1", "there is no setting no.such");
    }
}
