"""One run at a time: the second is told who runs and since when; a lock that a dead process left is taken."""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys

import pytest
import sqlalchemy as sa

from migrator import journal, lock
from migrator.blog.revisions import POST_AUTHOR
from migrator.errors import RunLocked
from migrator.sessions import Sessions
from tests.conftest import Database
from tests.crash.running import blog, upgrade, upgrading
from tests.operations.lifecycle import run


def test_the_second_is_told_who_runs_and_since_when(database: Database) -> None:
    """While `alembic upgrade` sweeps, neither another one nor a plain function call gets in; the first is
    not disturbed."""
    blog(database)
    with upgrading(database, "pause_ms=1000") as first:  # the second takes some seconds to start
        second = upgrade(database)
        with pytest.raises(RunLocked) as refused:
            run(database.engine, ("sweep",), POST_AUTHOR)
        out, error = first.communicate(timeout=120)
    who = rf"(sweep of {POST_AUTHOR} by \S+@\S+ pid {first.pid}|process {first.pid} on \S+), since 20\d\d-"
    for said in (second.stderr, str(refused.value)):
        assert re.search(rf"Another run is at work in this database \({who}", said), said
        assert "Nothing was changed" in said
    assert second.returncode != 0
    assert refused.value.exit_code == 4
    assert first.returncode == 0, out + error


# -- the lease, where the server has no lock of its own --------------------------------------------
def owner(host: str, pid: int, started: str) -> str:
    return f"{host}|{pid}|{started}"


def lease(database: Database, who: str, at: str) -> None:
    """Write a lease as that process would have."""
    with database.engine.begin() as connection:
        journal.LEASE.create(connection)
        values = {"name": lock.LOCK_NAME, "owner": who, "acquired_at": at, "heartbeat_at": at}
        connection.execute(sa.insert(journal.LEASE).values(**values))


def held(database: Database) -> str | None:
    """Who holds the lease."""
    with database.engine.connect() as connection:
        found: str | None = connection.scalar(sa.select(journal.LEASE.c.owner))
        return found


@pytest.mark.engines("sqlite")
def test_a_lease_of_a_process_that_is_dead_is_taken(database: Database) -> None:
    """The process table of this machine knows, however fresh the lease is."""
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    lease(database, owner(socket.gethostname(), dead.pid, "1"), journal.now())
    with lock.hold(Sessions.of(database.engine)):
        assert f"|{os.getpid()}|" in str(held(database))
    assert not sa.inspect(database.engine).has_table(journal.LEASE.name)


@pytest.mark.engines("sqlite")
def test_a_process_number_used_again_is_another_process(database: Database) -> None:
    """Somebody else has the dead owner's number by now: told by the time it was started."""
    lease(database, owner(socket.gethostname(), os.getppid(), "1"), journal.now())
    with lock.hold(Sessions.of(database.engine)):
        assert f"|{os.getpid()}|" in str(held(database))


@pytest.mark.engines("sqlite")
def test_a_lease_of_another_machine_expires(database: Database) -> None:
    """Nobody here can see whether that process lives: its lease counts until it was not renewed for long."""
    lease(database, owner("elsewhere", 1, "1"), journal.now())
    with (
        pytest.raises(RunLocked, match=r"process 1 on elsewhere, since 20\d\d-"),
        lock.hold(Sessions.of(database.engine)),
    ):
        pass
    with database.engine.begin() as connection:
        connection.execute(sa.update(journal.LEASE).values(heartbeat_at="2024-01-01T00:00:00.000000Z"))
    with lock.hold(Sessions.of(database.engine)):
        assert f"|{os.getpid()}|" in str(held(database))


@pytest.mark.engines("postgresql", "mysql", "mariadb")
@pytest.mark.parametrize("stale", [True, False], ids=["a stale one there", "none there"])
def test_of_two_that_want_the_lease_at_once_one_has_it(
    database: Database, monkeypatch: pytest.MonkeyPatch, stale: bool
) -> None:
    """The other takes it between our look and our word: theirs stands, and we are told."""
    sessions = Sessions.of(database.engine)
    theirs = owner("elsewhere", 2, "1")
    fresh = journal.now()
    lease(database, owner("elsewhere", 1, "1"), "2024-01-01T00:00:00.000000Z")
    if not stale:
        with database.engine.begin() as connection:
            connection.execute(sa.delete(journal.LEASE))

    def meanwhile() -> str:
        row = {"name": lock.LOCK_NAME, "owner": theirs, "acquired_at": fresh, "heartbeat_at": fresh}
        with database.engine.begin() as connection:
            connection.execute(sa.delete(journal.LEASE))
            connection.execute(sa.insert(journal.LEASE).values(row))
        return fresh

    # The server's lock is not to be had; and just before we write our row, they write theirs.
    monkeypatch.setattr(type(sessions.dialect), "try_lock", lambda *_: None)
    monkeypatch.setattr(lock, "_alive", lambda *_: not meanwhile())
    if not stale:
        monkeypatch.setattr(journal, "now", meanwhile)
    with pytest.raises(RunLocked), lock.hold(sessions):
        pass
    assert str(held(database)) == theirs
