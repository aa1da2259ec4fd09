"""What needs a server of the test's own: its settings, its plugins, its death."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import pytest
import sqlalchemy as sa

from migrator import journal
from migrator.dialects import mysql_locks
from migrator.dialects.mysql_sessions import execute
from migrator.errors import Interrupted, MigratorError
from migrator.plan import Sql
from migrator.policy import Backfill, Delete
from migrator.reference import TableName
from tests.conftest import ServerFactory
from tests.operations.lifecycle import DOWN, run
from tests.operations.mysql_desk import BLOG, DOUBLE, REFERENCE, Desk, in_background, slow_to_rebuild
from tests.servers.database import Database
from tests.servers.server import Server

pytestmark = pytest.mark.engines("mysql", "mariadb")


@contextmanager
def desk_at(server: Server) -> Iterator[tuple[Database, Desk]]:
    """A blog on a server."""
    with server.new_database() as database:
        yield database, Desk.at(database, *BLOG)


def test_server_wide_settings_that_hinder_are_named(own_server: ServerFactory) -> None:
    """Statement-based logging and read_only are refused, a lax sql_mode and checks that are off are not."""
    server = own_server("--binlog-format=STATEMENT", "--sql-mode=NO_ENGINE_SUBSTITUTION")
    with desk_at(server) as (_, desk):
        problems = {problem.slug: problem for problem in desk.environment()}
        assert {slug: problem.severity for slug, problem in problems.items()} == {
            "binlog-format": "refuse",
            "not-strict": "warn",
        }
        desk.sql(*(problem.fix.split(";")[0] for problem in problems.values()))
        assert desk.environment() == []
        # Only a setting of new sessions on MySQL, where the variable is global as well.
        desk.sql("SET GLOBAL foreign_key_checks = 0")
        assert "checks-off" in [problem.slug for problem in desk.environment()]
        desk.sql("SET GLOBAL foreign_key_checks = 1")
        desk.sql("CREATE USER plain IDENTIFIED BY 'secret'", "GRANT ALL ON *.* TO plain")
        privilege = "READ_ONLY ADMIN" if desk.mariadb else "SUPER, CONNECTION_ADMIN"
        desk.sql(f"REVOKE {privilege} ON *.* FROM plain", "SET GLOBAL read_only = 1")
        url = sa.make_url(str(desk.engine.url.render_as_string(hide_password=False)))
        engine = sa.create_engine(url.set(username="plain", password="secret"), poolclass=sa.NullPool)
        with engine.connect():
            pass
        plain = Desk(engine, type(desk.dialect)(engine.dialect))
        refused = [problem.slug for problem in plain.environment() if problem.severity == "refuse"]
        desk.sql("SET GLOBAL read_only = 0")
        assert "read-only" in refused


def test_mariadb_names_the_holders_where_it_can(own_server: ServerFactory, engine_id: str) -> None:
    """By its plugin; by the performance schema where that is switched on."""
    if not engine_id.startswith("mariadb"):
        settings: tuple[tuple[str, ...], ...] = (("--performance-schema=OFF",),)
    else:
        settings = (
            ("--plugin-load-add=metadata_lock_info", "--plugin-load-add=disks"),
            ("--performance-schema=ON", "--performance-schema-instrument=wait/lock/metadata/sql/mdl=ON"),
        )
    for arguments in settings:
        with desk_at(own_server(*arguments)) as (_, desk):
            with desk.transaction("SELECT * FROM user") as holder, desk.open() as connection:
                me = str(holder.exec_driver_sql("SELECT CONNECTION_ID()").scalar_one())
                tables = [TableName("post"), TableName("user")]
                found = [each for each in desk.dialect.blockers(connection, tables) if each.pid == me]
                assert found
                known = "not known" not in found[0].what
                assert known is desk.mariadb
                assert not known or found[0].what.endswith("on user")
            # The DISKS plugin is asked as well: there is room for four posts.
            assert [problem for problem in desk.environment() if problem.severity == "refuse"] == []
            if "--plugin-load-add=disks" in arguments:
                facts = desk.facts()
                large = replace(facts, child=replace(facts.child, bytes=10**15))
                with desk.open() as connection:
                    problems = list(desk.dialect.environment_problems(connection, large, desk.settings))
                assert [problem.slug for problem in problems if problem.severity == "refuse"] == ["no-room"]


def test_a_crash_of_the_server_during_the_rebuild_leaves_the_old_table(own_server: ServerFactory) -> None:
    """DDL is atomic: the old definition, every row, nothing half made; the same step then goes through."""
    with desk_at(own_server()) as (database, desk):
        slow_to_rebuild(desk)
        rows = desk.value("SELECT COUNT(*) FROM post")
        desk.enforce()
        step = desk.step("set-not-null")
        assert isinstance(step.work, Sql)
        failed: list[str] = []

        def rebuild() -> None:
            try:
                desk.attempt(step)
            except sa.exc.DBAPIError as error:
                failed.append(desk.dialect.verdict(error))

        rebuilding = in_background(rebuild)
        with desk.open() as connection:
            while not mysql_locks.leftovers(connection):
                pass
        database.kill()
        rebuilding.join()
        database.start()
        if not desk.facts().not_null:  # else it was quicker than the crash
            assert failed == ["lost"]
        assert desk.value("SELECT COUNT(*) FROM post") == rows
        assert desk.value("SELECT COUNT(*) FROM information_schema.tables WHERE table_name LIKE '#sql%'") == 0
        desk.run(desk.dialect.validate_steps(desk.facts()))
        assert desk.facts().not_null


@pytest.mark.parametrize("how", ["restart", "crash"])
def test_a_run_whose_server_goes_during_the_rebuild_is_resumed(own_server: ServerFactory, how: str) -> None:
    """Stopped in good order or not: the run ends as interrupted, not one row is lost, and the same call goes
    through to the proof."""
    with desk_at(own_server()) as (database, desk):
        slow_to_rebuild(desk)
        rows = desk.value("SELECT COUNT(*) FROM post")
        policies = (Backfill(to=1), Delete())
        run(database.engine, ("sweep", "enforce"), REFERENCE, *policies)
        ended: list[MigratorError] = []

        def validate() -> None:
            try:
                run(database.engine, ("validate",), REFERENCE, *policies)
            except MigratorError as error:
                ended.append(error)

        rebuilding = in_background(validate)
        with desk.open() as connection:
            while not mysql_locks.leftovers(connection):
                pass
        if how == "crash":
            database.kill()
            rebuilding.join()
            database.start()
        else:
            database.restart()
            rebuilding.join()
        assert [type(error) for error in ended] == [Interrupted]
        assert desk.value("SELECT COUNT(*) FROM post") == rows
        run(database.engine, ("validate",), REFERENCE, *policies)
        with database.engine.connect() as connection:
            assert journal.proved_at(connection, REFERENCE)
        assert desk.facts().not_null
        assert desk.facts().guards == ()
        assert desk.value("SELECT COUNT(*) FROM post") == rows
        run(database.engine, DOWN, REFERENCE)
        assert desk.facts().foreign_key is None


def test_a_rebuild_whose_log_overflows_can_be_tried_again(own_server: ServerFactory) -> None:
    """1799 is `retry`."""
    server = own_server("--innodb-online-alter-log-max-size=65536", "--innodb-sort-buffer-size=65536")
    with desk_at(server) as (_, desk):
        desk.sql(*[DOUBLE] * 14)
        with desk.open() as watcher, desk.open() as writer:
            failed: list[sa.exc.DBAPIError] = []

            def rebuild() -> None:
                try:
                    desk.attempt(desk.step("set-not-null"))
                except sa.exc.DBAPIError as error:
                    failed.append(error)

            rebuilding = in_background(rebuild)
            while rebuilding.is_alive():
                if mysql_locks.leftovers(watcher):
                    execute(
                        writer,
                        "UPDATE post SET title = REVERSE(CONCAT(id, RPAD('', 190, RAND()))) WHERE id < 2000",
                    )
            rebuilding.join()
        assert {desk.dialect.verdict(error) for error in failed} <= {"retry"}
        desk.attempt(desk.step("set-not-null"))
