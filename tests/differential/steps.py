"""Requests as they are planned: without anything that only a broker's answer can tell."""

from dataclasses import dataclass, field

import records
from schema import NIL

# Stands for the prefix of all names of a run, so that a sequence can be run again on a broker.
PREFIX = "~"


@dataclass(frozen=True)
class Ref:
    """Something that each broker tells in its own words: a topic's id, a producer's, a member's,
    an epoch, a generation."""
    kind: str
    key: str = ""
    delta: int = 0

    def __repr__(self):
        return f"<{self.kind} {self.key}{f'{self.delta:+}' if self.delta else ''}>"


@dataclass(frozen=True)
class Time:
    """Milliseconds since the start of the campaign: real ones would not be the same again."""
    ms: int

    def __repr__(self):
        return f"<T{self.ms:+}>"


# What a reference stands for while the broker has not told: something it does not know.
UNTOLD = {"topic_id": NIL, "producer": 987654321, "epoch": 0, "member": "", "generation": -1,
          "leader_epoch": 0}


@dataclass
class Step:
    """One request. Its answer is read at once, unless `later` is set; then by a Collect."""
    api: str
    version: int
    fields: dict
    connection: str = "main"
    later: bool = False
    # What the answer tells: where it stands in the answer, and what it is from then on.
    learn: dict = field(default_factory=dict)
    # Errors that go away: the request is sent again for a while.
    passing: tuple = ()
    # Sent again until the answer has this error: another request has to have arrived first.
    until: int = None
    # Whether, as it was sent, it asks for the id that no topic has.
    nil_id: bool = False

    def __str__(self):
        return f"{self.api} v{self.version} {self.fields}"


@dataclass
class Collect:
    """Reads the answer to an earlier request that had to wait for others."""
    connection: str
    api: str = "Collect"

    def __str__(self):
        return f"the answer on connection {self.connection!r}"


@dataclass
class Told:
    """What a broker has told so far, and how it names things."""
    prefix: str
    base_ms: int
    values: dict = field(default_factory=dict)

    def resolve(self, value):
        """The value as this broker is to see it."""
        if isinstance(value, Ref):
            found = self.values.get((value.kind, value.key), UNTOLD[value.kind])
            return found + value.delta if value.delta else found
        if isinstance(value, Time):
            return self.base_ms + value.ms
        if isinstance(value, records.Batch):
            return value.resolve(self.resolve, self.base_ms)
        if isinstance(value, str):
            return value.replace(PREFIX, self.prefix)
        if isinstance(value, list):
            return [self.resolve(each) for each in value]
        if isinstance(value, dict):
            return {name: self.resolve(each) for name, each in value.items()}
        return value

    def learn(self, answer, learn):
        for path, (kind, key) in learn.items():
            found = answer
            for part in path.split("."):
                if isinstance(found, list):
                    found = found[int(part)] if int(part) < len(found) else None
                elif isinstance(found, dict):
                    found = found.get(part)
            if found not in (None, "", -1, NIL):
                self.values[kind, key] = found
