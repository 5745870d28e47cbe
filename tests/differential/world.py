"""A small model of what the requests so far should have made, so that most of those that follow
mean something; and the means to get a few of them wrong."""

import collections
import random
from dataclasses import dataclass, field

from steps import Ref, Step

# Requests are mostly meaningful, partly wrong on purpose.
WRONG = 0.12


@dataclass
class Topic:
    partitions: int
    settings: dict = field(default_factory=dict)
    # Offsets by partition, as far as the model can tell.
    ends: dict = field(default_factory=dict)


@dataclass
class Producer:
    transactional: str = None
    # Next sequences by (topic, partition).
    sequences: dict = field(default_factory=dict)
    open: bool = False
    # Whether it has transactions of version 2: nothing is added before, ends give a new epoch.
    modern: bool = False
    added: set = field(default_factory=set)


@dataclass
class Group:
    members: list = field(default_factory=list)
    joined: int = 0


class World:
    def __init__(self, seed, ranges):
        self.random = random.Random(seed)
        self.ranges = ranges
        self.topics, self.deleted = {}, []
        self.producers, self.groups = {}, {}
        self.count = 0
        # APIs that only one broker knows, and how often they would have been asked.
        self.skipped = collections.Counter()

    def fresh(self, kind):
        self.count += 1
        return f"~{kind}{self.count}"

    def chance(self, likelihood):
        return self.random.random() < likelihood

    @property
    def wrong(self):
        return self.chance(WRONG)

    def pick(self, *values):
        return self.random.choice(values)

    def version(self, api, least=0, most=99):
        """A version that both brokers know, or None."""
        if not self.ranges.get(api):
            self.skipped[api] += 1
        known = [each for each in self.ranges.get(api, ()) if least <= each <= most]
        return self.random.choice(known) if known else None

    def step(self, api, fields, least=0, most=99, version=None, **rest):
        """One step, or none if no broker knows such a version."""
        version = self.version(api, least, most) if version is None else version
        if version is None:
            return []
        fields = fields(version) if callable(fields) else fields
        return [Step(api, version, fields, **rest)]

    def topic(self):
        if self.wrong or not self.topics:
            return self.pick("~nobody", "", "bad name!", "..", "x" * 250,
                             *(self.deleted[-2:] or ["~never"]))
        return self.random.choice(sorted(self.topics))

    def good_topic(self):
        return self.random.choice(sorted(self.topics)) if self.topics else "~nobody"

    def partition(self, topic):
        if self.wrong:
            return self.pick(-1, 7, 100, 2**31 - 1)
        return self.random.randrange(self.partitions(topic))

    def partitions(self, topic):
        return self.topics[topic].partitions if topic in self.topics else 1

    def end(self, topic, partition):
        return self.topics[topic].ends.get(partition, 0) if topic in self.topics else 0

    def offset(self, topic, partition):
        end = self.end(topic, partition)
        if self.wrong:
            return self.pick(-1, -5, end + 1, end + 1000, 2**63 - 1)
        return self.random.randint(0, end)

    def topic_id(self, name):
        return Ref("topic_id", name)

    def epoch(self):
        """A leader epoch that a client may believe in."""
        return self.pick(-1, -1, -1, Ref("leader_epoch"), Ref("leader_epoch", delta=1))

    def some(self, make, most=3):
        """A list of a few; sometimes of none, sometimes with one twice."""
        made = [make() for _ in range(self.random.randint(1, most))]
        if self.chance(0.03):
            return []
        if self.chance(0.06):
            made.append(made[0])
        return made

    def by_topic(self, name, partitions, make, topics=2):
        """The usual shape: topics with partitions; topics and partitions mostly not twice."""
        chosen = []
        for topic in dict.fromkeys(self.some(self.topic, topics)):
            numbers = dict.fromkeys(self.some(lambda: self.partition(topic), 2))
            each = {partitions: [make(topic, number) for number in numbers]}
            chosen.append({name: topic, **each})
        if chosen and self.chance(0.04):
            chosen.append(chosen[0])
        return chosen
