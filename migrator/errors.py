"""Every error a user can meet, drawn as a tree.

    MigratorError                     1   something failed; what was done is journaled
    |-- UsageError                    2   the words given make no sense
    |   |-- ReferenceSyntaxError      2   a reference that cannot be parsed
    |   |-- UnknownTableError         2   no such table
    |   `-- UnknownColumnError        2   no such column
    |-- FindingsPresent               3   orphans, findings or conflicts are there
    |-- Refused                       4   a safety check said no; nothing was changed
    |   |-- PreflightRefused          4   a fact of the database forbids the run
    |   |-- TooManyOrphans            4   more orphans than `max_orphan_share` or `max_orphans` allows
    |   |-- RunLocked                 4   another run holds the lock
    |   `-- PolicyChanged             4   a run is resumed with another policy
    |-- Interrupted                   5   stopped half-way; the same command goes on
    |   |-- LockNotObtained           5   a lock could not be had within its bound
    |   |-- Terminated              5   stopped by SIGTERM, after the batch
    |   `-- Stopped                 130   stopped by Ctrl-C, after the batch
    |-- ConnectionFailed              1   the server cannot be reached or says no
    `-- StepFailed                    1   a statement failed, or did not do what it said

All derive from Alembic's `CommandError`, so that `alembic upgrade` prints the one line and no
traceback. The number is the exit code of `migrator`.
"""

from __future__ import annotations

from alembic.util.exc import CommandError


class MigratorError(CommandError):
    """Base of all: a message of one line, an exit code and, where there is one, a hint.

    Args:
        message: what is wrong, naming table, column and constraint.
        hint: how to mend it; usually the exact next command or statement.
    """

    exit_code = 1

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        self.message = " ".join(message.split())
        self.hint = " ".join(hint.split()) if hint else None
        super().__init__(str(self))

    def __str__(self) -> str:
        return f"{self.message} Hint: {self.hint}" if self.hint else self.message


class UsageError(MigratorError):
    """The words given make no sense: an option, a setting, a value."""

    exit_code = 2


class ReferenceSyntaxError(UsageError):
    """A reference that cannot be parsed."""


class UnknownTableError(UsageError):
    """A table that is not in the database."""


class UnknownColumnError(UsageError):
    """A column that is not in its table."""


class FindingsPresent(MigratorError):
    """Orphans, findings or restore conflicts are there, and the caller asked to be told."""

    exit_code = 3


class Refused(MigratorError):
    """A safety check said no before anything was changed."""

    exit_code = 4


class PreflightRefused(Refused):
    """A fact of the database forbids the run: a type, a missing key, a missing privilege."""


class TooManyOrphans(Refused):
    """More orphans than `max_orphan_share` of the rows or `max_orphans`: a wrong reference, most likely."""


class RunLocked(Refused):
    """Another run holds the lock of this database."""


class PolicyChanged(Refused):
    """A run is there already, begun with another policy."""


class Interrupted(MigratorError):
    """Stopped half-way at a safe point; the same command goes on from there."""

    exit_code = 5


class LockNotObtained(Interrupted):
    """A lock could not be had within its bound; the blockers are named."""


class Terminated(Interrupted):
    """SIGTERM: stopped after the batch; the same command goes on from there."""


class Stopped(Interrupted):
    """Ctrl-C: stopped after the batch; the same command goes on from there."""

    exit_code = 130


class ConnectionFailed(MigratorError):
    """The server cannot be reached, or refuses the login."""


class StepFailed(MigratorError):
    """A statement failed, or the catalog shows that it did not do what it said."""
