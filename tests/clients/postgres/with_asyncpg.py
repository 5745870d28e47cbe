"""asyncpg: everything in binary, types looked up in the catalogue, cursors, pools.

    with_asyncpg.py HOST PORT
"""

import asyncio
import sys
from datetime import date, datetime, time, timedelta, timezone
from decimal import Decimal
from uuid import UUID

import asyncpg

ID = UUID("0190163d-8694-739b-aea5-966c26f8ad91")
MOMENT = datetime(2024, 2, 29, 12, 30, 0, 250000, tzinfo=timezone.utc)
COLUMNS = [
    ("truth", "boolean", True),
    ("small", "smallint", -7),
    ("whole", "integer", 2**31 - 1),
    ("long", "bigint", -(2**63)),
    ("single", "real", 0.5),
    ("double", "double precision", 1e300),
    ("exact", "numeric", Decimal("12345678901234567890.000100")),
    ("words", "text", "ä 'quoted' \\ text"),
    ("bytes", "bytea", b"\x00\xff"),
    ("day", "date", date(2024, 2, 29)),
    ("clock", "time", time(4, 5, 6, 700)),
    ("local", "timestamp", MOMENT.replace(tzinfo=None)),
    ("moment", "timestamptz", MOMENT),
    ("span", "interval", timedelta(days=3, hours=4, microseconds=5)),
    ("id", "uuid", ID),
    ("document", "jsonb", '{"a": [1, null], "b": "x"}'),
    ("integers", "integer[]", [1, None, 3]),
    ("longs", "bigint[]", [2**40]),
    ("texts", "text[]", ["a", "b c", None]),
    ("exacts", "numeric[]", [Decimal("1.50"), Decimal("-2")]),
    ("ids", "uuid[]", [ID]),
    ("moments", "timestamptz[]", [MOMENT]),
    ("truths", "boolean[]", [True, False]),
    ("doubles", "double precision[]", [0.25]),
    ("days", "date[]", [date(2024, 2, 29)]),
    ("nothing", "text[]", []),
]
NAMES = ", ".join(name for name, *_ in COLUMNS)


async def values(connection):
    defined = ", ".join(f"{name} {of}" for name, of, _ in COLUMNS)
    await connection.execute(f"CREATE STREAM kinds (n bigint PRIMARY KEY, {defined})")
    marks = ", ".join(f"${at}" for at in range(1, len(COLUMNS) + 2))
    insert = f"INSERT INTO kinds (n, {NAMES}) VALUES ({marks})"
    assert await connection.execute(insert, 1, *(value for *_, value in COLUMNS)) == "INSERT 0 1"
    await connection.execute(insert, 2, *(None for _ in COLUMNS))
    row = await connection.fetchrow(f"SELECT {NAMES} FROM kinds WHERE n = $1", 1)
    for name, of, value in COLUMNS:
        assert row[name] == value, (name, row[name], value)
    assert set(await connection.fetchrow(f"SELECT {NAMES} FROM kinds WHERE n = 2")) == {None}
    # Each value as a parameter of its type.
    for name, of, value in COLUMNS:
        given = await connection.fetchval(f"SELECT $1::{of}", value)
        assert given == value, (name, given, value)
    statement = await connection.prepare(f"SELECT {NAMES} FROM kinds WHERE n = $1")
    assert [of.name for of in statement.get_parameters()] == ["int8"]
    kinds = {attribute.name: attribute.type for attribute in statement.get_attributes()}
    assert kinds["integers"].name in ("int4[]", "_int4") and kinds["integers"].kind == "array", kinds["integers"]
    assert kinds["span"].name == "interval", kinds["span"]


async def catalogue(connection):
    """What asyncpg asks for types that it does not know."""
    await connection.set_type_codec(
        "jsonb", schema="pg_catalog", encoder=str, decoder=lambda text: ("decoded", text)
    )
    assert (await connection.fetchval("SELECT document FROM kinds WHERE n = 1"))[0] == "decoded"
    await connection.reset_type_codec("jsonb", schema="pg_catalog")
    assert await connection.fetchval("SELECT oid FROM pg_type WHERE typname = 'int4'") == 23
    # Arrays of oids and names, which the catalogue alone has.
    await connection.fetch("SELECT indkey, indcollation FROM pg_index")
    await connection.fetch("SELECT * FROM pg_class")
    await connection.fetch("SELECT * FROM pg_attribute")
    await connection.fetch("SELECT * FROM pg_type")
    await connection.fetch("SELECT * FROM pg_namespace")
    await connection.fetch("SELECT * FROM information_schema.columns")


async def statements(connection):
    await connection.execute("CREATE STREAM pairs (k bigint PRIMARY KEY, v text)")
    await connection.executemany(
        "INSERT INTO pairs (k, v) VALUES ($1, $2)", [(k, f"v{k}") for k in range(500)]
    )
    assert await connection.fetchval("SELECT count(*) FROM pairs") == 500
    found = await connection.fetch("SELECT v FROM pairs WHERE k = ANY($1) ORDER BY k", [3, 1])
    assert [row["v"] for row in found] == ["v1", "v3"]
    async with connection.transaction():
        cursor = await connection.cursor("SELECT k FROM pairs ORDER BY k")
        assert [row["k"] for row in await cursor.fetch(3)] == [0, 1, 2]
        await cursor.forward(10)
        assert (await cursor.fetchrow())["k"] == 13
        assert [row["k"] async for row in connection.cursor(
            "SELECT k FROM pairs WHERE k >= $1 ORDER BY k", 480, prefetch=7
        )] == list(range(480, 500))
    try:
        async with connection.transaction():
            await connection.execute("UPDATE pairs SET v = 'x' WHERE k = 1")
            await connection.execute("INSERT INTO pairs VALUES (2, 'again')")
        raise AssertionError("the key exists")
    except asyncpg.UniqueViolationError:
        pass
    assert await connection.fetchval("SELECT v FROM pairs WHERE k = 1") == "v1"
    # A transaction within a transaction is a savepoint.
    async with connection.transaction(isolation="repeatable_read"):
        await connection.execute("UPDATE pairs SET v = 'one' WHERE k = 1")
        inner = connection.transaction()
        await inner.start()
        await connection.execute("UPDATE pairs SET v = 'two' WHERE k = 2")
        await inner.rollback()
    assert await connection.fetchval("SELECT v FROM pairs WHERE k = 1") == "one"
    assert await connection.fetchval("SELECT v FROM pairs WHERE k = 2") == "v2"


async def pooled(where):
    async with asyncpg.create_pool(**where, min_size=2, max_size=4) as pool:

        async def ask(k):
            async with pool.acquire() as connection:
                return await connection.fetchval("SELECT v FROM pairs WHERE k = $1", k)

        # What a connection was set to is reset when it goes back (`reset`).
        async with pool.acquire() as connection:
            await connection.execute("SET application_name = 'mine'")
        assert await asyncio.gather(*(ask(k) for k in range(10, 40))) == [f"v{k}" for k in range(10, 40)]
        for _ in range(4):
            async with pool.acquire() as connection:
                assert await connection.fetchval("SELECT current_setting('application_name')") != "mine"


async def main(host, port):
    where = {"host": host, "port": int(port), "user": "tester", "database": "anabranch", "ssl": False}
    connection = await asyncpg.connect(**where)
    try:
        assert connection.get_server_version().major == 15
        await values(connection)
        await catalogue(connection)
        await statements(connection)
    finally:
        await connection.close()
    await pooled(where)


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
