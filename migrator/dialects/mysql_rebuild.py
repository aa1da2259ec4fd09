"""ALTER, online: how a step of one is made, and the one that rebuilds the table. Pure.

NULL to NOT NULL, and back, is a rebuild on every version, never INSTANT. INPLACE does it with readers
and writers at work. Where the table has what INPLACE cannot rebuild online, MariaDB from 11.2 on can
copy it with LOCK=NONE; that takes twice as long, and is refused beside ON ... CASCADE or SET NULL.

MariaDB could also add a foreign key in that copy, and so check every row itself. It is not done: for as
long as the copy takes, no row of the *parent* can be written (measured on 11.8: 29.9 s of 30.0 s, child
writers 0.8 s), and MDEV-34756 makes the check worthless on some builds.

Source: our measurements on MySQL 8.0 to 9.7 and MariaDB 10.11 to 11.8;
https://dev.mysql.com/doc/refman/8.4/en/innodb-online-ddl-operations.html.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Literal

from migrator.catalog import Facts
from migrator.dialects.mysql_definition import quote, with_nullness
from migrator.dialects.mysql_words import table_sql
from migrator.dialects.pg_null import null_step_name
from migrator.plan import Sql, Step

INPLACE = "ALGORITHM=INPLACE, LOCK=NONE"
ONLINE_COPY = "ALGORITHM=COPY, LOCK=NONE"
MOMENT = "readers and writers of {}, for the queue and a few milliseconds"
ENDS = "nobody while it works; readers and writers of {} for the queue and a moment at its two ends"
SET_NOT_NULL = "set-not-null"

_REBUILD_LOCK = "SHARED_UPGRADABLE on the child; EXCLUSIVE for a moment at both ends"


def ddl(
    name: str,
    title: str,
    *statements: str,
    lock: str,
    blocks: str,
    done: Callable[[Facts], bool],
    patience: Literal["short", "long"] = "short",
    settle: tuple[str, ...] = (),
    courtesy: tuple[str, ...] = (),
    otherwise: tuple[str, ...] = (),
    violation: Literal["sweep", "fail"] = "fail",
    optional: frozenset[str] = frozenset(),
) -> Step:
    """A step of statements that each commit by themselves."""
    work = Sql(
        statements,
        mode="autocommit",
        patience=patience,
        settle=settle,
        courtesy=courtesy,
        otherwise=otherwise,
    )
    return Step(name, title, work, lock, blocks, True, done, violation, optional)


def alter(facts: Facts, *actions: str, how: str = INPLACE) -> str:
    """An online ALTER of the child."""
    return f"ALTER TABLE {table_sql(facts.child.name)} {', '.join((*actions, how))}"


def rebuild_obstacles(facts: Facts) -> tuple[str, ...]:
    """What the child has that INPLACE does not rebuild with writers at work."""
    child = facts.child
    found = [
        f"a {index.kind.upper()} index ({index.name})"
        for index in child.indexes
        if index.kind in ("fulltext", "spatial")
    ]
    if facts.server.family == "mariadb":
        indexed = {column for index in child.indexes for column in index.columns}
        for column in child.columns:
            if column.generated == "stored":
                found.append(f"a stored generated column ({column.name})")
            elif column.generated and column.name in indexed:
                found.append(f"an indexed generated column ({column.name})")
    return tuple(found)


def rebuild_clause(facts: Facts) -> str | None:
    """ALGORITHM and LOCK of an online rebuild of the child; None where this server has none."""
    if not rebuild_obstacles(facts):
        return INPLACE
    reference = facts.reference
    actions: set[str | None] = {reference.on_delete, reference.on_update}
    for key in facts.child.foreign_keys:
        actions |= {key.on_delete, key.on_update}
    quiet = not actions & {"CASCADE", "SET NULL"}
    copies = facts.server.family == "mariadb" and facts.server.version >= (11, 2)
    return ONLINE_COPY if copies and quiet else None


def set_not_null(facts: Facts, columns: tuple[str, ...]) -> Step:
    """The rebuild. A NULL written meanwhile fails it at its very end (1138, MariaDB 1265): sweep and
    try again; so do an overflow of the online log (1799) and a transaction left open (1205)."""
    return ddl(
        null_step_name(SET_NOT_NULL, facts, columns),
        f"rebuild {facts.reference.child} online with {', '.join(columns)} NOT NULL",
        _modify(facts, columns, "NOT NULL"),
        lock=_REBUILD_LOCK,
        blocks=ENDS.format("the child"),
        done=partial(_all, columns, False),
        patience="long",
        violation="sweep",
    )


def drop_not_null(facts: Facts, columns: tuple[str, ...]) -> Step:
    """The same rebuild, the other way."""
    return ddl(
        "drop-not-null",
        f"rebuild {facts.reference.child} online with {', '.join(columns)} NULL again",
        _modify(facts, columns, "NULL"),
        lock=_REBUILD_LOCK,
        blocks=ENDS.format("the child"),
        done=partial(_all, columns, True),
        patience="long",
    )


def modifies(statement: str, column: str) -> bool:
    """Whether a statement of ours defines this column anew."""
    return f"{_modifies(column)} " in statement


def _modifies(column: str) -> str:
    return f"MODIFY {quote(column)}"


def _modify(facts: Facts, columns: tuple[str, ...], nullness: str) -> str:
    """Each clause restates its whole column: what MODIFY leaves out is lost."""
    clauses = (
        f"{_modifies(column)} {with_nullness(facts.child.column(column).definition, nullness)}"
        for column in columns
    )
    # Where there is no way online the preflight has refused; the server would refuse INPLACE too.
    return alter(facts, *clauses, how=rebuild_clause(facts) or INPLACE)


def _all(columns: tuple[str, ...], nullable: bool, facts: Facts) -> bool:
    return all(facts.child.column(column).nullable is nullable for column in columns)
