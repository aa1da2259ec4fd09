"""There is no room left for what a run sets aside, or puts back: each batch that finds none is undone, the
run ends with one line and exit code 1, and once there is room the same command goes on. Nothing is lost."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
import sqlalchemy as sa

from migrator.blog.revisions import POST_AUTHOR
from migrator.errors import MigratorError, PreflightRefused, StepFailed
from tests.conftest import Database
from tests.crash.running import blog, swept
from tests.crash.test_connection_cut import quoted
from tests.crash.test_server_killed import POLICIES, ask, at, error_of, finish_and_take_back, sweep
from tests.operations.lifecycle import DOWN, UP, assert_same, picture, run
from tests.servers.containers import start_server
from tests.servers.recipes import recipe_for
from tests.servers.server import Server

#: What every one of these errors says, and how to go on.
NO_ROOM = r"no room left: .*Hint: Make room, then run the same command again"


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
    assert all(each.endswith("database or disk is full") for each in said), said
    assert come == sorted(come)
    assert any(0 < orphans < 9 for orphans in come)
    finish_and_take_back(database, start)


@pytest.mark.engines("sqlite")
def test_an_sqlite_file_too_full_for_the_way_back(database: Database) -> None:
    """No row is taken for one that cannot come back because there is no room for it: the run fails, and what
    was set aside still is. With room, all of it comes back."""
    blog(database)
    with database.engine.begin() as connection:
        connection.execute(sa.text("UPDATE post SET body = :body"), {"body": "x" * 20_000})
    start = picture(database)
    sweep(database)
    with database.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.exec_driver_sql("VACUUM")

    def bound(connection: Any, _record: Any) -> None:
        connection.execute("PRAGMA max_page_count=1")  # which means no more than it has

    sa.event.listen(database.engine, "connect", bound)
    try:
        with pytest.raises(StepFailed, match=NO_ROOM) as ended:
            run(database.engine, ("restore",), POST_AUTHOR)
    finally:
        sa.event.remove(database.engine, "connect", bound)
    assert ended.value.exit_code == 1
    run(database.engine, ("restore",), POST_AUTHOR)
    assert_same(start, picture(database))


@pytest.mark.engines("sqlite")
def test_an_sqlite_rebuild_wants_room_beforehand(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """Refused (exit code 4) before the first change where the table has no room once more; how big the rest
    of the file is does not matter."""
    blog(database)
    with database.engine.begin() as connection:
        connection.execute(sa.text("UPDATE post SET body = :body"), {"body": "x" * 20_000})
        connection.execute(sa.text("CREATE TABLE other (filler TEXT)"))
        connection.execute(sa.text("INSERT INTO other VALUES (:filler)"), {"filler": "x" * 2_000_000})
    start = picture(database)
    free = 300_000
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=free))
    with pytest.raises(
        PreflightRefused, match=r"The rebuild of post needs about \d{3} KB; \d{3} KB are free"
    ):
        sweep(database)
    assert_same(start, picture(database))
    free = 1_000_000
    finish_and_take_back(database, start)


@pytest.fixture
def small_server(engine_id: str) -> Iterator[Server]:
    """With a disk of its own at /small: four megabytes, twelve for InnoDB, whose smallest file is bigger."""
    size = "4m" if engine_id.startswith("postgresql") else "12m"
    server = start_server(recipe_for(engine_id), dedicated=True, small_disk=size)
    yield server
    server.remove()


def inside(server: Server, command: str) -> None:
    """A line of shell beside the server."""
    assert server.machine is not None
    code, out, messages = server.machine.run(["bash", "-s"], {}, command)
    assert code == 0, out + messages


@pytest.mark.engines("postgresql-18")
def test_a_server_whose_disk_is_full(small_server: Server) -> None:
    """What is ours lies on a disk that something else fills: each batch that finds no room is undone. The
    more of it is taken away, the further the same command comes, to its end; and so does the way back."""
    inside(
        small_server, "install -d -o postgres -m 700 /small/ours && head -c 3900K /dev/zero > /small/filler"
    )
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
            inside(small_server, "truncate -s -100K /small/filler")
        assert all("No space left on device" in each for each in said), said
        assert come == sorted(come)
        assert any(0 < orphans < 9 for orphans in come)
        inside(small_server, "rm /small/filler")
        run(database.engine, UP, POST_AUTHOR, *POLICIES)
        with database.engine.begin() as connection:
            connection.exec_driver_sql("ALTER TABLE post SET TABLESPACE small")
        inside(small_server, "dd if=/dev/zero of=/small/filler 2> /dev/null || true")  # until it is full
        with pytest.raises(StepFailed, match=NO_ROOM) as ended:
            run(database.engine, DOWN, POST_AUTHOR)
        assert "No space left on device" in str(ended.value)
        inside(small_server, "rm /small/filler")
        run(database.engine, DOWN, POST_AUTHOR)
        with database.engine.begin() as connection:
            connection.exec_driver_sql("ALTER TABLE post SET TABLESPACE pg_default")
        assert_same(start, picture(database))


@pytest.mark.engines("mysql-9.7", "mariadb-11.8")
def test_a_disk_that_fills_up_under_innodb(small_server: Server) -> None:
    """The same, where something else takes all of the disk in the middle of the sweep."""
    with small_server.new_database() as database:
        with database.engine.connect() as connection:
            data = str(connection.exec_driver_sql("SELECT @@datadir").scalar_one())
        # InnoDB writes to the small disk what it takes for the database's own folder.
        inside(small_server, f"cd {data} && mv {database.name} /small/ && ln -s /small/{database.name} .")
        blog(database)
        with database.engine.begin() as connection:
            # In the row itself: MariaDB 11.8 crashes where it finds no room for a value of its own pages.
            connection.exec_driver_sql("UPDATE post SET body = REPEAT(SHA2(id, 256), 110)")
        start = picture(database)
        fill = "dd if=/dev/zero of=/small/filler 2> /dev/null || true"
        come: list[int] = []
        with at(quoted(database, 'DELETE FROM "post"'), 2, lambda: inside(small_server, fill)):
            said = [error_of(database)]
        come.append(swept(database))
        while swept(database) < 9:
            inside(small_server, "truncate -s -16K /small/filler")
            try:
                sweep(database)
            except MigratorError as error:
                said.append(error)
            come.append(swept(database))
            assert len(come) < 60, said
        assert all(isinstance(each, StepFailed) for each in said), said
        assert all("is full" in each.message or "No more room" in each.message for each in said), said
        assert come == sorted(come)
        assert 0 < come[0] < 9
        inside(small_server, "rm /small/filler")
        finish_and_take_back(database, start)
