"""Transactions over SQL and records over Kafka on the same keys, written down as they end.

    history.py KAFKA POSTGRES-PORT STREAM KEYS

STREAM has the columns k (its key) and writer. Prints a JSON line for each thing that was done, until
standard input closes:

    {"id": "t3-17", "reads": {"k1": "t2-9", …}, "writes": ["k1"], "inserts": ["u4"],
     "outcome": "yes" | "no" | "unknown", "began": 1.5, "ended": 1.6}

A transaction reads some keys and sets the writer of some of them, or inserts a key that others try
to insert as well, or only reads. A record sets the writer of one key, whatever it was. Times are of
one clock. "unknown" is what the broker was not there to say.
"""

import json
import random
import sys
import threading
import time

import psycopg
from confluent_kafka import Producer

TRANSACTORS = 4
READERS = 1
PRODUCERS = 1
# A transaction that takes longer than this is not waited for.
SECONDS = 60

printing = threading.Lock()
closed = threading.Event()


def say(entry):
    with printing:
        sys.stdout.write(json.dumps(entry) + "\n")
        sys.stdout.flush()


class Client(threading.Thread):
    """One client: does one thing after the other, and connects again when the broker is gone."""

    def __init__(self, name, postgres, stream, keys):
        super().__init__(daemon=True)
        self.name, self.postgres, self.stream = name, postgres, stream
        self.keys = [f"k{number}" for number in range(keys)]
        self.random = random.Random(name)
        self.connection = None
        self.count = 0

    def run(self):
        while not closed.is_set():
            self.count += 1
            entry = {"id": f"{self.name}-{self.count}", "reads": {}, "writes": [], "inserts": []}
            entry["began"] = time.monotonic()
            try:
                entry["outcome"] = self.once(entry)
            except psycopg.OperationalError:
                self.connection = None
                time.sleep(0.02)
                entry["outcome"] = entry.pop("committing", False) and "unknown" or "no"
            entry.pop("committing", None)
            entry["ended"] = time.monotonic()
            say(entry)

    def connected(self):
        if self.connection is None or self.connection.closed:
            self.connection = psycopg.connect(
                host="127.0.0.1",
                port=self.postgres,
                user="tester",
                dbname="anabranch",
                autocommit=True,
                connect_timeout=5,
            )
        return self.connection

    def read(self, cursor, entry, keys):
        cursor.execute(f"SELECT k, writer FROM {self.stream} WHERE k = ANY(%s)", (keys,))
        found = dict(cursor.fetchall())
        entry["reads"].update({key: found.get(key) for key in keys})


class Transactor(Client):
    def once(self, entry):
        connection = self.connected()
        keys = self.random.sample(self.keys, 3)
        writes = self.random.sample(keys, 2)
        insert = f"u{self.random.randrange(self.count // 2, self.count + 20)}"
        try:
            with connection.cursor() as cursor:
                cursor.execute("BEGIN")
                self.read(cursor, entry, keys)
                for key in writes:
                    cursor.execute(
                        f"UPDATE {self.stream} SET writer = %s WHERE k = %s", (entry["id"], key)
                    )
                    if cursor.rowcount == 1:
                        entry["writes"].append(key)
                if self.random.random() < 0.3:
                    cursor.execute(
                        f"INSERT INTO {self.stream} (k, writer) VALUES (%s, %s)",
                        (insert, entry["id"]),
                    )
                    entry["inserts"].append(insert)
                # What it reads after it wrote is its own.
                cursor.execute(f"SELECT writer FROM {self.stream} WHERE k = %s", (writes[0],))
                own = cursor.fetchone()
                if own is not None and own[0] != entry["id"]:
                    raise AssertionError(f"{entry['id']} reads {own} where it wrote")
                if self.random.random() < 0.1:
                    cursor.execute("ROLLBACK")
                    return "no"
                entry["committing"] = True
                cursor.execute("COMMIT")
                return "yes"
        except (psycopg.errors.SerializationFailure, psycopg.errors.UniqueViolation):
            connection.execute("ROLLBACK")
            return "no"


class Reader(Client):
    """Reads all keys, one statement after the other, in one transaction."""

    def once(self, entry):
        with self.connected().cursor() as cursor:
            cursor.execute("BEGIN READ ONLY")
            half = len(self.keys) // 2
            self.read(cursor, entry, self.keys[:half])
            self.read(cursor, entry, self.keys[half:])
            cursor.execute("COMMIT")
        time.sleep(0.02)
        return "yes"


class Recorder(threading.Thread):
    """Produces records with an idempotent producer, which waits for a broker that is gone."""

    def __init__(self, name, kafka, stream, keys):
        super().__init__(daemon=True)
        self.name, self.stream, self.keys = name, stream, keys
        self.random = random.Random(name)
        self.producer = Producer(
            {
                "bootstrap.servers": kafka,
                "enable.idempotence": True,
                "partitioner": "murmur2_random",
                "linger.ms": 0,
                "delivery.timeout.ms": SECONDS * 1000,
                "reconnect.backoff.ms": 20,
                "reconnect.backoff.max.ms": 100,
                "retry.backoff.ms": 20,
                "log_level": 0,
            }
        )

    def run(self):
        count = 0
        while not closed.is_set():
            count += 1
            key = f"k{self.random.randrange(self.keys)}"
            entry = {"id": f"{self.name}-{count}", "reads": {}, "writes": [key], "inserts": []}
            entry["began"] = time.monotonic()

            def delivered(error, _message, entry=entry):
                entry["ended"] = time.monotonic()
                entry["outcome"] = "yes" if error is None else "unknown"
                say(entry)

            value = json.dumps({"k": key, "writer": entry["id"]})
            self.producer.produce(self.stream, key=key, value=value, on_delivery=delivered)
            if self.producer.flush(SECONDS) > 0:
                raise TimeoutError("a record was not acknowledged")
            time.sleep(self.random.random() * 0.02)


def main(kafka, postgres, stream, keys):
    keys = int(keys)
    clients = [Transactor(f"t{n}", postgres, stream, keys) for n in range(TRANSACTORS)]
    clients += [Reader(f"r{n}", postgres, stream, keys) for n in range(READERS)]
    clients += [Recorder(f"p{n}", kafka, stream, keys) for n in range(PRODUCERS)]
    for client in clients:
        client.start()
    sys.stdin.read()
    closed.set()
    for client in clients:
        client.join(SECONDS)
        if client.is_alive():
            raise TimeoutError(f"{client.name} does not end")


if __name__ == "__main__":
    main(*sys.argv[1:])
