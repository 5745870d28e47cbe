"""The broker as a whole."""

from . import asks


@asks(1)
def api_versions(world):
    name = world.pick("differential", "", "bad name", "-x", "a.b-c")
    return world.step("ApiVersions", {
        "client_software_name": name, "client_software_version": world.pick("1.0", "1.0", "", "?")})


@asks(0.3)
def unknown_api_versions(world):
    """A version from the future is answered in version 0 (KIP-511)."""
    return world.step("ApiVersions", {}, version=world.pick(5, 6, 100))


@asks(1)
def describe_cluster(world):
    return world.step("DescribeCluster", {
        "include_cluster_authorized_operations": world.chance(0.5),
        "endpoint_type": world.pick(1, 1, 1, 2, 0, 7),
        "include_fenced_brokers": world.chance(0.2)})


@asks(2)
def find_coordinator(world):
    kind = world.pick(0, 0, 1, 1, 1, 5) if world.wrong else world.pick(0, 1)
    keys = world.some(lambda: "" if world.wrong else world.fresh("k"), 3)
    return world.step("FindCoordinator", {
        "key": keys[0] if keys else "", "key_type": kind, "coordinator_keys": keys})


@asks(1)
def describe_log_dirs(world):
    def topics():
        return [{"topic": world.topic(), "partitions": [0, world.pick(0, 1, 9)]}
                for _ in range(world.random.randint(0, 2))]
    return world.step("DescribeLogDirs", {"topics": None if world.chance(0.4) else topics()})
