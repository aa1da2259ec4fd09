"""Killed again and again on a real server: the same command, repeated, ends as if nothing had happened.

Each run dies a little later than the one before it, so that crashes fall on what crashes have left. A single
crash at each statement: test_every_statement_on_servers.py.
"""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from migrator.blog.seed import seed
from tests.conftest import Database
from tests.crash.dying import Ended, Kill, Nursery, nursery
from tests.crash.states import Settled, settled

SERVERS = ("postgresql", "mysql", "mariadb")
#: Statements that write, from one death to the next.
STRIDE = 9


@pytest.fixture(scope="module")
def running() -> Iterator[Nursery]:
    """The process that forks the runs."""
    with nursery() as made:
        yield made


def fill(database: Database, running: Nursery) -> Settled:
    """A small blog with orphans of both kinds; returns how it is."""
    with database.engine.begin() as connection:
        seed(connection, posts=20, users=4, null_share=0.2, dangling_share=0.25)
    running.run(database.url, "stamp", "base").check()
    return settled(database.engine)


def run(running: Nursery, database: Database, verb: str, kill: Kill | None = None) -> Ended:
    """One run to the head or to the base. A server may need a moment to notice that a client is dead, and
    holds its lock for it as long."""
    deadline = time.monotonic() + 60
    while True:
        ended = running.run(database.url, verb, "head" if verb == "upgrade" else "base", kill=kill)
        locked = ended.error is not None and "Another run is at work" in ended.error["error"]
        if not locked or time.monotonic() > deadline:
            return ended
        time.sleep(0.1)


def die_and_go_on(running: Nursery, database: Database, verb: str, first: int) -> int:
    """Repeat the command, dying each time a little later, until it comes to its end; returns how often it
    died."""
    deaths = 0
    while True:
        kill = Kill(first + deaths * STRIDE, "before" if deaths % 2 else "after", only_writes=True)
        ended = run(running, database, verb, kill)
        if not ended.killed:
            assert ended.exit == 0, (kill, ended.error)
            return deaths
        deaths += 1


@pytest.mark.engines(*SERVERS)
def test_a_command_that_dies_again_and_again_comes_to_its_end(database: Database, running: Nursery) -> None:
    """Up, each run killed a little later than the last; then down, the same way. No row is lost or doubled:
    both ends are those of undisturbed runs."""
    start = fill(database, running)
    with database.new_database() as undisturbed:
        fill(undisturbed, running)
        run(running, undisturbed, "upgrade").check()
        head = settled(undisturbed.engine)
    assert die_and_go_on(running, database, "upgrade", 3) > 5
    assert settled(database.engine).differences(head) == []
    assert die_and_go_on(running, database, "downgrade", 2) > 3
    assert settled(database.engine).differences(start) == []


@pytest.mark.engines(*SERVERS)
@pytest.mark.parametrize("write", [60, 125], ids=["in-the-sweep", "past-the-sweep"])
def test_an_upgrade_that_died_is_taken_back(database: Database, running: Nursery, write: int) -> None:
    """Turning round at once leads back to the start, though Alembic does not know how far it had come."""
    start = fill(database, running)
    assert run(running, database, "upgrade", Kill(write, "after", only_writes=True)).killed
    run(running, database, "downgrade").check()
    assert settled(database.engine).differences(start) == []
