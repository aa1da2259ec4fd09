"""What chaos does to a migration: kill its process, cut its connection, hold a lock in its way."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final

import sqlalchemy as sa
from alembic.util.exc import CommandError
from sqlalchemy.engine import Connection, Engine

from migrator.connect import make_engine
from migrator.drill.child import killed_at
from migrator.drill.environment import Revision, reason
from migrator.drill.model import Direction
from migrator.drill.stage import Stage
from migrator.errors import Interrupted, RunLocked
from migrator.predicate import table_clause

#: How long a lock is held against each revision, in seconds.
HELD: Final = 1.5
#: How long a server may take to notice that a client is dead, in seconds.
_NOTICED: Final = 60.0

#: How a session is ended by another one, and what its driver calls it. SQLite has no sessions.
_CUT: Final[dict[str, tuple[str, Callable[[Any], int]]]] = {
    "postgresql": ("SELECT pg_terminate_backend({})", lambda driver: int(driver.info.backend_pid)),
    "mysql": ("KILL {}", lambda driver: int(driver.thread_id())),
    "mariadb": ("KILL {}", lambda driver: int(driver.thread_id())),
}


@dataclass(frozen=True)
class Mischief:
    """One kind of it.

    Args:
        name: what is done, in words.
        do: does it to one revision on its way, and sees to it that the revision is there in the end.
            Returns what happened, "" where there was no occasion.
        possible: whether it can be done to this database.
    """

    name: str
    do: Callable[[Stage, Direction, Revision, random.Random], str]
    possible: Callable[[Stage], bool] = lambda _: True


def _kill(stage: Stage, direction: Direction, revision: Revision, drawn: random.Random) -> str:
    at = drawn.randint(1, max(1, stage.statements.get((direction, revision.id), 1)))
    goal = revision.id if direction == "up" else revision.below
    killed = killed_at(stage.environment, direction, goal, at)
    _resume(stage, direction, revision)
    return f"killed before statement {at}" if killed else ""


def _cut(stage: Stage, direction: Direction, revision: Revision, drawn: random.Random) -> str:
    at = drawn.randint(1, max(1, stage.statements.get((direction, revision.id), 1)))
    said = ""
    with _cutting(stage, at) as cut:
        try:
            stage.go(direction, revision)
        except (CommandError, sa.exc.SQLAlchemyError) as error:
            said = reason(error)
    if not cut:
        return ""
    _resume(stage, direction, revision)
    return f"connection cut at statement {at}" + (
        f" (it said: {said})" if said else " (it went on by itself)"
    )


@contextmanager
def _cutting(stage: Stage, at: int) -> Iterator[list[int]]:
    """End the session that sends statement number `at`, once; yields whether it happened."""
    statement, identity = _CUT[stage.url.get_backend_name()]
    seen = [0]
    cut: list[int] = []
    admin = make_engine(stage.url)

    def count(connection: Connection, *_: Any) -> None:
        if connection.engine is admin:
            return
        seen[0] += 1
        if seen[0] != at:
            return
        session = identity(connection.connection.dbapi_connection)
        cut.append(session)
        with admin.connect().execution_options(isolation_level="AUTOCOMMIT") as other:
            other.exec_driver_sql(statement.format(session))

    sa.event.listen(Engine, "before_cursor_execute", count)
    try:
        yield cut
    finally:
        sa.event.remove(Engine, "before_cursor_execute", count)
        admin.dispose()


def _hold(stage: Stage, direction: Direction, revision: Revision, drawn: random.Random) -> str:
    """A transaction of the application's that has one row of each child locked, for a while."""
    release = threading.Event()
    holding = threading.Event()
    holder = threading.Thread(target=_holding, args=(stage, holding, release), daemon=True)
    holder.start()
    holding.wait(HELD)
    timer = threading.Timer(HELD, release.set)
    timer.start()
    try:
        _resume(stage, direction, revision)
    finally:
        release.set()
        timer.cancel()
        holder.join()
    return f"a lock held against it for {HELD:.1f} s"


def _holding(stage: Stage, holding: threading.Event, release: threading.Event) -> None:
    try:
        with (
            stage.sessions() as sessions,
            sessions.work() as connection,
            sessions.dialect.transaction(connection),
        ):
            for one in stage.found:
                child = table_clause(one.reference.child, *one.reference.columns)
                connection.execute(sessions.dialect.for_update(sa.select(child).limit(1))).all()
            holding.set()
            release.wait(HELD * 4)
    except sa.exc.DBAPIError:
        return  # it did not get its own lock, or was chosen as a deadlock's victim: no mischief this time
    finally:
        holding.set()


def _resume(stage: Stage, direction: Direction, revision: Revision) -> None:
    """The same command again, as its message asks, until it is through."""
    began = time.monotonic()
    while True:
        try:
            stage.go(direction, revision)
            return
        except (RunLocked, Interrupted):
            # The server has not yet noticed that the dead process is gone, or the lock is still held.
            if time.monotonic() - began > _NOTICED:
                raise
            time.sleep(0.3)


MISCHIEFS: Final = (
    Mischief("process killed", _kill),
    Mischief("connection cut", _cut, lambda stage: stage.url.get_backend_name() in _CUT),
    Mischief("lock held", _hold),
)
