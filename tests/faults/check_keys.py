"""Rules about streams that are compacted: of each key the last record stays, and no other comes
back. Keys stay in their partition here."""

from collections import defaultdict


class Writes:
    """What is known of one key, from who wrote it."""

    def __init__(self):
        # (time, offset, whether it is a tombstone, number), in the order of offsets.
        self.acked = []
        # (number, time, whether it is a tombstone).
        self.sent = []


def writes(r):
    """(topic, key) → Writes"""
    found = defaultdict(Writes)
    for event in r.events("sent"):
        if "key" in event:
            of_key = found[event["t"], event["key"]]
            of_key.sent.append((event["n"], event["at"], event["gone"]))
    for event in r.events("acked"):
        if "key" in event:
            of_key = found[event["t"], event["key"]]
            of_key.acked.append((event["at"], event["o"], event["gone"], event["n"]))
    for of_key in found.values():
        of_key.acked.sort(key=lambda acked: acked[1])
    return found


def last_acked(of_key, before):
    """The last record of a key that was acknowledged before a time."""
    return max((acked for acked in of_key.acked if acked[0] < before),
               key=lambda acked: acked[1], default=None)


def may_be_gone(of_key, acked, before):
    """Whether a key may be absent: its last record is a tombstone, or one that was sent later."""
    return acked is None or acked[2] or any(
        gone and n > acked[3] and at < before for n, at, gone in of_key.sent
    )


def kept(r):
    """The last acknowledged record of a key, or a newer one, is readable at any time."""
    known = writes(r)
    for event in r.events("found"):
        for (topic, key), of_key in known.items():
            if topic != event["t"]:
                continue
            yield from behind(
                f"{event['who']} at {event['at']}", key, of_key, event["rows"].get(key),
                (event["asked"], event["at"]), event["whole"],
            )
    log = newest_of_log(r)
    for (topic, key), of_key in known.items():
        found = log.get((topic, key))
        yield from behind("the log", key, of_key, found, ALWAYS, True)
        if topic in r.tables:
            row = r.tables[topic].get(key)
            yield from behind(f"the table {topic}", key, of_key, row, ALWAYS, True)


ALWAYS = (float("inf"), float("inf"))


def behind(who, key, of_key, found, times, whole):
    """What is wrong with what somebody found of a key. Who does not see the whole at once may have
    read a record before its tombstone went, and be at the tombstone's place afterwards."""
    asked, answered = times
    acked = last_acked(of_key, asked)
    if acked is None:
        return
    excused = may_be_gone(of_key, acked, answered)
    if found is None:
        if not excused:
            yield f"{who} finds nothing of {key}, whose last record is acknowledged at {acked[1]}"
    elif found[1] < acked[1] and (whole or not excused):
        yield f"{who} finds {key} at {found[1]}, acknowledged at {acked[1]} was a newer record"


def newest_of_log(r):
    """(topic, key) → [partition, offset] of its last record."""
    newest = {}
    for (topic, partition, offset), key in sorted(r.keys.items()):
        newest[topic, key] = [partition, offset]
    return newest


def came_back(r):
    """Nobody is given an older record of a key after a newer one, nor a row of a deleted key."""
    for event in r.events("older"):
        yield f"{event['who']} was given {event}"
    seen = {}
    for event in r.events("found"):
        if not event["whole"]:
            continue
        for key, (_, offset, *_) in event["rows"].items():
            place = (event["who"], event["t"], key)
            if offset < seen.get(place, offset):
                yield f"{event['who']} finds {key} at {offset} after {seen[place]}"
            seen[place] = offset
    for (topic, key), of_key in writes(r).items():
        acked = last_acked(of_key, float("inf"))
        last = max(of_key.sent, key=lambda sent: sent[0], default=None)
        if acked and acked[2] and last[0] == acked[3] and key in r.tables.get(topic, ()):
            yield f"{key} of {topic} was deleted at {acked[1]}, and there is a row of it"
