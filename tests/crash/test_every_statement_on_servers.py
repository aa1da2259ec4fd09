"""Killed at any statement on a real server, the same command ends as if nothing had happened; so does turning
round.

The same as on a file (test_every_statement.py), with copies of a database in place of copies of a file. A
death costs some seconds here, so that by default one in many statements that write has one, other statements
on each engine. With MIGRATOR_CRASH=writes a run dies after each statement that writes, which is every state
that the database can be left in; with MIGRATOR_CRASH=every before and after each statement, whatever it is,
and from each state all the ways are gone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from zlib import crc32

import pytest

from tests.crash.dying import Kill, kills, nursery
from tests.crash.places import OnServer
from tests.crash.stage import CRASH, EVERY, WAYS, Stage, die_at, statements_of
from tests.servers.server import Server

#: A server gives the number of a row that was rolled back to none again, so that the sentinel's is stated.
SENTINEL = "sentinel.id=1000"
#: Where the size of the table is known to the server and the scan reads it in one go; elsewhere by windows.
AT_ONCE = ("postgresql-15",)
#: One death in so many statements that write, unless all are asked for.
STRIDE = 40

if CRASH:
    pytestmark = pytest.mark.timeout(0)  # it takes as long as it takes


@pytest.fixture(scope="module")
def stage_on() -> Iterator[Callable[[Server], Stage]]:
    """The way up and down on a server, kept for the other tests there, and a process that forks runs."""
    made: dict[str, Stage] = {}
    with nursery() as running, ExitStack() as stack:

        def stage_on(server: Server) -> Stage:
            if server.engine_id not in made:
                place = OnServer(stack.enter_context(server.new_database()))
                stack.callback(place.close)
                known = server.engine_id in AT_ONCE
                said = (SENTINEL, "scan_rows=0") if known else (SENTINEL,)
                made[server.engine_id] = Stage(place, running, said, near=not EVERY)
                made[server.engine_id].prepare("ANALYZE post" if known else "")
            return made[server.engine_id]

        yield stage_on


@pytest.mark.engines("postgresql", "mysql", "mariadb")
@pytest.mark.parametrize(("verb", "revision"), WAYS)
def test_a_kill_at_any_statement_is_made_good(
    stage_on: Callable[[Server], Stage], server: Server, verb: str, revision: str
) -> None:
    """The same command completes, no row is lost or doubled, and the end is that of an undisturbed run.
    From there, or at once, the other direction leads to its own undisturbed end."""
    stage = stage_on(server)
    statements = statements_of(stage, verb, revision)
    found = die_at(stage, verb, revision, chosen(f"{server.engine_id} {verb} {revision}", statements))
    print(server.engine_id, verb, revision, f"{len(statements)} statements,", found)
    assert found.wrong == []
    assert found.missed <= 2


def chosen(name: str, statements: list[str]) -> list[Kill]:
    """Where to die: everywhere, or at a few, which are others for each name."""
    everywhere = kills(statements, every=EVERY)
    if CRASH in ("every", "writes"):
        return everywhere
    return everywhere[crc32(name.encode()) % STRIDE % len(everywhere) :: STRIDE]
