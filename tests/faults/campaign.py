"""Rounds of faults under load, and what the checker says of them.

    campaign.py --program PATH --shim PATH [--rounds N] [--seed N] [--faults LIST] [--keep DIR]
"""

import argparse
import json
import os
import random
import shutil
import sys
import tempfile
import time

import check
import final
from broker import PATIENCE, Broker, Unwell
from clients import Clients, Plan, Stuck
from confluent_kafka.admin import NewTopic
from disk import Disk
from faults import FAULTS, HOUR, MS

# A journal small enough that rounds meet its ends and its checkpoints.
SETTINGS = ("journal.file_bytes=1MiB", "disk.reserve_bytes=64MiB")
# Compaction looks for work each second, and finds it: half a second's records are a segment.
BUSY = "streams.compaction_pause_seconds=1"
CLEANED = {
    "cleanup.policy": "compact",
    "segment.ms": "500",
    "min.cleanable.dirty.ratio": "0.01",
    "delete.retention.ms": "2000",
}
# Nothing is to change while it is read to see what there is in the end.
AT_REST = "streams.compaction_pause_seconds=86400"


class World:
    """All that a fault can reach."""

    def __init__(self, program, shim, seed, home):
        self.rng = random.Random(seed)
        self.home = home
        self.histories = os.path.join(home, "histories")
        os.makedirs(self.histories)
        self.disk = Disk(home)
        self.control = self.disk.control
        self.broker = Broker(program, home, self.disk, shim, (*SETTINGS, BUSY))
        self.clients = None
        self.notes = {}

    @property
    def ports(self):
        return (self.broker.kafka, self.broker.postgres, self.broker.web)

    def postgres(self):
        return f"127.0.0.1:{self.broker.postgres}"

    def begin(self):
        self.broker.restart()
        plan = Plan()
        admin = final.admin(self.broker.address())
        # When the broker's clock goes back, its clients are far ahead of it.
        times = {"message.timestamp.after.max.ms": str(2**63 - 1)}
        keyed = {"latest": {"cleanup.policy": "compact"}, plan.cleaned: CLEANED}
        topics = [
            NewTopic(name, count, 1, config=times | keyed.get(name, {}))
            for name, count in plan.partitions.items()
            if name != "entries"
        ]
        for future in admin.create_topics(topics).values():
            future.result(PATIENCE)
        final.query(
            self.postgres(),
            "CREATE STREAM entries (k text PRIMARY KEY, n bigint) WITH (mode = 'upsert')",
        )
        self.observed = open(os.path.join(self.histories, "observer.jsonl"), "a")
        addresses = [f"127.0.0.1:{port}" for port in self.ports]
        self.clients = Clients(plan, addresses, self.histories)
        self.clients.wait_for_progress()
        if self.control.writes == 0 or self.control.syncs == 0:
            raise Unwell("the shim sees no writes: nothing here would be a fault")

    def cut(self):
        """The power is cut: the broker is down already."""
        for name, count in self.disk.power_cut(self.rng).items():
            self.note(**{f"{name}_lost": self.notes.get(f"{name}_lost", 0) + count})

    def note(self, **facts):
        self.notes |= facts

    def wait_until(self, condition, what):
        """For what only shows when it is looked at."""
        end = time.monotonic() + PATIENCE
        while not condition():
            if time.monotonic() > end:
                raise Unwell(f"{what}: not within {PATIENCE} s")
            time.sleep(0.01)

    def observe(self):
        """Where the group stands, as an outsider is told."""
        asked = time.monotonic()
        to = final.stands(self.broker.address(), Plan.group, Plan.source)
        self.say_observed("observed", asked=asked, group=Plan.group, to=to)

    def say_observed(self, kind, **fields):
        event = {"k": kind, "at": time.monotonic(), "by": "observer", **fields}
        self.observed.write(json.dumps(event) + "\n")
        self.observed.flush()

    def round(self, number, fault):
        self.notes = {}
        began = time.monotonic()
        self.backdrop()
        FAULTS[fault](self)
        self.control.heal()
        healed = time.monotonic()
        self.clients.wait_for_progress()
        self.observe()
        self.check_alarms()
        notes = " ".join(f"{name}={value}" for name, value in self.notes.items())
        print(
            f"round {number}: {fault} {healed - began:.1f} s, then the load got on within "
            f"{time.monotonic() - healed:.1f} s {notes}",
            flush=True,
        )

    def backdrop(self):
        """Faults seldom come alone: sometimes the disk is slow already, or the clock wrong."""
        if self.rng.random() < 0.2:
            self.control.sync_delay_ns = self.rng.choice([2, 20]) * MS
            self.note(delay_ms=self.control.sync_delay_ns // MS)
        if self.rng.random() < 0.2:
            self.control.clock_offset_ns = self.rng.choice([-30, -1, 1, 30]) * HOUR
            self.note(clock_hours=self.control.clock_offset_ns // HOUR)

    def check_alarms(self):
        if self.broker.alarms:
            raise Unwell("the broker panicked:\n" + "\n".join(self.broker.alarms[:10]))

    def end(self):
        """Lets everybody finish; what is read then is what is on disk."""
        self.clients.finish()
        self.broker.kill()
        self.cut()
        self.broker.settings.append(AT_REST)
        self.broker.restart()
        state = final.final(self.broker.address(), self.postgres(), Plan())
        self.record(state)
        self.broker.stop()
        self.check_alarms()

    def record(self, state):
        """Keeps what was read at the end beside the histories, and gives back all of it."""
        self.say_observed("done")
        with open(os.path.join(self.histories, "final.json"), "w") as file:
            json.dump(state, file)
        return check.load(self.histories)

    def close(self):
        if self.clients is not None:
            self.clients.kill()
        if self.broker.process is not None:
            self.broker.resume()
            self.broker.kill()


def choose(names, rounds, rng):
    """Every fault once, as far as rounds go, in any order; then whichever comes."""
    first = rng.sample(names, len(names))
    return (first + rng.choices(names, k=rounds))[:rounds]


def run(program, shim, seed, faults, home):
    """Says whether all was well."""
    world = World(program, shim, seed, home)
    try:
        world.begin()
        for number, fault in enumerate(faults):
            world.round(number, fault)
        world.end()
    except (Unwell, Stuck, TimeoutError) as failure:
        log = world.broker.life.tail() if world.broker.life else ""
        print(f"FAILED: {failure}\nthe broker's last lines:\n{log}")
        return False
    finally:
        world.close()
    recorded = check.load(world.histories)
    found = check.check(recorded)
    written = sum(1 for event in recorded.events("acked") if event["t"] == Plan.cleaned)
    left = sum(1 for topic, *_ in recorded.log if topic == Plan.cleaned)
    print(check.report(found) or "no rule is broken", f"({len(recorded.log)} records;",
          f"of {written} keyed ones compaction left {left})")
    if left >= written:
        print("FAILED: nothing was compacted")
        return False
    return not found


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--program", required=True)
    parser.add_argument("--shim", required=True)
    parser.add_argument("--rounds", type=int)
    parser.add_argument("--seed", type=int, default=int(time.time()))
    parser.add_argument("--faults", default=",".join(FAULTS))
    parser.add_argument("--keep", help="keep everything in this directory")
    parser.add_argument("--planted", action="store_true")
    options = parser.parse_args()
    names = options.faults.split(",")
    for name in set(names) - FAULTS.keys():
        parser.error(f"there is no fault {name}; there are {', '.join(FAULTS)}")
    home = options.keep or tempfile.mkdtemp(prefix="anabranch-faults-")
    os.makedirs(home, exist_ok=True)
    if options.planted:
        import planted

        good = planted.run_all(options.program, options.shim, options.seed, home)
    else:
        rounds = options.rounds or len(names)
        faults = choose(names, rounds, random.Random(options.seed))
        print(f"seed {options.seed}, {rounds} rounds", flush=True)
        began = time.monotonic()
        good = run(options.program, options.shim, options.seed, faults, home)
        print(f"{time.monotonic() - began:.0f} s")
    if not good:
        again = f"--rounds {options.rounds or len(names)} --seed {options.seed}"
        print(f"FAILED; histories and logs are in {home}; again: tests/faults/run {again}")
    elif not options.keep:
        shutil.rmtree(home)
    sys.exit(0 if good else 1)


if __name__ == "__main__":
    main()
