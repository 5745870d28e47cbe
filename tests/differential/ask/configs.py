"""Settings of topics, brokers and groups."""

from . import asks

TOPIC, BROKER, GROUP = 2, 4, 32
RIGHT = [("retention.ms", "86400000"), ("retention.ms", "-1"), ("max.message.bytes", "400"),
         ("max.message.bytes", "1048588"), ("cleanup.policy", "delete"),
         ("message.timestamp.type", "LogAppendTime"), ("message.timestamp.type", "CreateTime"),
         ("min.insync.replicas", "1"), ("segment.bytes", "2097152"), ("flush.messages", "1"),
         ("compression.type", "producer"), ("preallocate", "true"), ("retention.bytes", "1000000"),
         ("message.timestamp.before.max.ms", "86400000"), ("min.cleanable.dirty.ratio", "0.1"),
         ("message.timestamp.after.max.ms", "1000"), ("index.interval.bytes", "0"),
         ("unclean.leader.election.enable", "true"), ("segment.ms", "604800000"),
         ("max.compaction.lag.ms", "9223372036854775807"), ("delete.retention.ms", "0"),
         ("local.retention.ms", "-2"), ("follower.replication.throttled.replicas", "*"),
         ("leader.replication.throttled.replicas", "0:1")]
WRONG = [("retention.ms", "soon"), ("retention.ms", ""), ("retention.ms", "-2"),
         ("max.message.bytes", "-1"), ("cleanup.policy", "shred"), ("no.such.setting", "1"),
         ("message.timestamp.type", "Whenever"), ("min.insync.replicas", "0"), ("", "1"),
         ("segment.bytes", "1"), ("compression.type", "rar"), ("preallocate", "perhaps"),
         ("min.cleanable.dirty.ratio", "2"), ("retention.ms", "1.5"), ("segment.ms", "0"),
         ("min.insync.replicas", "9999999999"), ("preallocate", "TRUE"), ("retention.ms", " 5000 "),
         ("follower.replication.throttled.replicas", "nonsense"), ("retention.ms", None),
         ("local.retention.ms", "99999999999999"), ("compression.gzip.level", "0"),
         ("max.compaction.lag.ms", "0"), ("flush.messages", "-1"), ("cleanup.policy", "")]
NAMES = sorted({name for name, _ in RIGHT})


def setting(world, right=None):
    right = not world.wrong if right is None else right
    name, value = world.random.choice(RIGHT if right else WRONG)
    return {"name": name, "value": value}


def resource(world, *more):
    if world.chance(0.85):
        return {"resource_type": TOPIC, "resource_name": world.topic()}
    return world.pick(*more, {"resource_type": BROKER, "resource_name": "7"},
                      {"resource_type": BROKER, "resource_name": "seven"},
                      {"resource_type": GROUP, "resource_name": "~g1"},
                      {"resource_type": 1, "resource_name": "x"},
                      {"resource_type": 99, "resource_name": "x"})


# Only described: what is set of Kafka would stay set for all that follows.
BROKERS = [{"resource_type": BROKER, "resource_name": "1"},
           {"resource_type": BROKER, "resource_name": ""}]


@asks(3)
def describe(world):
    def one():
        asked = resource(world, *BROKERS)
        keys = world.pick(None, [], world.random.sample(NAMES, 3), ["no.such.setting"])
        if asked["resource_type"] == BROKER:
            # Of a broker we know what tools look up.
            keys = ["num.partitions", "auto.create.topics.enable", "message.max.bytes"]
        return asked | {"configuration_keys": keys}
    return world.step("DescribeConfigs", {
        "resources": world.some(one, 2), "include_synonyms": world.chance(0.5),
        "include_documentation": world.chance(0.2)})


@asks(1.5)
def alter(world):
    return world.step("AlterConfigs", {
        "resources": world.some(lambda: resource(world) | {
            "configs": world.some(lambda: setting(world), 2)}, 2),
        "validate_only": world.chance(0.25)})


@asks(2.5)
def alter_incrementally(world):
    def change():
        operation = world.pick(0, 0, 0, 1, 1, 2, 3) if not world.wrong else world.pick(4, -1, 2, 3)
        value = setting(world)
        if operation in (2, 3) and world.chance(0.7):
            value = {"name": "cleanup.policy", "value": world.pick("delete", "shred", "")}
        if operation == 1 and world.chance(0.7):
            value["value"] = None
        return value | {"config_operation": operation}
    return world.step("IncrementalAlterConfigs", {
        "resources": world.some(lambda: resource(world) | {
            "configs": world.some(change, 2)}, 2),
        "validate_only": world.chance(0.25)})
