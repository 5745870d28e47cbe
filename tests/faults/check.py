"""Holds recorded histories against the rules.

    check.py DIRECTORY

The directory has a history of each client (`NAME.jsonl`) and what was read at the end
(`final.json`): see README.md. Prints what breaks a rule, with the rule's name first.
"""

import json
import pathlib
import sys
from collections import Counter, defaultdict

import check_groups
import check_keys
from recorded import Recorded

# Violations of one rule that are shown; the rest is counted.
SHOWN = 5


def check(recorded):
    """All violations, as (rule, what)."""
    return [(rule.__name__, what) for rule in RULES for what in rule(recorded)]


def lost(r):
    """What was acknowledged is in the log, with its value, where the client was told."""
    for event in r.events("acked"):
        if "o" not in event:
            continue
        place = (event["t"], event["p"], event["o"])
        found = r.log.get(place)
        if found is None:
            tx = (event["by"], event.get("tx"))
            if not (r.is_open(tx) or r.is_compacted(event)):
                yield f"{name_of(event)} was acknowledged at {place} and is not there"
        elif identity(found) != identity(event):
            yield f"{name_of(event)} was acknowledged at {place}, where {found} is"
    for event in r.events("acked"):
        if "o" not in event and (event["by"], event["n"]) not in r.inserted:
            yield f"row {event['n']} of {event['by']} was inserted and is not there"


def duplicated(r):
    """No record of an idempotent producer, and no committed copy, is there twice."""
    counts = Counter(identity(value) for value in r.log.values() if "source" not in value)
    counts.update(identity(value) for value in r.committed.values() if "source" in value)
    for who, count in counts.items():
        if count > 1:
            yield f"{who} is there {count} times"


def reordered(r):
    """Of each producer and partition the records are in the order in which they were sent."""
    last = {}
    for (topic, partition, offset), value in sorted(r.log.items()):
        if "source" in value:
            continue
        place = (topic, partition, value["by"])
        number = (value.get("tx", 0), value.get("i", 0), value.get("n", 0))
        if number < last.get(place, number):
            yield f"{number} of {place} at {offset} stands behind {last[place]}"
        last[place] = number


def unsent(r):
    """The log has nothing that nobody sent."""
    for place, value in r.log.items():
        if "n" in value and (value["by"], value["n"]) not in r.sent:
            yield f"{value} at {place}"
        if "tx" in value and (value["by"], value["tx"]) not in r.transactions:
            yield f"{value} at {place}"


def aborted(r):
    """Nobody who reads what is committed, and no query, sees a record of an aborted
    transaction."""
    for where, values in (("the committed log", r.committed), ("SQL", r.sql)):
        for place, value in values.items():
            if r.is_aborted(transaction(value)):
                yield f"{value} is in {where} at {place}"
    for event in r.events("read", "seen"):
        if r.is_aborted(transaction(event["v"])):
            yield f"{event['who']} saw {event['v']} at {place_of(event)}"


def torn(r):
    """Of a transaction all is there or nothing; if it was said to be committed, all."""
    for where, values in (("the committed log", r.committed), ("SQL", r.sql)):
        found = defaultdict(set)
        for value in values.values():
            if "tx" in value:
                found[transaction(value)].add(value["i"])
        for tx, begun in r.transactions.items():
            whole = set(range(begun["of"]))
            if found[tx] and found[tx] != whole:
                yield f"of {tx} only {sorted(found[tx])} of {begun['of']} are in {where}"
            if not found[tx] and r.results.get(tx) == "committed":
                yield f"{tx} was committed and is not in {where}"


def changed(r):
    """What was once read at an offset stays there: offsets are not used again."""
    for event in r.events("read", "seen"):
        found = r.log.get(place_of(event))
        if found is None and not r.is_compacted(event):
            yield f"{event['who']} saw {event['v']} at {place_of(event)}, where nothing is"
        elif found is not None and found != event["v"]:
            yield f"{event['who']} saw {event['v']} at {place_of(event)}, where {found} is"


def unread(r):
    """A reader of what is committed reads all of it, once and in order."""
    for who in r.who("reader"):
        seen = defaultdict(list)
        for event in r.histories[who]:
            if event["k"] == "read":
                seen[event["t"], event["p"]].append(event["o"])
        topics = {topic for topic, _ in seen}
        expected = defaultdict(list)
        for topic, partition, offset in sorted(r.committed):
            if topic in topics:
                expected[topic, partition].append(offset)
        for place in seen.keys() | expected.keys():
            offsets = seen[place]
            if offsets != expected[place]:
                missing = sorted(set(expected[place]) - set(offsets))[:5]
                more = [o for o, count in Counter(offsets).items() if count > 1][:5]
                yield f"{who} in {place}: not read {missing}, more than once {more}"


def copied(r):
    """Each source record has one copy, in the order of its partition."""
    last = {}
    copies = set()
    for (topic, partition, offset), value in sorted(r.committed.items()):
        if "source" not in value:
            continue
        source, at = value["source"]
        copies.add((source, at))
        if at < last.get(source, at):
            yield f"the copy of {source}/{at} at {partition}/{offset} stands behind {last[source]}"
        last[source] = at
        original = r.log.get((r.source, source, at))
        if original != value["v"]:
            yield f"the copy of {source}/{at} is {value['v']}, the source has {original}"
    for topic, partition, offset in r.log:
        if topic == r.source and (partition, offset) not in copies:
            yield f"{partition}/{offset} was not copied"


def table(r):
    """A table is the fold of its log, and SQL has of each log what a reader has."""
    for name, rows in r.tables.items():
        fold = {}
        for (topic, partition, offset), value in sorted(r.log.items()):
            if topic == name:
                fold[r.keys[topic, partition, offset]] = [partition, offset, value]
        fold = {key: row for key, row in fold.items() if "gone" not in row[2]}
        for key in fold.keys() | rows.keys():
            if fold.get(key) != rows.get(key):
                yield f"{key} is {rows.get(key)}, by its log it is {fold.get(key)}"
    for place in sorted(r.sql.keys() | r.committed.keys()):
        if place[0] in r.sql_topics and r.sql.get(place) != r.committed.get(place):
            yield f"at {place} SQL has {r.sql.get(place)}, a reader {r.committed.get(place)}"


def stuck(r):
    """A client that shall finish does so."""
    for who, events in r.histories.items():
        if not events or events[-1]["k"] != "done":
            yield f"{who} has not finished: {events[-1:]}"


def identity(value):
    if "source" in value:
        return (value["by"], "copy", *value["source"])
    if value.get("tx") is not None:
        return (value["by"], "tx", value["tx"], value["i"])
    return (value["by"], value["n"])


def transaction(value):
    return (value["by"], value.get("tx"))


def name_of(event):
    return {name: event[name] for name in ("by", "n", "tx", "i") if name in event}


def place_of(event):
    return (event["t"], event["p"], event["o"])


RULES = [
    lost, duplicated, reordered, unsent, aborted, torn, changed, unread, copied, table,
    check_keys.kept, check_keys.came_back,
    check_groups.gone_back, check_groups.not_resumed, check_groups.skipped, stuck,
]


def report(violations):
    """The text of violations, a few for each rule."""
    lines = []
    for rule, count in Counter(rule for rule, _ in violations).items():
        of_rule = [what for name, what in violations if name == rule]
        lines += [f"{rule}: {what}" for what in of_rule[:SHOWN]]
        if count > SHOWN:
            lines.append(f"{rule}: {count - SHOWN} more")
    return "\n".join(lines)


def load(directory):
    histories = {}
    for path in sorted(pathlib.Path(directory).glob("*.jsonl")):
        with open(path) as file:
            histories[path.stem] = [json.loads(line) for line in file]
    with open(pathlib.Path(directory) / "final.json") as file:
        return Recorded(histories, json.load(file))


if __name__ == "__main__":
    found = check(load(sys.argv[1]))
    print(report(found) or "no rule is broken")
    sys.exit(1 if found else 0)
