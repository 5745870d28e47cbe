"""psycopg: values of every column type, sent and asked for as text and in binary. Checks itself.

    columns.py HOST PORT
"""

import sys
from datetime import date, datetime, time, timedelta, timezone
from decimal import Decimal
from uuid import UUID

import psycopg
from psycopg.types.json import Jsonb

ID = UUID("0190163d-8694-739b-aea5-966c26f8ad91")
MOMENT = datetime(2024, 2, 29, 12, 30, 0, 250000, tzinfo=timezone.utc)
# Column, type, value, and what the event's document has for it.
COLUMNS = [
    ("j", "jsonb", {"b": [1, 2.50, None], "a": "x"}, '{"a": "x", "b": [1, 2.5, null]}'),
    ("u", "uuid", ID, f'"{ID}"'),
    ("v", "interval", timedelta(days=3, hours=4, microseconds=5), '"3 days 04:00:00.000005"'),
    ("t", "time", time(4, 5, 6, 700), '"04:05:06.0007"'),
    ("b", "bytea", b"\x00\xff", '"\\\\x00ff"'),
    ("n", "numeric(10,2)", Decimal("12.50"), "12.50"),
    ("texts", "text[]", ["a", "b c", None, '"'], '["a","b c",null,"\\""]'),
    ("smalls", "int2[]", [1, -2], "[1,-2]"),
    ("ints", "int4[]", [1, None, 3], "[1,null,3]"),
    ("longs", "int8[]", [2**40], "[1099511627776]"),
    ("floats", "float8[]", [0.5, 1e300], "[0.5,1e300]"),
    ("bools", "bool[]", [True, False], "[true,false]"),
    ("exact", "numeric[]", [Decimal("1.50"), Decimal("100000000000000000000.1")],
     "[1.50,100000000000000000000.1]"),
    ("moments", "timestamptz[]", [MOMENT], '["2024-02-29T12:30:00.250Z"]'),
    ("days", "date[]", [date(2024, 2, 29)], '["2024-02-29"]'),
    ("ids", "uuid[]", [ID], f'["{ID}"]'),
    ("empty", "text[]", [], "[]"),
]
NAMES = ", ".join(name for name, *_ in COLUMNS)


def sent(value):
    return Jsonb(value) if isinstance(value, dict) else value


def written(connection):
    """Every value goes in as a parameter, as text and in binary, and comes back both ways."""
    defined = ", ".join(f"{name} {of}" for name, of, *_ in COLUMNS)
    connection.execute(f"CREATE STREAM every (id uuid PRIMARY KEY, {defined})")
    values = [value for _, _, value, _ in COLUMNS]
    for number, form in enumerate(("%s", "%b", "%t")):
        id = UUID(int=number)
        marks = ", ".join([form] * (len(COLUMNS) + 1))
        connection.execute(
            f"INSERT INTO every (id, {NAMES}) VALUES ({marks})", [id, *map(sent, values)]
        )
        for binary in (False, True):
            found = connection.execute(
                f"SELECT {NAMES} FROM every WHERE id = {form}", (id,), binary=binary
            ).fetchone()
            for (name, _, value, _), got in zip(COLUMNS, found):
                assert got == value, (form, binary, name, got)
        document = connection.execute(
            "SELECT _key, _json::text FROM every WHERE id = %s", (id,)
        ).fetchone()
        assert document[0] == str(id).encode(), document
        for name, _, _, json in COLUMNS:
            assert f'"{name}":{json}' in document[1], (name, json, document[1])


def described(connection):
    """Types of results and of the catalogue are PostgreSQL's."""
    cursor = connection.execute(f"SELECT {NAMES} FROM every")
    types = {column.name: column.type_code for column in cursor.description}
    info = psycopg.adapters.types
    for name, of, *_ in COLUMNS:
        base = of.removesuffix("[]").split("(")[0]
        expected = info[base].array_oid if of.endswith("[]") else info[base].oid
        assert types[name] == expected, (name, types[name], expected)
        stored = connection.execute(
            "SELECT a.atttypid, format_type(a.atttypid, a.atttypmod) FROM pg_catalog.pg_attribute a"
            " JOIN pg_catalog.pg_class c ON c.oid = a.attrelid"
            f" WHERE c.relname = 'every' AND a.attname = '{name}'"
        ).fetchone()
        assert int(stored[0]) == expected, (name, stored)


def asked(connection):
    """Operators of the new types, with parameters."""
    checks = [
        ("SELECT count(*) FROM every WHERE u = ANY(%s)", ([ID],), 3),
        ("SELECT count(*) FROM every WHERE 3 = ANY(ints)", (), 3),
        ("SELECT count(*) FROM every WHERE %s = ALL(bools)", (True,), 0),
        ("SELECT count(*) FROM every WHERE texts @> %s", (["b c"],), 3),
        ("SELECT count(*) FROM every WHERE j @> %s", (Jsonb({"a": "x"}),), 3),
        ("SELECT count(*) FROM every WHERE j ? 'b'", (), 3),
        ("SELECT ints[3] FROM every LIMIT 1", (), 3),
        ("SELECT ints || 4 FROM every LIMIT 1", (), [1, None, 3, 4]),
        ("SELECT sum(x) FROM (SELECT unnest(ints) AS x FROM every) s", (), 12),
        ("SELECT array_agg(id ORDER BY id) FROM every", (), [UUID(int=n) for n in range(3)]),
        ("SELECT j #>> '{b,1}' FROM every LIMIT 1", (), "2.5"),
        ("SELECT (v + %s)::text FROM every LIMIT 1", (timedelta(hours=1),), "3 days 05:00:00.000005"),
        ("SELECT count(*) FROM every WHERE t < %s", (time(5),), 3),
        ("SELECT DISTINCT u FROM every", (), ID),
        ("SELECT count(DISTINCT v) FROM every", (), 1),
        ("SELECT max(t) FROM every", (), time(4, 5, 6, 700)),
    ]
    for statement, parameters, expected in checks:
        found = connection.execute(statement, parameters).fetchone()
        assert found == (expected,), (statement, found)


def main(host, port):
    where = {"host": host, "port": port, "user": "tester", "dbname": "anabranch"}
    with psycopg.connect(**where, autocommit=True) as connection:
        written(connection)
        described(connection)
        asked(connection)


if __name__ == "__main__":
    main(*sys.argv[1:])
