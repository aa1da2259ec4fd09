"""A run of Alembic in a process of its own that takes its time, so that something can happen to it."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from sqlalchemy.exc import DBAPIError

from migrator import journal
from migrator.blog.seed import seed
from tests.conftest import Database

ROOT = Path(__file__).parents[2]
#: One row to a batch, and a rest between two: a sweep of nine orphans takes some seconds.
SLOW = ("batch_size=1", "batch_floor=1", "batch_ceiling=1", "pause_ms=400")


def blog(database: Database) -> None:
    """Twenty posts, four without an author and five whose author is gone."""
    with database.engine.begin() as connection:
        seed(connection, posts=20, users=4, null_share=0.2, dangling_share=0.25)


def command(database: Database, *x: str) -> list[str]:
    """`alembic -x url=... upgrade head`."""
    said = [part for each in (f"url={database.url}", *x) for part in ("-x", each)]
    return [str(Path(sys.executable).parent / "alembic"), *said, "upgrade", "head"]


def environment() -> dict[str, str]:
    """Nothing of ours in it."""
    return {name: value for name, value in os.environ.items() if not name.startswith("MIGRATOR_")}


@contextmanager
def upgrading(database: Database, *x: str) -> Iterator[subprocess.Popen[str]]:
    """A slow upgrade in the middle of its sweep; ended with the `with` where it still runs."""
    with subprocess.Popen(
        command(database, *SLOW, *x),
        cwd=ROOT,
        env=environment(),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            wait_until(lambda: swept(database) >= 2, process)
            yield process
        finally:
            process.kill()


def upgrade(database: Database, *x: str) -> subprocess.CompletedProcess[str]:
    """The same, at full speed, to its end."""
    return subprocess.run(
        command(database, "pause_ms=0", *x),
        cwd=ROOT,
        env=environment(),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )


def swept(database: Database) -> int:
    """How many orphans the run in the journal has settled."""
    try:
        with database.engine.connect() as connection:
            runs = journal.runs_if_any(connection)
    except DBAPIError:  # SQLite: the journal is being made this very moment
        return 0
    return max((int(run.counts.get("changed", 0)) for run in runs if run.operation == "sweep"), default=0)


def wait_until(condition: Callable[[], bool], process: subprocess.Popen[str]) -> None:
    """Until it is so.

    Raises:
        AssertionError: the process ended before, or a minute has gone by.
    """
    deadline = time.monotonic() + 60
    while not condition():
        if process.poll() is not None:
            out, error = process.communicate()
            raise AssertionError(f"it ended before: {out}{error}")
        if time.monotonic() > deadline:
            raise AssertionError("it did not come so far within a minute")
        time.sleep(0.05)
