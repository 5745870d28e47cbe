"""psycopg 3: cursors on the server, pipelines, asyncio, statements prepared by name.

    with_psycopg.py HOST PORT
"""

import asyncio
import sys

import psycopg
from psycopg import errors

ROWS = 5000


def fails(kind, work):
    try:
        work()
    except kind as error:
        return error
    raise AssertionError(f"{kind.__name__} was to come")


def fill(connection):
    connection.execute("CREATE STREAM numbers (n bigint PRIMARY KEY, name text, half numeric)")
    with connection.cursor() as cursor:
        cursor.executemany(
            "INSERT INTO numbers (n, name, half) VALUES (%s, %s, %s)",
            [(n, f"number {n}", n / 2) for n in range(20)],
        )
    # One statement for the rest.
    connection.execute(
        "INSERT INTO numbers (n, name, half)"
        f" SELECT n, 'number ' || n, n / 2.0 FROM generate_series(20, {ROWS - 1}) AS s(n)"
    )
    assert connection.execute("SELECT count(*) FROM numbers").fetchone() == (ROWS,)


def server_cursors(connection):
    with connection.transaction():
        with connection.cursor(name="some of them") as cursor:
            cursor.execute("SELECT n, name FROM numbers WHERE n >= %s ORDER BY n", (1000,))
            assert [column.name for column in cursor.description] == ["n", "name"]
            assert cursor.fetchone() == (1000, "number 1000")
            assert [n for n, _ in cursor.fetchmany(3)] == [1001, 1002, 1003]
            cursor.scroll(10)
            assert cursor.fetchone() == (1014, "number 1014")
            cursor.scroll(3000, mode="absolute")
            # psycopg's 3000 is the row before the next: the cursor stands on it.
            assert cursor.fetchone()[0] == 4000
            assert len(cursor.fetchall()) == ROWS - 4001
            assert cursor.fetchone() is None
        # Values in binary.
        with connection.cursor(name="binary", binary=True) as cursor:
            cursor.execute("SELECT n, half, name FROM numbers ORDER BY n")
            cursor.itersize = 700
            rows = list(cursor)
            assert len(rows) == ROWS and rows[3][0] == 3 and str(rows[3][1]).startswith("1.5")
    # The cursor goes with its transaction.
    with connection.transaction():
        connection.execute("DECLARE c CURSOR FOR SELECT n FROM numbers ORDER BY n")
    error = fails(errors.InvalidCursorName, lambda: connection.execute("FETCH 1 FROM c"))
    assert error.sqlstate == "34000", error.sqlstate
    fails(
        errors.NoActiveSqlTransaction,
        lambda: connection.execute("DECLARE c CURSOR FOR SELECT 1"),
    )
    # WITH HOLD it stays, and reads at its own cut.
    with connection.cursor(name="held", withhold=True) as cursor:
        cursor.execute("SELECT count(*) FROM numbers")
        connection.execute("INSERT INTO numbers (n) VALUES (-1)")
        assert cursor.fetchone() == (ROWS,)
    connection.execute("DELETE FROM numbers WHERE n = -1")


def cursors_by_statement(connection):
    def tag(statement):
        return connection.execute(statement).statusmessage

    def rows(statement):
        return [n for n, in connection.execute(statement).fetchall()]

    with connection.transaction():
        assert tag("DECLARE c NO SCROLL CURSOR FOR SELECT n FROM numbers ORDER BY n") == "DECLARE CURSOR"
        fails_within(connection, errors.DuplicateCursor, "DECLARE c CURSOR FOR SELECT 1")
        assert rows("FETCH c") == [0]
        assert rows("FETCH NEXT FROM c") == [1]
        assert rows("FETCH FORWARD 2 IN c") == [2, 3]
        assert rows("FETCH 2 FROM c") == [4, 5]
        assert rows("FETCH RELATIVE 3 FROM c") == [8]
        assert rows("FETCH ABSOLUTE 11 FROM c") == [10]
        assert tag("MOVE 4 FROM c") == "MOVE 4"
        assert tag("FETCH FORWARD 3 FROM c") == "FETCH 3"
        fails_within(connection, errors.ObjectNotInPrerequisiteState, "FETCH PRIOR FROM c")
        assert rows("FETCH c") == [18]
        assert tag("MOVE FORWARD ALL IN c") == f"MOVE {ROWS - 19}"
        assert rows("FETCH ALL FROM c") == []
        assert tag("CLOSE c") == "CLOSE CURSOR"
        fails_within(connection, errors.InvalidCursorName, "CLOSE c")
        # A savepoint that is rolled back to takes its cursors with it.
        connection.execute("DECLARE outer_one CURSOR FOR SELECT 1")
        connection.execute("SAVEPOINT s")
        connection.execute("DECLARE inner_one CURSOR FOR SELECT 2")
        connection.execute("ROLLBACK TO s")
        fails_within(connection, errors.InvalidCursorName, "FETCH inner_one")
        assert rows("FETCH outer_one") == [1]
        assert tag("CLOSE ALL") == "CLOSE CURSOR ALL"


def fails_within(connection, kind, statement):
    """In a savepoint of its own, so that the transaction goes on."""

    def work():
        with connection.transaction():
            connection.execute(statement)

    fails(kind, work)


def prepared_by_name(connection):
    connection.execute("PREPARE half (bigint, text) AS SELECT half, $2 || name FROM numbers WHERE n = $1")
    assert connection.execute("EXECUTE half(3, 'the ')").fetchone()[1] == "the number 3"
    assert connection.execute("EXECUTE half(1 + 1, upper('a '))").fetchone()[1] == "A number 2"
    fails(errors.DuplicatePreparedStatement, lambda: connection.execute("PREPARE half AS SELECT 1"))
    fails(errors.SyntaxError, lambda: connection.execute("EXECUTE half(1)"))
    connection.execute("PREPARE put (bigint, text) AS INSERT INTO numbers (n, name) VALUES ($1, $2)")
    assert connection.execute("EXECUTE put(-5, 'less')").statusmessage == "INSERT 0 1"
    assert connection.execute("SELECT name FROM numbers WHERE n = -5").fetchone() == ("less",)
    connection.execute("DELETE FROM numbers WHERE n = -5")
    connection.execute("DEALLOCATE half")
    fails(errors.InvalidSqlStatementName, lambda: connection.execute("EXECUTE half(1, '')"))
    connection.execute("DEALLOCATE ALL")
    fails(errors.InvalidSqlStatementName, lambda: connection.execute("EXECUTE put(1, '')"))


def pipelines(connection):
    with connection.pipeline():
        cursors = [
            connection.execute("SELECT name FROM numbers WHERE n = %s", (n,)) for n in range(50)
        ]
        for n, cursor in enumerate(cursors):
            assert cursor.fetchone() == (f"number {n}",)
    # An error ends what stands behind it up to the next Sync.
    with connection.pipeline() as pipeline:
        first = connection.execute("SELECT 1")
        wrong = connection.execute("SELECT nothing FROM numbers")
        fails(errors.UndefinedColumn, pipeline.sync)
        assert first.fetchone() == (1,)
        del wrong
        assert connection.execute("SELECT 2").fetchone() == (2,)


def transactions(connection):
    def setting(name):
        return connection.execute(f"SHOW {name}").fetchone()[0]

    connection.execute("BEGIN ISOLATION LEVEL REPEATABLE READ, READ ONLY")
    assert setting("transaction_isolation") == "repeatable read"
    fails(errors.ReadOnlySqlTransaction, lambda: connection.execute("DELETE FROM numbers"))
    connection.execute("ROLLBACK")
    fails(errors.FeatureNotSupported, lambda: connection.execute("SET TRANSACTION SNAPSHOT 'x'"))
    fails(errors.FeatureNotSupported, lambda: connection.execute("LISTEN news"))
    assert connection.execute("UNLISTEN *").statusmessage == "UNLISTEN"
    connection.execute("SET SESSION CHARACTERISTICS AS TRANSACTION ISOLATION LEVEL READ COMMITTED")


async def concurrently(where):
    async with await psycopg.AsyncConnection.connect(**where, autocommit=True) as connection:
        cursor = await connection.execute("SELECT count(*) FROM numbers")
        assert await cursor.fetchone() == (ROWS,)
        async with connection.transaction(), connection.cursor(name="all") as cursor:
            await cursor.execute("SELECT n FROM numbers ORDER BY n DESC")
            assert [n async for n, in cursor] == list(range(ROWS - 1, -1, -1))

    async def ask(n):
        async with await psycopg.AsyncConnection.connect(**where) as connection:
            cursor = await connection.execute("SELECT name FROM numbers WHERE n = %s", (n,))
            return await cursor.fetchone()

    found = await asyncio.gather(*(ask(n) for n in range(20)))
    assert found == [(f"number {n}",) for n in range(20)], found


def main(host, port):
    where = {"host": host, "port": port, "user": "tester", "dbname": "anabranch"}
    with psycopg.connect(**where, autocommit=True) as connection:
        fill(connection)
        server_cursors(connection)
        cursors_by_statement(connection)
        prepared_by_name(connection)
        pipelines(connection)
        transactions(connection)
    # Parameters are put into the text, as psycopg 2 does.
    with psycopg.connect(**where, autocommit=True, cursor_factory=psycopg.ClientCursor) as connection:
        found = connection.execute("SELECT n FROM numbers WHERE name = %s", ("number 7",)).fetchall()
        assert found == [(7,)], found
    asyncio.run(concurrently(where))


if __name__ == "__main__":
    main(*sys.argv[1:])
