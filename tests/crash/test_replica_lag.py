"""A sweep that waits for a replica: it says why, keeps its lock, can be stopped, and goes on when the replica
has caught up. Each family once, with a replica of its own."""

from __future__ import annotations

import signal
import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import cache
from typing import Any

import pytest
import sqlalchemy as sa
from click.testing import CliRunner

from migrator import status
from migrator.blog.revisions import DELETED_AUTHOR, POST_AUTHOR
from migrator.cli import main
from migrator.errors import PreflightRefused
from migrator.settings import Settings
from tests.conftest import Database
from tests.crash.running import ROOT, SLOW, blog, command, environment, swept, wait_until
from tests.operations.lifecycle import alembic, assert_same, picture, run
from tests.servers.replicas import Follower, Replica, replicated
from tests.servers.urls import with_password

ENGINES = ("postgresql-18", "mysql-9.7", "mariadb-11.8")


Following = Callable[[str], Replica]


@pytest.fixture(scope="module")
def following() -> Iterator[Following]:
    """The replica of an engine, started for the first test that asks."""
    with ExitStack() as stack:
        yield cache(lambda engine_id: stack.enter_context(replicated(engine_id)))


@contextmanager
def upgrading(database: Database, *x: str) -> Iterator[subprocess.Popen[str]]:
    """A slow upgrade, from its beginning."""
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
            yield process
        finally:
            process.kill()


def waiting(database: Database) -> str | None:
    """Why the run waits, by its journal."""
    with database.engine.connect() as connection:
        return next((run.waiting for run in status.read(connection) if run.waiting), None)


def arguments(replica: Replica, limit: str = "0.5") -> tuple[str, ...]:
    """PostgreSQL knows its replicas itself."""
    if replica.source.family == "postgresql":
        return (f"max_replica_lag={limit}",)
    return (f"max_replica_lag={limit}", f"replica_url={replica.url}")


@pytest.mark.engines(*ENGINES)
def test_a_sweep_waits_for_its_replica(engine_id: str, following: Following) -> None:
    """The replica stops applying in the middle: the run waits, `status` says for what, a pause on top of it
    and SIGTERM work; the same command waits again, and ends once the replica goes on."""
    replica = following(engine_id)
    with replica.source.new_database() as database:
        blog(database)
        before = picture(database)
        with upgrading(database, *arguments(replica)) as process:
            wait_until(lambda: swept(database) >= 1, process)
            replica.stop()
            wait_until(lambda: "replica" in (waiting(database) or ""), process)
            held_at = swept(database)
            shown = CliRunner().invoke(main, ["status", "--url", database.url])
            assert "waiting: replica" in " ".join(shown.output.split())
            for verb, said in (("pause", "paused"), ("resume", "replica")):
                assert CliRunner().invoke(main, [verb, "--url", database.url]).exit_code == 0
                wait_until(lambda said=said: said in (waiting(database) or ""), process)  # type: ignore[misc]
            assert swept(database) == held_at < 9
            process.send_signal(signal.SIGTERM)
            _, error = process.communicate(timeout=60)
        assert "SIGTERM stopped the sweep" in error
        assert "waiting: replica" in error
        assert "secret" not in error
        password = sa.make_url(replica.url).password
        assert password is not None
        assert password not in error
        with upgrading(database, *arguments(replica)) as process:
            wait_until(lambda: "replica" in (waiting(database) or ""), process)
            replica.go_on()
            out, error = process.communicate(timeout=120)
        assert process.returncode == 0, out + error
        assert "going on after" in error
        assert swept(database) == 9
        assert waiting(database) is None
        alembic(database, "downgrade", "base")
        assert_same(before, picture(database))


class Releases:
    """Does something about it once the run says that it waits."""

    def __init__(self, release: Callable[[], None]) -> None:
        self.release = release
        self.notes: list[str] = []

    def step(self, name: str, title: str) -> None:
        """Nothing."""

    def rows(self, what: str, done: int, total: int | None) -> None:
        """Nothing."""

    def note(self, message: str) -> None:
        """The run waits, or goes on."""
        if message.startswith(("waiting", "going on")):
            self.notes.append(message)
        if message.startswith("waiting"):
            self.release()


def sweep(database: Database, replica: Replica, progress: Releases | None = None, **said: Any) -> None:
    """Some batches with a rest between them, so that the replica is looked at more than once."""
    small: dict[str, Any] = {"batch_size": 2, "batch_floor": 2, "batch_ceiling": 2, "pause_ms": 1100}
    settings = Settings(**{**small, "max_replica_lag": 0.5, "replica_url": replica.url, **said})
    policies = (DELETED_AUTHOR, DELETED_AUTHOR)
    run(database.engine, ("sweep",), POST_AUTHOR, *policies, settings=settings, progress=progress)


@pytest.mark.engines(*ENGINES)
def test_a_replica_is_asked_itself(engine_id: str, following: Following) -> None:
    """By its own status, or by a query of the operator's; what cannot be read is refused before the first
    change."""
    replica = following(engine_id)
    with replica.source.new_database() as database:
        blog(database)
        start = picture(database)
        nobody = with_password(sa.make_url(replica.url).set(port=1))
        unreadable: tuple[tuple[dict[str, Any], str], ...] = (
            ({"replica_url": replica.source.url}, "which is no (replica|standby)"),
            ({"replica_url": nobody}, "A throttle cannot be read: Cannot connect to"),
            ({"replica_lag_query": "SELECT 'soon'"}, "'soon' .* no number of seconds"),
            ({"replica_lag_query": "SELECT lag FROM nowhere"}, "Replica .* says"),
        )
        for said, complaint in unreadable:
            with pytest.raises(PreflightRefused, match=complaint) as refused:
                sweep(database, replica, **said)
            assert "Nothing was changed" in refused.value.message
            assert_same(start, picture(database))
        late = Releases(replica.go_on)
        if isinstance(replica, Follower):
            replica.delay(3600)
        else:
            replica.stop()
        sweep(database, replica, late)
        assert "replica lag" in late.notes[0]
        assert "going on after" in late.notes[-1]
        assert swept(database) == 9


@pytest.mark.engines(*ENGINES)
def test_a_heartbeat_row_says_it_too(engine_id: str, following: Following) -> None:
    """Whatever the replica's own status is: the query's seconds count, and no row is no heartbeat."""
    replica = following(engine_id)
    with replica.source.new_database() as database:
        blog(database)
        with database.engine.begin() as connection:
            connection.exec_driver_sql("CREATE TABLE heartbeat (behind integer)")

        def beat() -> None:
            with database.engine.begin() as connection:
                found = connection.exec_driver_sql("UPDATE heartbeat SET behind = behind - 60").rowcount
                if not found:
                    connection.exec_driver_sql("INSERT INTO heartbeat VALUES (60)")

        url = with_password(sa.make_url(replica.url).set(database=database.name))
        slow = Releases(beat)
        query: dict[str, Any] = {
            "replica_url": url,
            "replica_lag_query": "SELECT behind FROM heartbeat",
            "max_replica_lag": 30,
        }
        sweep(database, replica, slow, **query)
        nothing, late, going = slow.notes
        assert "does not apply changes" in nothing
        assert "replica lag 60 s" in late
        assert going.startswith("going on after")
        assert swept(database) == 9
