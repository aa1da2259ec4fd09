"""A rebuild as a value: its statements, what each proves, and the three ways to run them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from migrator.dialects.sqlite_tokens import quote_name, tokenize
from migrator.errors import PreflightRefused

Execute = Callable[[str], Sequence[Any]]


class RebuildRefused(PreflightRefused):
    """A check inside the rebuild found something; the transaction was rolled back."""


@dataclass(frozen=True)
class Statement:
    """One statement.

    Args:
        sql: without a semicolon.
        purpose: what it is for, in one line.
        refusal: set for a check: the statement is a SELECT, and any row it returns means this.
    """

    sql: str
    purpose: str
    refusal: str | None = None

    def as_sql(self) -> tuple[str, ...]:
        """The same as plain SQL that fails by itself, for whoever does not look at rows.

        A row that a check returns breaks a CHECK constraint whose name is the refusal; SQLite puts
        that name into its message. OR ROLLBACK ends the transaction in whichever client this runs.
        """
        if self.refusal is None:
            return (self.sql,)
        return (
            "DROP TABLE IF EXISTS temp.migrator_check",
            "CREATE TEMP TABLE migrator_check "
            f"(found INTEGER CONSTRAINT {quote_name(self.refusal)} CHECK (found = 0))",
            f"INSERT OR ROLLBACK INTO temp.migrator_check SELECT count(*) FROM ({self.sql})",
            "DROP TABLE temp.migrator_check",
        )


@dataclass(frozen=True)
class Rebuild:
    """All statements of one rebuild, in order, for one connection in autocommit mode.

    Args:
        table: whose definition changes.
        prepare: settings, made and read back before the transaction.
        transaction: from BEGIN IMMEDIATE to COMMIT.
        restore: settings; to be run whatever happened, *after* ROLLBACK where there was an error
            (inside a transaction `PRAGMA foreign_keys` does nothing).
    """

    table: str
    prepare: tuple[Statement, ...]
    transaction: tuple[Statement, ...]
    restore: tuple[Statement, ...]

    @property
    def statements(self) -> tuple[Statement, ...]:
        """All of them."""
        return (*self.prepare, *self.transaction, *self.restore)

    def script(self) -> str:
        """The rebuild for the `sqlite3` shell, which without `.bail on` would go on after an error."""
        lines = [".bail on"]
        for statement in self.statements:
            lines.append(f"-- {' '.join(statement.purpose.split())}")
            lines += map(terminated, statement.as_sql())
        return "\n".join(lines) + "\n"


def run_rebuild(execute: Execute, plan: Rebuild) -> None:
    """Run a rebuild on one connection.

    Args:
        execute: runs one statement and returns all its rows (an open cursor would block DROP TABLE).
            The connection is in autocommit mode, so that BEGIN and COMMIT mean what they say.
        plan: the statements.

    Raises:
        RebuildRefused: a check found something; the message says what.
        Exception: whatever the driver raises. In both cases nothing has changed.
    """
    begun = False
    try:
        for statement in (*plan.prepare, *plan.transaction):
            _run(execute, statement)
            begun = begun or statement is plan.transaction[0]
    except BaseException:
        if begun:
            # Some errors (disk full, OR ROLLBACK) have ended the transaction already.
            with suppress(Exception):
                execute("ROLLBACK")
        for statement in plan.restore:
            # Unchecked: what went wrong first is what the caller must hear of.
            execute(statement.sql)
        raise
    for statement in plan.restore:
        _run(execute, statement)


def _run(execute: Execute, statement: Statement) -> None:
    rows = execute(statement.sql)
    if statement.refusal is not None and rows:
        found = "; ".join(", ".join(str(value) for value in row)[:100] for row in rows[:3])
        raise RebuildRefused(f"{statement.refusal[0].upper()}{statement.refusal[1:]} ({found}).")


def terminated(sql: str) -> str:
    """A statement as a shell reads it."""
    # Behind a line comment a semicolon would be part of it.
    tokens = tokenize(sql)
    return sql + ("\n;" if tokens and tokens[-1].is_line_comment else ";")
