"""The rules of consumer groups: where a group stands never goes back, and nothing is skipped."""

from collections import defaultdict


def commits(r):
    """Of each member's commits (group, partition, when asked, when answered or None, next)."""
    for who in r.who("member"):
        group = r.final["members"]
        asked = None
        # A member that was killed has heard no answer.
        for event in [*r.histories[who], {"k": "committing", "to": {}}]:
            if event["k"] not in ("committing", "committed", "commit failed"):
                continue
            if asked is not None:
                done = event["to"] if event["k"] == "committed" else {}
                for partition, following in asked["to"].items():
                    answered = event["at"] if partition in done else None
                    yield group, int(partition), asked["at"], answered, following
            asked = event if event["k"] == "committing" else None


def gone_back(r):
    """A commit that was answered stays: later ones, and who asks later, find it or more."""
    answered = defaultdict(list)
    for group, partition, _, at, following in commits(r):
        if at is not None:
            answered[group, partition].append((at, following))
    later = [
        (group, partition, asked, following, "was committed")
        for group, partition, asked, at, following in commits(r)
        if at is not None
    ]
    for event in r.events("observed"):
        for partition, following in event["to"].items():
            answered[event["group"], int(partition)].append((event["at"], following))
            later.append((event["group"], int(partition), event["asked"], following, "was found"))
    for group, partition, asked, following, how in later:
        known = [n for at, n in answered[group, partition] if at < asked]
        if known and max(known) > following:
            yield f"{group}/{partition}: {following} {how} after {max(known)}"


def not_resumed(r):
    """After each assignment a member goes on where the group stands."""
    answered, asked = defaultdict(list), defaultdict(list)
    for _, partition, began, at, following in commits(r):
        asked[partition].append((began, following))
        if at is not None:
            answered[partition].append((at, following))
    for who in r.who("member"):
        assigned = 0
        last = {}
        for event in r.histories[who]:
            if event["k"] == "assigned":
                assigned = event["at"]
                last = {}
            elif event["k"] == "read":
                partition, offset = event["p"], event["o"]
                if partition in last:
                    if offset <= last[partition]:
                        yield f"{who} read {partition}/{offset} after {last[partition]}"
                else:
                    least = max((n for at, n in answered[partition] if at < assigned), default=0)
                    most = max((n for at, n in asked[partition] if at <= event["at"]), default=0)
                    if not least <= offset <= most:
                        yield (
                            f"{who} began {partition} at {offset}; the group stood at {least}"
                            f" and asked for {most} at most"
                        )
                last[partition] = offset


def skipped(r):
    """Everything below where a group stands was read by a member, and it stands at the end."""
    read = {(event["p"], event["o"]) for who in r.who("member") for event in r.histories[who]
            if event["k"] == "read"}
    for topic, partition, offset in r.log:
        if topic == r.source and (partition, offset) not in read:
            yield f"no member has read {partition}/{offset}"
    ends = defaultdict(int)
    for topic, partition, offset in r.log:
        if topic == r.source:
            ends[str(partition)] = max(ends[str(partition)], offset + 1)
    for group, stands in r.groups.items():
        for partition, end in ends.items():
            if stands.get(partition) != end:
                yield f"{group}/{partition} stands at {stands.get(partition)}, the end is {end}"
