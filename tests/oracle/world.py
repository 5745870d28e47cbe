"""Streams with random columns and rows, the same on both sides."""

from signatures import COLUMNS
from values import PLAIN, quoted


class World:
    def __init__(self, rng, number):
        self.rng = rng
        self.tables = {}
        self.rows = {}
        for table in range(3):
            name = f"w{number}_t{table}"
            columns = [("id", "int4")]
            for of in COLUMNS:
                if rng.random() < 0.75:
                    columns.append((f"c_{of.split('(')[0].replace('[]', 's')}", of))
            if rng.random() < 0.5:
                columns.append(("d_int4", "int4"))
            self.tables[name] = columns
            self.rows[name] = [self._row(columns, key) for key in range(rng.choice((0, 1, 5, 12)))]

    def _row(self, columns, key):
        return [str(key) if column == "id" else self._cell(of) for column, of in columns]

    def _cell(self, of):
        name = of.split("(")[0]
        if self.rng.random() < 0.15:
            return "NULL"
        values = PLAIN[name]
        if name == "numeric":
            values = ("0.00", "1.50", "-2.25", "1234.56", "99999999.99", "2.50")
        if name in ("json", "jsonb"):
            # In a document null is SQL's NULL, whatever the column's type.
            values = [value for value in values if value != "null"]
        return quoted(self.rng.choice(values))

    def define(self, oracle, broker):
        for name, columns in self.tables.items():
            list_of = ", ".join(
                f"{column} {of}" + (" PRIMARY KEY" if column == "id" else "") for column, of in columns
            )
            oracle.must(f"CREATE TABLE {name} ({list_of})")
            broker.must(f"CREATE STREAM {name} ({list_of}) WITH (mode = 'upsert')")
            for row in self.rows[name]:
                for side in (oracle, broker):
                    side.must(f"INSERT INTO {name} VALUES ({', '.join(row)})")

    def drop(self, oracle, broker):
        for name in self.tables:
            oracle.must(f"DROP TABLE {name}")
            broker.must(f"DROP STREAM {name}")
