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
        says(r" AS (varchar|char)\b"),
    ),
]


def allowed(outcome, statement):
    """The kind that a difference is of, if it is one of these."""
    for kind in KINDS:
        if kind.fits(outcome, statement):
            return kind.name
    return None
