"""Whether the database really refuses a bad row: one is written, in a transaction that is rolled back.

The row is an existing one with another key and a reference to nobody (or NULL). An INSERT is tried
first; where another rule refuses it, so that it proves nothing, an existing row is changed instead, for
the moment it takes to be refused. What can be tried neither way is said to be untried.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any, Literal

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from migrator.catalog import Facts
from migrator.dialects import Dialect
from migrator.dialects.violations import Rule, only_where, violated
from migrator.predicate import table_clause
from migrator.report.findings import command
from migrator.settings import Settings
from migrator.verify.madeup import bound, fresh, missing_key, stand_in
from migrator.verify.model import Check

What = Literal["dangling", "null"]


class _Undo(Exception):
    """Ends the probe's transaction with a ROLLBACK."""


@dataclass(frozen=True)
class _Outcome:
    """`rejected` None: it proves nothing, `why` says for what reason."""

    rejected: bool | None
    why: str


def probe_checks(connection: Connection, dialect: Dialect, facts: Facts) -> Iterator[Check]:
    """`rejects-dangling`, and `rejects-null` where NULL is not right.

    Args:
        connection: one that may write, outside a transaction, closed by the caller afterwards.
        dialect: ours for it.
        facts: of the reference.
    """
    dialect.prepare(connection, Settings())
    yield _check(connection, dialect, facts, "dangling")
    if not facts.reference.nullable:
        yield _check(connection, dialect, facts, "null")


def unprobed(facts: Facts, why: str) -> Iterator[Check]:
    """The same checks where no writing connection can be had."""
    yield Check("rejects-dangling", "skipped", why)
    if not facts.reference.nullable:
        yield Check("rejects-null", "skipped", why)


def _check(connection: Connection, dialect: Dialect, facts: Facts, what: What) -> Check:
    slug = f"rejects-{what}"
    row = "a row that names nobody" if what == "dangling" else "a row whose reference is NULL"
    try:
        outcome = _probe(connection, dialect, facts, what)
    except sa.exc.DBAPIError as error:
        outcome = _Outcome(None, f"the attempt failed ({_reason(dialect, error)})")
    if outcome.rejected is None:
        return Check(slug, "skipped", f"{row} could not be tried: {outcome.why}")
    if outcome.rejected:
        where = only_where(dialect) if what == "dangling" else ""
        told = f"{row} was refused ({outcome.why}, rolled back)"
        return Check(slug, "passed", f"{told}: {where}" if where else told)
    return Check(
        slug,
        "failed",
        f"{row} was accepted ({outcome.why}, rolled back)",
        command("plan", facts.reference),
    )


def _probe(connection: Connection, dialect: Dialect, facts: Facts, what: What) -> _Outcome:
    bad: Mapping[str, Any] | None = dict.fromkeys(facts.reference.columns)
    if what == "dangling":
        with _rolled_back(connection, dialect):
            bad = missing_key(connection, facts)
        if bad is None:
            return _Outcome(None, "no key was found that the parent does not have")
    attempts: list[str] = []
    for verb, statement_for in (("INSERT", _insert), ("UPDATE", _update)):
        outcome = _attempt(connection, dialect, facts, what, verb, statement_for, bad or {})
        if outcome.rejected is not None:
            return outcome
        attempts.append(outcome.why)
    return _Outcome(None, "; ".join(attempts))


def _attempt(
    connection: Connection,
    dialect: Dialect,
    facts: Facts,
    what: What,
    verb: str,
    statement_for: Any,
    bad: Mapping[str, Any],
) -> _Outcome:
    outcome = _Outcome(None, f"{verb}: no row to start from")
    with _rolled_back(connection, dialect):
        statement = statement_for(connection, facts, bad)
        if statement is None:
            return outcome
        try:
            _run(connection, dialect, statement)
            if what == "dangling" and facts.foreign_key is not None and facts.foreign_key.initially_deferred:
                # Else the check would come with a COMMIT, which must never be.
                connection.exec_driver_sql("SET CONSTRAINTS ALL IMMEDIATE")
        except sa.exc.DBAPIError as error:
            rule = violated(error)
            if rule in _expected(facts, what):
                outcome = _Outcome(True, f"{verb}, {rule}")
            else:
                outcome = _Outcome(None, f"{verb}: {_reason(dialect, error)}")
        else:
            outcome = _Outcome(False, verb)
    return outcome


@contextmanager
def _rolled_back(connection: Connection, dialect: Dialect) -> Iterator[None]:
    """`dialect.transaction` that never commits, whatever happens in it."""
    with suppress(_Undo), dialect.transaction(connection):
        yield
        raise _Undo


def _expected(facts: Facts, what: What) -> tuple[Rule, ...]:
    if what == "dangling":
        return ("foreign-key",)
    # Between enforced and validated it is the guard that refuses: a trigger or a helper CHECK.
    guards: tuple[Rule, ...] = ("trigger",) if facts.guards else ()
    checks: tuple[Rule, ...] = ("check",) if facts.null_check != "absent" else ()
    return ("not-null", *guards, *checks)


def _reason(dialect: Dialect, error: sa.exc.DBAPIError) -> str:
    """Why an attempt proves nothing, without the driver's text: that may hold values of the row."""
    rule = violated(error)
    if rule:
        return f"refused by another rule of the table ({rule})"
    return {
        "denied": "this user may not write there",
        "lock-timeout": "the row or table was locked by another session",
        "deadlock": "the row or table was locked by another session",
        "lost": "the connection was lost",
    }.get(dialect.verdict(error), type(error.orig).__name__)


def _run(connection: Connection, dialect: Dialect, statement: sa.Insert | sa.Update) -> None:
    compiled = statement.compile(dialect=connection.dialect)
    text = str(compiled)
    if isinstance(statement, sa.Insert):
        text = dialect.insert_identity(text)
    values: Any = compiled.construct_params()
    if compiled.positional:
        values = tuple(values[name] for name in compiled.positiontup or ())
    connection.exec_driver_sql(text, values)


def _insert(connection: Connection, facts: Facts, bad: Mapping[str, Any]) -> sa.Insert | None:
    """An existing row once more, with a new key; in an empty table, a row of stand-ins."""
    child = facts.child
    columns = [column.name for column in child.stored_columns]
    target = table_clause(child.name, *columns)
    new = {**_new_keys(connection, facts), **bad}
    if connection.execute(sa.select(sa.literal_column("1")).select_from(target).limit(1)).first() is None:
        for column in child.stored_columns:
            if column.name not in new and not column.nullable and column.default is None:
                value = stand_in(column)
                if value is None:
                    return None
                new[column.name] = value
        return sa.insert(target).values({target.c[name]: bound(value) for name, value in new.items()})
    source = table_clause(child.name, *columns).alias("c")
    row = sa.select(*(bound(new[name]) if name in new else source.c[name] for name in columns))
    # Named, so that the statement does not depend on the order the columns were created in.
    return sa.insert(target).from_select(
        [target.c[name] for name in columns], row.select_from(source).limit(1)
    )


def _update(connection: Connection, facts: Facts, bad: Mapping[str, Any]) -> sa.Update | None:
    """An existing row with the bad reference."""
    child = facts.child
    if not child.key:
        return None
    target = table_clause(child.name, *child.key, *bad)
    valid = sa.select(*(target.c[name] for name in child.key))
    # A row whose reference is NULL already would not be changed by setting it to NULL.
    valid = valid.where(*(target.c[name].is_not(None) for name in bad)).limit(1)
    row = connection.execute(valid).first()
    if row is None:
        return None
    same = (target.c[name] == bound(value) for name, value in zip(child.key, row, strict=True))
    return (
        sa.update(target).where(*same).values({target.c[name]: bound(value) for name, value in bad.items()})
    )


def _new_keys(connection: Connection, facts: Facts) -> dict[str, Any]:
    """A value nobody has for one column of each unique key that the bad reference leaves as it is."""
    child, made = facts.child, dict[str, Any]()
    for key in (child.primary_key, *child.unique_keys):
        if not key or set(key) & {*made, *facts.reference.columns}:
            continue
        foreign = {column for other in child.foreign_keys for column in other.columns}
        for name in sorted(key, key=lambda name: name in foreign):
            column = child.column(name)
            value = next(fresh(connection, child.name, column), None) if column.generated is None else None
            if value is not None:
                made[name] = value
                break
    return made
