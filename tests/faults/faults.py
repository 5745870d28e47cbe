"""The faults, one a round: each happens, is seen to happen, and is healed."""

import time
import urllib.error
import urllib.request

import network
from broker import PATIENCE, Unwell

# The most memory that the broker may use while it is flooded: its own bounds for frames that
# arrive (256 MiB) and for fetched records (256 MiB), and what it uses otherwise.
MEMORY_BYTES_MAX = 900 << 20
MS = 1_000_000
HOUR = 3600 * 1000 * MS
# Those of the load that go on while appends do not.
READERS = ("query",)


def kill(world):
    """kill -9: what was written is still in the page cache. Sometimes once more as it starts."""
    world.broker.kill()
    while world.rng.random() < 0.3:
        world.broker.start()
        time.sleep(world.rng.random() * 0.2)
        world.broker.kill()
    world.broker.restart()


def power(world):
    """A power cut: writes that were not synced are dropped and torn. Sometimes there is another
    one while the broker recovers."""
    # A slower disk has more on its way.
    world.control.sync_delay_ns = world.rng.choice([0, 5, 50]) * MS
    world.clients.wait_for_progress(0.2, only=("producer",))
    world.broker.kill()
    world.cut()
    while world.rng.random() < 0.3:
        world.broker.start()
        time.sleep(world.rng.random() ** 2)
        world.broker.kill()
        world.cut()
    world.control.heal()
    world.broker.restart()


def sync(world):
    """An fdatasync fails: the broker appends nothing more until it is started again."""
    control = world.control
    before = control.failed
    paths = [b"/journal/", b"/journal/", b"/partitions", b"/checkpoint"]
    control.fail_path = world.rng.choice(paths)
    control.syncs_to_fail = world.rng.choice([1, 1, 3])
    world.wait_until(lambda: control.failed > before, "a sync fails")
    world.broker.life.wait_for("the log cannot be written", PATIENCE)
    # Reads go on.
    world.clients.wait_for_progress(0.5, only=READERS)
    control.heal()
    world.broker.kill()
    world.cut()
    if world.rng.random() < 0.5:
        start_badly(world)
    world.broker.restart()


def start_badly(world):
    """The disk fails while the broker recovers. It may give up, or start and append nothing."""
    control = world.control
    control.fail_path = b""
    control.syncs_to_fail = world.rng.choice([0, 1])
    control.full = 1 - control.syncs_to_fail
    world.broker.start()
    world.broker.life.wait_for_end("ready", PATIENCE)
    control.heal()
    world.broker.kill()
    world.cut()


def reserve(world):
    """Nothing is free according to the file system: appends are refused, and taken again."""
    world.control.no_space = 1
    world.wait_until(lambda: post(world) == 503, "the full disk is seen")
    world.clients.wait_for_progress(0.5, only=READERS)
    world.control.heal()
    world.wait_until(lambda: post(world) == 200, "the free disk is seen")


def full(world):
    """Files cannot grow any more."""
    control = world.control
    before = control.refused
    control.full = 1
    world.wait_until(lambda: control.refused > before, "a write finds the disk full")
    world.clients.wait_for_progress(0.5, only=READERS)
    control.heal()
    if world.broker.life.has_said("the log cannot be written"):
        world.broker.kill()
        world.cut()
        world.broker.restart()


def clock(world):
    """The time of day jumps, hours forwards or backwards, and back again."""
    hours = world.rng.choice([1, 3, 25, 24 * 8, 24 * 400])
    world.control.clock_offset_ns = world.rng.choice([-1, 1]) * hours * HOUR
    world.clients.wait_for_progress(0.5)
    if world.rng.random() < 0.3:
        kill(world)
        world.clients.wait_for_progress(0.3)
    world.control.heal()


def slow(world):
    """Each sync takes long."""
    world.control.sync_delay_ns = world.rng.choice([30, 100, 300]) * MS
    world.clients.wait_for_progress(0.2)
    world.control.heal()


def half_open(world):
    """Connections send half of something and go silent; later they vanish."""
    held = network.half_open(world.ports, world.rng)
    world.clients.wait_for_progress(0.5)
    network.vanish(held)


def flood(world):
    """Connections offer garbage and huge frames, and do not read what they asked for."""
    world.broker.forget_peak()
    held = network.flood(world.ports, world.rng, "plain", 3)
    world.clients.wait_for_progress(0.3)
    network.vanish(held)
    most, now = world.broker.memory_bytes()
    world.note(memory_most_mib=most >> 20, memory_now_mib=now >> 20)
    if most > MEMORY_BYTES_MAX:
        raise Unwell(f"flooded, the broker used {most >> 20} MiB")


def freeze(world):
    """The process stands still for a while, longer than some clients have patience."""
    world.broker.pause()
    time.sleep(world.rng.choice([0.2, 2, 7]))
    world.broker.resume()


def stop(world):
    """SIGTERM, when tables are written to their store; sometimes the power fails meanwhile, or the
    disk does: tables can be made again from the log."""
    how = world.rng.choice(["well", "power", "sync", "full"])
    world.note(how=how)
    control = world.control
    if how == "power":
        world.broker.process.terminate()
        time.sleep(world.rng.random() * 0.3)
        world.broker.kill()
    else:
        control.fail_path = b"/tables"
        control.syncs_to_fail = world.rng.randint(1, 9) if how == "sync" else 0
        control.full = int(how == "full")
        world.broker.stop()
    control.heal()
    if how != "well":
        world.cut()
    world.broker.restart()


def client(world):
    """A client dies in the middle of something, and another takes its place."""
    names = ["member-a", "member-b", "copier", "transactor", "transactor-slow", "producer-b"]
    name = world.rng.choice(names)
    world.note(client=name)
    # The slower the disk, the more requests are under way that nobody waits for any more.
    world.control.sync_delay_ns = world.rng.choice([0, 20, 100]) * MS
    world.clients.wait_for_progress(0.1, only=(name, "producer-a"))
    world.clients.restart(name)


FAULTS = {
    "kill": kill,
    "power": power,
    "sync": sync,
    "reserve": reserve,
    "full": full,
    "clock": clock,
    "slow": slow,
    "half-open": half_open,
    "flood": flood,
    "freeze": freeze,
    "stop": stop,
    "client": client,
}


def post(world):
    """The status of publishing one event over HTTP, which nobody repeats by itself."""
    url = f"http://127.0.0.1:{world.broker.web}/v1/streams/probe/events"
    request = urllib.request.Request(url, b"{}", {"Content-Type": "application/json"})
    try:
        with urllib.request.urlopen(request, timeout=PATIENCE) as answer:
            return answer.status
    except urllib.error.HTTPError as error:
        return error.code
