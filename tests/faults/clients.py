"""The processes of the load, their histories, and how far they have come."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections import Counter

LOAD = os.path.join(os.path.dirname(os.path.abspath(__file__)), "load.py")

# How long the load may take to get on after a fault. Sessions and transactions of clients that
# were killed run out within it.
PATIENCE = 120


class Plan:
    """Who does what, with which topics."""

    source = "plain"
    target = "copies"
    queried = ["orders", "bills"]
    tables = ["latest", "entries", "states"]
    cleaned = "states"
    group = "workers"
    copiers = "copiers"
    partitions = {
        "plain": 3, "copies": 2, "orders": 2, "bills": 2, "bulk": 1, "latest": 2, "entries": 1,
        "posted": 1, "states": 2,
    }

    def roles(self, kafka, postgres, web):
        """name → arguments of load.py"""
        return {
            "producer-a": ["produce", kafka, "producer-a", "plain", "3"],
            "producer-b": ["produce", kafka, "producer-b", "plain", "3"],
            "keyed-a": ["produce", kafka, "keyed-a", "latest", "2"],
            "producer-bulk": ["bulk", kafka, "producer-bulk", "bulk"],
            "transactor": ["transact", kafka, "transactor", *self.queried],
            "transactor-slow": ["dawdle", kafka, "transactor-slow", *self.queried],
            "member-a": ["join", kafka, "member-a", "plain", self.group],
            "member-b": ["aiojoin", kafka, "member-b", "plain", self.group],
            "copier": ["copy", kafka, "copier", "plain", self.target, self.copiers],
            "reader": ["read", kafka, "reader", "2", *self.queried, self.target],
            "query": ["query", postgres, "query", *self.queried],
            "inserter": ["insert", postgres, "inserter", "entries"],
            "keyed-b": ["upsert", kafka, "keyed-b", self.cleaned, "2"],
            "rereader": ["reread", kafka, "rereader", self.cleaned, "2"],
            "looker": ["look", postgres, "looker", self.cleaned],
            "publisher": ["publish", web, "publisher", "posted"],
            "reader-web": ["follow", web, "reader-web", "posted"],
        }

    # What a round waits for, after its fault: so many events of a kind, by one of these clients.
    progress = [
        (("producer-a",), "acked", 150),
        (("producer-b",), "acked", 150),
        (("keyed-a",), "acked", 150),
        (("producer-bulk",), "acked", 2),
        (("transactor",), "end", 4),
        (("transactor-slow",), "end", 1),
        (("member-a", "member-b"), "read", 60),
        (("member-a", "member-b"), "committed", 2),
        (("copier",), "copied", 3),
        (("reader",), "read", 40),
        (("query",), "asked", 2),
        (("inserter",), "acked", 5),
        (("keyed-b",), "acked", 100),
        (("rereader",), "found", 1),
        (("looker",), "found", 1),
        (("publisher",), "acked", 10),
        (("reader-web",), "read", 10),
    ]


class Stuck(Exception):
    """The load does not get on."""


class Client:
    def __init__(self, name, arguments, histories, changed):
        self.name = name
        self.arguments = arguments
        self.path = os.path.join(histories, f"{name}.jsonl")
        self.changed = changed
        self.counts = Counter()
        self.last = None
        self.lives = 0
        self.start()

    def start(self):
        self.process = subprocess.Popen(
            [sys.executable, "-Bu", LOAD, str(self.lives), *self.arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=open(self.path.removesuffix(".jsonl") + ".err", "ab"),
        )
        self.lives += 1
        self.thread = threading.Thread(target=self.follow, daemon=True)
        self.thread.start()

    def follow(self):
        with open(self.path, "ab") as history:
            for line in self.process.stdout:
                # A client that is killed may have printed half a line.
                if not line.endswith(b"\n"):
                    break
                history.write(line)
                history.flush()
                event = json.loads(line)
                with self.changed:
                    self.counts[event["k"]] += 1
                    self.last = event
                    self.changed.notify_all()

    def kill(self):
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()
        self.thread.join()

    def finish(self):
        self.process.stdin.close()

    def wait(self, deadline):
        try:
            self.process.wait(max(0.1, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            raise Stuck(f"{self.name} does not finish; it last said {self.last}") from None
        self.thread.join()
        if self.process.returncode != 0:
            raise Stuck(f"{self.name} ended with status {self.process.returncode}: see its .err")


class Clients:
    def __init__(self, plan, addresses, histories):
        self.plan = plan
        self.changed = threading.Condition()
        self.all = {
            name: Client(name, arguments, histories, self.changed)
            for name, arguments in plan.roles(*addresses).items()
        }

    def counts(self):
        return [
            sum(self.all[name].counts[kind] for name in names)
            for names, kind, _ in self.plan.progress
        ]

    def wait_for_progress(self, part=1.0, only=None, seconds=PATIENCE):
        """Waits until everybody, or `only` those, has done a `part` of a round's work."""
        before = self.counts()
        wanted = [
            (index, names, kind, before[index] + max(1, int(count * part)))
            for index, (names, kind, count) in enumerate(self.plan.progress)
            if only is None or names[0].startswith(only)
        ]

        def late():
            now = self.counts()
            return [(names, kind) for index, names, kind, least in wanted if now[index] < least]

        with self.changed:
            self.changed.wait_for(lambda: not late() or self.dead(), seconds)
            behind = late()
        if self.dead():
            raise Stuck(f"ended by itself: {self.dead()}; see its .err")
        if behind:
            said = {name: self.all[name].last for names, _ in behind for name in names}
            raise Stuck(f"no progress within {seconds} s: {behind}; they last said {said}")

    def dead(self):
        return [one.name for one in self.all.values() if one.process.poll() is not None]

    def restart(self, name):
        """A client is killed and another takes its place."""
        client = self.all[name]
        client.kill()
        client.start()

    def finish(self):
        """Those who write first, then those who read what was written."""
        deadline = time.monotonic() + 2 * PATIENCE
        writers = [one for one in self.all.values() if one.name.startswith(WRITERS)]
        copiers = [self.all["copier"]]
        rest = [one for one in self.all.values() if one not in writers + copiers]
        for some in (writers, copiers, rest):
            for client in some:
                client.finish()
            for client in some:
                client.wait(deadline)

    def kill(self):
        for client in self.all.values():
            if client.process.poll() is None:
                client.kill()


WRITERS = ("producer", "keyed", "transactor", "inserter", "publisher")
