"""Expressions of a wanted type."""

from signatures import AGGREGATES, BY_RESULT, SIGNATURES
from tree import Node
from values import BROKEN, CONSTANTS, literal, quoted

CASTS = {
    "bool": ("int4", "text"),
    "int2": ("int4", "int8", "float8", "numeric", "text", "float4"),
    "int4": ("int2", "int8", "float8", "numeric", "text", "bool", "float4", "jsonb"),
    "int8": ("int2", "int4", "float8", "numeric", "text", "float4"),
    "float4": ("int2", "int4", "int8", "float8", "numeric", "text"),
    "float8": ("int2", "int4", "int8", "float4", "numeric", "text"),
    "numeric": ("int2", "int4", "int8", "float4", "float8", "text", "jsonb"),
    "text": ("bool", "int2", "int4", "int8", "float4", "float8", "numeric", "bytea", "date",
             "timestamp", "timestamptz", "interval", "time", "uuid", "json", "jsonb", "int4[]", "text[]"),
    "bytea": ("text",),
    "date": ("timestamp", "timestamptz", "text"),
    "timestamp": ("date", "timestamptz", "text"),
    "timestamptz": ("date", "timestamp", "text"),
    "interval": ("time", "text"),
    "time": ("timestamp", "interval", "text"),
    "uuid": ("text",),
    "json": ("jsonb", "text"),
    "jsonb": ("json", "text"),
    "int4[]": ("text", "text[]", "int8[]"),
    "int8[]": ("text", "int4[]"),
    "float8[]": ("text", "int4[]"),
    "bool[]": ("text",),
    "numeric[]": ("text", "int4[]", "int8[]"),
    "timestamptz[]": ("text",),
    "uuid[]": ("text",),
    "text[]": ("text", "int4[]"),
}
ALL = tuple(CASTS) + ("varchar", "varchar(3)", "numeric(5,2)", "char(4)")


def null(name):
    return f"NULL::{name}"


class Scope:
    """Columns that can be named, by type."""

    def __init__(self, columns=()):
        self.columns = list(columns)

    def of(self, name):
        return [column for column, of in self.columns if of.split("(")[0] == name]


class Expressions:
    def __init__(self, rng):
        self.rng = rng

    def leaf(self, name, scope):
        if name in CONSTANTS:
            return Node(name, [self.rng.choice(CONSTANTS[name])])
        if name == "notnulltext":
            return Node(name, ["coalesce(", self.leaf("text", scope), ", 'none')"])
        columns = scope.of(name)
        small = (null(name),)
        roll = self.rng.random()
        if columns and roll < 0.65:
            return Node(name, [self.rng.choice(columns)], f":{name}", small)
        if roll > 0.92:
            return Node(name, [null(name)], f":{name}")
        return Node(name, [literal(self.rng, name)], f":{name}", small)

    def make(self, name, scope, depth):
        """An expression of type `name`."""
        if depth <= 0 or name in CONSTANTS or name == "notnulltext":
            return self.leaf(name, scope)
        roll = self.rng.random()
        if roll < 0.12:
            return self.leaf(name, scope)
        if roll < 0.2:
            return self.cast(self.rng.choice(CASTS[name]), name, scope, depth)
        candidates = BY_RESULT.get(name)
        if not candidates:
            return self.leaf(name, scope)
        return self.call(self.rng.choice(candidates), scope, depth)

    def call(self, signature, scope, depth):
        template, arguments, result = signature
        pieces = template.split("$")
        parts = [pieces[0]]
        for argument, piece in zip(arguments, pieces[1:]):
            parts += [self.make(argument, scope, depth - 1), piece]
        label = f"{template} ({' '.join(arguments)})"
        small = (null(result),) if result in CASTS else ()
        return Node(result, parts, label, small)

    def cast(self, source, target, scope, depth):
        inner = self.make(source, scope, depth - 1)
        parts = ["CAST(", inner, f" AS {target})"]
        return Node(target.split("(")[0], parts, f"{source}::{target}", (null(target),))

    def any_cast(self, scope):
        """A cast of any type to any, mostly one that there is."""
        target = self.rng.choice(ALL)
        if self.rng.random() < 0.4:
            text = Node("text", [quoted(self.rng.choice(BROKEN)) + "::text"], None, ("''",))
            label = f"text::{target}"
            return Node("cast", ["CAST(", text, f" AS {target})"], label)
        source = self.rng.choice(tuple(CASTS))
        if target in CASTS and self.rng.random() < 0.7:
            source = self.rng.choice(CASTS[target])
        return self.cast(source, target, scope, 1)

    def any_call(self, scope, depth):
        return self.call(self.rng.choice(SIGNATURES), scope, depth)

    def any_aggregate(self, scope, depth):
        """An aggregate, perhaps over some of the rows."""
        node = self.call(self.rng.choice(AGGREGATES), scope, depth)
        if self.rng.random() < 0.15 and "DISTINCT" not in node.label:
            condition = Node("filter", [" FILTER (WHERE ", self.make("bool", scope, 1), ")"], "FILTER", ("",))
            return Node(node.kind, node.parts + [condition], node.label, node.small)
        return node
