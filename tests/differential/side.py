"""One of the two brokers: sends it requests, and waits until what they asked for has happened.

Kafka does much of it later than it answers: topics, settings and the ends of transactions come by
way of its metadata log. Waiting looks for the effect itself; no sleep decides about an answer.
"""

import time

from schema import NIL, Undecodable
from steps import Collect, Step, Told
from transport import Closed, Connection, Silent

PATIENCE_S = 10
PAUSE_S = 0.02
# Leader, coordinator or transaction are not ready yet: clients come again, and so do we.
PASSING = (5, 6, 14, 15, 16, 51)
BARRIER = "differential-barrier"


def errors(answer):
    """All error codes of an answer but 0."""
    if isinstance(answer, dict):
        for name, value in answer.items():
            if name.endswith("error_code") and value:
                yield value
            yield from errors(value)
    elif isinstance(answer, list):
        for each in answer:
            yield from errors(each)


def retry(attempt, good):
    """The first good result, or the last one when patience ends."""
    deadline = time.monotonic() + PATIENCE_S
    while True:
        result = attempt()
        if good(result) or time.monotonic() > deadline:
            return result
        time.sleep(PAUSE_S)


class Side:
    def __init__(self, name, address, apis, is_late):
        self.name, self.address, self.apis, self.is_late = name, address, apis, is_late
        self.connections, self.barriers = {}, 0
        self.told = None
        answer = self.call("ApiVersions", 0)
        self.ranges = {each["api_key"]: range(each["min_version"], each["max_version"] + 1)
                       for each in answer["api_keys"]}
        if is_late:
            self.call("CreateTopics", 5, timeout_ms=30000, topics=[
                {"name": BARRIER, "num_partitions": 1, "replication_factor": 1}])
            self.warm_up()

    def warm_up(self):
        """Has the coordinators made, which happens when they are looked for."""
        for kind in (0, 1):
            retry(lambda: self.call("FindCoordinator", 2, key="warm", key_type=kind),
                  lambda found: not any(errors(found)))
        retry(lambda: self.call("Heartbeat", 0, group_id="warm", member_id="nobody"),
              lambda found: 25 in errors(found))
        retry(lambda: self.call("InitProducerId", 2, transactional_id="warm",
                                transaction_timeout_ms=60000),
              lambda found: not any(errors(found)))

    def begin(self, prefix, base_ms):
        self.end()
        self.told = Told(prefix, base_ms)

    def end(self):
        for connection in self.connections.values():
            connection.close()
        self.connections = {}

    def connection(self, name):
        if name not in self.connections:
            self.connections[name] = Connection(self.address)
        return self.connections[name]

    def drop(self, name):
        if connection := self.connections.pop(name, None):
            connection.close()

    def run(self, step):
        """The broker's answer, or what happened instead of one. None if there is none yet."""
        if isinstance(step, Collect):
            waiting = self.connections.get(step.connection)
            return self.read(step.connection) if waiting and waiting.waiting else None
        passing = set(PASSING + step.passing)

        def good(answer):
            if step.until is not None:
                return step.until in errors(answer)
            return answer is None or not passing.intersection(errors(answer))

        answer = retry(lambda: self.once(step), good)
        if answer is not None:
            self.told.learn(answer, step.learn)
            self.settle(step, answer)
        return answer

    def once(self, step):
        fields = self.told.resolve(step.fields)
        api = self.apis[step.api]
        step.nil_id = any(isinstance(each, dict) and each.get("topic_id") == NIL
                          and (step.api == "Fetch" and step.version >= 13 or not each.get("name"))
                          for each in fields.get("topics") or ())
        try:
            connection = self.connection(step.connection)
            connection.send(api, step.version, api.request.encode(fields, step.version))
        except Closed:
            self.drop(step.connection)
            return {"closed": True}
        if step.later:
            return None
        if step.api == "Produce" and fields["acks"] == 0:
            # There is no answer; that the next request has one says that all was well.
            connection.waiting.pop()
            versions = self.apis["ApiVersions"]
            connection.send(versions, 0, b"")
            answer = self.read(step.connection)
            return answer if "closed" in answer else {"unanswered": True}
        return self.read(step.connection)

    def read(self, name):
        try:
            return self.connections[name].receive()
        except Closed:
            self.drop(name)
            return {"closed": True}
        except Silent:
            self.drop(name)
            return {"silent": True}
        except Undecodable as error:
            self.drop(name)
            return {"undecodable": str(error)}

    def call(self, api, version, **fields):
        """A request of ours, not of the sequence."""
        step = Step(api, version, fields, connection="aside")
        if self.told is None:
            self.told = Told("", 0)
        return self.once(step)

    def settle(self, step, answer):
        if step.api in ("CreateTopics", "DeleteTopics", "CreatePartitions", "Metadata"):
            for each in answer.get("topics") or answer.get("responses") or \
                    answer.get("results") or []:
                if each["name"]:
                    self.settle_topic(step, each)
            if step.api != "Metadata" or step.passing:
                self.barrier()
        elif step.api in ("AlterConfigs", "IncrementalAlterConfigs"):
            # The first makes what was asked visible, the second says that all of it is done.
            self.barrier()
            self.barrier()
        elif step.api in ("CreateAcls", "DeleteAcls"):
            self.barrier()
        elif step.api in ("EndTxn", "InitProducerId") and not any(errors(answer)):
            self.settle_transaction(self.told.resolve(step.fields)["transactional_id"])

    def settle_topic(self, step, answer):
        """Waits until the broker's metadata agrees with its answer; learns the topic's id."""
        name = answer["name"]
        done = not any(errors(answer)) and not step.fields.get("validate_only")
        gone = done and step.api == "DeleteTopics"
        count = done and step.api == "CreatePartitions" and next(
            each["count"] for each in step.fields["topics"]
            if self.told.resolve(each["name"]) == name)

        def good(found):
            here = not any(errors(found))
            if gone or not here:
                return here != gone or not done
            return not count or len(found["topics"][0]["partitions"]) == count

        found = retry(lambda: self.call("Metadata", 12, topics=[{"name": name}],
                                        allow_auto_topic_creation=False), good)
        if "topics" in found and not any(errors(found)):
            topic = found["topics"][0]
            self.told.values["topic_id", name.replace(self.told.prefix, "~")] = topic["topic_id"]
            for partition in topic["partitions"]:
                self.told.values["leader_epoch", ""] = partition["leader_epoch"]

    def settle_transaction(self, name):
        api = self.apis["DescribeTransactions"]
        if not name or api.key not in self.ranges:
            return
        retry(lambda: self.call("DescribeTransactions", 0, transactional_ids=[name]),
              lambda found: not any("Prepare" in each["transaction_state"]
                                    for each in found.get("transaction_states", ())))

    def barrier(self):
        """Returns when what was in Kafka's metadata log has taken effect: it takes effect in
        order, so a change of our own that is visible says so."""
        if not self.is_late:
            return
        self.barriers += 1
        value = str(1_000_000 + self.barriers)
        self.call("IncrementalAlterConfigs", 0, resources=[
            {"resource_type": 2, "resource_name": BARRIER,
             "configs": [{"name": "flush.ms", "config_operation": 0, "value": value}]}])
        retry(lambda: self.call("DescribeConfigs", 1, resources=[
            {"resource_type": 2, "resource_name": BARRIER, "configuration_keys": ["flush.ms"]}]),
              lambda found: found["results"][0]["configs"][0]["value"] == value)
