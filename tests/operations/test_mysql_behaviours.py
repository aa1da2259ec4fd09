"""What MySQL and MariaDB do that the protocol is built on: each test is one reason for one of its steps.
Where a server answers otherwise one day, the step wants to be thought over."""

from __future__ import annotations

import pytest
import sqlalchemy as sa

from migrator.dialects.mysql_rebuild import INPLACE, ONLINE_COPY
from migrator.dialects.mysql_sessions import error_number, execute
from tests.operations.mysql_desk import ALL, BLOG, Desk, account, in_background, slow_to_rebuild
from tests.servers.database import Database

pytestmark = pytest.mark.engines("mysql", "mariadb", "mariadb-10.11")

OFF = "SET SESSION foreign_key_checks = 0"
KEY = "ADD CONSTRAINT fk FOREIGN KEY (user_id) REFERENCES user (id)"
INDEX = "ALTER TABLE post ADD INDEX ix (user_id)"
ORPHAN = "INSERT INTO post (id, user_id, title) VALUES (90, 99, 'orphan')"


def enforced(database: Database) -> Desk:
    """The blog with a key and an orphan under it."""
    return Desk.at(database, *BLOG, ORPHAN, INDEX, OFF, f"ALTER TABLE post {KEY}, {INPLACE}")


def answer(desk: Desk, *statements: str) -> int:
    """The number of the last statement's error, 0 where it has none; the ones before it must do."""
    with desk.open() as connection:
        for statement in statements[:-1]:
            execute(connection, statement)
        try:
            execute(connection, statements[-1])
        except sa.exc.DBAPIError as error:
            return error_number(error) or -1
    return 0


def test_with_the_checks_on_no_key_is_added_in_place(database: Database) -> None:
    """1846 on all; MySQL has a copy under a lock for it and nothing else, MariaDB from 11.2 an online one."""
    desk = Desk.at(database, *BLOG, INDEX)
    assert answer(desk, f"ALTER TABLE post {KEY}, {INPLACE}") == 1846
    copies = desk.mariadb and database.version >= (11, 2)
    assert answer(desk, f"ALTER TABLE post {KEY}, {ONLINE_COPY}") == (0 if copies else 1846)


def test_a_key_added_with_the_checks_on_fails_at_the_first_orphan(database: Database) -> None:
    """1452, after all the work."""
    desk = Desk.at(database, *BLOG, INDEX, ORPHAN)
    assert answer(desk, f"ALTER TABLE post {KEY}") == 1452


def test_an_online_copy_that_adds_a_key_shuts_out_the_writers_of_the_parent(database: Database) -> None:
    """MariaDB from 11.2 on: for as long as it copies, nobody writes a parent row, while the child is written.
    That is why the key is added with the checks off, behind a fence, and proved by a count."""
    desk = Desk.at(database, *BLOG, INDEX)
    if not desk.mariadb or database.version < (11, 2):
        assert answer(desk, f"ALTER TABLE post {KEY}, {ONLINE_COPY}") == 1846
        return
    slow_to_rebuild(desk)
    copying = in_background(desk.sql, f"ALTER TABLE post {KEY}, {ONLINE_COPY}")
    with desk.open() as watcher, desk.open() as writer:
        at_work = "SELECT COUNT(*) FROM information_schema.processlist WHERE state = 'copy to tmp table' "
        while not watcher.exec_driver_sql(f"{at_work} AND db = DATABASE()").scalar():
            assert copying.is_alive()
        execute(writer, "SET SESSION lock_wait_timeout = 0")
        execute(writer, "INSERT INTO post (user_id) VALUES (1)")
        for statement in (
            "UPDATE user SET name = 'x' WHERE id = 3",
            "INSERT INTO user (name) VALUES ('x')",
            "DELETE FROM user WHERE id = 4",
        ):
            with pytest.raises(sa.exc.DBAPIError) as caught:
                execute(writer, statement)
            assert error_number(caught.value) == 1205
        assert copying.is_alive()
    copying.join()


def test_a_key_without_an_index_builds_one_and_leaves_it_behind(database: Database) -> None:
    """Named after the key; therefore the index is a step of its own, before the key."""
    desk = Desk.at(database, *BLOG)
    desk.sql(OFF, f"ALTER TABLE post {KEY}, {INPLACE}")
    desk.sql(f"ALTER TABLE post DROP FOREIGN KEY fk, {INPLACE}")
    assert {index.name for index in desk.facts().child.indexes} == {"PRIMARY", "fk"}


def test_no_statement_of_the_server_finds_an_orphan_under_a_key(database: Database) -> None:
    """That is why the proof is a count."""
    desk = enforced(database)
    for statement in ("CHECK TABLE post EXTENDED", "OPTIMIZE TABLE post"):
        assert {row[2] for row in desk.rows(statement)} <= {"status", "note"}
    assert answer(desk, f"ALTER TABLE post FORCE, {INPLACE}") == 0
    assert desk.value("SELECT COUNT(*) FROM post WHERE user_id = 99") == 1


def test_what_an_orphan_under_a_key_costs_differs(database: Database) -> None:
    """From 9.6 on MySQL refuses upserts of it and copies of its table, until it is swept."""
    desk = enforced(database)
    statements = {
        "upsert": "INSERT INTO post (id, user_id, title) VALUES (90, 99, 'x') "
        "ON DUPLICATE KEY UPDATE title = 'y'",
        "replace": "REPLACE INTO post (id, user_id, title) VALUES (90, 99, 'orphan')",
        "key": "UPDATE post SET id = 91 WHERE id = 90",
        "copy": "ALTER TABLE post FORCE, ALGORITHM=COPY",
        "other column": "UPDATE post SET title = 'z' WHERE id IN (90, 91)",
        "delete": "DELETE FROM post WHERE id IN (90, 91)",
    }
    refused = {what for what, statement in statements.items() if answer(desk, statement) == 1452}
    if database.family == "mysql" and database.version >= (9, 6):
        assert refused == {"upsert", "replace", "copy"}
    else:
        assert refused == {"key"}


def test_the_server_checks_every_row_only_where_a_key_is_made_anew(database: Database) -> None:
    """DROP and ADD in one statement with the checks on: 1452, and the old key stays."""
    desk = enforced(database)
    swap = f"ALTER TABLE post DROP FOREIGN KEY fk, {KEY.replace('fk ', 'fk_b ', 1)}"
    assert answer(desk, swap) == 1452
    assert [key.name for key in desk.facts().child.foreign_keys] == ["fk"]
    desk.sql("DELETE FROM post WHERE id = 90")
    assert answer(desk, swap) == 0


def test_a_second_equal_key_is_accepted_and_an_absent_one_cannot_be_dropped(database: Database) -> None:
    """So a key is looked for by its columns and not by its name."""
    desk = enforced(database)
    assert answer(desk, OFF, f"ALTER TABLE post {KEY.replace('fk ', 'fk_b ', 1)}, {INPLACE}") == 0
    assert len(desk.facts().child.foreign_keys) == 2
    assert answer(desk, f"ALTER TABLE post DROP FOREIGN KEY nothing, {INPLACE}") == 1091


@pytest.mark.parametrize("to", ["NOT NULL", "NULL"])
def test_nullness_is_never_an_instant_change(database: Database, to: str) -> None:
    """1845, both ways."""
    desk = Desk.at(database, *BLOG)
    if to == "NULL":
        desk.sql("ALTER TABLE post MODIFY user_id int NOT NULL")
    assert answer(desk, f"ALTER TABLE post MODIFY user_id int {to}, ALGORITHM=INSTANT") == 1845
    assert answer(desk, f"ALTER TABLE post MODIFY user_id int {to}, {INPLACE}") == 0


@pytest.mark.parametrize("action", ["CASCADE", "RESTRICT"])
def test_a_table_with_a_key_is_rebuilt_online(database: Database, action: str) -> None:
    """The manual of MySQL says otherwise of CASCADE."""
    desk = Desk.at(database, *BLOG, INDEX, OFF, f"ALTER TABLE post {KEY} ON DELETE {action}, {INPLACE}")
    assert answer(desk, f"ALTER TABLE post MODIFY user_id int NOT NULL, {INPLACE}") == 0
    assert answer(desk, f"ALTER TABLE user FORCE, {INPLACE}") == 0


def test_set_null_and_not_null_exclude_each_other(database: Database) -> None:
    """1830, in either order (MariaDB says 1825 of the second); and the preflight says so before."""
    desk = Desk.at(database, *BLOG, INDEX)
    key, hard = f"ALTER TABLE post {KEY} ON DELETE SET NULL, {INPLACE}", "MODIFY user_id int NOT NULL"
    desk.sql(OFF, key)
    assert answer(desk, f"ALTER TABLE post {hard}, {INPLACE}") == 1830
    desk.sql("ALTER TABLE post DROP FOREIGN KEY fk", f"ALTER TABLE post {hard}")
    assert answer(desk, OFF, key) == (1825 if desk.mariadb else 1830)


def test_outside_strict_mode_null_becomes_zero(database: Database) -> None:
    """On MySQL where no algorithm is named, on MariaDB whatever is: so both are stated, always."""
    desk = Desk.at(database, *BLOG, "INSERT INTO post (id, user_id) VALUES (91, NULL)")
    modify = "ALTER TABLE post MODIFY user_id int NOT NULL"
    lax = "SET SESSION sql_mode = ''"
    assert answer(desk, lax, f"{modify}, {INPLACE}") == (0 if desk.mariadb else 1846)
    if not desk.mariadb:
        desk.sql(lax, modify)
    assert desk.value("SELECT user_id FROM post WHERE id = 91") == 0


def test_a_check_is_no_guard(database: Database) -> None:
    """It is added by a copy alone (1845), or enforces nothing; a trigger takes a moment."""
    desk = Desk.at(database, *BLOG, "INSERT INTO post (id, user_id) VALUES (91, NULL)")
    check = "ALTER TABLE post ADD CONSTRAINT ck CHECK (user_id IS NOT NULL)"
    assert answer(desk, f"{check}, {INPLACE}") in (1845, 1846)
    if not desk.mariadb:
        desk.sql(f"{check} NOT ENFORCED, ALGORITHM=INSTANT")
        desk.sql("INSERT INTO post (id, user_id) VALUES (92, NULL)")
        assert answer(desk, f"ALTER TABLE post ALTER CHECK ck ENFORCED, {INPLACE}") in (1845, 1846)


def test_a_cascade_fires_no_trigger(database: Database) -> None:
    """ON DELETE SET NULL goes past the guard; it is refused where NOT NULL is to come."""
    desk = Desk.at(database, *BLOG)
    desk.attempt(desk.step("add-null-guard"))
    desk.sql(INDEX, OFF, f"ALTER TABLE post {KEY} ON DELETE SET NULL, {INPLACE}")
    desk.sql("DELETE FROM user WHERE id = 1")
    assert desk.value("SELECT COUNT(*) FROM post WHERE user_id IS NULL") == 2


def test_a_session_that_read_no_table_is_in_nobodys_way(database: Database) -> None:
    """Though its transaction is open."""
    desk = Desk.at(database, *BLOG)
    with desk.transaction("SELECT 1"):
        desk.attempt(desk.step("create-index"))


def test_behind_a_key_who_writes_a_parent_holds_the_child_too(database: Database) -> None:
    """A reader of the parent is not in the way of a rebuild of the child, a writer is: on both servers."""
    desk = Desk.at(database, *BLOG)
    desk.enforce()
    step = desk.step("set-not-null")
    with desk.transaction("UPDATE user SET name = 'x' WHERE id = 4"):
        assert desk.attempt_fails(step) == 1205
    with desk.transaction("SELECT * FROM user"):
        desk.attempt(step)


def test_behind_a_key_writers_of_one_parent_wait_for_each_other(database: Database) -> None:
    """An open INSERT of a child holds up an UPDATE of its parent's row, of whatever column, and the other way
    about: what the application feels of the key from then on."""
    desk = Desk.at(database, *BLOG)
    desk.enforce()
    impatient = "SET SESSION innodb_lock_wait_timeout = 1"
    child, parent = "INSERT INTO post (user_id) VALUES (3)", "UPDATE user SET name = 'x' WHERE id = 3"
    with desk.transaction(child):
        assert answer(desk, impatient, parent) == 1205
        desk.sql("UPDATE user SET name = 'x' WHERE id = 4")
    with desk.transaction(parent):
        assert answer(desk, impatient, child) == 1205
        desk.sql("INSERT INTO post (user_id) VALUES (4)")


def test_a_fence_needs_both_tables(database: Database) -> None:
    """1100 on MySQL where the child alone is locked; MariaDB looks at no parent while the checks are off."""
    desk = Desk.at(database, *BLOG, INDEX)
    add = f"ALTER TABLE post {KEY}, {INPLACE}"
    assert answer(desk, OFF, "LOCK TABLES post WRITE", add) == (0 if desk.mariadb else 1100)
    add = add.replace("fk ", "fk_b ", 1)
    assert answer(desk, OFF, "LOCK TABLES post WRITE, user READ", add) == 0


def test_with_the_checks_off_a_parent_of_another_engine_is_accepted(database: Database) -> None:
    """And there is a key that never held; so engines are looked at before."""
    desk = Desk.at(database, *BLOG, INDEX, "ALTER TABLE user ENGINE=MyISAM")
    assert answer(desk, OFF, f"ALTER TABLE post {KEY}, {INPLACE}") == 0
    assert [problem.slug for problem in desk.preflight()] == ["engine"]


def test_a_key_wants_references_on_the_parent(database: Database) -> None:
    """1142 on MySQL, though the checks are off; MariaDB never asks for it, whether they are or not."""
    desk = Desk.at(database, *BLOG, INDEX)
    with account(desk, database, ALL.replace("REFERENCES, ", "")) as poor:
        assert answer(poor, OFF, f"ALTER TABLE post {KEY}, {INPLACE}") == (0 if desk.mariadb else 1142)
        other = KEY.replace("fk ", "fk_b ", 1)
        assert answer(poor, f"ALTER TABLE post {other}") == (0 if desk.mariadb else 1142)


def test_an_older_snapshot_outlives_the_key_and_not_the_rebuild(database: Database) -> None:
    """1412 for who reads a rebuilt table in a snapshot from before: no snapshot of ours lasts that long."""
    desk = Desk.at(database, *BLOG, "CREATE TABLE other (id int)")
    snapshot = "START TRANSACTION WITH CONSISTENT SNAPSHOT"
    with desk.transaction(snapshot) as reader:
        desk.enforce()
        assert len(reader.exec_driver_sql("SELECT * FROM post").all()) == 4
    with desk.transaction(snapshot) as reader:
        desk.attempt(desk.step("set-not-null"))
        with pytest.raises(sa.exc.DBAPIError) as caught:
            reader.exec_driver_sql("SELECT * FROM post").all()
        assert error_number(caught.value) == 1412
        assert desk.dialect.verdict(caught.value) == "deadlock"
