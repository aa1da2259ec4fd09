"""Killed at any statement on a real server, the same command ends as if nothing had happened; so does turning
round.

The same as on a file (test_every_statement.py), with copies of a database in place of copies of a file. A death
costs a second or two here, so that by default one in many statements that write has one, other statements on
each engine. MIGRATOR_CRASH=writes has a run die after each statement that writes: every state in which the
database can be left. MIGRATOR_CRASH=every has one die before and after each statement, whatever it is.
"""

from __future__ import annotations

from collections.abc import Iterator
from zlib import crc32

import pytest

from tests.conftest import Database
from tests.crash.dying import Kill, Nursery, kills, nursery
from tests.crash.places import OnServer
from tests.crash.stage import CRASH, EVERY, WAYS, Stage, die_at, statements_of

SERVERS = ("postgresql", "mysql", "mariadb")
#: A server gives the number of a row that was rolled back to none again, so that the sentinel's is stated.
SENTINEL = "sentinel.id=1000"
#: One death in so many statements that write, unless all are asked for.
STRIDE = 40


@pytest.fixture(scope="module")
def running() -> Iterator[Nursery]:
    """The process that forks the runs."""
    with nursery() as made:
        yield made


@pytest.mark.engines(*SERVERS)
def test_a_kill_at_any_statement_is_made_good(database: Database, running: Nursery) -> None:
    """The same command completes, no row is lost or doubled, and the end is that of an undisturbed run.
    From there, or at once, the other direction leads to its own undisturbed end."""
    place = OnServer(database)
    wrong: list[str] = []
    try:
        stage = Stage(place, running, (SENTINEL,))
        stage.prepare()
        for way in WAYS:
            statements = statements_of(stage, *way)
            found = die_at(stage, *way, chosen(database.engine_id, statements, way))
            print(database.engine_id, *way, f"{len(statements)} statements,", found, flush=True)
            wrong += found.wrong
    finally:
        place.close()
    assert wrong == []


def chosen(engine_id: str, statements: list[str], way: tuple[str, str]) -> list[Kill]:
    """Where to die: everywhere, or at a few, which are others on each engine."""
    everywhere = kills(statements, every=EVERY)
    if CRASH in ("every", "writes"):
        return everywhere
    return everywhere[crc32(f"{engine_id} {way}".encode()) % STRIDE % len(everywhere) :: STRIDE]
