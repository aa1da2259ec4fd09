"""What a dialect tells: what forbids a run, who holds what we want, what is there and not proved, what an
exception means. Pure.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from migrator.catalog import Table
from migrator.reference import TableName

#: What an exception of the driver means to the runner.
Verdict = Literal[
    "lock-timeout", "deadlock", "violation", "lost", "duplicate", "denied", "retry", "no-room", "other"
]


@dataclass(frozen=True)
class Problem:
    """A fact that forbids a run (`refuse`) or that the operator should know (`warn`)."""

    severity: Literal["refuse", "warn"]
    slug: str
    message: str
    fix: str


def refuses(problem: Problem) -> bool:
    """Whether it forbids a run."""
    return problem.severity == "refuse"


def no_key(child: Table, fix: str) -> Problem:
    """What it means that a table has no key: nothing worse than whole rows compared, where a row has an
    address."""
    lacks = f"{child.name} has no primary key and no NULL-free unique key"
    if child.address is None:
        return Problem("refuse", "no-key", f"{lacks}: its rows cannot be named.", fix)
    return Problem(
        "warn",
        "no-key",
        f"{lacks}: its rows are named by their {child.address.column}, and a changed row is found again only "
        "while all its columns are as we left them.",
        fix,
    )


def no_parents(who: str, lacking: Sequence[str], parent: Table, quoted: str, grantee: str) -> Problem:
    """What it means that an account may not make parents and a policy asks for that."""
    words = ", ".join(lacking)
    return Problem(
        "refuse",
        "no-privilege",
        f"{who} lacks {words} on {parent.name}, where parents are to be made, and removed on the way back.",
        f"GRANT {words} ON {quoted} TO {grantee};",
    )


@dataclass(frozen=True)
class Blocker:
    """A session that holds what we want. Never its query's text: that may hold values."""

    pid: str
    application: str
    age_seconds: float
    what: str = ""
    kind: Literal["session", "autovacuum", "wraparound", "prepared"] = "session"
    end: str = ""  # the statement that ends it

    def __str__(self) -> str:
        return f"session {self.pid} ({self.application or 'unnamed'}, {self.age_seconds:.0f} s, {self.what})"


@dataclass(frozen=True)
class Standing:
    """A constraint that keeps quarantined rows from coming back.

    Args:
        what, name: it, in words and by name.
        drop, again: the statements that drop it and that put it back without a look at old rows.
    """

    what: str
    name: str
    drop: str
    again: str


@dataclass(frozen=True)
class Unproved:
    """A constraint that is there and not validated, or an index that is not valid; `mend` where neither a
    validation nor a rebuild would do: the statements that do, none of them in a transaction; `column` of a
    not-null constraint."""

    table: TableName
    kind: Literal["constraint", "index"]
    name: str
    what: str
    mend: tuple[str, ...] = ()
    column: str = ""
