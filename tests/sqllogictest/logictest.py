"""Runs files of sqllogictest; `run --help` says how."""

import argparse
import collections
import hashlib
import pathlib
import re
import sys
import time

import sides

# Whose records are read.
DATABASE = "postgresql"
LENGTH = re.compile(r"\bVARCHAR\s*\(\d+\)", re.IGNORECASE)
FILES = ["test/evidence/*.test", "test/select*.test"]


def records(text):
    """The records of a file: kind, what is expected, SQL, expected lines."""
    threshold = 0
    for block in text.replace("\r\n", "\n").split("\n\n"):
        lines = [line for line in block.split("\n") if not line.startswith("#")]
        skipped = False
        while lines and lines[0].split()[:1] in (["skipif"], ["onlyif"], ["hash-threshold"], ["halt"], []):
            words = lines.pop(0).split()
            if words[:1] == ["skipif"]:
                skipped |= words[1] == DATABASE
            elif words[:1] == ["onlyif"]:
                skipped |= words[1] != DATABASE
            elif words[:1] == ["hash-threshold"]:
                threshold = int(words[1])
            elif words[:1] == ["halt"] and not skipped:
                return
        if not lines or skipped:
            continue
        words = lines[0].split()
        if words[0] == "statement":
            yield "statement", words[1], "\n".join(lines[1:]), None
        elif words[0] == "query":
            at = lines.index("----") if "----" in lines else len(lines)
            order = words[2] if len(words) > 2 else "nosort"
            yield "query", (words[1], order, threshold), "\n".join(lines[1:at]), lines[at + 1 :]


def shown(value, of):
    """A value as the format writes it: I integer, R three digits, T text."""
    if value is None:
        return "NULL"
    try:
        if of == "I":
            value = {"t": "1", "f": "0"}.get(value, value)
            return str(int(float(value)))
        if of == "R":
            return f"{float(value):.3f}"
    except ValueError:
        pass
    return value or "(empty)"


def agrees(answer, types, order, expected):
    rows = [[shown(value, of) for value, of in zip(row, types)] for row in answer.rows]
    if rows and len(rows[0]) != len(types):
        return False
    if order == "rowsort":
        rows.sort()
    values = [value for row in rows for value in row]
    if order == "valuesort":
        values.sort()
    expected = [line for line in expected if line != ""]
    if len(expected) == 1 and " values hashing to " in expected[0]:
        count, _, digest = expected[0].partition(" values hashing to ")
        text = "".join(f"{value}\n" for value in values)
        return len(values) == int(count) and hashlib.md5(text.encode()).hexdigest() == digest
    return values == expected


def passes(side, record):
    """None if the record passes, else why not."""
    kind, wanted, statement, expected = record
    # Lengths of text are refused here, and nothing in the corpus depends on them.
    statement = LENGTH.sub("VARCHAR", statement)
    answer = side.ask(statement)
    if kind == "statement":
        if (wanted == "ok") == (answer.error is None):
            return None
        return f"{answer.error} {answer.message}" if answer.error else "not refused"
    if answer.error:
        return f"{answer.error} {answer.message}"
    types, order, _ = wanted
    return None if agrees(answer, types, order, expected) else f"values {list(answer.rows[:3])}"


def cleared(side):
    for (name,) in side.must("SELECT name FROM sys.streams").rows:
        if not name.startswith("_"):
            side.ask(f'DROP STREAM "{name}"')


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--program", required=True)
    parser.add_argument("--corpus", type=pathlib.Path, required=True)
    parser.add_argument("--files", action="append")
    parser.add_argument("--limit", type=int, default=1_000_000)
    parser.add_argument("--examples", type=int, default=0)
    options = parser.parse_args()
    found = sorted({path for glob in options.files or FILES for path in options.corpus.glob(glob)})
    if not found:
        print(f"no file of {options.corpus} is meant", file=sys.stderr)
        return 1
    total = collections.Counter()
    with sides.Home() as home:
        server = sides.anabranch(options.program, home)
        try:
            for path in found:
                began = time.monotonic()
                cleared(server.side)
                count, failures = 0, []
                for record in records(path.read_text(errors="replace")):
                    if count >= options.limit:
                        break
                    count += 1
                    why = passes(server.side, record)
                    if why is not None:
                        failures.append((why, record[2]))
                passed = count - len(failures)
                total["records"] += count
                total["passed"] += passed
                share = 100 * passed / max(1, count)
                print(f"{share:6.2f} %  {passed} of {count}  {path.relative_to(options.corpus)}"
                      f"  {time.monotonic() - began:.0f} s", flush=True)
                for why, statement in failures[: options.examples]:
                    print(f"    {why}\n        {' '.join(statement.split())[:300]}")
        finally:
            server.side.close()
            server.stop()
    share = 100 * total["passed"] / max(1, total["records"])
    print(f"{share:6.2f} %  {total['passed']} of {total['records']}  all {len(found)} files")
    return 0


if __name__ == "__main__":
    sys.exit(main())
