"""Killed at any statement, the same command ends as if nothing had happened; so does turning round.

The whole of `alembic upgrade head` and of `alembic downgrade base` on an SQLite file. A kill falls after
every statement that may have changed something, because between two such statements the file is the same;
with MIGRATOR_CRASH=every it falls before and after each statement, whatever it is, and more ways are gone.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.crash.dying import kills, nursery
from tests.crash.places import File
from tests.crash.stage import EVERY, WAYS, Stage, die_at, statements_of


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    """The files, and a process that forks the runs that die."""
    with nursery() as running:
        made = Stage(File(tmp_path_factory.mktemp("crash")), running)
        made.prepare()
        yield made


@pytest.mark.parametrize(("verb", "revision"), WAYS)
def test_a_kill_at_any_statement_is_made_good(stage: Stage, verb: str, revision: str) -> None:
    """The same command completes, no row is lost or doubled, and the end is that of an undisturbed run.
    From there, or at once, the other direction leads to its own undisturbed end."""
    statements = statements_of(stage, verb, revision)
    found = die_at(stage, verb, revision, kills(statements, every=EVERY))
    assert (found.missed, found.wrong) == (0, [])
