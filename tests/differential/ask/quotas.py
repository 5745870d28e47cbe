"""Client quotas: set, found, removed. None is so small that anybody would have to wait."""

from . import asks

RATES = ("producer_byte_rate", "consumer_byte_rate", "request_percentage",
         "controller_mutation_rate")


def entity(world):
    if world.wrong:
        return world.pick(
            [], [("user", "")], [("colour", "red")], [("ip", "127.0.0.1"), ("user", None)],
            [("user", "~u"), ("user", "~v")])
    return world.pick([("user", "~u")], [("client-id", "~c")], [("ip", "127.0.0.2")],
                      [("user", "~u"), ("client-id", "~c")], [("user", "~u"), ("client-id", None)])


def change(world, of):
    key = "connection_creation_rate" if of and of[0][0] == "ip" else world.pick(*RATES)
    if world.wrong:
        key = world.pick("no_such_rate", "connection_creation_rate", "producer_byte_rate")
    value = world.pick(1e9, 1e9, 2e9) if not world.wrong else world.pick(0.0, -1.0, 1e9 + 0.5)
    return {"key": key, "value": value, "remove": world.chance(0.3)}


@asks(1.5)
def alter(world):
    def one():
        of = entity(world)
        return {"entity": [{"entity_type": kind, "entity_name": name} for kind, name in of],
                "ops": world.some(lambda: change(world, of), 2)}
    return world.step("AlterClientQuotas", {
        "entries": world.some(one, 2), "validate_only": world.chance(0.15)})


@asks(1.5)
def describe(world):
    def one():
        kind = world.pick("user", "client-id", "ip")
        if world.wrong:
            kind = world.pick("", "colour", "user")
        how = world.pick((0, "~u"), (0, "~c"), (1, None), (2, None))
        if world.wrong:
            how = world.pick((0, None), (1, "~u"), (7, None), (2, "~u"))
        return {"entity_type": kind, "match_type": how[0], "match": how[1]}
    return world.step("DescribeClientQuotas", {
        "components": world.some(one, 2), "strict": world.chance(0.3)})
