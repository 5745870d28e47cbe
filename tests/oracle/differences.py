"""Where the broker answers other than PostgreSQL 15, on purpose or knowingly; at most 40 kinds.

A kind has a name, the reason, and says of a difference whether it is one. Each is looked at with
the statement as it is after shrinking.
"""

import re
from dataclasses import dataclass
from typing import Callable


@dataclass(frozen=True)
class Kind:
    name: str
    reason: str
    fits: Callable
    # Whether PostgreSQL must refuse to EXPLAIN the statement, too.
    needs_explain: bool = False


def says(pattern):
    expression = re.compile(pattern, re.IGNORECASE)
    return lambda outcome, statement: bool(expression.search(statement))


KINDS = [
    Kind(
        "types without a limit",
        "varchar, varchar(n), char(n) and name are text here: lengths are not enforced, so no "
        "client is told that they are.",
        says(r"(AS |::)(varchar|char)\b"),
    ),
    Kind(
        "leftmost, not longest",
        "Regular expressions are those of a library that cannot be made to take forever; it takes "
        "the first alternative that fits, has no back references, and knows all of Unicode.",
        lambda outcome, statement: outcome in ("values", "number of rows")
        and re.search(r"[a-z]+::text !?~|regexp_|substring\(.* FROM '", statement) is not None,
    ),
    Kind(
        "times of 292 years",
        "The time of an interval, without its months and days, is at most 292 years; timestamps "
        "end in the year 294246, some days before PostgreSQL's.",
        lambda outcome, statement: "22008" in outcome and "interval" in statement,
    ),
    Kind(
        "strings without a type",
        "A string constant is text where nothing says otherwise: pg_typeof, to_json, jsonb_agg of "
        "one, where PostgreSQL says unknown or refuses it.",
        lambda outcome, statement: "pg_typeof('" in statement
        or outcome == "not refused 42804" and re.search(r"json\w*\('", statement) is not None,
    ),
    Kind(
        "ntile is bigint",
        "All window functions that count give bigint.",
        lambda outcome, statement: outcome == "types" and "ntile(" in statement,
    ),
    Kind(
        "constants that no row needs",
        "PostgreSQL computes constants while it plans, and fails there if they are wrong; here "
        "what no row needs is not computed: no rows, or another operand is null already. That it "
        "failed while it planned, EXPLAIN says.",
        lambda outcome, statement: re.fullmatch("not refused 22...", outcome) is not None,
        needs_explain=True,
    ),
]


def allowed(outcome, statement, explains):
    """The kind that a difference is of, if it is one of these. `explains` says whether PostgreSQL
    can plan the statement."""
    for kind in KINDS:
        if kind.fits(outcome, statement) and not (kind.needs_explain and explains()):
            return kind.name
    return None
