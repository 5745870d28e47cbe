"""Whole queries over the streams of a world."""

from expressions import Scope
from signatures import WINDOWS
from tree import Node

TYPES = ("int4", "int8", "text", "numeric", "float8", "bool", "date", "timestamp", "int4", "text")


class Queries:
    def __init__(self, rng, expressions, tables):
        self.rng = rng
        self.make = expressions.make
        self.expressions = expressions
        # Names of tables, and their columns with types.
        self.tables = tables
        self.aliases = 0

    def alias(self):
        self.aliases += 1
        return f"q{self.aliases}"

    def any(self):
        """A query; its rows are in no order unless it says one of all columns."""
        self.aliases = 0
        forms = (
            self.simple, self.simple, self.join, self.join, self.grouped, self.grouped, self.windowed,
            self.windowed, self.with_cte, self.set_operation, self.correlated, self.correlated,
            self.lateral, self.series, self.recursive, self.grouping_sets, self.distinct, self.values,
            self.whole, self.exists,
        )
        return self.rng.choice(forms)()

    def table(self):
        name = self.rng.choice(list(self.tables))
        alias = self.alias()
        scope = Scope([(f"{alias}.{column}", of) for column, of in self.tables[name]])
        return f"{name} AS {alias}", scope

    def where(self, scope, depth=2):
        if self.rng.random() < 0.4:
            return Node("where", [""])
        return Node("where", [" WHERE ", self.make("bool", scope, depth)], None, ("",))

    def items(self, scope, count, depth=2):
        """A select list with names, and the types."""
        types = [self.rng.choice(TYPES) for _ in range(count)]
        parts = []
        for number, name in enumerate(types):
            parts += [", " if number else "", self.make(name, scope, depth), f" AS c{number}"]
        return Node("items", parts), types

    def ordered(self, count):
        """By all columns, so that there is one order; sometimes only some rows of it."""
        if self.rng.random() < 0.5:
            return Node("order", [""])
        way = lambda: self.rng.choice(("", " DESC", " NULLS FIRST", " DESC NULLS LAST"))
        text = " ORDER BY " + ", ".join(f"{number}{way()}" for number in range(1, count + 1))
        parts = [text]
        if self.rng.random() < 0.4:
            limit = f" LIMIT {self.rng.randrange(6)}"
            offset = f" OFFSET {self.rng.randrange(3)}" if self.rng.random() < 0.5 else ""
            parts.append(Node("limit", [limit + offset], "LIMIT", ("",)))
        return Node("order", parts, "ORDER BY", ("",))

    def simple(self):
        source, scope = self.table()
        items, types = self.items(scope, self.rng.randrange(1, 4))
        return Node("query", ["SELECT ", items, f" FROM {source}", self.where(scope), self.ordered(len(types))])

    def join(self):
        left, first = self.table()
        right, second = self.table()
        both = Scope(first.columns + second.columns)
        kind = self.rng.choice(("JOIN", "LEFT JOIN", "RIGHT JOIN", "FULL JOIN", "CROSS JOIN"))
        on = Node("on", [""])
        if kind != "CROSS JOIN":
            of = self.rng.choice(("int4", "text", "int8", "date", "numeric"))
            pairs = [(a, b) for a in first.of(of) for b in second.of(of)]
            if pairs and (kind == "FULL JOIN" or self.rng.random() < 0.8):
                a, b = self.rng.choice(pairs)
                on = Node("on", [f" ON {a} = {b}"], f"ON {of}")
            else:
                on = Node("on", [f" ON {self._id(first)} = {self._id(second)}"], "ON")
        items, types = self.items(both, self.rng.randrange(1, 4), 1)
        return Node("query", ["SELECT ", items, f" FROM {left} {kind} {right}", on, self.where(both, 1),
                              self.ordered(len(types))], kind)

    @staticmethod
    def _id(scope):
        return scope.columns[0][0]

    def grouped(self):
        source, scope = self.table()
        key = self.make(self.rng.choice(("int4", "text", "bool", "date", "numeric")), scope, 1)
        count = self.rng.randrange(1, 4)
        parts = ["SELECT ", key, " AS c0"]
        for number in range(count):
            parts += [", ", self.expressions.any_aggregate(scope, 1), f" AS c{number + 1}"]
        having = Node("having", [""])
        if self.rng.random() < 0.3:
            having = Node("having", [f" HAVING count(*) {self.rng.choice(('>', '<'))} 1"], "HAVING", ("",))
        return Node("query", [*parts, f" FROM {source}", self.where(scope, 1), " GROUP BY 1", having,
                              self.ordered(count + 1)], "GROUP BY")

    def whole(self):
        source, scope = self.table()
        aggregates = [self.expressions.any_aggregate(scope, 2) for _ in range(self.rng.randrange(1, 4))]
        parts = []
        for number, aggregate in enumerate(aggregates):
            parts += [", " if number else "", aggregate]
        return Node("query", ["SELECT ", *parts, f" FROM {source}", self.where(scope, 1)])

    def windowed(self):
        source, scope = self.table()
        template, arguments = self.rng.choice(WINDOWS)
        call = self.expressions.call((template, arguments, "window"), scope, 1)
        partition = Node("partition", [""])
        if self.rng.random() < 0.5:
            partition = Node("partition", ["PARTITION BY ", self.make("bool", scope, 1), " "], None, ("",))
        frame = self.rng.choice((
            "", "", " ROWS BETWEEN 1 PRECEDING AND 1 FOLLOWING", " ROWS UNBOUNDED PRECEDING",
            " RANGE BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW",
            " ROWS BETWEEN CURRENT ROW AND UNBOUNDED FOLLOWING", " GROUPS BETWEEN 1 PRECEDING AND CURRENT ROW",
            " ROWS BETWEEN 2 PRECEDING AND 1 PRECEDING",
        ))
        over = [" OVER (", partition, f"ORDER BY {self._id(scope)}", Node("frame", [frame], frame.strip() or None, ("",)), ")"]
        return Node("query", [f"SELECT {self._id(scope)} AS c0, ", call, *over, f" AS c1 FROM {source}",
                              self.where(scope, 1), self.ordered(2)], "OVER")

    def with_cte(self):
        inner, scope = self.table()
        items, types = self.items(scope, 2, 1)
        name = self.alias()
        outer = Scope([(f"{name}.c{number}", of) for number, of in enumerate(types)])
        wanted, more = self.items(outer, 2, 1)
        return Node("query", [f"WITH {name} AS (SELECT ", items, f" FROM {inner}", self.where(scope, 1), ") SELECT ",
                              wanted, f" FROM {name}", self.where(outer, 1), self.ordered(len(more))], "WITH")

    def set_operation(self):
        operation = self.rng.choice(("UNION", "UNION ALL", "INTERSECT", "EXCEPT", "EXCEPT ALL", "INTERSECT ALL"))
        left, first = self.table()
        right, second = self.table()
        one, types = self.items(first, 2, 1)
        parts = []
        for number, of in enumerate(types):
            parts += [", " if number else "", self.make(of, second, 1)]
        return Node("query", ["SELECT ", one, f" FROM {left}", f" {operation} SELECT ", Node("items", parts),
                              f" FROM {right}", self.ordered(2)], operation)

    def correlated(self):
        outer, scope = self.table()
        inner, within = self.table()
        both = Scope(within.columns + scope.columns)
        aggregate = self.expressions.any_aggregate(within, 1)
        of = self.rng.choice(("int4", "text", "date"))
        pairs = [(a, b) for a in scope.of(of) for b in within.of(of)]
        a, b = self.rng.choice(pairs) if pairs else (self._id(scope), self._id(within))
        operator = self.rng.choice(("=", "=", "<", ">="))
        more = Node("where", [""])
        if self.rng.random() < 0.3:
            more = Node("where", [" AND ", self.make("bool", both, 1)], None, ("",))
        return Node("query", [f"SELECT {self._id(scope)} AS c0, (SELECT ", aggregate, f" FROM {inner} WHERE {b} {operator} {a}",
                              more, f") AS c1 FROM {outer}", self.where(scope, 1), self.ordered(2)],
                    f"correlated {operator}")

    def exists(self):
        outer, scope = self.table()
        inner, within = self.table()
        word = self.rng.choice(("EXISTS", "NOT EXISTS", "IN", "NOT IN", "ANY", "scalar"))
        a, b = self._id(scope), self._id(within)
        column = self.rng.choice(within.of("int4") or [b])
        condition = {
            "IN": f"{a} IN (SELECT {column} FROM {inner})",
            "NOT IN": f"{a} NOT IN (SELECT {column} FROM {inner} WHERE {column} IS NOT NULL)",
            "ANY": f"{a} > ANY (SELECT {column} FROM {inner})",
            "scalar": f"{a} = (SELECT max({b}) FROM {inner})",
        }.get(word, f"{word} (SELECT 1 FROM {inner} WHERE {b} = {a})")
        items, types = self.items(scope, 2, 1)
        return Node("query", ["SELECT ", items, f" FROM {outer} WHERE {condition}", self.ordered(2)], f"subquery {word}")

    def lateral(self):
        outer, scope = self.table()
        inner, within = self.table()
        name = self.alias()
        both = Scope(within.columns + scope.columns)
        value = self.make("int4", both, 1)
        order = self._id(within)
        join = self.rng.choice((", LATERAL", " CROSS JOIN LATERAL", " LEFT JOIN LATERAL"))
        on = " ON true" if "LEFT" in join else ""
        return Node("query", [f"SELECT {self._id(scope)} AS c0, {name}.v AS c1 FROM {outer}{join} (SELECT ", value,
                              f" AS v FROM {inner} WHERE {order} <= {self._id(scope)} ORDER BY {order} LIMIT 2) AS {name}{on}"],
                    "LATERAL")

    def series(self):
        form = self.rng.randrange(5)
        scope = Scope([("g.n", "int4")])
        if form == 0:
            return Node("query", ["SELECT g.n, ", self.make("int4", scope, 2), " AS c1 FROM generate_series(1, 5) AS g(n)"], "generate_series")
        if form == 1:
            return Node("query", ["SELECT * FROM generate_series(10, 1, -3) AS g(n)"], "generate_series step")
        if form == 2:
            return Node("query", ["SELECT * FROM generate_series(timestamp '2024-01-30', '2024-03-02', interval '1 week') AS g(n)"],
                        "generate_series timestamp")
        if form == 3:
            return Node("query", ["SELECT generate_series(1, 3) AS n, ", self.make("text", Scope(), 1), " AS c1"], "generate_series in SELECT")
        return Node("query", ["SELECT u.v, u.n FROM unnest(ARRAY['a', 'b', NULL]) WITH ORDINALITY AS u(v, n)"], "unnest")

    def recursive(self):
        form = self.rng.randrange(4)
        end = self.rng.randrange(2, 9)
        if form == 0:
            return Node("query", [f"WITH RECURSIVE r(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM r WHERE n < {end}) SELECT n, n * n FROM r"], "RECURSIVE")
        if form == 1:
            return Node("query", [f"WITH RECURSIVE r(n) AS (SELECT 1 UNION SELECT (n * 2) % {end + 1} FROM r) SELECT n FROM r"], "RECURSIVE cycle")
        if form == 2:
            return Node("query", ["WITH RECURSIVE e(a, b) AS (VALUES (1, 2), (2, 3), (3, 1), (3, 4)), r(n) AS (SELECT 1 UNION "
                                  "SELECT e.b FROM e JOIN r ON e.a = r.n) SELECT n FROM r ORDER BY n"], "RECURSIVE graph")
        return Node("query", [f"WITH RECURSIVE r(n, t) AS (SELECT 1, 'x' UNION ALL SELECT n + 1, t || 'y' FROM r WHERE n < {end}) "
                              "SELECT max(n), max(length(t)) FROM r"], "RECURSIVE text")

    def grouping_sets(self):
        source, scope = self.table()
        a = self.make("bool", scope, 0)
        b = self.make("int4", scope, 0)
        sets = self.rng.choice(("ROLLUP (a, b)", "CUBE (a, b)", "GROUPING SETS ((a), (b), ())"))
        grouping = ", grouping(a)" if self.rng.random() < 0.3 else ""
        return Node("query", ["SELECT a, b, count(*)", grouping, " FROM (SELECT ", a, " AS a, ", b, f" AS b FROM {source}) AS s GROUP BY {sets}"],
                    sets.split(" (")[0])

    def distinct(self):
        source, scope = self.table()
        if self.rng.random() < 0.5:
            items, types = self.items(scope, self.rng.randrange(1, 3), 1)
            return Node("query", ["SELECT DISTINCT ", items, f" FROM {source}", self.ordered(len(types))], "DISTINCT")
        of = self.rng.choice(("int4", "text", "bool"))
        key = self.make(of, scope, 0)
        return Node("query", ["SELECT DISTINCT ON (k) k, i FROM (SELECT ", key, f" AS k, {self._id(scope)} AS i FROM {source}) AS s ORDER BY k, i"],
                    "DISTINCT ON")

    def values(self):
        form = self.rng.randrange(5)
        of = self.rng.choice(TYPES)
        one, two = self.make(of, Scope(), 1), self.make(of, Scope(), 1)
        if form == 0:
            return Node("query", ["VALUES (", one, ", 1), (", two, ", 2)"], "VALUES")
        if form == 1:
            return Node("query", ["SELECT * FROM (VALUES (1, 'a'), (2, NULL), (3, 'c')) AS v(n, t) WHERE ",
                                  self.make("bool", Scope([("v.n", "int4"), ("v.t", "text")]), 2)], "VALUES")
        if form == 2:
            return Node("query", ["VALUES (1, 2.5), (2.5, 1), (NULL, 3)"], "VALUES mixed")
        if form == 3:
            return Node("query", ["SELECT ", one, ", ", two, ", 1, 1, count(*), count(*)"], "same names")
        return Node("query", ["SELECT x.v FROM (SELECT ", one, " AS v UNION ALL SELECT NULL UNION ALL SELECT ", two, ") AS x"], "UNION ALL")
