"""PostgreSQL's words: quoting, the names of our helpers, and the locks that conflict. Pure.

Sources: "Lexical Structure" and "Explicit Locking" (table 13.2) in PostgreSQL's documentation;
`makeObjectName` in `src/backend/commands/indexcmds.c` for the names PostgreSQL makes itself.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from typing import Final, Literal

from migrator.catalog import Facts
from migrator.plan import Sql, Step
from migrator.reference import MAX_IDENTIFIER_BYTES, Reference, TableName, short_name

Mode = Literal[
    "ACCESS SHARE",
    "ROW SHARE",
    "ROW EXCLUSIVE",
    "SHARE UPDATE EXCLUSIVE",
    "SHARE",
    "SHARE ROW EXCLUSIVE",
    "EXCLUSIVE",
    "ACCESS EXCLUSIVE",
]

GUARD_PREFIX: Final = "migrator_guard"

# With `drop-invalid-index-` before it and a digest behind it: the 64 characters the journal has for a step.
_READABLE: Final = 38

_CONFLICTS: Final[dict[Mode, tuple[Mode, ...]]] = {
    "ACCESS SHARE": ("ACCESS EXCLUSIVE",),
    "ROW SHARE": ("EXCLUSIVE", "ACCESS EXCLUSIVE"),
    "ROW EXCLUSIVE": ("SHARE", "SHARE ROW EXCLUSIVE", "EXCLUSIVE", "ACCESS EXCLUSIVE"),
    "SHARE UPDATE EXCLUSIVE": (
        "SHARE UPDATE EXCLUSIVE",
        "SHARE",
        "SHARE ROW EXCLUSIVE",
        "EXCLUSIVE",
        "ACCESS EXCLUSIVE",
    ),
    "SHARE": (
        "ROW EXCLUSIVE",
        "SHARE UPDATE EXCLUSIVE",
        "SHARE ROW EXCLUSIVE",
        "EXCLUSIVE",
        "ACCESS EXCLUSIVE",
    ),
    "SHARE ROW EXCLUSIVE": (
        "ROW EXCLUSIVE",
        "SHARE UPDATE EXCLUSIVE",
        "SHARE",
        "SHARE ROW EXCLUSIVE",
        "EXCLUSIVE",
        "ACCESS EXCLUSIVE",
    ),
    "EXCLUSIVE": (
        "ROW SHARE",
        "ROW EXCLUSIVE",
        "SHARE UPDATE EXCLUSIVE",
        "SHARE",
        "SHARE ROW EXCLUSIVE",
        "EXCLUSIVE",
        "ACCESS EXCLUSIVE",
    ),
    "ACCESS EXCLUSIVE": (
        "ACCESS SHARE",
        "ROW SHARE",
        "ROW EXCLUSIVE",
        "SHARE UPDATE EXCLUSIVE",
        "SHARE",
        "SHARE ROW EXCLUSIVE",
        "EXCLUSIVE",
        "ACCESS EXCLUSIVE",
    ),
}


@dataclass(frozen=True)
class LockingSql(Sql):
    """SQL that also says, in a form a program can read, what it locks and builds.

    Args:
        locks: each table with the strongest lock the statements take on it.
        index: the index that a CREATE INDEX CONCURRENTLY among the statements builds; an INVALID
            one of that name, left by a failed attempt, is dropped before the next.
        leftover: the INVALID index that the statements drop; nothing is sent when it is valid by now.
        brief: from this statement on, waits are usually cut short: others wait for us by then.
    """

    locks: tuple[tuple[TableName, Mode], ...] = ()
    index: TableName | None = None
    leftover: TableName | None = None
    brief: str | None = None


def conflicting(mode: Mode) -> tuple[str, ...]:
    """The modes that `mode` has to wait for, as `pg_locks.mode` spells them."""
    return tuple(lock_name(other) for other in _CONFLICTS[mode])


def lock_name(mode: Mode) -> str:
    """`SHARE ROW EXCLUSIVE` as `pg_locks` has it: `ShareRowExclusiveLock`."""
    return mode.title().replace(" ", "") + "Lock"


def lock_words(locks: Iterable[tuple[TableName, Mode]]) -> str:
    """The locks in words: `SHARE ROW EXCLUSIVE on user, post`."""
    tables: dict[Mode, list[str]] = {}
    for table, mode in locks:
        tables.setdefault(mode, []).append(table.name)
    return "; ".join(f"{mode} on {', '.join(names)}" for mode, names in tables.items())


def quote(*names: str | None) -> str:
    """`schema.name`, always quoted. A percent sign stays single: our statements run without
    parameters, where the driver leaves it alone."""
    return ".".join('"' + name.replace('"', '""') + '"' for name in names if name)


def table_sql(table: TableName) -> str:
    """The table's name, quoted."""
    return quote(table.schema, table.name)


def columns_sql(columns: Iterable[str]) -> str:
    """Column names, quoted, with commas."""
    return ", ".join(quote(column) for column in columns)


def slug(table: TableName) -> str:
    """A table's name as part of a step's name: readable, different for different tables, and short enough for
    the journal."""
    digest = hashlib.sha256(table_sql(table).encode()).hexdigest()[:6]
    readable = re.sub(r"[^a-z0-9]+", "-", table.name.lower()).strip("-")[:_READABLE].rstrip("-")
    return f"{readable}-{digest}"


def literal(text: str) -> str:
    """`text` as a string literal on one line, right whatever `standard_conforming_strings` says."""
    doubled = text.replace("'", "''")
    escaped = doubled.replace("\\", "\\\\").replace("\n", "\\n").replace("\r", "\\r")
    return f"'{doubled}'" if escaped == doubled else f"E'{escaped}'"


def body(text: str) -> str:
    """`text` between dollar quotes whose tag it does not hold."""
    tag = "$migrator$"
    while tag in text:
        tag = tag[:-1] + "_$"
    return f"{tag}{text}{tag}"


@dataclass(frozen=True)
class Guard:
    """The names of the NULL guard of one reference: a function and its two triggers."""

    function: TableName
    insert: str
    update: str

    @property
    def triggers(self) -> tuple[str, str]:
        """Both triggers' names."""
        return (self.insert, self.update)


def guard_of(reference: Reference, child: TableName) -> Guard:
    """The guard's names; the function lives in the child's schema."""
    whole = (GUARD_PREFIX, child.name, *reference.columns)
    return Guard(
        TableName(short_name(*whole), child.schema),
        short_name(*whole, "insert"),
        short_name(*whole, "update"),
    )


def null_check_name(reference: Reference) -> str:
    """The helper CHECK's name. Not `.._not_null`: PostgreSQL 18 wants that name for itself."""
    return short_name(reference.child.name, *reference.columns, "nn_chk")


def not_null_name(table: str, column: str, taken: Collection[str] = ()) -> str:
    """The name PostgreSQL 18 itself gives a not-null constraint: `<table>_<column>_not_null`, the
    longer part cut first, and a number behind it when the name is taken."""
    number = 0
    while True:
        label = "_not_null" + (str(number) if number else "")
        one, two = table.encode(), column.encode()
        while len(one) + len(two) + 1 + len(label) > MAX_IDENTIFIER_BYTES:
            if len(one) > len(two):
                one = one[:-1]
            else:
                two = two[:-1]
        name = f"{one.decode(errors='ignore')}_{two.decode(errors='ignore')}{label}"
        if name not in taken:
            return name
        number += 1


def analyze(table: TableName, columns: Iterable[str]) -> str:
    """Have the server look at a table that a sweep has been through, before it reads the whole of it.

    The sweep touched a row on nearly every page, so that an index-only scan has to visit the table for
    nearly every row; but the planner goes by `pg_class.relallvisible`, which only VACUUM and ANALYZE bring up
    to date (catalogs, `pg_class`), and takes that path. Measured on 2,000,000 rows: VALIDATE 5.4 s without.
    """
    return f"ANALYZE {table_sql(table)} ({', '.join(quote(column) for column in columns)})"


def step(
    name: str,
    title: str,
    statements: Iterable[str],
    *,
    locks: Iterable[tuple[TableName, Mode]],
    blocks: str,
    done: Callable[[Facts], bool],
    mode: Literal["transaction", "autocommit"] = "transaction",
    patience: Literal["short", "long"] = "short",
    violation: Literal["sweep", "fail"] = "fail",
    index: TableName | None = None,
    leftover: TableName | None = None,
    brief: str | None = None,
) -> Step:
    """A step whose words about locks are made from the locks themselves, each table once."""
    locked = tuple(dict(locks).items())
    work = LockingSql(
        tuple(statements), mode, patience, locks=locked, index=index, leftover=leftover, brief=brief
    )
    return Step(name, title, work, lock_words(locked), blocks, done=done, violation=violation)
