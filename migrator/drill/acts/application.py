"""The last act on a copy: the downgrade after the application has gone on writing.

By the time anyone wants to go back, there are new rows, and rows the upgrade had changed have been changed
again. Going back must lose none of them: what the application wrote stays as it wrote it, what cannot be put
back is reported and kept in quarantine, and everything else is as it was.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from migrator import quarantine
from migrator.catalog import Facts, Table
from migrator.dialects import Dialect
from migrator.drill.acts.base import Act, Outcome, plural
from migrator.drill.acts.old_release import reference_to
from migrator.drill.rows import label_of
from migrator.drill.stage import Stage
from migrator.fingerprint import Difference, Fingerprint
from migrator.mirror import ACTION, CHANGED, DELETED, HELD, STATE
from migrator.predicate import table_clause
from migrator.reference import Reference, TableName
from migrator.verify.another import Another, another_row, loosened, send
from migrator.verify.madeup import bound

_ALL = 10**9


@dataclass
class _Written:
    """What the application wrote.

    Args:
        new: rows that were not there: their table and values that tell them.
        again: rows of the quarantine that it changed or wrote anew: their table, key, and new reference.
    """

    new: list[tuple[TableName, Mapping[str, Any]]] = field(default_factory=list)
    again: list[tuple[TableName, Mapping[str, Any]]] = field(default_factory=list)


def play(stage: Stage) -> Outcome:
    """Write, downgrade, and see what became of it."""
    assert stage.first is not None
    written = _Written()
    for facts in stage.facts():
        if not facts.child.key:  # nothing would tell afterwards which of its rows were written to
            continue
        # Where the reference is part of the key, a row with another reference is another row.
        same_row = not set(facts.reference.columns) & set(facts.child.key)
        with stage.connected() as connection:
            aside = list(_set_aside(connection, facts.reference)) if same_row else []
        with stage.sessions() as sessions, sessions.work() as connection:
            _write(connection, sessions.dialect, facts, aside, written)
    if not written.new:
        return Outcome("skipped", "No row could be made up for these tables.")
    rows = (*written.new, *written.again)
    with stage.connected() as connection:
        # A row written later may be made after an earlier one, and share the values that told that one.
        were = [_how_many(connection, *row) for row in rows]
    for revision in reversed(stage.path):
        stage.go("down", revision)
    now = stage.fingerprint()
    with stage.connected() as connection:
        references = [one.reference for one in stage.found]
        held = sum(
            quarantine.held(connection, one)
            for each in references
            for one in quarantine.mirrors(connection, each)
        )
        lost = [row for row, count in zip(rows, were, strict=True) if _how_many(connection, *row) < count]
    differences = tuple(one for one in stage.compared(stage.first, now) if not _by_us(one, now, written))
    return _outcome(written, held, lost, differences)


def _outcome(
    written: _Written,
    held: int,
    lost: list[tuple[TableName, Mapping[str, Any]]],
    differences: tuple[Difference, ...],
) -> Outcome:
    notes = [f"Kept as the application left it: {table} {_text(key)}." for table, key in written.again]
    notes += [f"New and still there: {table} {_text(key)}." for table, key in written.new]
    if lost:
        gone = ", ".join(f"{table} {_text(key)}" for table, key in lost)
        return Outcome("differs", f"Lost in the downgrade: {gone}.", tuple(notes), differences)
    if held != len(written.again):
        summary = f"{plural(len(written.again), 'conflict')} had to be reported, {held} were."
        return Outcome("differs", summary, tuple(notes), differences)
    if differences:
        return Outcome(
            "differs", "Rows that nobody wrote to are not as they were.", tuple(notes), differences
        )
    return Outcome(
        "passed",
        f"{plural(len(written.new), 'new row')} survived, {plural(held, 'conflict')} kept and reported, "
        "everything else as it was.",
        tuple(notes),
    )


# -- writing -------------------------------------------------------------------------------------
def _write(
    connection: Connection,
    dialect: Dialect,
    facts: Facts,
    aside: list[tuple[str, dict[str, Any]]],
    written: _Written,
) -> None:
    """A new parent with a child, and new versions of what the upgrade had set aside."""
    reference = facts.reference
    with dialect.transaction(connection):
        parent = another_row(connection, facts.parent, {})
        if parent is None or not parent.values:
            return
        send(connection, dialect, parent.statement)
        ours = reference_to(connection, facts, parent)
        child = another_row(connection, facts.child, ours) if ours else None
        if child is not None:
            send(connection, dialect, child.statement)
    written.new.append((reference.parent, parent.values))
    if child is None or ours is None:
        return
    written.new.append((reference.child, child.values))
    for action, key in aside:
        with dialect.transaction(connection):
            if action == CHANGED:
                _point_elsewhere(connection, dialect, facts.child, key, ours)
            else:
                _write_again(connection, dialect, facts.child, key, ours)
        written.again.append((reference.child, {**key, **ours}))


def _set_aside(connection: Connection, reference: Reference) -> Iterator[tuple[str, dict[str, Any]]]:
    """One row of the child that the upgrade changed, and one that it deleted, where there are any."""
    for mirror in quarantine.mirrors(connection, reference):
        if mirror.source.name != reference.child.name:
            continue
        clause = mirror.clause
        for action in (CHANGED, DELETED):
            row = connection.execute(
                sa.select(*(clause.c[column] for column in mirror.key))
                .where(
                    clause.c[ACTION] == sa.literal_column(f"'{action}'"),
                    clause.c[STATE] == sa.literal_column(f"'{HELD}'"),
                )
                .limit(1)
            ).first()
            if row is not None:
                yield action, dict(zip(mirror.key, row, strict=True))


def _point_elsewhere(
    connection: Connection, dialect: Dialect, child: Table, key: Mapping[str, Any], ours: Mapping[str, Any]
) -> None:
    target = table_clause(child.name, *key, *{**loosened(child, ours), **ours})
    same = (target.c[name] == bound(value) for name, value in key.items())
    new = {target.c[name]: bound(value) for name, value in {**loosened(child, ours), **ours}.items()}
    send(connection, dialect, sa.update(target).where(*same).values(new))


def _write_again(
    connection: Connection, dialect: Dialect, child: Table, key: Mapping[str, Any], ours: Mapping[str, Any]
) -> None:
    row: Another | None = another_row(connection, child, {**key, **ours})
    if row is not None:
        send(connection, dialect, row.statement)


# -- looking -------------------------------------------------------------------------------------
def _how_many(connection: Connection, table: TableName, values: Mapping[str, Any]) -> int:
    clause = table_clause(table, *values)
    same = (clause.c[name] == bound(value) for name, value in values.items())
    return connection.execute(sa.select(sa.func.count()).select_from(clause).where(*same)).scalar_one()


def _by_us(one: Difference, now: Fingerprint, written: _Written) -> bool:
    """Whether a difference is about rows that the application wrote, and no others."""
    if one.kind != "data" or not one.keys:
        return False
    ours = [values for table, values in (*written.new, *written.again) if label_of(now, table) == one.object]
    return all(any(_same_row(key, values) for values in ours) for key in one.keys)


def _same_row(key: Mapping[str, Any], values: Mapping[str, Any]) -> bool:
    return all(str(values.get(name, key[name])) == str(key[name]) for name in key) and bool(
        set(key) & set(values)
    )


def _text(values: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} = {value}" for name, value in values.items())


ACT = Act(
    "application",
    "Downgrade after writes",
    play,
    needs=("again",),
    wanted=lambda stage: not stage.wishes.in_place,
)
