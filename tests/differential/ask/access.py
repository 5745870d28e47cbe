"""Access rules, and what users' passwords are checked with.

The rules are about users of the run, never about who asks, and no user is made: of the first one
our broker would make its admin, and then ask everybody for a password.
"""

from . import asks

# Kinds of resources: topic, group, transactional id.
KINDS = (2, 3, 5)
LITERAL, PREFIXED = 3, 4
MECHANISMS = (1, 2)


def principal(world):
    return world.pick("User:~u", "User:~v")


def rule(world):
    kind = world.pick(*KINDS) if not world.wrong else world.pick(0, 1, 4, 6, 7, 99)
    name = world.pick("~t", "~t1", "~", "*")
    if kind == 4 and world.chance(0.7):
        name = "kafka-cluster"
    # Read, write, describe; of the cluster, what a producer asks for.
    operation = world.pick(2, 3, 4, 8) if kind != 4 else world.pick(5, 8, 12)
    made = {"resource_type": kind, "resource_name": name,
            "resource_pattern_type": world.pick(LITERAL, LITERAL, PREFIXED),
            "principal": principal(world), "host": world.pick("*", "127.0.0.1"),
            "operation": operation, "permission_type": world.pick(2, 3, 3)}
    if world.wrong:
        made |= world.pick(
            {"resource_name": ""}, {"resource_pattern_type": 1}, {"resource_pattern_type": 2},
            {"resource_pattern_type": 0}, {"principal": "~u"}, {"principal": ""}, {"host": ""},
            {"operation": 0}, {"operation": 1}, {"operation": 99}, {"operation": 12},
            {"permission_type": 0}, {"permission_type": 1}, {"permission_type": 9})
    return made


def choice(world):
    """What a filter asks for, but the principal or the name are always the run's."""
    made = {"resource_type_filter": world.pick(1, 1, *KINDS, 4),
            "resource_name_filter": world.pick(None, None, "~t", "~t1", "~t12", "*"),
            "pattern_type_filter": world.pick(1, 2, LITERAL, PREFIXED),
            "principal_filter": principal(world),
            "host_filter": world.pick(None, None, "*", "127.0.0.1"),
            "operation": world.pick(1, 1, 1, 2, 3), "permission_type": world.pick(1, 1, 2, 3)}
    if world.wrong:
        made |= world.pick(
            {"resource_type_filter": 0}, {"resource_type_filter": 99}, {"pattern_type_filter": 0},
            {"pattern_type_filter": 9}, {"operation": 0}, {"operation": 99},
            {"permission_type": 0}, {"permission_type": 9}, {"principal_filter": "~u"},
            {"principal_filter": "User:~nobody"}, {"host_filter": ""})
    return made


@asks(2)
def create(world):
    return world.step("CreateAcls", {"creations": world.some(lambda: rule(world), 2)})


@asks(1.5)
def describe(world):
    return world.step("DescribeAcls", choice(world))


@asks()
def delete(world):
    return world.step("DeleteAcls", {"filters": world.some(lambda: choice(world), 2)})


@asks(0.5)
def describe_users(world):
    users = world.pick(None, [], [{"name": "~u"}], [{"name": "~u"}, {"name": "~v"}],
                       [{"name": "~u"}, {"name": "~u"}], [{"name": ""}])
    return world.step("DescribeUserScramCredentials", {"users": users})


@asks(0.5)
def alter_users(world):
    """Each of them wrong: see above."""
    def gone():
        mechanism = world.pick(*MECHANISMS) if not world.wrong else world.pick(0, 3, 99)
        return {"name": world.pick("~u", "~v", "~w", ""), "mechanism": mechanism}

    def made():
        return {"name": world.pick("~u", "~v"), "salt": b"salt", "salted_password": b"x" * 32,
                **world.pick({"mechanism": world.pick(0, 3), "iterations": 4096},
                             {"mechanism": 1, "iterations": world.pick(0, -1, 4095, 16385)})}
    which = world.pick(("deletions", gone), ("deletions", gone), ("upsertions", made))
    fields = {"deletions": [], "upsertions": [], which[0]: world.some(which[1], 2)}
    return world.step("AlterUserScramCredentials", fields)
