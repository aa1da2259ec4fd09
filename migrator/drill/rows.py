"""What the journal and the quarantine say about a drill's rows, read while the upgrade stands."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from migrator import journal, quarantine
from migrator.codec import load_key
from migrator.drill.model import SetAside
from migrator.fingerprint import Fingerprint
from migrator.mirror import ACTION, CHANGED, DELETED, KIND
from migrator.naming import ALEMBIC_VERSION_TABLE, is_own_table
from migrator.reference import Reference, TableName


@dataclass(frozen=True)
class Sentinel:
    """A parent row that the upgrade made: its reference and its key."""

    reference: Reference
    key: tuple[Any, ...]


def set_aside(
    connection: Connection, references: Sequence[Reference], start: Fingerprint | None
) -> list[SetAside]:
    """The rows in quarantine, by reference.

    Args:
        start: says how many rows the child had.
    """
    found = []
    for reference in references:
        kinds: Counter[str] = Counter()
        actions: Counter[str] = Counter()
        for mirror in quarantine.mirrors(connection, reference):
            clause = mirror.clause
            query = sa.select(clause.c[KIND], clause.c[ACTION], sa.func.count())
            for kind, action, rows in connection.execute(query.group_by(clause.c[KIND], clause.c[ACTION])):
                kinds[str(kind)] += int(rows)
                actions[str(action)] += int(rows)
        rows = rows_of(start, reference.child) if start else 0
        found.append(SetAside(str(reference), rows, dict(kinds), actions[CHANGED], actions[DELETED]))
    return found


def brought_back(
    connection: Connection, references: Sequence[Reference], before: Sequence[SetAside]
) -> list[SetAside]:
    """The same, after the downgrade: what is still held was not brought back."""
    result = []
    for reference, one in zip(references, before, strict=True):
        left = sum(
            quarantine.held(connection, mirror) for mirror in quarantine.mirrors(connection, reference)
        )
        result.append(replace(one, brought_back=one.total - left, conflicts=left))
    return result


def sentinels(connection: Connection, references: Sequence[Reference]) -> list[Sentinel]:
    """The parent rows made by runs that are in force."""
    if not journal.exists(connection):
        return []
    return [
        Sentinel(reference, load_key(run.facts["sentinel"]))
        for reference in references
        for run in journal.runs(connection, reference)
        if run.state != "undone" and run.facts.get("sentinel") is not None
    ]


def rows_of(found: Fingerprint, table: TableName) -> int:
    """How many rows a table had."""
    label = label_of(found, table)
    return found.tables[label].rows if label else 0


def label_of(found: Fingerprint, table: TableName) -> str | None:
    """What a fingerprint calls a table; None where it does not have it."""
    names = [f"{table.schema}.{table.name}"] if table.schema else [table.name, f"public.{table.name}"]
    names += [label for label in found.tables if label.endswith(f".{table.name}")]
    return next((name for name in names if name in found.tables), None)


def own_tables(connection: Connection) -> frozenset[str]:
    """Our tables that are there. Alembic's own is left out: it stays when it is empty."""
    names = sa.inspect(connection).get_table_names()
    return frozenset(name for name in names if is_own_table(name) and name != ALEMBIC_VERSION_TABLE)
