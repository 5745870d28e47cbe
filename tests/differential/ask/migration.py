"""A group goes from the classic protocol to KIP-848's and back, while a consumer stays in it."""

import struct

from steps import Ref, Step

from . import asks
from .groups import join, sync


def text(word):
    return struct.pack(">h", len(word)) + word.encode()


def partitions(topics):
    """An array of topics with their partitions, as consumers write it."""
    return struct.pack(">i", len(topics)) + b"".join(
        text(topic) + struct.pack(f">i{count}i", count, *range(count)) for topic, count in topics)


def subscription(topic, owned=()):
    return (struct.pack(">hi", 1, 1) + text(topic) + struct.pack(">i", -1) + partitions(owned))


def assignment(topics):
    return struct.pack(">h", 1) + partitions(topics) + struct.pack(">i", -1)


@asks(1.2)
def there_and_back(world):
    """Names in the consumers' own bytes cannot be replaced, so it is about a topic that is not
    there: what is compared is who is told what, and when."""
    versions = [world.version(api, least) for api, least in (
        ("JoinGroup", 4), ("SyncGroup", 3), ("Heartbeat", 3), ("ConsumerGroupHeartbeat", 1),
        ("LeaveGroup", 3))]
    if None in versions:
        return []
    joins, syncs, beats, modern, leaves = versions
    group, old, new = world.fresh("mg"), world.fresh("m"), world.fresh("member")
    topic = "differential-nowhere"
    wants = {"protocols": [{"name": "range", "metadata": subscription(topic)}],
             "rebalance_timeout_ms": 60000}

    def beat(**rest):
        return Step("Heartbeat", beats, {
            "group_id": group, "generation_id": Ref("generation", group),
            "member_id": Ref("member", old), "group_instance_id": None}, **rest)

    def modern_beat(epoch):
        fields = {"group_id": group, "member_id": new, "member_epoch": epoch,
                  "instance_id": None, "rack_id": None, "rebalance_timeout_ms": -1,
                  "subscribed_topic_names": None, "subscribed_topic_regex": None,
                  "server_assignor": None, "topic_partitions": None}
        if epoch == 0:
            fields |= {"rebalance_timeout_ms": 60000, "subscribed_topic_names": [topic],
                       "topic_partitions": []}
        return Step("ConsumerGroupHeartbeat", modern, fields,
                    learn={"member_epoch": ("epoch", new)})

    def commit():
        version = world.version("OffsetCommit", least=2, most=9)
        return Step("OffsetCommit", version, {
            "group_id": group, "generation_id_or_member_epoch": Ref("generation", group),
            "member_id": Ref("member", old), "group_instance_id": None, "retention_time_ms": -1,
            "topics": [{"name": world.good_topic(), "partitions": [{
                "partition_index": 0, "committed_offset": 0, "committed_leader_epoch": -1,
                "committed_metadata": ""}]}]})

    def described():
        return [Step("DescribeGroups", 5, {"groups": [group],
                                           "include_authorized_operations": False}),
                Step("ConsumerGroupDescribe", 1, {"group_ids": [group],
                                                  "include_authorized_operations": False})]

    rejoin = join(world, group, old, joins, fields=wants)
    mine = sync(world, group, old, syncs, [old])
    steps = [rejoin, rejoin, mine, beat(), modern_beat(0), *described(), beat()]
    if world.chance(0.3):
        steps += [mine, commit()]
    steps += [rejoin, mine, beat(), commit(), modern_beat(Ref("epoch", new)), *described()]
    if world.chance(0.3):
        steps += [Step("LeaveGroup", leaves, {"group_id": group, "member_id": Ref("member", old),
                                              "members": [{"member_id": Ref("member", old)}]}),
                  *described(), modern_beat(-1)]
        return steps
    steps += [modern_beat(-1), *described(), beat(), rejoin, mine, beat(), *described()]
    return steps
