"""What the protocol's safety rests on while others are at work, on real servers."""

from __future__ import annotations

import threading
import time
from dataclasses import replace

import pytest
import sqlalchemy as sa
from sqlalchemy.engine import Connection

from migrator.dialects import mysql_locks, mysql_sessions
from migrator.dialects.mysql_sessions import error_number, execute
from migrator.dialects.mysql_watchdog import Patience
from migrator.naming import MARKER
from migrator.plan import Sql, Step
from migrator.reference import TableName
from migrator.settings import Settings
from tests.operations.mysql_desk import BLOG, Desk, in_background, slow_to_rebuild
from tests.servers.database import Database

pytestmark = pytest.mark.engines("mysql", "mariadb", "mariadb-10.11")

TABLES = [TableName("post"), TableName("user")]


def session_id(connection: Connection) -> int:
    """The server's number of a session."""
    return int(connection.exec_driver_sql("SELECT CONNECTION_ID()").scalar_one())


def test_an_open_delete_of_a_parent_cannot_slip_under_the_key(database: Database) -> None:
    """The step waits for it and gives up; when it has ended, there is no orphan under the key."""
    desk = Desk.at(database, *BLOG)
    desk.run(desk.dialect.index_steps(desk.facts()))
    step = desk.step("add-foreign-key")
    with desk.transaction("DELETE FROM user WHERE id = 1") as deleting:
        assert desk.attempt_fails(step) == 1205
        assert not step.done(desk.facts())
        deleting.rollback()
    desk.attempt(step)
    assert (
        desk.value("SELECT COUNT(*) FROM post LEFT JOIN user ON user.id = user_id WHERE user.id IS NULL") == 0
    )


def test_without_the_fence_mariadb_lets_it_slip(database: Database) -> None:
    """The same ALTER, not fenced: MySQL waits by itself, MariaDB leaves two orphans under an enforced key."""
    desk = Desk.at(database, *BLOG)
    desk.run(desk.dialect.index_steps(desk.facts()))
    work = desk.step("add-foreign-key").work
    assert isinstance(work, Sql)
    bare = work.statements
    with desk.transaction("DELETE FROM user WHERE id = 1") as deleting:
        if not desk.mariadb:
            assert desk.fails("SET SESSION lock_wait_timeout = 1", *bare) == 1205
            return
        desk.sql("SET SESSION lock_wait_timeout = 1", *bare)
        deleting.commit()
    assert desk.facts().foreign_key is not None
    assert (
        desk.value("SELECT COUNT(*) FROM post LEFT JOIN user ON user.id = user_id WHERE user.id IS NULL") == 2
    )


def wait_until_waiting(desk: Desk) -> None:
    """Until a statement of ours waits for a metadata lock."""
    waiting = (
        "SELECT COUNT(*) FROM information_schema.processlist WHERE db = DATABASE() "
        f"AND state = 'Waiting for table metadata lock' AND info LIKE '{MARKER}%%'"
    )
    deadline = time.monotonic() + 60
    while not desk.value(waiting):
        assert time.monotonic() < deadline
        time.sleep(0.02)


def a_first_post(desk: Desk, step: Step) -> int | None:
    """A user is written, then the step waits for that transaction, then the user's first post is written.
    The number of the error that the application gets; None when it gets none."""
    settings = replace(desk.settings, lock_timeout_ms=60_000)

    def work() -> None:
        with desk.open() as connection:
            desk.dialect.run_sql(connection, step, settings)

    with desk.transaction("INSERT INTO user (id, name) VALUES (900, 'new')") as application:
        ddl = in_background(work)
        wait_until_waiting(desk)
        try:
            execute(application, "INSERT INTO post (title, user_id) VALUES ('first', 900)")
            application.commit()
        except sa.exc.DBAPIError as error:
            return error_number(error)
        finally:
            application.rollback()
            ddl.join()
    return None


@pytest.mark.parametrize("name", ["add-foreign-key", "drop-foreign-key", "drop-null-guard"])
def test_who_writes_a_parent_and_then_a_child_is_no_deadlocks_victim(database: Database, name: str) -> None:
    """The parent is locked first, as the application does; the other way about it is, on MySQL for the key,
    on MariaDB for whatever wants the child once the key is there."""
    desk = Desk.at(database, *BLOG)
    desk.run(desk.dialect.index_steps(desk.facts()))
    for each in ("add-null-guard", *(["add-foreign-key"] if name != "add-foreign-key" else [])):
        desk.attempt(desk.step(each))
    step = (
        desk.step(name)
        if name != "drop-foreign-key"
        else desk.dialect.release_steps(desk.facts(), frozenset({"add-foreign-key"}))[0]
    )
    work = step.work
    assert isinstance(work, Sql)
    if name == "drop-null-guard" and not desk.mariadb:
        assert work.courtesy == ()  # who writes a parent has no lock on the child there
        return
    assert a_first_post(desk, replace(step, work=replace(work, courtesy=work.otherwise))) == 1213
    if name == "drop-null-guard":  # it went through behind the victim
        desk.attempt(desk.step("add-null-guard"))
    elif name == "add-foreign-key":
        desk.run(desk.dialect.release_steps(desk.facts(), frozenset({"add-foreign-key"})))
    else:
        desk.attempt(desk.step("add-foreign-key"))
    desk.sql("DELETE FROM post WHERE user_id = 900", "DELETE FROM user WHERE id = 900")
    assert a_first_post(desk, step) is None
    assert desk.value("SELECT COUNT(*) FROM post WHERE user_id = 900") == 1


@pytest.mark.parametrize("held", ["SELECT * FROM post", "UPDATE user SET name = 'y' WHERE id = 3"])
def test_a_transaction_in_the_way_costs_one_bounded_wait(database: Database, held: str) -> None:
    """The attempt ends with 1205 long before the server's bound; nothing changed, nobody stays blocked."""
    desk = Desk.at(database, *BLOG)
    desk.run(desk.dialect.index_steps(desk.facts()))
    step = desk.step("add-foreign-key")
    with desk.transaction(held):
        with desk.open() as connection:
            begin = mysql_sessions.session_settings(connection, 60, type(desk.dialect).session)
            with pytest.raises(sa.exc.DBAPIError) as caught:
                mysql_sessions.run(connection, step, begin, Patience(0.2))
        assert desk.dialect.verdict(caught.value) == "lock-timeout"
        assert "gave way after 200 ms" in str(caught.value)
        desk.sql("UPDATE user SET name = 'x' WHERE id = 4", "UPDATE post SET title = 'x' WHERE id = 4")
    desk.attempt(step)


@pytest.mark.parametrize("name", ["create-index", "set-not-null"])
def test_a_rebuild_gives_way_at_its_beginning_as_soon_as_any_step(database: Database, name: str) -> None:
    """Nothing is lost by it; only the wait at its end is a patient one."""
    desk = Desk.at(database, *BLOG)
    step = desk.step(name)
    with desk.transaction("SELECT * FROM post"), desk.open() as connection:
        with pytest.raises(sa.exc.DBAPIError) as caught:
            desk.dialect.run_sql(connection, step, desk.settings)
        assert "gave way after 200 ms" in str(caught.value)
    desk.attempt(step)


def test_the_servers_own_bound_holds_where_no_finer_one_is_asked(database: Database) -> None:
    """Whole seconds need no watchdog."""
    desk = Desk.at(database, *BLOG)
    step = desk.step("add-null-guard")
    with desk.transaction("SELECT * FROM post"), desk.open() as connection:
        with pytest.raises(sa.exc.DBAPIError) as caught:
            desk.dialect.run_sql(connection, step, Settings(lock_timeout_ms=1000))
        assert error_number(caught.value) == 1205
        assert "gave way" not in str(caught.value)


def test_who_is_in_the_way_is_named(database: Database) -> None:
    """By session and lock where the server tells; where it does not, every open transaction here."""
    desk = Desk.at(database, *BLOG)
    with desk.transaction("SELECT * FROM user") as holder, desk.open() as connection:
        found = desk.dialect.blockers(connection, TABLES)
        assert str(session_id(holder)) in [blocker.pid for blocker in found]
        if not desk.mariadb:
            assert [blocker.what for blocker in found] == ["SHARED_READ on user"]
        assert desk.dialect.blockers(connection, [TableName("nothing")]) == [] or desk.mariadb


def test_only_a_session_known_to_hold_on_is_an_obstacle(database: Database) -> None:
    """A guess stops nothing, and neither does a transaction of this moment."""
    desk = Desk.at(database, *BLOG)
    step = desk.step("add-foreign-key")
    with desk.transaction("SELECT * FROM post") as holder, desk.open() as connection:
        holder.exec_driver_sql("DO SLEEP(2)")
        found = desk.dialect.obstacles(connection, desk.facts(), step)
        assert [blocker.pid for blocker in found] == ([] if desk.mariadb else [str(session_id(holder))])


def test_a_statement_of_ours_is_known_in_its_own_database_alone(database: Database) -> None:
    """Whoever runs in another database has a lock of their own there, and is not to be waited for."""
    desk = Desk.at(database, *BLOG)
    with database.new_database() as elsewhere, desk.open() as connection:
        there = Desk.at(elsewhere)
        sleeping = in_background(there.fails, f"{MARKER}some-step */ DO SLEEP(600)")
        with there.open() as other:
            while not (found := there.dialect.leftovers(other)):
                pass
            assert desk.dialect.leftovers(connection) == []
            execute(other, f"KILL {found[0]}")
        sleeping.join()


def test_nulls_written_during_the_rebuild_bounce_off_the_guard(database: Database) -> None:
    """Writers see 1048, as they will from NOT NULL itself; the rebuild goes through."""
    desk = Desk.at(database, *BLOG)
    slow_to_rebuild(desk)
    desk.enforce()
    step = desk.step("set-not-null")
    over, seen = threading.Event(), set()

    def write_nulls() -> None:
        with desk.open() as connection:
            while not over.is_set():
                try:
                    execute(connection, "INSERT INTO post (user_id) VALUES (NULL)")
                    seen.add(0)
                except sa.exc.DBAPIError as error:
                    seen.add(error_number(error) or -1)

    writer = in_background(write_nulls)
    try:
        desk.attempt(step)
    finally:
        over.set()
        writer.join()
    assert desk.facts().not_null
    assert seen == {1048}


def test_an_orphan_written_with_checks_off_is_there_to_be_found(database: Database) -> None:
    """The key stands and the orphan too; MySQL names the session."""
    desk = Desk.at(database, *BLOG)
    desk.upgrade()
    with desk.open() as careless, desk.open() as connection:
        execute(careless, "SET SESSION foreign_key_checks = 0")
        execute(careless, "INSERT INTO post (user_id) VALUES (99)")
        found = [blocker.pid for blocker in desk.dialect.unchecked_sessions(connection)]
        assert (str(session_id(careless)) in found) is not desk.mariadb
    orphans = desk.value(
        "SELECT COUNT(*) FROM post LEFT JOIN user ON user.id = user_id WHERE user.id IS NULL"
    )
    assert orphans == 1


def test_the_run_lock_is_one_per_database_and_outlives_ddl(database: Database) -> None:
    """GET_LOCK's names are of the whole server; a commit implied by DDL does not give it back."""
    desk = Desk.at(database, *BLOG)
    with desk.open() as first, desk.open() as second, database.new_database() as elsewhere:
        assert desk.dialect.try_lock(first, "migrator") is True
        execute(first, "CREATE TABLE more (id int)")
        assert desk.dialect.try_lock(second, "migrator") is False
        with Desk.at(elsewhere).open() as other:
            assert desk.dialect.try_lock(other, "migrator") is True
        desk.dialect.unlock(first, "migrator")
        assert desk.dialect.try_lock(second, "migrator") is True
        with desk.open() as third:
            assert desk.dialect.try_lock(third, "migrator") is False
    with desk.open() as fourth:
        assert desk.dialect.try_lock(fourth, "migrator") is True


def test_where_get_lock_is_an_error_there_is_no_lock_of_the_server() -> None:
    """As behind some proxies; the lease row is used instead."""
    with sa.create_engine("sqlite://").connect() as proxy:
        assert mysql_locks.try_lock(proxy, "migrator") is None
    assert len(mysql_locks.lock_name("d" * 64, "migrator")) <= 64
    assert mysql_locks.lock_name("a", "b") != mysql_locks.lock_name("b", "a")
