"""One run at a time in a database.

The server's own lock is used where there is one, because it dies with its connection: PostgreSQL's
advisory lock, MySQL's GET_LOCK with its result checked. Elsewhere (SQLite, some proxies) a lease row
says who runs; a lease whose process is dead, or that was not renewed for long, is taken over.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import UTC, datetime
from pathlib import Path

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from migrator import journal
from migrator.errors import Interrupted, PreflightRefused, RunLocked
from migrator.journal import LEASE
from migrator.sessions import Sessions

LOCK_NAME = "migrator"
#: A lease of another machine that was not renewed for this long, in seconds, is dead.
LEASE_EXPIRES = 120.0

_held: ContextVar[Mapping[str, Callable[[], None]] | None] = ContextVar("held", default=None)


@contextmanager
def hold(sessions: Sessions) -> Iterator[Callable[[], None]]:
    """Hold the run lock of a database; taken once by a process, however deep the calls.

    Yields:
        A check to call between batches: it renews a lease, and raises `Interrupted` when the lock is
        gone because its connection died.

    Raises:
        RunLocked: another run holds it; the message says who, and since when.
        PreflightRefused: a pooler shares our sessions with others, so that no lock is one.
    """
    database = str(sessions.engine.url)
    held = _held.get() or {}
    if database in held:
        yield held[database]
        return
    with sessions.fresh() as connection:
        _refuse_pooler(sessions, connection)
        taken = sessions.dialect.try_lock(connection, LOCK_NAME)
        if taken is False:
            raise _locked(_holder(connection))
        owner = _owner()
        if taken is None:
            _take_lease(sessions, connection, owner)

        def check() -> None:
            _check(connection, owner, lease=taken is None)

        token = _held.set({**held, database: check})
        try:
            yield check
        finally:
            _held.reset(token)
            if taken is None:
                _give_back(sessions, connection, owner)
            else:
                _quietly(lambda: sessions.dialect.unlock(connection, LOCK_NAME))


def _refuse_pooler(sessions: Sessions, connection: Connection) -> None:
    problem = sessions.dialect.pooler(connection)
    if problem is not None:
        raise PreflightRefused(f"{problem.message} Nothing was changed.", hint=problem.fix)


def _check(connection: Connection, owner: str, *, lease: bool) -> None:
    """Whether the lock is still ours; a lease is renewed."""
    try:
        if not lease:
            connection.execute(sa.select(1))
            return
        mine = (LEASE.c.name == LOCK_NAME, LEASE.c.owner == owner)
        if connection.execute(sa.update(LEASE).where(*mine).values(heartbeat_at=journal.now())).rowcount:
            return
        found = connection.scalar(sa.select(LEASE.c.owner).where(LEASE.c.name == LOCK_NAME))
    except sa.exc.DBAPIError as error:
        raise Interrupted(
            "The connection that held the run lock is gone; stopped before the next change.",
            hint="Run the same command again: it goes on from here.",
        ) from error
    raise Interrupted(
        f"The run lock was taken over by {_readable(found) if found else 'nobody'}; "
        "stopped before the next change.",
        hint="Run the same command again once that run is over.",
    )


def _take_lease(sessions: Sessions, connection: Connection, owner: str) -> None:
    LEASE.create(connection, checkfirst=True)
    with sessions.work() as work, sessions.dialect.transaction(work):
        row = work.execute(sa.select(LEASE).where(LEASE.c.name == LOCK_NAME)).first()
        if row is not None and row.owner != owner and _alive(row.owner, row.heartbeat_at):
            raise _locked(f"{_readable(row.owner)}, since {row.acquired_at}")
        if row is not None:
            # The very row that was looked at: another who found it dead may have put theirs in its place.
            seen = (LEASE.c.owner == row.owner, LEASE.c.heartbeat_at == row.heartbeat_at)
            if not work.execute(sa.delete(LEASE).where(LEASE.c.name == LOCK_NAME, *seen)).rowcount:
                raise _locked("it has only just begun")
        stamp = journal.now()
        try:
            work.execute(
                sa.insert(LEASE).values(name=LOCK_NAME, owner=owner, acquired_at=stamp, heartbeat_at=stamp)
            )
        except sa.exc.IntegrityError as error:
            raise _locked("it has only just begun") from error


def _give_back(sessions: Sessions, connection: Connection, owner: str) -> None:
    def release() -> None:
        if not sa.inspect(connection).has_table(LEASE.name):
            return
        with sessions.work() as work, sessions.dialect.transaction(work):
            work.execute(sa.delete(LEASE).where(LEASE.c.name == LOCK_NAME, LEASE.c.owner == owner))
        if not journal.exists(connection):
            LEASE.drop(connection, checkfirst=True)

    _quietly(release)


def _quietly(release: Callable[[], None]) -> None:
    # The connection may be gone, and with it the lock; the error that brought us here matters more.
    try:
        release()
    except sa.exc.SQLAlchemyError:
        return


def _locked(holder: str) -> RunLocked:
    return RunLocked(
        f"Another run is at work in this database ({holder}). Nothing was changed.",
        hint="Watch it with `migrator status --watch`; run this again when it is over.",
    )


def _holder(connection: Connection) -> str:
    if not journal.exists(connection):
        return "it has only just begun"
    running = [run for run in journal.runs(connection) if run.state == "running"]
    if not running:
        return "between two steps"
    run = running[-1]
    return f"{run.operation} of {run.reference} by {run.actor}, since {run.started_at}"


def _owner() -> str:
    return f"{socket.gethostname()}|{os.getpid()}|{_started(os.getpid())}"


def _readable(owner: str) -> str:
    host, pid, _ = owner.split("|")
    return f"process {pid} on {host}"


def _alive(owner: str, heartbeat: str) -> bool:
    """On this machine the process table knows; a process number used again has another start time."""
    host, pid, started = owner.split("|")
    if host == socket.gethostname():
        try:
            os.kill(int(pid), 0)
        except ProcessLookupError:
            return False
        except PermissionError:
            pass
        return _started(int(pid)) == started
    then = datetime.strptime(heartbeat, "%Y-%m-%dT%H:%M:%S.%fZ").replace(tzinfo=UTC)
    return (datetime.now(UTC) - then).total_seconds() < LEASE_EXPIRES


def _started(pid: int) -> str:
    """The process's start time in clock ticks, from Linux's /proc (proc(5), field 22); "" elsewhere."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return ""
    return stat.rpartition(")")[2].split()[19]
