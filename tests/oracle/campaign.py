"""Random statements on PostgreSQL and the broker; `run --help` says what is compared."""

import argparse
import collections
import os
import random
import sys
import time

import sides
from differences import KINDS, allowed
from expressions import Expressions, Scope
from queries import Queries
from tree import Node, shrunk
from world import World

# Statements that are asked of one world.
WORLD = 250
# Statements that making one difference smaller may take, and examples of a kind that are shrunk.
SHRINKING, EXAMPLES = 80, 2
SHARES = (("expression", 40), ("cast", 15), ("nested", 15), ("query", 30))
# float4 and float8: last digits depend on the order of adding up.
FLOATS = {700: 1e-5, 701: 1e-12}


def statement(kind, rng, world):
    """The statement of a kind, as a tree."""
    expressions = Expressions(rng)
    if kind == "query":
        return Queries(rng, expressions, world.tables).any()
    name = rng.choice(list(world.tables))
    source, scope = f" FROM {name}", Scope(world.tables[name])
    if rng.random() < 0.4 or not world.rows[name]:
        source, scope = "", Scope()
    if kind == "expression":
        node = expressions.any_call(scope, 1)
    elif kind == "cast":
        node = expressions.any_cast(scope)
    else:
        node = expressions.any_call(scope, 3)
    return Node("statement", ["SELECT ", node, source])


def same(oracle, broker, is_ordered):
    """None if the answers agree; else what differs, as a class of differences."""
    if oracle.error or broker.error:
        if not oracle.error:
            return f"refused {broker.error}"
        if not broker.error:
            return f"not refused {oracle.error}"
        if oracle.error[:2] != broker.error[:2]:
            return f"error {oracle.error} is {broker.error}"
        return None
    if oracle.types != broker.types:
        return "types"
    if oracle.names != broker.names:
        return "names"
    if len(oracle.rows) != len(broker.rows):
        return "number of rows"
    pairs = (oracle.rows, broker.rows)
    if not is_ordered:
        key = lambda row: tuple((value is None, shortened(value, of)) for value, of in zip(row, oracle.types))
        pairs = tuple(sorted(rows, key=key) for rows in pairs)
    for one, other in zip(*pairs):
        if not all(map(equal, one, other, oracle.types)):
            return "values"
    return None


def shortened(value, of):
    if of in FLOATS and value is not None:
        return f"{float(value):.4g}"
    return value or ""


def equal(one, other, of):
    if one == other:
        return True
    if of in FLOATS and None not in (one, other):
        a, b = float(one), float(other)
        return abs(a - b) <= FLOATS[of] * max(abs(a), abs(b))
    return False


class Campaign:
    def __init__(self, options, oracle, broker):
        self.options, self.oracle, self.broker = options, oracle, broker
        self.asked = collections.Counter()
        self.agreed = collections.Counter()
        self.allowed = collections.Counter()
        self.failed = collections.Counter()
        self.kinds = {}

    def run(self):
        kinds = [(kind, share) for kind, share in SHARES if kind in self.options.kind]
        world = None
        for number in range(self.options.queries):
            # Each statement has a seed of its own, so that one alone can be asked again.
            if number % WORLD == 0:
                if world:
                    world.drop(self.oracle, self.broker)
                world = World(random.Random(f"{self.options.seed} world {number // WORLD}"), number // WORLD)
                wanted = self.options.only is None or self.options.only // WORLD == number // WORLD
                if not wanted:
                    world = None
                    continue
                world.define(self.oracle, self.broker)
            if self.options.only not in (None, number):
                continue
            rng = random.Random(f"{self.options.seed} statement {number}")
            kind = rng.choices([name for name, _ in kinds], [share for _, share in kinds])[0]
            self.one(number, kind, statement(kind, rng, world))

    def outcome(self, tree):
        text = tree.render()
        oracle = self.oracle.ask(text)
        broker = self.broker.ask(text)
        is_ordered = text.rpartition(")")[2].find(" ORDER BY ") >= 0
        return same(oracle, broker, is_ordered), oracle, broker

    def one(self, number, kind, tree):
        outcome, oracle, broker = self.outcome(tree)
        if self.options.only is not None:
            print(tree.render(), oracle, broker, sep="\n")
        if outcome is not None and oracle.error and oracle.error[:2] != "22" and self.useless(oracle):
            outcome = None
        self.asked[kind] += 1
        if outcome is None:
            self.agreed[kind] += 1
            return
        first = (outcome, tuple(tree.labels())[:3])
        if self.options.shrink and self.failed[first] < EXAMPLES:
            tree = shrunk(tree, lambda other: self.outcome(other)[0] == outcome, SHRINKING)
        self.failed[first] += 1
        text = tree.render()
        name = allowed(outcome, text, lambda: not self.oracle.ask(f"EXPLAIN {text}").error)
        if name:
            self.allowed[name] += 1
            self.agreed[kind] += 1
            return
        _, oracle, broker = self.outcome(tree)
        group = f"{outcome}: {' | '.join(tree.labels()[:4])}"
        self.kinds.setdefault(group, []).append((number, text, oracle, broker))

    def share(self):
        return 100 * sum(self.agreed.values()) / max(1, sum(self.asked.values()))

    @staticmethod
    def useless(answer):
        """A statement that the generator should not have made."""
        return answer.error == "57014"

    def report(self, out):
        found = sorted(self.kinds.items(), key=lambda item: -len(item[1]))
        for group, cases in found:
            number, text, oracle, broker = cases[0]
            print(f"\n{len(cases)} × {group}\n    {text}", file=out)
            print(f"    PostgreSQL: {shown(oracle)}\n    Anabranch:  {shown(broker)}", file=out)
            kinds = ",".join(self.options.kind)
            print(f"    tests/oracle/run --seed {self.options.seed} --queries {number + 1} --kind {kinds} --only {number}", file=out)
        print(file=out)
        for name, count in self.allowed.most_common():
            print(f"allowed: {count} × {name}", file=out)
        for kind in self.asked:
            share = 100 * self.agreed[kind] / self.asked[kind]
            print(f"{kind}: {self.agreed[kind]} of {self.asked[kind]} agree, {share:.2f} %", file=out)
        print(f"all: {self.share():.2f} % agree", file=out)
        print(f"{len(found)} kinds of differences that are not allowed, {len(KINDS)} that are", file=out)


def shown(answer):
    if answer.error:
        return f"{answer.error} {answer.message}"
    rows = str(list(answer.rows[:4]))
    return f"{list(answer.names)} {list(answer.types)} {rows[:400]}"


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--program", required=True)
    parser.add_argument("--postgresql", required=True)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--queries", type=int, default=2000)
    parser.add_argument("--kind", default=",".join(name for name, _ in SHARES))
    parser.add_argument("--only", type=int)
    parser.add_argument("--no-shrink", dest="shrink", action="store_false")
    parser.add_argument("--report")
    parser.add_argument("--agreed-min", type=float, default=100.0)
    options = parser.parse_args()
    options.kind = options.kind.split(",")
    began = time.monotonic()
    with sides.Home() as home:
        servers = []
        try:
            servers.append(sides.postgresql(options.postgresql, home))
            servers.append(sides.anabranch(options.program, home))
            campaign = Campaign(options, *(server.side for server in servers))
            campaign.run()
        finally:
            for server in servers:
                server.side.close()
                server.stop()
    if options.report:
        with open(options.report, "w") as out:
            campaign.report(out)
    campaign.report(sys.stdout)
    print(f"seed {options.seed}, {time.monotonic() - began:.0f} s")
    return 0 if campaign.share() >= options.agreed_min else 1


if __name__ == "__main__":
    sys.exit(main())
