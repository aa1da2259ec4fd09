"""A connection is cut: in the middle of a batch, or the one that holds the lock. Nothing is half done, the
error says how to go on, and going on ends as if nothing had happened."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.engine import Connection, Engine

from migrator import journal
from migrator.blog.revisions import DELETED_AUTHOR, POST_AUTHOR
from migrator.dialects import mysql_locks
from migrator.errors import Interrupted
from migrator.lock import LOCK_NAME
from migrator.plan import Operation
from migrator.policy import Delete
from tests.conftest import Database
from tests.crash.running import blog, swept
from tests.crash.states import settled
from tests.operations.lifecycle import DOWN, FAST, UP, assert_same, picture, run

SERVERS = ("postgresql", "mysql", "mariadb")
ONE_BY_ONE = replace(FAST, batch_size=1, batch_floor=1, batch_ceiling=1)


def session_of(connection: Connection) -> int:
    """The server's number for it."""
    driver: Any = connection.connection.dbapi_connection
    info = getattr(driver, "info", None)
    return int(info.backend_pid if info is not None else driver.thread_id())


def cut(database: Database, session: int) -> None:
    """End a session as an administrator would."""
    statement = "SELECT pg_terminate_backend({})" if database.family == "postgresql" else "KILL {}"
    with database.engine.connect() as connection:
        connection.exec_driver_sql(statement.format(session))


@contextmanager
def cut_after(database: Database, beginning: str, times: int) -> Iterator[None]:
    """Cut the connection that sends a statement beginning so, right after the server has done it, once it
    was sent so many times."""
    seen = 0

    def after(connection: Connection, _cursor: Any, statement: str, *_: Any) -> None:
        nonlocal seen
        if statement.startswith(beginning):
            seen += 1
            if seen == times:
                cut(database, session_of(connection))

    sa.event.listen(Engine, "after_cursor_execute", after)
    try:
        yield
    finally:
        sa.event.remove(Engine, "after_cursor_execute", after)


def quoted(database: Database, beginning: str) -> str:
    """As it is sent to that server: its quotes, the schema where statements name it, its form of DELETE."""
    if database.family == "postgresql":
        beginning = beginning.replace('"post"', '"public"."post"')
        return beginning.replace("DELETE FROM", "WITH c AS \n(DELETE FROM")
    return beginning.replace('"', "`")


@pytest.mark.engines(*SERVERS)
@pytest.mark.parametrize(
    "beginning",
    ['INSERT INTO "migrator_q_', 'UPDATE "post" SET', 'DELETE FROM "post"', 'INSERT INTO "migrator_w_'],
    ids=["copied", "changed", "deleted", "listed"],
)
def test_a_batch_whose_connection_is_cut_is_undone_whole(database: Database, beginning: str) -> None:
    """Copied and not yet changed, changed and not yet committed: the server rolls it back, the run is
    interrupted (exit code 5), and the next one does the rest."""
    blog(database)
    start = picture(database)
    policies = (DELETED_AUTHOR, Delete())
    with (
        cut_after(database, quoted(database, beginning), 1 if "_w_" in beginning else 2),
        pytest.raises(Interrupted, match=r"[Cc]onnection.*Hint: Run the same command again") as stopped,
    ):
        run(database.engine, ("sweep",), POST_AUTHOR, *policies, settings=ONE_BY_ONE)
    assert stopped.value.exit_code == 5
    with database.engine.connect() as connection:
        (only,) = journal.runs(connection)
        posts = connection.scalar(sa.text("SELECT count(*) FROM post"))
    assert only.state == "interrupted"
    held = [line for line in settled(database.engine).quarantine if "'deleted'" in line]
    assert posts == 20 - len(held)
    run(database.engine, UP, POST_AUTHOR, *policies)
    assert swept(database) == 9
    run(database.engine, DOWN, POST_AUTHOR)
    assert_same(start, picture(database))


@pytest.mark.engines(*SERVERS)
@pytest.mark.parametrize("operation", ["restore", "enforce", "validate"])
def test_other_operations_survive_a_cut_too(database: Database, operation: Operation) -> None:
    """The connection goes when the first step of the operation has begun; the same call again ends it."""
    blog(database)
    start = picture(database)
    policies = (DELETED_AUTHOR, DELETED_AUTHOR)
    before: tuple[Operation, ...] = ("sweep", "enforce")
    run(database.engine, before[: 2 if operation == "validate" else 1], POST_AUTHOR, *policies)
    with cut_after(database, "INSERT INTO migrator_step", 1), pytest.raises(Interrupted):
        run(database.engine, (operation,), POST_AUTHOR, *policies)
    run(database.engine, (operation,), POST_AUTHOR, *policies)
    if operation != "restore":
        run(database.engine, DOWN if operation == "validate" else DOWN[1:], POST_AUTHOR)
    assert_same(start, picture(database))


class CutsTheLock:
    """Ends the session that holds the run lock once the first orphan is settled."""

    def __init__(self, database: Database) -> None:
        self.database = database

    def step(self, name: str, title: str) -> None:
        """Nothing."""

    def note(self, message: str) -> None:
        """Nothing."""

    def rows(self, what: str, done: int, total: int | None) -> None:
        """A batch is through."""
        if not what.startswith("sweep") or done != 1:
            return
        if self.database.family == "postgresql":
            query = "SELECT pid FROM pg_locks WHERE locktype = 'advisory' AND granted AND database = "
            query += "(SELECT oid FROM pg_database WHERE datname = current_database())"
        else:
            query = f"SELECT IS_USED_LOCK('{mysql_locks.lock_name(self.database.name, LOCK_NAME)}')"
        with self.database.engine.connect() as connection:
            session = connection.exec_driver_sql(query).scalar_one()
        cut(self.database, int(session))


@pytest.mark.engines(*SERVERS)
def test_a_run_that_lost_its_lock_stops(database: Database) -> None:
    """Another run may get in once the lock's connection is gone: this one stops before it does much more."""
    blog(database)
    slow = replace(ONE_BY_ONE, pause_ms=400)
    with pytest.raises(Interrupted, match="connection that held the run lock is gone"):
        run(
            database.engine,
            ("sweep",),
            POST_AUTHOR,
            DELETED_AUTHOR,
            DELETED_AUTHOR,
            settings=slow,
            progress=CutsTheLock(database),
        )
    assert 1 <= swept(database) < 9
    run(database.engine, ("sweep",), POST_AUTHOR, DELETED_AUTHOR, DELETED_AUTHOR)
    assert swept(database) == 9
