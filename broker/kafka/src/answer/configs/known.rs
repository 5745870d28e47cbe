//! What settings there are of the broker, of groups and of client metrics. Source: Apache Kafka 4
//! documentation, "Broker Configs" (those that can be changed while a broker runs), "Group
//! Configs", KIP-714.

use anabranch_engine::SettingKind::{Boolean, Fraction, Number, Text, Word};
use anabranch_engine::{KnownSetting, SettingKind, known_setting};

/// A setting of the broker.
#[derive(Debug, Clone, Copy)]
pub(super) struct BrokerSetting {
    name: &'static str,
    meaning: Meaning,
}

#[derive(Debug, Clone, Copy)]
enum Meaning {
    /// The setting of this name that new topics get.
    OfTopics(&'static str),
    /// Kept and described, since tools set it; nothing here acts on it.
    Inert(&'static str, SettingKind),
}

const fn topics(name: &'static str, of: &'static str) -> BrokerSetting {
    BrokerSetting { name, meaning: Meaning::OfTopics(of) }
}

const fn inert(name: &'static str, default: &'static str, kind: SettingKind) -> BrokerSetting {
    BrokerSetting { name, meaning: Meaning::Inert(default, kind) }
}

const COUNT: SettingKind = Number(1, i32::MAX as i64);
const COUNT_OR_NONE: SettingKind = Number(0, i32::MAX as i64);
const LONG: SettingKind = Number(0, i64::MAX);

pub(super) const BROKER: &[BrokerSetting] = &[
    inert("background.threads", "10", COUNT),
    topics("compression.type", "compression.type"),
    inert("follower.replication.throttled.rate", "9223372036854775807", LONG),
    inert("leader.replication.throttled.rate", "9223372036854775807", LONG),
    inert("log.cleaner.backoff.ms", "15000", LONG),
    inert("log.cleaner.dedupe.buffer.size", "134217728", LONG),
    topics("log.cleaner.delete.retention.ms", "delete.retention.ms"),
    inert("log.cleaner.io.buffer.load.factor", "0.9", Fraction),
    inert("log.cleaner.io.buffer.size", "524288", COUNT),
    inert("log.cleaner.io.max.bytes.per.second", "1.7976931348623157E308", Text),
    topics("log.cleaner.max.compaction.lag.ms", "max.compaction.lag.ms"),
    topics("log.cleaner.min.cleanable.ratio", "min.cleanable.dirty.ratio"),
    topics("log.cleaner.min.compaction.lag.ms", "min.compaction.lag.ms"),
    inert("log.cleaner.threads", "1", COUNT),
    topics("log.cleanup.policy", "cleanup.policy"),
    topics("log.flush.interval.messages", "flush.messages"),
    topics("log.flush.interval.ms", "flush.ms"),
    topics("log.index.interval.bytes", "index.interval.bytes"),
    topics("log.index.size.max.bytes", "segment.index.bytes"),
    topics("log.message.timestamp.after.max.ms", "message.timestamp.after.max.ms"),
    topics("log.message.timestamp.before.max.ms", "message.timestamp.before.max.ms"),
    topics("log.message.timestamp.type", "message.timestamp.type"),
    topics("log.preallocate", "preallocate"),
    topics("log.retention.bytes", "retention.bytes"),
    topics("log.retention.ms", "retention.ms"),
    topics("log.roll.jitter.ms", "segment.jitter.ms"),
    topics("log.roll.ms", "segment.ms"),
    topics("log.segment.bytes", "segment.bytes"),
    topics("log.segment.delete.delay.ms", "file.delete.delay.ms"),
    inert("max.connection.creation.rate", "2147483647", COUNT),
    inert("max.connections", "2147483647", COUNT),
    inert("max.connections.per.ip", "2147483647", COUNT),
    inert("max.connections.per.ip.overrides", "", Text),
    topics("message.max.bytes", "max.message.bytes"),
    inert("metric.reporters", "", Text),
    topics("min.insync.replicas", "min.insync.replicas"),
    inert("num.io.threads", "8", COUNT),
    inert("num.network.threads", "3", COUNT),
    inert("num.recovery.threads.per.data.dir", "2", COUNT),
    inert("num.replica.fetchers", "1", COUNT),
    inert("producer.id.expiration.ms", "86400000", COUNT),
    inert("replica.alter.log.dirs.io.max.bytes.per.second", "9223372036854775807", LONG),
    inert("sasl.kerberos.kinit.cmd", "/usr/bin/kinit", Text),
    inert("sasl.kerberos.min.time.before.relogin", "60000", LONG),
    inert("sasl.kerberos.ticket.renew.jitter", "0.05", Fraction),
    inert("sasl.kerberos.ticket.renew.window.factor", "0.8", Fraction),
    inert("transaction.partition.verification.enable", "true", Boolean),
    topics("unclean.leader.election.enable", "unclean.leader.election.enable"),
];

impl BrokerSetting {
    pub(super) fn known(&self) -> KnownSetting {
        let (default, kind) = match self.meaning {
            Meaning::Inert(default, kind) => (default, kind),
            Meaning::OfTopics(of) => match known_setting(of) {
                Some(known) => (known.default, known.kind),
                None => ("", Text),
            },
        };
        KnownSetting { name: self.name, default, kind }
    }

    /// The setting of topics that it is the default of.
    pub(super) fn of_topics(&self) -> Option<&'static str> {
        match self.meaning {
            Meaning::OfTopics(name) => Some(name),
            Meaning::Inert(..) => None,
        }
    }
}

const fn known(name: &'static str, default: &'static str, kind: SettingKind) -> KnownSetting {
    KnownSetting { name, default, kind }
}

pub(super) const SESSION_TIMEOUT: &str = "consumer.session.timeout.ms";
pub(super) const HEARTBEAT_INTERVAL: &str = "consumer.heartbeat.interval.ms";

/// Bounds: Kafka's `group.consumer.{min,max}.…`.
pub(super) const GROUP: &[KnownSetting] = &[
    known("consumer.assignment.interval.ms", "1000", Number(0, 15_000)),
    known(HEARTBEAT_INTERVAL, "5000", Number(5_000, 15_000)),
    known(SESSION_TIMEOUT, "45000", Number(45_000, 60_000)),
    known("share.assignment.interval.ms", "1000", Number(0, 15_000)),
    known("share.auto.offset.reset", "latest", Text),
    known("share.delivery.count.limit", "5", Number(2, 10)),
    known("share.heartbeat.interval.ms", "5000", Number(5_000, 15_000)),
    known(
        "share.isolation.level",
        "read_uncommitted",
        Word(&["read_committed", "read_uncommitted"]),
    ),
    known("share.partition.max.record.locks", "2000", Number(100, 4_000)),
    known("share.record.lock.duration.ms", "30000", Number(15_000, 60_000)),
    known("share.renew.acknowledge.enable", "true", Boolean),
    known("share.session.timeout.ms", "45000", Number(45_000, 60_000)),
    known("streams.assignment.interval.ms", "1000", Number(0, 15_000)),
    known("streams.heartbeat.interval.ms", "5000", Number(5_000, 15_000)),
    known("streams.initial.rebalance.delay.ms", "3000", COUNT_OR_NONE),
    known("streams.num.standby.replicas", "0", Number(0, 2)),
    known("streams.session.timeout.ms", "45000", Number(45_000, 60_000)),
];

pub(super) const CLIENT_METRICS: &[KnownSetting] = &[
    known("interval.ms", "300000", Number(100, 3_600_000)),
    known("match", "", Text),
    known("metrics", "", Text),
];

#[cfg(test)]
mod tests {
    use super::BROKER;
    use anabranch_engine::{check_setting, known_setting};

    #[test]
    fn what_topics_inherit_exists_and_defaults_are_legal() {
        for setting in BROKER {
            assert!(setting.of_topics().is_none_or(|of| known_setting(of).is_some()));
            let known = setting.known();
            check_setting(&known, known.default).expect(known.name);
        }
    }
}
