"""psycopg: COPY in both directions, in transactions, cancelled, given up. Checks itself.

    copy_rows.py HOST PORT
"""

import sys
from datetime import date
from decimal import Decimal

import psycopg
from psycopg.pq import TransactionStatus

COLUMNS = "(k integer PRIMARY KEY, t text, n numeric(8,2), d date, a text[])"
TYPES = ["int4", "text", "numeric", "date", "text[]"]
ROWS = [
    (1, "tab\tline\nback\\slash", Decimal("1.50"), date(2024, 2, 29), ["x", None]),
    (2, "", None, None, []),
    (3, None, Decimal("-0.01"), date(1970, 1, 1), None),
]


def both_ways(connection):
    for binary in (False, True):
        name, form = ("b", "BINARY") if binary else ("t", "TEXT")
        connection.execute(f"CREATE STREAM {name} {COLUMNS}")
        with connection.cursor() as cursor:
            with cursor.copy(f"COPY {name} FROM STDIN (FORMAT {form})") as copy:
                copy.set_types(TYPES)
                for row in ROWS:
                    copy.write_row(row)
            assert cursor.rowcount == len(ROWS), cursor.rowcount
            with cursor.copy(f"COPY (SELECT * FROM {name} ORDER BY k) TO STDOUT (FORMAT {form})") as copy:
                copy.set_types(TYPES)
                assert list(copy.rows()) == ROWS, form
            assert cursor.execute(f"SELECT * FROM {name} ORDER BY k").fetchall() == ROWS


def in_transactions(connection):
    connection.autocommit = False
    cursor = connection.cursor()
    with cursor.copy("COPY t (k) FROM STDIN") as copy:
        copy.write(b"10\n1")
        copy.write(b"1\n")
    assert connection.info.transaction_status == TransactionStatus.INTRANS
    connection.rollback()
    assert cursor.execute("SELECT count(*) FROM t").fetchone() == (3,)
    connection.commit()
    try:
        with cursor.copy("COPY t (k) FROM STDIN") as copy:
            copy.write(b"10\n1\n")
        raise AssertionError("a key twice")
    except psycopg.errors.UniqueViolation as error:
        assert error.diag.context == "COPY t, line 2", error.diag.context
    assert connection.info.transaction_status == TransactionStatus.INERROR
    connection.rollback()
    connection.autocommit = True


def errors_end_a_copy_only(connection):
    cursor = connection.cursor()
    for given_up in (False, True):
        try:
            with cursor.copy("COPY t (k) FROM STDIN") as copy:
                copy.write(b"20\nx\n")
                if given_up:
                    raise KeyError("the client's own")
            raise AssertionError("no error")
        except psycopg.errors.InvalidTextRepresentation as error:
            assert error.diag.context == 'COPY t, line 2, column k: "x"', error.diag.context
        except KeyError:
            assert given_up
        assert connection.info.transaction_status == TransactionStatus.IDLE
        assert cursor.execute("SELECT count(*) FROM t").fetchone() == (3,)


def cancelled(connection):
    cursor = connection.cursor()
    try:
        with cursor.copy("COPY t (k) FROM STDIN") as copy:
            copy.write(b"30\n")
            connection.cancel()
            copy.write(b"31\n")
        raise AssertionError("not cancelled")
    except psycopg.errors.QueryCanceled:
        pass
    assert cursor.execute("SELECT count(*) FROM t").fetchone() == (3,)
    try:
        with cursor.copy(
            "COPY (SELECT * FROM generate_series(1, 100000000)) TO STDOUT"
        ) as copy:
            next(iter(copy))
            connection.cancel()
            for _ in copy:
                pass
        raise AssertionError("not cancelled")
    except psycopg.errors.QueryCanceled:
        pass
    assert cursor.execute("SELECT 1").fetchone() == (1,)


def left(host, port):
    """Who goes in the middle has copied nothing."""
    leaving = psycopg.connect(host=host, port=port, user="tester", dbname="anabranch")
    copy = leaving.cursor().copy("COPY t (k) FROM STDIN")
    copy.__enter__().write(b"40\n")
    leaving.pgconn.finish()


def main(host, port):
    with psycopg.connect(
        host=host, port=port, user="tester", dbname="anabranch", autocommit=True
    ) as connection:
        both_ways(connection)
        in_transactions(connection)
        errors_end_a_copy_only(connection)
        cancelled(connection)
        left(host, port)
        assert connection.execute("SELECT count(*) FROM t").fetchone() == (3,)


main(*sys.argv[1:])
