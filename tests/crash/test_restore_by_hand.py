"""`migrator quarantine restore` that is killed, stopped, paused or met by another: it ends as an undisturbed
one does, and what it had not come to is still what a downgrade brings back.

With MIGRATOR_CRASH=every a kill falls before and after each write; else before one and after the next.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import pytest
import sqlalchemy as sa

from migrator import quarantine, status
from migrator.blog.seed import seed
from migrator.mirror import RESTORED, STATE
from tests.conftest import Database
from tests.crash.dying import Ended, Kill, Nursery, is_write, kills, nursery
from tests.crash.running import ROOT, environment, wait_until
from tests.crash.states import Settled, settled
from tests.operations.reporting import run as migrator

SERVERS = ("postgresql", "mysql", "mariadb")
SMALL = ("-x", "batch_size=2", "-x", "batch_floor=2", "-x", "batch_ceiling=2")
RESTORE = ("quarantine", "restore", "--all", *SMALL, "-x", "pause_ms=0")
EVERY = os.environ.get("MIGRATOR_CRASH") == "every"
#: Statements that write, from one death to the next.
STRIDE = 5


@pytest.fixture(scope="module")
def running() -> Iterator[Nursery]:
    """The process that forks the runs."""
    with nursery() as made:
        yield made


def swept(database: Database, running: Nursery) -> Settled:
    """A small blog whose NULLs went to a sentinel and whose dangling posts are gone; returns how it was."""
    with database.engine.begin() as connection:
        seed(connection, posts=20, users=4, null_share=0.2, dangling_share=0.25)
    running.run(database.url, "stamp", "base").check()
    before = settled(database.engine)
    running.run(database.url, "upgrade", "0002").check()
    return before


def restore(running: Nursery, database: Database, kill: Kill | None = None) -> Ended:
    """One run. A server may need a moment to notice that a client is dead, and holds its lock for it."""
    deadline = time.monotonic() + 60
    while True:
        ended = running.migrator(database.url, *RESTORE, kill=kill)
        locked = ended.error is not None and "Another run is at work" in ended.error["error"]
        if not locked or time.monotonic() > deadline:
            return ended
        time.sleep(0.1)


# -- killed ----------------------------------------------------------------------------------------
@pytest.mark.engines("sqlite")
def test_a_kill_on_either_side_of_any_write_is_made_good(
    database: Database, running: Nursery, tmp_path: Path
) -> None:
    """The same command brings back what is left, no row twice; and a downgrade in its place does as well."""
    start = swept(database, running)
    file, kept = Path(str(database.engine.url.database)), tmp_path / "kept.db"
    shutil.copy(file, kept)
    statements = restore(running, database).check().statements
    end = settled(database.engine)
    assert end.user.tables == start.user.tables
    writes = [at for at, text in enumerate(statements) if is_write(text)]
    wrong: list[str] = []
    for number, at in enumerate(writes):
        every: tuple[Kill, Kill] = Kill(at, "before"), Kill(at, "after")
        for kill in every if EVERY else (every[number % 2],):
            shutil.copy(kept, file)
            assert restore(running, database, kill).killed, kill
            if number % 5:
                restore(running, database).check()
                differences = settled(database.engine).differences(end)
            else:
                running.run(database.url, "downgrade", "base").check()
                differences = settled(database.engine).differences(start)
            wrong += [f"{kill} ({statements[at]}): {each}" for each in differences]
    assert wrong == []
    assert len(writes) > 20


@pytest.mark.engines(*SERVERS)
def test_a_restore_that_dies_again_and_again_comes_to_its_end(database: Database, running: Nursery) -> None:
    """Each run dies a little later than the last; the end is that of an undisturbed one, and the downgrade
    finds nothing amiss."""
    start = swept(database, running)
    with database.new_database() as other:
        swept(other, running)
        restore(running, other).check()
        end = settled(other.engine)
    deaths = 0
    while True:
        kill = Kill(3 + deaths * STRIDE, "before" if deaths % 2 else "after", only_writes=True)
        ended = restore(running, database, kill)
        if not ended.killed:
            break
        deaths += 1
    assert ended.exit == 0, ended.error
    assert deaths > 3
    assert settled(database.engine).differences(end) == []
    running.run(database.url, "downgrade", "base").check()
    assert settled(database.engine).differences(start) == []


@pytest.mark.engines("sqlite")
def test_killed_after_its_last_batch_it_says_that_all_is_back(database: Database, running: Nursery) -> None:
    """Nothing was left to do: the same command ends well, and so does the one after it."""
    swept(database, running)
    statements = restore(running, database).check().statements
    with database.new_database() as other:
        swept(other, running)
        assert restore(running, other, kills(statements, every=False)[-1]).killed
        for _ in range(2):
            assert restore(running, other).exit == 0


# -- stopped and paused ----------------------------------------------------------------------------
@contextmanager
def at_work(
    database: Database, *verb: str, until: Callable[[Database], bool]
) -> Iterator[subprocess.Popen[str]]:
    """A slow verb of the quarantine, one row to a batch, in its middle; ended with the `with` where it still
    runs."""
    words = ["quarantine", *verb, "--all", "--url", database.url, "-x", "batch_size=1"]
    words += ["-x", "batch_floor=1", "-x", "batch_ceiling=1", "-x", "pause_ms=400"]
    with subprocess.Popen(
        [str(Path(sys.executable).parent / "migrator"), *words],
        cwd=ROOT,
        env=environment(),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            wait_until(lambda: until(database), process)
            yield process
        finally:
            process.kill()


def restoring(database: Database) -> AbstractContextManager[subprocess.Popen[str]]:
    """A slow restore."""
    return at_work(database, "restore", until=lambda database: back(database) >= 2)


def back(database: Database) -> int:
    """How many rows are marked as restored."""
    with database.engine.connect() as connection:
        clauses = [mirror.clause for mirror in quarantine.mirrors(connection)]
        return sum(
            connection.scalar(
                sa.select(sa.func.count()).select_from(clause).where(clause.c[STATE] == RESTORED)
            )
            or 0
            for clause in clauses
        )


def of_it(database: Database) -> status.RunStatus:
    """The restore as `migrator status` has it."""
    with database.engine.connect() as connection:
        (found,) = [run for run in status.read(connection) if run.operation == "put-back"]
    return found


@pytest.mark.engines("sqlite", "postgresql-18", "mysql", "mariadb")
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 5)])
def test_a_signal_stops_it_after_its_batch(
    database: Database, running: Nursery, number: signal.Signals, code: int
) -> None:
    """One line says which command goes on, without a password; that command does."""
    swept(database, running)
    with restoring(database) as process:
        process.send_signal(number)
        out, error = process.communicate(timeout=60)
    assert process.returncode == code, error
    (line,) = [each for each in error.splitlines() if each.startswith("error")]
    word = "Ctrl-C" if number == signal.SIGINT else "SIGTERM"
    assert f"{word} stopped the put-back of post.user_id -> user.id after a batch" in line
    assert "It goes on with: migrator quarantine restore --all" in line
    password = database.engine.url.password
    assert password is None or password not in out + error
    assert 2 <= back(database) < 9
    stopped = of_it(database)
    assert stopped.state == "interrupted"
    assert stopped.current is not None
    assert stopped.current.done == back(database)
    assert restore(running, database).exit == 0
    assert back(database) == 9
    assert (of_it(database).state, of_it(database).current.state) == ("done", "done")  # type: ignore[union-attr]


@pytest.mark.engines("sqlite", "postgresql-18", "mysql", "mariadb")
def test_another_process_pauses_it_and_is_refused_itself(database: Database, running: Nursery) -> None:
    """While it waits no row comes back, `status` says why, and a second restore is told who runs. Resumed, it
    comes to its end."""
    swept(database, running)
    with restoring(database) as process:
        assert migrator("pause", "--url", database.url).code == 0
        wait_until(lambda: of_it(database).waiting is not None, process)
        assert "paused: put-back of post.user_id -> user.id" in str(of_it(database).waiting)
        waited = back(database)
        second = migrator("quarantine", "restore", "--all", "--url", database.url)
        assert second.code == 4
        assert f"pid {process.pid}" in second.err or f"process {process.pid}" in second.err
        assert back(database) == waited
        assert migrator("resume", "--url", database.url).code == 0
        out, error = process.communicate(timeout=120)
    assert process.returncode == 0, error
    assert "row(s) restored" in out
    assert back(database) == 9


@pytest.mark.engines("sqlite", "postgresql-18", "mysql")
def test_a_purge_is_stopped_and_gone_on_with(database: Database, running: Nursery) -> None:
    """After a batch, with a line that says how; what is left is what the same command removes."""
    swept(database, running)
    restore(running, database).check()
    with at_work(database, "purge", "--yes", until=lambda database: back(database) <= 7) as process:
        process.send_signal(signal.SIGTERM)
        _, error = process.communicate(timeout=60)
    assert process.returncode == 5, error
    assert "SIGTERM stopped the purge of post.user_id -> user.id after a batch" in error
    assert "It goes on with: migrator quarantine purge --yes --all" in error
    assert 0 < back(database) <= 7
    done = migrator("quarantine", "purge", "--yes", "--all", "--url", database.url)
    assert (done.code, back(database)) == (0, 0)


# -- settings --------------------------------------------------------------------------------------
@pytest.mark.engines("sqlite")
def test_its_settings_are_those_of_a_sweep(database: Database, running: Nursery) -> None:
    """By -x or by the environment; a name that is none, or a value that is none, is refused before the first
    row. `log` says how progress is told."""
    swept(database, running)
    for words, said in (
        (("-x", "pause=3"), "-x pause= is not known. Hint: Did you mean pause_ms?"),
        (("-x", "on_null=delete"), "-x on_null= is not known"),
        (("-x", "pause_ms"), "Write it as -x name=value"),
        (("-x", "batch_size=0"), "batch_size must be above zero"),
    ):
        refused = migrator("quarantine", "restore", "--all", "--url", database.url, *words)
        assert refused.code == 2
        assert said in refused.err
    assert migrator("quarantine", "restore", "--all", MIGRATOR_PAUSE_MS="x").code == 2
    assert back(database) == 0
    done = migrator("quarantine", "restore", "--all", "--url", database.url, MIGRATOR_LOG="json")
    assert done.code == 0
    assert back(database) == 9
