"""The server dies in the middle of a batch, or is made read-only: the run ends with one line that says how to
go on, and going on loses nothing and doubles nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.engine import Connection, Engine

from migrator import journal
from migrator.blog.revisions import DELETED_AUTHOR, POST_AUTHOR
from migrator.errors import Interrupted, MigratorError, PreflightRefused, StepFailed
from migrator.policy import Delete
from tests.conftest import Database, ServerFactory
from tests.crash.running import blog, swept, upgrade
from tests.crash.states import settled
from tests.crash.test_connection_cut import ONE_BY_ONE, quoted
from tests.operations.lifecycle import DOWN, UP, alembic, assert_same, picture, run
from tests.servers.urls import with_password

POLICIES = (DELETED_AUTHOR, Delete())


@contextmanager
def at(beginning: str, times: int, happens: Callable[[], object]) -> Iterator[None]:
    """Have something happen right after the server has done a statement that begins so, once it was sent so
    many times; its transaction is open then."""
    seen = 0

    def after(_connection: Connection, _cursor: Any, statement: str, *_: Any) -> None:
        nonlocal seen
        if statement.startswith(beginning):
            seen += 1
            if seen == times:
                happens()

    sa.event.listen(Engine, "after_cursor_execute", after)
    try:
        yield
    finally:
        sa.event.remove(Engine, "after_cursor_execute", after)


def sweep(database: Database) -> None:
    """One row at a time."""
    run(database.engine, ("sweep",), POST_AUTHOR, *POLICIES, settings=ONE_BY_ONE)


def finish_and_take_back(database: Database, start: Any) -> None:
    """The same again, to its end; then everything back."""
    run(database.engine, UP, POST_AUTHOR, *POLICIES)
    assert swept(database) == 9
    run(database.engine, DOWN, POST_AUTHOR)
    assert_same(start, picture(database))


@pytest.mark.engines("postgresql-18", "mysql-9.7", "mariadb-11.8")
@pytest.mark.parametrize(
    "beginning", ['INSERT INTO "migrator_q_', 'DELETE FROM "post"'], ids=["copied", "deleted"]
)
def test_a_server_that_is_killed_in_a_batch(own_server: ServerFactory, beginning: str) -> None:
    """SIGKILL, with the batch half done: the run is interrupted (exit code 5). Once the server is back the
    same command ends the work, and every row can be had back."""
    server = own_server()
    with server.new_database() as database:
        blog(database)
        start = picture(database)
        killed = at(quoted(database, beginning), 3, database.kill)
        with (
            killed,
            pytest.raises(Interrupted, match=r"[Cc]onnection.*Hint: Run the same command") as stopped,
        ):
            sweep(database)
        assert stopped.value.exit_code == 5
        assert "\n" not in str(stopped.value)
        database.start()
        with database.engine.connect() as connection:
            (only,) = journal.runs(connection)
            posts = connection.scalar(sa.text("SELECT count(*) FROM post"))
        held = [line for line in settled(database.engine).quarantine if "'deleted'" in line]
        assert posts == 20 - len(held)
        assert only.counts.get("changed", 0) == len(settled(database.engine).quarantine)
        finish_and_take_back(database, start)
        ended = upgrade(database)
        assert ended.returncode == 0, ended.stderr
        alembic(database, "downgrade", "base")
        assert_same(start, picture(database))


@pytest.mark.engines("postgresql-18", "mysql-9.7", "mariadb-11.8")
def test_a_server_that_becomes_read_only(own_server: ServerFactory) -> None:
    """A failover, say. Before the first change it is a refusal, in the middle a failure that says so in one
    line; made writable, the same command ends the work."""
    server = own_server()
    with server.new_database() as database:
        blog(database)
        if database.family == "postgresql":
            url, set_to = database.url, "ALTER SYSTEM SET default_transaction_read_only = {}"
        else:  # which root may write all the same
            ask(server.url, "CREATE USER plain IDENTIFIED BY 'secret'")
            ask(server.url, f"GRANT ALL ON {database.name}.* TO plain")
            plain = sa.make_url(database.url).set(username="plain", password="secret")
            url, set_to = with_password(plain), "SET GLOBAL read_only = {}"

        def read_only(yes: bool) -> None:
            ask(server.url, set_to.format("ON" if yes else "OFF"))
            if database.family == "postgresql":
                ask(server.url, "SELECT pg_reload_conf()")

        start = picture(database)  # with its grants
        mine = replace(database, url=url, engine=sa.create_engine(url, poolclass=sa.NullPool))
        read_only(True)
        refused = error_of(mine)
        assert isinstance(refused, PreflightRefused), refused
        assert "read" in refused.message
        read_only(False)
        assert_same(start, picture(database))
        with at(quoted(database, 'DELETE FROM "post"'), 2, lambda: read_only(True)):
            ended = error_of(mine)
        assert isinstance(ended, StepFailed), ended
        assert "read-only" in str(ended)
        assert ended.exit_code == 1
        read_only(False)
        finish_and_take_back(database, start)


def error_of(database: Database) -> MigratorError:
    """What a sweep ends with."""
    with pytest.raises(MigratorError) as ended:
        sweep(database)
    assert "\n" not in str(ended.value)
    assert "Hint: " in str(ended.value)
    return ended.value


def ask(url: str, statement: str) -> None:
    """As the administrator."""
    engine = sa.create_engine(url, poolclass=sa.NullPool, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        if connection.dialect.name == "postgresql":
            connection.exec_driver_sql("SET default_transaction_read_only = off")
        connection.exec_driver_sql(statement)


@pytest.mark.engines("sqlite")
def test_an_sqlite_file_without_write_permission(database: Database) -> None:
    """Refused before the first change; even root meets it where the file is opened read-only."""
    blog(database)
    start = picture(database)
    path = Path(database.engine.url.database or "")
    engine = sa.create_engine(f"sqlite:///file:{path}?mode=ro&uri=true", poolclass=sa.NullPool)
    with pytest.raises(PreflightRefused, match="Hint: ") as refused:
        run(engine, ("sweep",), POST_AUTHOR, *POLICIES)
    assert refused.value.exit_code == 4
    assert_same(start, picture(database))
    finish_and_take_back(database, start)
