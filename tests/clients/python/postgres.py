"""psycopg: the extended protocol, as programs use it. Checks itself.

    postgres.py HOST PORT
"""

import sys

import psycopg
from psycopg import errors


def pipelines(connection):
    """What is sent before one Sync is one transaction."""
    insert = "INSERT INTO readings (sensor, n) VALUES (%s, %s)"
    with connection.pipeline():
        for n in range(3):
            connection.execute(insert, (f"p{n}", n))
        seen = connection.execute("SELECT count(*) FROM readings WHERE sensor LIKE 'p%'")
    assert seen.fetchone() == (3,)
    try:
        with connection.pipeline():
            connection.execute(insert, ("q0", 0))
            connection.execute("UPDATE readings SET n = 9 WHERE sensor = 'p0'")
            connection.execute(insert, ("p1", 1))
        raise AssertionError("the key exists")
    except errors.UniqueViolation:
        pass
    found = "SELECT sensor, n FROM readings WHERE sensor IN ('p0', 'q0')"
    assert connection.execute(found).fetchall() == [("p0", 0)]
    try:
        with connection.cursor() as cursor:
            cursor.executemany(insert, [("r0", 0), ("r1", 1), ("p2", 2)])
        raise AssertionError("the key exists")
    except errors.UniqueViolation:
        pass
    counted = connection.execute("SELECT count(*) FROM readings WHERE sensor LIKE 'r%'")
    assert counted.fetchone() == (0,)
    with connection.transaction():
        deleted = connection.execute("DELETE FROM readings WHERE sensor LIKE 'p%' RETURNING n")
        assert sorted(deleted.fetchall()) == [(0,), (1,), (2,)]


def main(host, port):
    where = {"host": host, "port": port, "user": "tester", "dbname": "anabranch"}
    with psycopg.connect(**where, autocommit=True) as connection:
        connection.execute(
            "CREATE STREAM readings (sensor text PRIMARY KEY, value double precision, n bigint,"
            " at timestamptz, ok boolean) WITH (mode = 'upsert')"
        )
        with connection.cursor() as cursor:
            cursor.executemany(
                "INSERT INTO readings (sensor, value, n, ok) VALUES (%s, %s, %s, %s)",
                [(f"s{n}", n / 4, n, n % 2 == 0) for n in range(50)],
            )
        counted = connection.execute("SELECT count(*) FROM readings").fetchone()
        assert counted == (50,), counted
        # psycopg prepares a statement that it has sent five times.
        for n in range(10):
            found = connection.execute(
                "SELECT sensor, value, n, ok, at FROM readings WHERE sensor = %s", (f"s{n}",)
            ).fetchall()
            assert found == [(f"s{n}", n / 4, n, n % 2 == 0, None)], found
        binary = connection.execute(
            "SELECT n, value FROM readings WHERE n >= %s ORDER BY n", (48,), binary=True
        ).fetchall()
        assert binary == [(48, 12.0), (49, 12.25)], binary
        try:
            connection.execute("INSERT INTO readings (sensor) VALUES (%s)", ("s1",))
            raise AssertionError("the key exists")
        except errors.UniqueViolation:
            pass
        pipelines(connection)
        try:
            connection.execute("SELECT nothing FROM readings")
            raise AssertionError("there is no such column")
        except errors.UndefinedColumn:
            pass
        streamed = sum(1 for _ in connection.cursor().stream("SELECT n FROM readings"))
        assert streamed == 50, streamed


if __name__ == "__main__":
    main(*sys.argv[1:])
