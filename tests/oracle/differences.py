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
        "number formats that are refused",
        "to_char with EEEE, RN, V, L: refused with 0A000 instead of printed otherwise.",
        lambda outcome, statement: "0A000" in outcome and "to_char" in statement,
    ),
    Kind(
        "correlated other than by equality",
        "A subquery that is correlated by an inequality, or LATERAL with LIMIT, is refused with "
        "0A000 until the planner can take it apart.",
        lambda outcome, statement: outcome.endswith("0A000")
        and ("LATERAL" in statement or "(SELECT " in statement),
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
        "what no row needs is not computed: no rows, or another operand is null already.",
        lambda outcome, statement: re.fullmatch("not refused 22...", outcome) is not None
        and (" FROM " in statement or "NULL::" in statement),
    ),
]


def allowed(outcome, statement):
    """The kind that a difference is of, if it is one of these."""
    for kind in KINDS:
        if kind.fits(outcome, statement):
            return kind.name
    return None
