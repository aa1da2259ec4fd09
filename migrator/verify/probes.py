"""Whether the database really refuses a bad row: one is written, in a transaction that is rolled back.

The row is an existing one with another key and a reference to nobody (or NULL). An INSERT is tried
first; where another rule refuses it, so that it proves nothing, an existing row is changed instead, for
the moment it takes to be refused. What can be tried neither way is said to be untried.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
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
from migrator.verify.another import another_row, rolled_back, send
from migrator.verify.madeup import bound, missing_key
from migrator.verify.model import Check

What = Literal["dangling", "null"]


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
        with rolled_back(connection, dialect):
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
    with rolled_back(connection, dialect):
        statement = statement_for(connection, facts, bad)
        if statement is None:
            return outcome
        try:
            send(connection, dialect, statement)
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


def _insert(connection: Connection, facts: Facts, bad: Mapping[str, Any]) -> sa.Insert | None:
    """An existing row once more, with a new key and the bad reference."""
    row = another_row(connection, facts.child, bad)
    return row.statement if row else None


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
