"""SQLite's steps: the table is built anew with its text edited; pure functions of facts.

SQLite can neither add a constraint to a table nor check one later, so the reference is declared by a
rebuild that does not hold old orphans against it, and NOT NULL by a second one after the delta sweep.
Foreign keys bind only connections that set `PRAGMA foreign_keys=ON`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

from migrator.catalog import Facts
from migrator.dialects import sqlite_ddl
from migrator.dialects.pg_null import null_step_columns, null_step_name
from migrator.dialects.sqlite_rebuild import TableText, rebuild
from migrator.dialects.sqlite_statement import Rebuild, Statement
from migrator.dialects.sqlite_tokens import quote_name, quote_text
from migrator.naming import OWN_PREFIX
from migrator.plan import Sql, Step
from migrator.reference import short_name

_LOCK = "RESERVED, then EXCLUSIVE for the commit"
_BLOCKS = "writers, for as long as the table takes to copy"


@dataclass(frozen=True)
class RebuildSql(Sql):
    """The statements of a rebuild, with what each of them checks."""

    rebuild: Rebuild | None = None


def guard_names(facts: Facts) -> tuple[str, str]:
    """The names of the pair of NULL guard triggers."""
    stem = short_name(OWN_PREFIX + "guard", facts.reference.child.name, *facts.reference.columns, limit=50)
    return stem + "_ins", stem + "_upd"


def index_steps(facts: Facts) -> tuple[Step, ...]:
    """The supporting index."""
    reference = facts.reference
    columns = ", ".join(quote_name(column) for column in reference.columns)
    statement = (
        f"CREATE INDEX IF NOT EXISTS {quote_name(reference.index_name)} "
        f"ON {quote_name(reference.child.name)} ({columns})"
    )
    return (
        Step(
            "create-index",
            f"index {reference.child} ({', '.join(reference.columns)})",
            Sql((statement,)),
            lock=_LOCK,
            blocks="writers, for one pass over the table",
            done=lambda now: now.index is not None,
        ),
    )


def drop_index_steps(facts: Facts, ours: frozenset[str]) -> tuple[Step, ...]:
    """The index goes, if it is ours."""
    if "create-index" not in ours:
        return ()
    name = facts.reference.index_name
    return (
        Step(
            "drop-index",
            f"drop index {name}",
            Sql((f"DROP INDEX IF EXISTS {quote_name(name)}",)),
            lock=_LOCK,
            blocks="writers, for a moment",
            done=lambda now: all(index.name != name for index in now.child.indexes),
        ),
    )


def enforce_steps(facts: Facts) -> tuple[Step, ...]:
    """Guard new NULLs, then declare the foreign key."""
    reference = facts.reference
    steps = [
        Step(
            "add-foreign-key",
            f"declare {reference.name}: {reference}",
            _rebuild(facts, _with_key, unchecked=reference.columns),
            lock=_LOCK,
            blocks=_BLOCKS,
            done=lambda now: now.foreign_key is not None,
        )
    ]
    if not reference.nullable:
        steps.append(
            Step(
                "add-null-guard",
                f"reject new NULLs in {', '.join(reference.columns)}; old rows stay updatable",
                Sql(tuple(_guards(facts))),
                lock=_LOCK,
                blocks="writers, for a moment",
                done=lambda now: now.not_null or set(guard_names(now)) <= set(now.child.triggers),
            )
        )
    return tuple(steps)


def release_steps(facts: Facts, ours: frozenset[str]) -> tuple[Step, ...]:
    """The foreign key goes, and in the same rebuild the guard; the guard alone where the key is not ours."""
    guarded = "add-null-guard" in ours
    steps = []
    if "add-foreign-key" in ours:
        steps.append(
            Step(
                "drop-foreign-key",
                f"take {facts.reference.name} away",
                _rebuild(facts, _without_key, leave_out=guard_names(facts) if guarded else ()),
                lock=_LOCK,
                blocks=_BLOCKS,
                done=lambda now: now.foreign_key is None,
            )
        )
    if guarded:
        steps.append(
            Step(
                "drop-null-guard",
                "let NULLs in again",
                Sql(tuple(f"DROP TRIGGER IF EXISTS {quote_name(name)}" for name in guard_names(facts))),
                lock=_LOCK,
                blocks="writers, for a moment",
                done=lambda now: not set(guard_names(now)) & set(now.child.triggers),
            )
        )
    return tuple(steps)


def validate_steps(facts: Facts) -> tuple[Step, ...]:
    """NOT NULL by a rebuild in which every foreign key is checked; the guard goes in the same breath."""
    if facts.reference.nullable:
        return ()
    columns = facts.reference.columns
    # The name says which of a composite's columns were nullable before: only those are given back.
    columns = tuple(name for name in columns if facts.child.column(name).nullable) or columns
    return (
        Step(
            null_step_name("set-not-null", facts, columns),
            f"declare {', '.join(columns)} NOT NULL and check every row",
            _rebuild(facts, _with_not_null, leave_out=guard_names(facts)),
            lock=_LOCK,
            blocks=_BLOCKS,
            done=lambda now: now.not_null,
            violation="sweep",
        ),
    )


def unvalidate_steps(facts: Facts, ours: frozenset[str]) -> tuple[Step, ...]:
    """NULL is allowed for old rows again; the guard is back in the same breath."""
    columns = null_step_columns("set-not-null", facts, ours)
    if not columns:
        return ()
    guards = tuple(_guards(facts)) if "add-null-guard" in ours else ()
    return (
        Step(
            "drop-not-null",
            f"let old rows of {facts.reference.child} be NULL again",
            _rebuild(
                facts, partial(_without_not_null, columns), guards=guards, unchecked=facts.reference.columns
            ),
            lock=_LOCK,
            blocks=_BLOCKS,
            done=lambda now: all(now.child.column(name).nullable for name in columns),
        ),
    )


def _rebuild(
    facts: Facts,
    edit: Callable[[Facts, str], str],
    *,
    leave_out: tuple[str, ...] = (),
    guards: tuple[str, ...] = (),
    unchecked: tuple[str, ...] = (),
) -> Sql:
    text: TableText = facts.child.extra["text"]
    try:
        new_sql = edit(facts, text.sql)
    except sqlite_ddl.DDLError:
        # Planned for a state that the done-check will find reached already: there is nothing to edit.
        return Sql(())
    plan = rebuild(text, new_sql, unchecked=unchecked)
    if leave_out or guards:
        plan = _change_guards(plan, leave_out, guards)
    statements = tuple(sql for statement in plan.statements for sql in statement.as_sql())
    return RebuildSql(statements, mode="autocommit", patience="long", rebuild=plan)


def _change_guards(plan: Rebuild, leave_out: tuple[str, ...], guards: tuple[str, ...]) -> Rebuild:
    """The guard goes, or comes, in the rebuild's own transaction: at no moment is NULL neither
    forbidden by the column nor by the guard."""
    commit = plan.transaction[-1]
    drops = tuple(
        Statement(f"DROP TRIGGER IF EXISTS {quote_name(name)}", "the column says it now")
        for name in leave_out
    )
    adds = tuple(Statement(sql, "the guard says it again") for sql in guards)
    return replace(plan, transaction=(*plan.transaction[:-1], *drops, *adds, commit))


def _with_key(facts: Facts, sql: str) -> str:
    reference = facts.reference
    if facts.foreign_key is not None:
        raise sqlite_ddl.DDLError("there already")
    return sqlite_ddl.add_foreign_key(
        sql,
        name=reference.name,
        columns=reference.columns,
        parent=reference.parent.name,
        parent_columns=reference.parent_columns,
        on_delete=reference.on_delete,
        on_update=reference.on_update,
        deferrable=reference.deferrable,
        initially_deferred=reference.initially_deferred,
    )


def _without_key(facts: Facts, sql: str) -> str:
    found = facts.foreign_key
    if found is None:
        raise sqlite_ddl.DDLError("gone already")
    return sqlite_ddl.drop_foreign_key(sql, columns=found.columns, name=found.name)


def _with_not_null(facts: Facts, sql: str) -> str:
    for column in facts.reference.columns:
        if facts.child.column(column).nullable:
            sql = sqlite_ddl.set_not_null(sql, column)
    return sql


def _without_not_null(columns: tuple[str, ...], facts: Facts, sql: str) -> str:
    for column in columns:
        if not facts.child.column(column).nullable:
            sql = sqlite_ddl.drop_not_null(sql, column)
    return sql


def _guards(facts: Facts) -> list[str]:
    """Both triggers. An update of a row that was NULL before is let through (POSTGRESQL H1: a CHECK
    would break every update of an old row)."""
    insert, update = guard_names(facts)
    table = facts.reference.child.name
    columns = facts.reference.columns
    new_null = " OR ".join(f"NEW.{quote_name(column)} IS NULL" for column in columns)
    turned = " OR ".join(
        f"(NEW.{quote_name(column)} IS NULL AND OLD.{quote_name(column)} IS NOT NULL)" for column in columns
    )
    message = quote_text(f"NOT NULL constraint failed: {table}.{', '.join(columns)}")
    return [
        f"CREATE TRIGGER IF NOT EXISTS {quote_name(name)} BEFORE {event} ON {quote_name(table)} "
        f"WHEN {when} BEGIN SELECT RAISE(ABORT, {message}); END"
        for name, event, when in ((insert, "INSERT", new_null), (update, "UPDATE", turned))
    ]
