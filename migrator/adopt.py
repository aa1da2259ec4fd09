"""The first revision: the tables as audited, or adopted where they exist. What was adopted is never
dropped, and what was created is dropped only while it is empty."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import sqlalchemy as sa
from sqlalchemy.engine import Connection, Engine

from migrator import journal, lock
from migrator.context import Progress, Silent
from migrator.nearest import unknown_column
from migrator.operate import operate
from migrator.reference import Reference, TableName
from migrator.sessions import Sessions
from migrator.turning import in_force, standing_on


def adopt_tables(
    bind: Engine | Connection,
    metadata: sa.MetaData,
    reference: Reference,
    *,
    progress: Progress | None = None,
) -> None:
    """Create the tables of `metadata` that are missing; check that those there have the reference's columns.

    Args:
        bind: the database.
        metadata: the tables a new database gets.
        reference: whose columns an existing table must have; nothing else is asked of it.
        progress: whom to tell.

    Raises:
        UnknownColumnError: an existing table lacks a column of the reference.
    """
    progress = progress or Silent()
    sessions = Sessions.of(bind)
    with lock.hold(sessions), sessions.fresh() as connection:
        there = {name for name in metadata.tables if sa.inspect(connection).has_table(name)}
        _check(connection, sessions, reference, there)
        journal.ensure(connection)
        run = journal.start(connection, reference, "adopt", {})
        facts = dict(run.facts)
        if "adopted" not in facts:  # written before the first CREATE TABLE, so that a crash keeps it true
            facts = {"adopted": sorted(there), "created": sorted(set(metadata.tables) - there)}
            journal.record(connection, run, facts=facts)
        metadata.create_all(connection, checkfirst=True)
        journal.finish(connection, run, "done")
        for name in facts["adopted"]:
            progress.note(f"table {name} was there and is adopted: it will never be dropped")


def abandon_tables(
    bind: Engine | Connection,
    metadata: sa.MetaData,
    reference: Reference,
    *,
    drop: bool = False,
    progress: Progress | None = None,
) -> None:
    """Drop the tables that `adopt_tables` created, children first; those that hold rows stay.

    Args:
        drop: drop them with their rows.
    """
    progress = progress or Silent()
    sessions = Sessions.of(bind)
    with lock.hold(sessions), sessions.fresh() as connection:
        if not journal.exists(connection):
            journal.drop_if_idle(connection)  # what a crash in the middle of dropping it has left
            return
        runs = journal.runs(connection, reference)
        if in_force(runs, "sweep") or standing_on(runs, "sweep"):  # an upgrade died on its way
            operate(bind, "restore", reference, progress=progress, heads=())
        created = _created(runs)
        stays: set[str] = set()
        # The tables do not know of the reference yet, so neither does their order: the child goes first.
        for table in sorted(metadata.sorted_tables, key=lambda table: table.name == reference.parent.name):
            if table.name not in created or not sa.inspect(connection).has_table(table.name):
                continue
            if not drop and connection.execute(sa.select(sa.literal(1)).select_from(table).limit(1)).first():
                stays.add(table.name)
                progress.note(
                    f"table {table.name} stays: it holds rows. Drop it by hand, or say -x drop_tables=yes"
                )
            elif table.name == reference.parent.name and reference.child.name in stays:
                progress.note(f"table {table.name} stays: {reference.child} is nothing without it")
            else:
                table.drop(connection)
        journal.undone(connection, reference, "adopt")
        journal.drop_if_idle(connection)


def forget_unapplied(connection: Connection) -> None:
    """Where Alembic stands before its first revision: an adoption that died before Alembic heard of it, and
    that created nothing, need not be remembered."""
    runs = [run for run in journal.runs_if_any(connection) if run.state != "undone"]
    if all(run.operation == "adopt" and not run.facts.get("created") for run in runs):
        for run in runs:
            journal.undone(connection, run.reference, "adopt")
        journal.drop_if_idle(connection)


def _check(connection: Connection, sessions: Sessions, reference: Reference, there: set[str]) -> None:
    wanted: Mapping[TableName, Sequence[str]] = {
        reference.parent: reference.parent_columns,
        reference.child: reference.columns,
    }
    for name, columns in wanted.items():
        if name.name not in there:
            continue
        table = sessions.dialect.table(connection, name)
        for column in columns:
            if not table.has(column):
                raise unknown_column(name, column, (found.name for found in table.columns))


def _created(runs: Sequence[journal.Run]) -> set[str]:
    found: set[str] = set()
    for run in runs:
        if run.operation == "adopt" and run.state != "undone":
            found |= set(run.facts.get("created", ()))
    return found
