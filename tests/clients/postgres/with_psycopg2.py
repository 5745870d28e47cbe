"""psycopg2: parameters in the text, cursors on the server.

    with_psycopg2.py HOST PORT
"""

import sys
from decimal import Decimal

import psycopg2
import psycopg2.extras
from psycopg2 import errors


def main(host, port):
    connection = psycopg2.connect(host=host, port=port, user="tester", dbname="anabranch")
    connection.autocommit = True
    with connection.cursor() as cursor:
        cursor.execute("CREATE STREAM things (id integer PRIMARY KEY, name text, price numeric(10,2))")
        values = [(n, f"thing {n}", Decimal(n) / 4) for n in range(300)]
        psycopg2.extras.execute_values(cursor, "INSERT INTO things VALUES %s", values, page_size=100)
        cursor.execute("SELECT name, price FROM things WHERE id = %s", (7,))
        assert cursor.fetchall() == [("thing 7", Decimal("1.75"))]
        cursor.execute("SELECT array_agg(id ORDER BY id) FROM things WHERE id = ANY(%s)", ([3, 1],))
        assert cursor.fetchone() == ([1, 3],)
    with connection.cursor(cursor_factory=psycopg2.extras.RealDictCursor) as cursor:
        cursor.execute("SELECT id, name FROM things ORDER BY id LIMIT 1")
        assert cursor.fetchone() == {"id": 0, "name": "thing 0"}

    connection.autocommit = False
    with connection, connection.cursor(name="named") as cursor:
        cursor.itersize = 50
        cursor.execute("SELECT id FROM things ORDER BY id")
        assert [id for id, in cursor] == list(range(300))
    with connection, connection.cursor() as cursor:
        cursor.execute("UPDATE things SET name = 'new' WHERE id = 1")
        assert cursor.rowcount == 1
    try:
        with connection, connection.cursor() as cursor:
            cursor.execute("INSERT INTO things (id) VALUES (1)")
        raise AssertionError("the key exists")
    except errors.UniqueViolation:
        pass
    with connection, connection.cursor() as cursor:
        cursor.execute("SELECT name FROM things WHERE id = 1")
        assert cursor.fetchone() == ("new",)
    connection.set_session(isolation_level="REPEATABLE READ", readonly=True)
    with connection, connection.cursor() as cursor:
        cursor.execute("SHOW transaction_isolation")
        assert cursor.fetchone() == ("repeatable read",)
    connection.close()


if __name__ == "__main__":
    main(*sys.argv[1:])
