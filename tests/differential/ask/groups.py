"""Classic groups: members come, share, and go."""

import struct

from steps import Collect, Ref, Step
from world import Group

from . import asks
from .offsets import group_name

ASSIGNMENT = b"\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00"


def subscription(topics=("~none",)):
    """A consumer's metadata: version 0, its topics, no user data."""
    names = b"".join(struct.pack(">h", len(name)) + name.encode() for name in topics)
    return struct.pack(">hi", 0, len(topics)) + names + struct.pack(">i", -1)


def join(world, group, member, version, **rest):
    """`member` is the model's name of it; what the broker calls it is learned."""
    fields = {"group_id": group, "session_timeout_ms": 60000, "rebalance_timeout_ms": 5000,
              "member_id": Ref("member", member), "group_instance_id": None,
              "protocol_type": "consumer", "reason": None,
              "protocols": [{"name": "range", "metadata": subscription()}]}
    return Step("JoinGroup", version, fields | rest.pop("fields", {}), learn={
        "member_id": ("member", member), "generation_id": ("generation", group)}, **rest)


def sync(world, group, member, version, assigned=(), **rest):
    fields = {"group_id": group, "generation_id": Ref("generation", group),
              "member_id": Ref("member", member), "group_instance_id": None,
              "protocol_type": "consumer", "protocol_name": "range",
              "assignments": [{"member_id": Ref("member", each), "assignment": ASSIGNMENT}
                              for each in assigned]}
    return Step("SyncGroup", version, fields | rest.pop("fields", {}), **rest)


@asks(2.5)
def first_member(world):
    """Alone in a group that nobody is in: no request has to wait for another."""
    empty = [name for name in ("~g1", "~g2") if not world.groups.get(name, Group()).members]
    version, syncs = world.version("JoinGroup"), world.version("SyncGroup")
    if not empty or version is None or syncs is None:
        return []
    group = world.random.choice(empty)
    world.groups.setdefault(group, Group())
    member = world.fresh("m")
    fields = {}
    if version >= 5 and world.chance(0.3):
        fields["group_instance_id"] = world.fresh("i")
    # From version 4 on the first answer tells the id to come with (KIP-394).
    steps = [join(world, group, member, version, fields=fields)]
    if version >= 4 and not fields:
        steps.append(join(world, group, member, version))
    instance = {"group_instance_id": fields.get("group_instance_id")} if syncs >= 3 else {}
    steps.append(sync(world, group, member, syncs, [member], fields=instance))
    world.groups[group].members = [member]
    return steps


@asks(1.5)
def second_member(world):
    """Joins while the first is there, who has to join again: two requests wait for each other."""
    single = [name for name, group in world.groups.items() if len(group.members) == 1]
    # From version 4 on a member is first told its id, and does not wait (KIP-394).
    version = world.version("JoinGroup", least=4)
    syncs, beats = world.version("SyncGroup"), world.version("Heartbeat")
    if not single or None in (version, syncs, beats):
        return []
    group = world.random.choice(single)
    first, member = world.groups[group].members[0], world.fresh("m")
    long = {"rebalance_timeout_ms": 8000}
    world.groups[group].members.append(member)
    return [
        join(world, group, member, version, fields=long),
        join(world, group, member, version, fields=long, connection="second", later=True),
        # The second has arrived when the first is told to join again.
        Step("Heartbeat", beats, {"group_id": group, "generation_id": Ref("generation", group),
                                  "member_id": Ref("member", first)}, until=27),
        join(world, group, first, version, fields=long),
        Collect("second"),
        sync(world, group, first, syncs, [first, member]),
        sync(world, group, member, syncs),
    ]


@asks(1)
def wrong_join(world):
    group = world.pick("~g1", "~g2", "~g5", "")
    version = world.version("JoinGroup")
    if version is None:
        return []
    member = world.fresh("m")
    fields = world.pick(
        {"session_timeout_ms": 1}, {"session_timeout_ms": 2**31 - 1}, {"session_timeout_ms": -1},
        {"protocols": []}, {"protocol_type": ""}, {"member_id": "nobody"},
        {"protocols": [{"name": "", "metadata": b""}]},
        {"protocol_type": "other", "member_id": "nobody"},
        {"group_instance_id": "", "member_id": "nobody"},
        {"group_instance_id": "~nobody", "member_id": "nobody"})
    return [join(world, group, member, version, fields=fields)]


def in_group(world):
    """A group and a member of it; either may be wrong."""
    group = group_name(world)
    members = world.groups[group].members if group in world.groups else []
    if members and not world.wrong:
        return group, Ref("member", world.random.choice(members))
    return group, world.pick("nobody", "")


@asks(2)
def heartbeat(world):
    group, member = in_group(world)
    return world.step("Heartbeat", {
        "group_id": group, "member_id": member, "group_instance_id": world.pick(
            None, None, None, "~nobody"),
        "generation_id": Ref("generation", group, world.pick(0, 0, 0, 1, -1))}, least=3)


@asks(1)
def wrong_sync(world):
    group, member = in_group(world)
    version = world.version("SyncGroup")
    if version is None:
        return []
    fields = {"member_id": member, "assignments": []} | world.pick(
        {"generation_id": Ref("generation", group, 1)}, {"member_id": "nobody"},
        {"protocol_name": "other"}, {"protocol_type": "other"}, {"protocol_name": None},
        {"generation_id": -1}, {"member_id": "", "generation_id": 0})
    return [sync(world, group, "", version, fields=fields)]


@asks(1)
def sync_again(world):
    """What was assigned is told again to who asks again."""
    version = world.version("SyncGroup")
    known = [(name, member) for name, group in sorted(world.groups.items())
             for member in group.members]
    if not known or version is None:
        return []
    group, member = world.random.choice(known)
    return [sync(world, group, member, version, [member])]


@asks(1.5)
def leave(world):
    group, member = in_group(world)
    instance = "~nobody" if world.wrong else None
    steps = world.step("LeaveGroup", {
        "group_id": group, "member_id": member, "members": [
            {"member_id": member, "group_instance_id": instance, "reason": None},
            *([{"member_id": "nobody"}] if world.wrong else [])]})
    if group in world.groups and not instance:
        # Whoever stays would have to join again; the model lets go of them.
        known = world.groups[group]
        known.members = [each for each in known.members if Ref("member", each) != member]
    return steps


@asks(2)
def describe(world):
    return world.step("DescribeGroups", {
        "groups": world.some(lambda: group_name(world), 2),
        "include_authorized_operations": world.chance(0.3)})


@asks(1.5)
def list_groups(world):
    return world.step("ListGroups", {
        "states_filter": world.pick([], [], ["Stable"], ["empty", "Stable"], ["Asleep"], ["Empty"]),
        "types_filter": world.pick([], [], ["classic"], ["Consumer"], ["other"])})


@asks(1)
def delete(world):
    return world.step("DeleteGroups", {"groups_names": world.some(lambda: group_name(world), 2)})


@asks(1)
def consumer_heartbeat(world):
    group, member = world.pick("~c1", "~c2", "~g1", ""), world.pick("~member1", "~member2", "")
    return world.step("ConsumerGroupHeartbeat", {
        "group_id": group, "member_id": member, "member_epoch": world.pick(0, 0, 1, 2, -1, -2, 9),
        "instance_id": None, "rack_id": None, "rebalance_timeout_ms": world.pick(60000, -1, 0),
        "subscribed_topic_names": world.pick(None, [], [world.good_topic()]),
        "subscribed_topic_regex": world.pick(None, None, "(", "nothing.*"),
        "server_assignor": world.pick(None, "uniform", "range", "no such"),
        "topic_partitions": world.pick(None, [])})


@asks(1)
def consumer_describe(world):
    return world.step("ConsumerGroupDescribe", {
        "group_ids": world.some(lambda: world.pick("~c1", "~c2", "~g1", "", "~nobody"), 2),
        "include_authorized_operations": world.chance(0.3)})
