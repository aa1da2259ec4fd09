"""Ctrl-C and SIGTERM stop after the batch, say how to go on, and the same command does go on."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from dataclasses import replace

import pytest

from migrator import journal
from migrator.blog.revisions import POST_AUTHOR
from migrator.errors import Interrupted, Stopped
from migrator.policy import Backfill
from tests.conftest import Database
from tests.crash.running import blog, swept, upgrade, upgrading
from tests.operations.lifecycle import FAST, alembic, assert_same, picture, run

ONE_BY_ONE = replace(FAST, batch_size=1, batch_floor=1, batch_ceiling=1)
TO_ONE = Backfill(to=(1,))


@pytest.mark.engines("sqlite", "postgresql-18", "mysql", "mariadb")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_stops_alembic_after_its_batch(database: Database, number: signal.Signals) -> None:
    """One line says what was stopped and which command goes on, without a password; that command does, and
    everything can be taken back."""
    blog(database)
    before = picture(database)
    with upgrading(database) as process:
        process.send_signal(number)
        out, error = process.communicate(timeout=60)
    assert process.returncode not in (0, -number)
    word = "Ctrl-C" if number == signal.SIGINT else "SIGTERM"
    (line,) = [each for each in error.splitlines() if each.startswith("ERROR")]
    assert f"{word} stopped the sweep of {POST_AUTHOR} after a batch; nothing is half done" in line
    assert "It goes on with: alembic -x " in line
    assert line.endswith("upgrade head")
    assert database.engine.url.password is None or database.engine.url.password not in out + error
    assert 2 <= swept(database) < 9
    with database.engine.connect() as connection:
        assert journal.runs(connection)[-1].state == "interrupted"
    ended = upgrade(database)
    assert ended.returncode == 0, ended.stderr
    assert swept(database) == 9
    alembic(database, "downgrade", "base")
    assert_same(before, picture(database))


class Sends:
    """Sends itself signals once so many orphans are settled."""

    def __init__(self, after: int, *numbers: signal.Signals) -> None:
        self.after, self.numbers = after, numbers

    def step(self, name: str, title: str) -> None:
        """Nothing."""

    def note(self, message: str) -> None:
        """Nothing."""

    def rows(self, what: str, done: int, total: int | None) -> None:
        """A batch is through."""
        if what.startswith("sweep") and done == self.after:
            for number in self.numbers:
                os.kill(os.getpid(), number)


@pytest.mark.engines("sqlite")
@pytest.mark.parametrize(
    ("number", "error", "code"), [(signal.SIGINT, Stopped, 130), (signal.SIGTERM, Interrupted, 5)]
)
def test_each_signal_has_its_exit_code(
    database: Database, number: signal.Signals, error: type[Interrupted], code: int
) -> None:
    """130 for Ctrl-C, 5 for SIGTERM; the process's own handlers are back afterwards."""
    blog(database)
    handlers: list[Callable[..., object] | int | None] = [signal.getsignal(number)]
    with pytest.raises(error) as stopped:
        run(
            database.engine,
            ("sweep",),
            POST_AUTHOR,
            TO_ONE,
            TO_ONE,
            settings=ONE_BY_ONE,
            progress=Sends(4, number),
        )
    assert stopped.value.exit_code == code
    assert swept(database) == 4
    handlers.append(signal.getsignal(number))
    assert handlers[0] == handlers[1]


@pytest.mark.engines("sqlite")
def test_a_second_ctrl_c_does_not_wait(database: Database) -> None:
    """It ends the process where it is; the journal knows, and the run goes on all the same."""
    blog(database)
    twice = Sends(4, signal.SIGINT, signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        run(database.engine, ("sweep",), POST_AUTHOR, TO_ONE, TO_ONE, settings=ONE_BY_ONE, progress=twice)
    with database.engine.connect() as connection:
        assert journal.runs(connection)[-1].state == "interrupted"
    run(database.engine, ("sweep",), POST_AUTHOR, TO_ONE, TO_ONE)
    assert swept(database) == 9


@pytest.mark.engines("sqlite")
def test_a_signal_during_the_last_batch_is_not_lost(database: Database) -> None:
    """The sweep is over and counts as done, and what would come after it does not begin."""
    blog(database)
    last = Sends(9, signal.SIGTERM)
    with pytest.raises(Interrupted, match="SIGTERM stopped the sweep"):
        run(
            database.engine,
            ("sweep", "enforce"),
            POST_AUTHOR,
            TO_ONE,
            TO_ONE,
            settings=ONE_BY_ONE,
            progress=last,
        )
    with database.engine.connect() as connection:
        (only,) = journal.runs(connection)
    assert (only.operation, only.state, only.counts["changed"]) == ("sweep", "done", 9)
