"""Bugs on purpose, to see that the checker finds each by its rule: a disk that lies, for the
broker itself, and for the rest the history of a good run with one thing changed."""

import os
import random

import check
import final
from campaign import World, run
from clients import Plan

# What the good run goes through.
FAULTS = ["kill", "client", "power"]


def run_all(program, shim, seed, home):
    """Says whether every bug was found."""
    good = os.path.join(home, "good")
    if not run(program, shim, seed, FAULTS, good):
        return False
    histories = os.path.join(good, "histories")
    rng = random.Random(seed)
    caught = [found("an fdatasync that lies", "lost", lying_disk(program, shim, seed, home))]
    for bug, rule in BUGS:
        recorded = check.load(histories)
        bug(recorded, rng)
        # Everything is looked at anew, as it would have been recorded.
        again = type(recorded)(recorded.histories, recorded.final)
        caught.append(found(bug.__doc__.strip(" ."), rule, check.check(again)))
    print(f"{sum(caught)} of {len(caught)} planted bugs were caught")
    return all(caught)


def found(bug, rule, violations):
    for name, what in violations:
        if name == rule:
            print(f"planted: {bug}\n    caught by {rule}: {what}", flush=True)
            return True
    print(f"planted: {bug}\n    NOT CAUGHT by {rule}; instead: {check.report(violations)}")
    return False


class Everything:
    """Takes the place of chance where a power cut is to take all that it can."""

    def choice(self, options):
        return options[0]

    def randint(self, least, _):
        return least


def lying_disk(program, shim, seed, home):
    """Syncs succeed and do nothing; then the power is cut."""
    world = World(program, shim, seed, os.path.join(home, "lying"))
    try:
        world.begin()
        world.control.lie = 1
        world.clients.wait_for_progress()
        world.broker.kill()
        world.clients.kill()
        world.control.lie = 0
        world.disk.power_cut(Everything())
        world.broker.restart()
        state = final.final(world.broker.address(), world.postgres(), Plan())
        return check.check(world.record(state))
    finally:
        world.close()


# ── changed histories ──


def drop_record(r, rng):
    """An acknowledged record is not in the log."""
    r.final["log"].remove(pick(r.final["log"], rng, lambda record: record[0] == "plain"))


def repeat_record(r, rng):
    """A record was appended twice."""
    record = pick(r.final["log"], rng, lambda record: record[0] == "plain")
    end = 1 + max(each[2] for each in r.final["log"] if each[:2] == record[:2])
    r.final["log"].append([*record[:2], end, *record[3:]])


def swap_records(r, rng):
    """Two records of a producer changed places."""
    first = pick(r.final["log"], rng, lambda record: record[0] == "plain")
    second = pick(
        r.final["log"],
        rng,
        lambda each: each[:2] == first[:2]
        and each[3]["by"] == first[3]["by"]
        and each[3]["n"] != first[3]["n"],
    )
    first[3], second[3] = second[3], first[3]


def show_aborted(r, rng):
    """A reader was given a record of an aborted transaction."""
    record = pick(r.final["log"], rng, lambda record: record[3].get("how") == "abort")
    topic, partition, offset, value, _ = record
    r.histories["reader"].insert(-1, {
        "k": "read", "at": 0, "by": "reader.0", "t": topic, "p": partition, "o": offset, "v": value,
    })


def query_aborted(r, rng):
    """A query was given a record of an aborted transaction."""
    record = pick(r.final["log"], rng, lambda record: record[3].get("how") == "abort")
    r.final["sql"].append(record[:4])


def tear_transaction(r, rng):
    """Of a committed transaction one record is missing."""
    record = pick(r.final["committed"], rng, lambda record: record[3].get("of", 0) > 1)
    r.final["committed"].remove(record)


def take_back_commit(r, rng):
    """A group stands before an offset whose commit was acknowledged."""
    event = pick(r.histories["observer"], rng, lambda event: event["k"] == "observed")
    partition = max(event["to"], key=event["to"].get)
    event["to"][partition] = 0


def skip_record(r, rng):
    """No member of the group was given a record."""
    record = pick(r.final["log"], rng, lambda record: record[0] == "plain")
    for name in ("member-a", "member-b"):
        r.histories[name] = [
            event
            for event in r.histories[name]
            if event["k"] != "read" or [event["p"], event["o"]] != record[1:3]
        ]


def use_offset_again(r, rng):
    """An offset that somebody has read has another record now."""
    event = pick(r.histories["member-a"], rng, lambda event: event["k"] == "read")
    event["v"] = {"by": "producer-a", "n": event["v"]["n"] + 1}


def copy_twice(r, rng):
    """The exactly-once copier has copied a record twice."""
    record = pick(r.final["committed"], rng, lambda record: "source" in record[3])
    end = 1 + max(each[2] for each in r.final["committed"] if each[:2] == record[:2])
    r.final["committed"].append([*record[:2], end, *record[3:]])


def lose_key(r, rng):
    """Compaction has dropped the last record of a key."""
    of_keys = {}
    for record in r.final["log"]:
        if record[0] == "states":
            of_keys[record[4]] = record
    record = pick(list(of_keys.values()), rng, lambda record: "gone" not in record[3])
    r.final["log"].remove(record)
    r.final["tables"]["states"].pop(record[4])


def revive_key(r, rng):
    """A key that was deleted has a row again."""
    deleted, last = {}, {}
    for event in r.histories["keyed-b"]:
        if event["k"] in ("sent", "acked"):
            last[event["key"]] = event
        if event["k"] == "acked" and event["gone"]:
            deleted[event["key"]] = event
    event = pick(list(deleted.values()), rng, lambda event: last[event["key"]] is event)
    value = {"by": event["by"], "n": event["n"] - 20}
    r.final["tables"]["states"][event["key"]] = [event["p"], event["o"] - 1, value]


def stale_row(r, rng):
    """A table has a row of before."""
    row = pick(list(r.final["tables"]["latest"].values()), rng, lambda row: row[1] > 0)
    row[1] -= 1


def pick(these, rng, wanted):
    return rng.choice([one for one in these if wanted(one)])


BUGS = [
    (drop_record, "lost"),
    (repeat_record, "duplicated"),
    (swap_records, "reordered"),
    (show_aborted, "aborted"),
    (query_aborted, "aborted"),
    (tear_transaction, "torn"),
    (take_back_commit, "gone_back"),
    (skip_record, "skipped"),
    (use_offset_again, "changed"),
    (copy_twice, "duplicated"),
    (stale_row, "table"),
    (lose_key, "kept"),
    (revive_key, "came_back"),
]
