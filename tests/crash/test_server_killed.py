"""The server dies in the middle of a batch, is made read-only, or has no room left: the run ends with one
line that says how to go on, and going on loses nothing and doubles nothing."""

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
from tests.servers.containers import start_server
from tests.servers.recipes import recipe_for
from tests.servers.server import Server
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
def test_an_sqlite_file_that_is_full(database: Database) -> None:
    """Each batch that finds no room is undone, exit code 1, one line; with a little more room the same
    command comes a little further, to its end."""
    blog(database)
    with database.engine.begin() as connection:
        connection.execute(sa.text("UPDATE post SET body = :body"), {"body": "x" * 20_000})
        pages = int(connection.exec_driver_sql("PRAGMA page_count").scalar_one())
    start = picture(database)
    room = 0

    def bound(connection: Any, _record: Any) -> None:
        connection.execute(f"PRAGMA max_page_count={pages + room}")

    come: list[int] = []
    said: set[str] = set()
    sa.event.listen(database.engine, "connect", bound)
    try:
        while swept(database) < 9:
            try:
                sweep(database)
            except StepFailed as error:
                said.add(error.message)
                come.append(swept(database))
            room += 3
    finally:
        sa.event.remove(database.engine, "connect", bound)
    assert {each.partition("failed: ")[2] or each for each in said} == {"database or disk is full"}
    assert come == sorted(come)
    assert any(0 < orphans < 9 for orphans in come)
    finish_and_take_back(database, start)


@pytest.fixture
def small_server(engine_id: str) -> Iterator[Server]:
    """With a disk of four megabytes at /small."""
    server = start_server(recipe_for(engine_id), dedicated=True, small_disk="4m")
    yield server
    server.remove()


@pytest.mark.engines("postgresql-18")
def test_a_server_whose_disk_is_full(small_server: Server) -> None:
    """What is ours lies on a disk that something else fills: each batch that finds no room is undone. The
    more of it is taken away, the further the same command comes, to its end."""

    def inside(command: str) -> None:
        assert small_server.machine is not None
        code, out, messages = small_server.machine.run(["bash", "-s"], {}, command)
        assert code == 0, out + messages

    inside("install -d -o postgres -m 700 /small/ours && head -c 3900K /dev/zero > /small/filler")
    with small_server.new_database() as database:
        blog(database)
        ask(small_server.url, "CREATE TABLESPACE small LOCATION '/small/ours'")
        ask(small_server.url, f"ALTER DATABASE {database.name} SET default_tablespace = small")
        with database.engine.begin() as connection:  # no two the same: they would be compressed away
            body = "(SELECT string_agg(md5(post.id || ' ' || n), '') FROM generate_series(1, 1000) n)"
            connection.exec_driver_sql(f"UPDATE post SET body = {body}")
        start = picture(database)
        come: list[int] = []
        said: set[str] = set()
        while swept(database) < 9:
            try:
                sweep(database)
            except StepFailed as error:
                said.add(error.message)
                come.append(swept(database))
            assert len(come) < 60, said
            inside("truncate -s -100K /small/filler")
        assert all("No space left on device" in each for each in said), said
        assert come == sorted(come)
        assert any(0 < orphans < 9 for orphans in come)
        inside("rm /small/filler")
        finish_and_take_back(database, start)


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
