"""A blog whose posts have no key, taken up and down by runs that are killed again and again."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.conftest import Database
from tests.crash.dying import Kill, Nursery, nursery
from tests.crash.states import Settled, settled
from tests.operations.keyless_desk import keyless_blog

#: Statements that write, from one death to the next.
STRIDE = 5
#: To a user who is there: after a death a sentinel may have another number, as a sequence does not go back.
ALLOWED = ("max_orphan_share=1", "backfill_to=1")


@pytest.fixture(scope="module")
def running() -> Iterator[Nursery]:
    """The process that forks the runs."""
    with nursery() as made:
        yield made


def fill(database: Database, running: Nursery) -> Settled:
    """A small blog with orphans of both kinds; returns how it is."""
    keyless_blog(database, posts=20)
    running.run(database.url, "stamp", "base").check()
    return settled(database.engine)


def without_places(state: Settled) -> tuple[str, ...]:
    """What is set aside, whatever the place it was in."""
    return tuple(sorted(line.rpartition(",")[0] for line in state.quarantine))


def die_and_go_on(running: Nursery, database: Database, verb: str) -> int:
    """Repeat the command, dying each time a little later, to its end; returns how often it died."""
    deaths = 0
    while True:
        kill = Kill(2 + deaths * STRIDE, "before" if deaths % 2 else "after", only_writes=True)
        to = "head" if verb == "upgrade" else "base"
        ended = running.run(database.url, verb, to, *ALLOWED, kill=kill)
        if not ended.killed and ended.error and "Another run is at work" in ended.error["error"]:
            continue  # the server has yet to notice that the client is dead
        if not ended.killed:
            assert ended.exit == 0, (kill, ended.error)
            return deaths
        deaths += 1


@pytest.mark.engines("sqlite", "postgresql")
# SQLAlchemy has no type for the place of a row.
@pytest.mark.filterwarnings("ignore:Did not recognize type 'tid'")
def test_rows_without_a_key_survive_any_death(database: Database, running: Nursery) -> None:
    """No row is lost or doubled, however many are each other's equals."""
    start = fill(database, running)
    with database.new_database() as undisturbed:
        fill(undisturbed, running)
        running.run(undisturbed.url, "upgrade", "head", *ALLOWED).check()
        head = settled(undisturbed.engine)
    assert die_and_go_on(running, database, "upgrade") > 5
    now = settled(database.engine)
    assert without_places(now) == without_places(head)
    assert [each for each in now.differences(head) if not each.startswith("quarantine")] == []
    assert die_and_go_on(running, database, "downgrade") > 3
    assert settled(database.engine).differences(start) == []
