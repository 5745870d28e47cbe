"""Answers in words that both brokers share: ids, epochs, times and addresses get names, lists
without an order get one. Two answers that mean the same are equal afterwards."""

import re
import uuid

import records
from schema import NIL
from steps import PREFIX

PRODUCERS = {"producer_id"}
MEMBERS = {"member_id", "leader"}
EPOCHS = {"leader_epoch", "committed_leader_epoch", "current_leader_epoch"}
TIMES = re.compile(r"timestamp|time_ms$|_timestamp$")
# What a list's elements are told apart by.
KEYS = ("name", "topic", "topic_name", "topic_id", "group_id", "group", "transactional_id", "key",
        "resource_type", "resource_name", "partition_index", "partition", "partition_id", "index",
        "member_id", "group_instance_id", "node_id", "broker_id", "producer_id", "log_dir",
        "api_key", "first_offset", "base_offset", "entity_type", "entity", "user",
        "pattern_type", "principal", "host", "operation", "permission_type")
# Answers to "all there is": what belongs to other runs, or to the broker itself, is left out.
LISTINGS = {"Metadata": ("topics",), "ListGroups": ("groups",), "DescribeLogDirs": ("topics",),
            "ListTransactions": ("transaction_states",), "DescribeTopicPartitions": ("topics",),
            "ConsumerGroupDescribe": (), "DescribeClientQuotas": ("entries",)}
# Where the produced times of a campaign end, and those of the broker's own clock may begin.
PRODUCED_MS = 3_000_000
MEMBER_ID = re.compile(r"^(.*-)?[0-9a-zA-Z_-]{22}$|[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$")


class Unknown(str):
    """An id that no step learned; numbered once everything has its order."""


class Canon:
    def __init__(self, side, step):
        told = side.told
        self.told, self.address, self.step = told, side.address, step
        self.names = {}
        for (kind, key), value in told.values.items():
            self.names[kind, value] = f"{kind} {key}"
        self.epoch = told.values.get(("leader_epoch", ""), 0)
        self.asked = str(getattr(step, "fields", ""))
        self.unknown = {}

    def answer(self, answer):
        if self.step.api == "ApiVersions" and not answer.get("error_code"):
            # What the ranges are is said once, in the summary.
            answer = answer | {"api_keys": []}
        return self.number(self.value("", answer))

    def value(self, name, value):
        if isinstance(value, dict):
            value = {each: self.value(each, inner) for each, inner in value.items()}
            return self.here(value)
        if isinstance(value, list):
            value = [self.value(name, each) for each in value]
            if name in LISTINGS.get(self.step.api, ()):
                value = [each for each in value if self.is_ours(each)]
            if self.step.api in ("Fetch", "Produce") and name == "responses":
                value = merged(value)
            if all(isinstance(each, dict) for each in value):
                return sorted(value, key=key)
            return sorted(value) if all(isinstance(each, int) for each in value) else value
        if name == "records":
            return self.value("batches", records.parse(value))
        if isinstance(value, uuid.UUID):
            return None if value == NIL else self.id("topic_id", value)
        if isinstance(value, str):
            return self.text(name, value.replace(self.told.prefix, PREFIX))
        if isinstance(value, bool) or not isinstance(value, int):
            return value
        if name in PRODUCERS and value >= 0:
            return self.id("producer", value)
        if name in EPOCHS and value >= 0:
            return f"epoch {value - self.epoch:+}"
        if TIMES.search(name) and value > PRODUCED_MS:
            ms = value - self.told.base_ms
            if 0 <= ms < PRODUCED_MS:
                return f"T+{ms}"
            return "now" if PRODUCED_MS <= ms < 30 * PRODUCED_MS else value
        return value

    def text(self, name, value):
        if name in ("error_message", "documentation", "batch_index_error_message"):
            return "text" if value else value
        if name == "cluster_id":
            return "the cluster"
        if name == "log_dir":
            return "the directory"
        if name in MEMBERS and value:
            known = self.names.get(("member", value))
            return known or (self.id("member", value) if MEMBER_ID.search(value) else value)
        return value

    def here(self, value):
        if (value.get("host"), value.get("port")) == self.address:
            value = value | {"host": "here", "port": "here"}
        if value.get("session_id"):
            value = value | {"session_id": "a session"}
        if "transactional_id" in value and value.get("error_code"):
            # What stands beside the error is nobody's.
            value = value | {"producer_id": "none"}
        for name in ("total_bytes", "usable_bytes"):
            if value.get(name, 0) > 0:
                value = value | {name: "some"}
        return value

    def id(self, kind, value):
        return self.names.get((kind, value)) or Unknown(f"{kind} {value}")

    def is_ours(self, each):
        if "entity" in each:
            return PREFIX in str(each)
        name = next((each[name] for name in KEYS if isinstance(each.get(name), str)), "")
        return name.startswith(PREFIX) or name != "" and name in self.asked

    def number(self, value):
        if isinstance(value, dict):
            return {name: self.number(inner) for name, inner in value.items()}
        if isinstance(value, list):
            return [self.number(each) for each in value]
        if isinstance(value, Unknown):
            number = self.unknown.setdefault(str(value), len(self.unknown) + 1)
            return f"{value.split()[0]} #{number}"
        return value


def merged(topics):
    """One entry for each topic: Kafka answers partitions with errors in entries of their own."""
    found = {}
    for topic in topics:
        names = {name: each for name, each in topic.items() if not isinstance(each, list)}
        one = found.setdefault(str(names), dict(names))
        for name in topic.keys() - names.keys():
            one[name] = sorted(one.get(name, []) + topic[name], key=key)
            if topic.get("topic_id", topic) is None:
                # Topics without an id are all the same to Kafka: a partition of them is one.
                one[name] = list({str(key(each)): each for each in one[name]}.values())
    return list(found.values())


def key(each):
    parts = [each[name] for name in KEYS if name in each]
    return [("" if isinstance(part, Unknown) else f"{part:>20}" if isinstance(part, int)
             else str(part)) for part in parts]


def differences(kafka, ours, path=""):
    """Where two canonical answers differ: path, what Kafka says, what we say."""
    if isinstance(kafka, dict) and isinstance(ours, dict):
        for name in {**kafka, **ours}:
            inner = f"{path}.{name}" if path else name
            yield from differences(kafka.get(name, "(absent)"), ours.get(name, "(absent)"), inner)
    elif isinstance(kafka, list) and isinstance(ours, list):
        yield from lists(kafka, ours, path)
    elif kafka != ours or type(kafka) is not type(ours):
        yield path, kafka, ours


def lists(kafka, ours, path):
    if all(isinstance(each, dict) for each in kafka + ours):
        names = [label(each) for each in kafka], [label(each) for each in ours]
        if names[0] != names[1] and all(len(set(each)) == len(each) for each in names):
            kafka, ours = dict(zip(names[0], kafka)), dict(zip(names[1], ours))
            for name in {**kafka, **ours}:
                yield from differences(kafka.get(name, "(absent)"), ours.get(name, "(absent)"),
                                       f"{path}[{name}]")
            return
        if len(kafka) == len(ours):
            for name, left, right in zip(names[0], kafka, ours):
                yield from differences(left, right, f"{path}[{name}]")
            return
    if kafka != ours:
        yield path, kafka, ours


def label(each):
    """A short name for an element of a list: of its keys, the first that it has."""
    names = [name for name in KEYS if each.get(name) not in (None, "", -1)][:1]
    if names == ["resource_type"]:
        names.append("resource_name")
    return ",".join(str(each[name]) for name in names)
