"""A restore or a purge by hand as a run of the journal: seen, paused and stopped like any other."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import sqlalchemy as sa

from migrator import journal
from migrator.context import Context, Progress
from migrator.errors import Interrupted, MigratorError, Refused
from migrator.journal import Run
from migrator.reference import Reference
from migrator.sessions import Sessions
from migrator.stopping import Gate, stoppable

#: What the journal calls them; `restore` is the downgrade's.
PUT_BACK = "put-back"
PURGE = "purge"


@contextmanager
def by_hand(
    sessions: Sessions,
    operation: str,
    reference: Reference,
    lock: Callable[[], None],
    progress: Progress,
) -> Iterator[Context]:
    """A run, under the run lock that the caller holds. Nothing is taken up from an earlier one but what the
    quarantine itself says, so the journal keeps only the last: a refused one not at all.

    Args:
        operation: PUT_BACK or PURGE.
        reference: the first of those whose rows it is about.
        lock: looks after the run lock.
    """
    with sessions.open() as connection:
        journal.forget(connection, operation)
        run = journal.start(connection, reference, operation, {})
        journal.step_started(connection, run, operation, ours=False)
    with stoppable() as stop:
        gate = Gate(sessions, run, stop, lock, progress)
        try:
            yield Context(sessions, reference, run, progress, gate, step=operation)
        except BaseException as error:
            _close(sessions, run, error)
            raise
    with sessions.open() as connection:
        journal.step_done(connection, run, operation)
        journal.finish(connection, run, "done")


def _close(sessions: Sessions, run: Run, error: BaseException) -> None:
    """Say how it ended; the error matters more than what fails here."""
    state = "interrupted" if isinstance(error, (Interrupted, KeyboardInterrupt)) else "failed"
    try:
        with sessions.open() as connection:
            if isinstance(error, Refused):
                journal.forget(connection, run.operation)
            else:
                journal.finish(connection, run, state, str(error) or type(error).__name__)
    except (sa.exc.DBAPIError, MigratorError):
        pass
