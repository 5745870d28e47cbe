"""Plans rounds, runs them on both brokers, tells what differs. Called by `run`."""

import argparse
import collections
import concurrent.futures
import random
import re
import sys
import time

import schema
from ask import ASKS
from canon import Canon, differences
from differences import listed, twice
from side import Side
from steps import Collect
from world import World

# Answers that change nothing are asked for again while they differ: effects may still be on
# their way.
READS = re.compile("Metadata|ListOffsets|Fetch|OffsetFetch|Describe.*|List.*|FindCoordinator")
EFFECT_S = 1
PAUSE_S = 0.05
# How long the shortest sequence that shows a difference is looked for.
SHRINK_S = 15


def plan(seed, ranges, count):
    """A round's steps: a function of the seed and of the versions that both know."""
    world = World(seed, ranges)
    functions, weights = zip(*ASKS)
    steps = []
    while len(steps) < count:
        # A topic and a producer first: without them little means anything.
        found = [ask for ask in functions if not steps and ask.__module__ == "ask.topics"
                 and ask.__name__ == "create"] or world.random.choices(functions, weights)
        steps += found[0](world)
    return steps, world


class Campaign:
    def __init__(self, kafka, ours):
        self.kafka, self.ours, self.runs = kafka, ours, 0
        self.base_ms = int(time.time() * 1000) - 3_600_000
        self.stamp = "%04x" % random.SystemRandom().randrange(1 << 16)
        self.listed, self.seen = collections.Counter(), collections.Counter()
        self.covered = collections.defaultdict(set)
        self.requests = 0
        self.pool = concurrent.futures.ThreadPoolExecutor(2)

    def run(self, steps, wanted, on_difference):
        """Runs the steps on both, until they have gone apart; `on_difference` is told what is
        not on the list."""
        self.runs += 1
        prefix = f"d{self.stamp}n{self.runs:05}-"
        for side in (self.kafka, self.ours):
            side.begin(prefix, self.base_ms)
        try:
            for at, step in enumerate(steps):
                found = self.step(step)
                self.requests += 1
                if not isinstance(step, Collect):
                    self.covered[step.api].add(step.version)
                new = [each for each in found if not listed(step, *each)]
                self.listed.update(entry.why for each in found if (entry := listed(step, *each)))
                if new and wanted(step):
                    on_difference(at, step, new)
                if had_effect(step, found):
                    return
        finally:
            for side in (self.kafka, self.ours):
                clean(side, prefix)
                side.end()

    def step(self, step):
        """Differences of one step's answers."""
        kafka, ours = self.both(step)
        deadline = time.monotonic() + EFFECT_S
        while True:
            found = self.compare(step, kafka, ours)
            known = all(listed(step, *each) or signature(step, each) in self.seen for each in found)
            if known or not READS.fullmatch(step.api) or time.monotonic() > deadline:
                return found
            time.sleep(PAUSE_S)
            kafka, ours = self.both(step)

    def both(self, step):
        """Asks both at once: what one waits for must not become a time-out of the other."""
        return self.pool.map(lambda side: side.run(step), (self.kafka, self.ours))

    def compare(self, step, kafka, ours):
        if kafka is None and ours is None:
            return []
        canonical = [answer and Canon(side, step).answer(answer)
                     for side, answer in ((self.kafka, kafka), (self.ours, ours))]
        return list(differences(*canonical))


def clean(side, prefix):
    """Deletes the topics of a run: they would be in the way of the next ones."""
    found = side.call("Metadata", 4, topics=None, allow_auto_topic_creation=False)
    names = [each["name"] for each in found.get("topics", ()) if each["name"].startswith(prefix)]
    if names:
        side.call("DeleteTopics", 4, topic_names=names, timeout_ms=30000)


def signature(step, difference):
    """What makes two differences the same: API, field and values, whatever the names."""
    path, kafka, ours = difference
    return step.api, re.sub(r"\[[^\]]*\]", "", path), short(kafka), short(ours)


def had_effect(step, found):
    """Whether one broker did what the other did not: all that follows would only differ more."""
    if READS.fullmatch(step.api) or not found:
        return False
    return step.api != "Collect" and twice(step) or any(
        path.endswith("error_code") and 0 in (kafka, ours)
        or path in ("closed", "silent", "undecodable") for path, kafka, ours in found)


def short(value):
    return re.sub(r"~\w+|\d{4,}|#\d+", "_", str(value))[:60]


def shrink(campaign, steps, sign):
    """Leaves out what is not needed for the last step to differ as it does."""
    deadline = time.monotonic() + SHRINK_S

    def differs(trial):
        seen = []

        def look(at, step, found):
            if at == len(trial) - 1:
                seen.extend(signature(step, each) for each in found)
        campaign.run(trial, lambda _: True, look)
        return sign in seen

    size = max(len(steps) // 2, 1)
    while time.monotonic() < deadline:
        at = 0
        while at < len(steps) - 1 and time.monotonic() < deadline:
            trial = steps[:at] + steps[min(at + size, len(steps) - 1):]
            if differs(trial):
                steps = trial
            else:
                at += size
        if size == 1:
            break
        size = max(size // 2, 1)
    return steps


def tell(args, number, at, step, found, steps):
    print(f"\n=== {step.api} differs: seed {args.seed}, round {number}, step {at}")
    for path, kafka, ours in found[:12]:
        print(f"  {path}\n      Kafka {str(kafka)[:300]}\n      ours  {str(ours)[:300]}")
    if len(found) > 12:
        print(f"  … and {len(found) - 12} more")
    print("  the requests:")
    for each in steps[-12:]:
        print(f"    {str(each)[:1500]}")
    print(f"  again: tests/differential/run --seed {args.seed} --steps {args.steps} "
          f"--round {number}", flush=True)


def summary(campaign, sides, skipped, seconds):
    kafka, ours = sides
    print(f"\n{campaign.requests} requests, {campaign.runs} runs, {seconds:.0f} s; "
          f"{len(campaign.covered)} APIs in "
          f"{sum(map(len, campaign.covered.values()))} versions")
    narrow = [f"{api.name} {known.start}–{known.stop - 1} of {all_.start}–{all_.stop - 1}"
              for api in kafka.apis.values()
              if (all_ := kafka.ranges.get(api.key)) and (known := ours.ranges.get(api.key))
              and known != all_]
    print("fewer or other versions than Kafka:", "; ".join(narrow) or "none")
    print("not answered by ours, planned so often:",
          ", ".join(f"{api} {count}" for api, count in sorted(skipped.items())) or "none")
    for why, count in campaign.listed.most_common():
        print(f"  {count:6} times, as listed: {why}")
    for sign, count in campaign.seen.most_common():
        print(f"  {count:6} times, NOT listed: {sign[0]} {sign[1]}: "
              f"Kafka {sign[2]}, ours {sign[3]}")


def main():
    parser = argparse.ArgumentParser()
    for name, default in (("seed", 1), ("rounds", 20), ("steps", 80), ("round", None)):
        parser.add_argument(f"--{name}", type=int, default=default)
    for name in ("kafka", "broker", "jar"):
        parser.add_argument(f"--{name}", required=True)
    parser.add_argument("--apis", default=".*")
    parser.add_argument("--no-shrink", action="store_true")
    args = parser.parse_args()

    apis = schema.load(args.jar)
    sides = [Side(name, (host, int(port)), apis, is_late)
             for name, (host, port), is_late in (("Kafka", args.kafka.split(":"), True),
                                                 ("ours", args.broker.split(":"), False))]
    ranges = {api.name: sorted(set(sides[0].ranges[api.key]) & set(sides[1].ranges[api.key])
                               & set(api.request.versions))
              for api in apis.values() if all(api.key in side.ranges for side in sides)}
    campaign, started = Campaign(*sides), time.monotonic()
    seen, skipped = campaign.seen, collections.Counter()
    wanted = re.compile(args.apis)
    rounds = range(args.rounds) if args.round is None else [args.round]
    for number in rounds:
        steps, world = plan(f"{args.seed}/{number}", ranges, args.steps)
        skipped += world.skipped
        hits = []

        campaign.run(steps, lambda step: wanted.fullmatch(step.api), lambda *hit: hits.append(hit))
        for at, step, found in hits:
            new = [each for each in found if signature(step, each) not in seen]
            seen.update(signature(step, each) for each in found)
            if new:
                shown = steps[:at + 1]
                if not args.no_shrink:
                    shown = shrink(campaign, shown, signature(step, new[0]))
                tell(args, number, at, step, new, shown)
    summary(campaign, sides, skipped, time.monotonic() - started)
    sys.exit(1 if seen else 0)


if __name__ == "__main__":
    main()
