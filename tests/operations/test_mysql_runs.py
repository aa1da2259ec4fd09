"""Whole runs on MySQL and MariaDB while something stands in their way: sessions that hold on, writers that
are not careful, an account that may not do everything. The binary log is on, on MySQL with GTIDs."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.engine import Connection

from migrator import journal
from migrator.dialects import mysql_locks
from migrator.dialects.mysql_sessions import error_number, execute
from migrator.errors import LockNotObtained, StepFailed
from migrator.policy import Backfill, Delete
from tests.operations.lifecycle import DOWN, FAST, UP, Told, assert_same, picture, run
from tests.operations.mysql_desk import (
    ALL,
    BLOG,
    REFERENCE,
    Desk,
    account,
    in_background,
    slow_to_rebuild,
)
from tests.operations.reporting import run as command
from tests.servers.database import Database

pytestmark = pytest.mark.engines("mysql", "mariadb", "mariadb-10.11")

ORPHANS = "INSERT INTO post (id, user_id) VALUES (90, 99), (91, NULL)"
POLICIES = (Backfill(to=1), Delete())
HASTY = replace(FAST, lock_timeout_ms=200, lock_attempts=2)


def session_id(connection: Connection) -> str:
    """The server's number of a session."""
    return str(connection.exec_driver_sql("SELECT CONNECTION_ID()").scalar_one())


def dangling(desk: Desk) -> int:
    """How many posts name an author who is not there."""
    query = "SELECT COUNT(*) FROM post LEFT JOIN user ON user.id = user_id WHERE user.id IS NULL"
    return int(desk.value(query + " AND user_id IS NOT NULL"))


def proof(database: Database) -> dict[str, Any]:
    """What the journal says of the last proof."""
    with database.engine.connect() as connection:
        (of,) = [each for each in journal.runs(connection) if each.operation == "validate"]
        return journal.step_detail(connection, of, "prove")


@contextmanager
def during(desk: Desk, step: str, *statements: str) -> Iterator[list[int]]:
    """Once the server is at work on a step of ours, another session sends the statements, in a transaction
    that it leaves open; gives the numbers of the errors it met, and rolls back at the end."""
    over, errors = threading.Event(), list[int]()

    def interfere() -> None:
        with desk.open() as watcher, desk.engine.connect() as other:
            execute(other, "SELECT 1")
            other.rollback()
            while not _at_work(watcher, step):
                if over.is_set():
                    return
            for statement in statements:
                try:
                    execute(other, statement)
                except sa.exc.DBAPIError as error:
                    errors.append(error_number(error) or 0)
            over.wait()

    thread = in_background(interfere)
    try:
        yield errors
    finally:
        over.set()
        thread.join()


def _at_work(connection: Connection, step: str) -> bool:
    """Whether it has its first lock behind it and the last one before it."""
    rows = connection.exec_driver_sql("SHOW FULL PROCESSLIST").all()
    ours = [row[6] for row in rows if str(row[7]).startswith(f"/* migrator:{step} */ ALTER")]
    return "altering table" in ours


def test_the_servers_write_a_binary_log_with_gtids(database: Database) -> None:
    """What everything here is run with."""
    desk = Desk.at(database)
    assert desk.value("SELECT @@log_bin") == 1
    if not desk.mariadb:
        assert desk.rows("SELECT @@gtid_mode, @@enforce_gtid_consistency") == [("ON", "ON")]


def test_an_idle_transaction_on_the_parent_is_named_and_waited_out(database: Database) -> None:
    """The error says which session it is; the application is not held up meanwhile; afterwards the same call
    goes on from there."""
    desk = Desk.at(database, *BLOG, ORPHANS)
    run(database.engine, ("sweep",), REFERENCE, *POLICIES)
    told = Told()
    with desk.transaction("UPDATE user SET name = 'y' WHERE id = 3") as holder:
        time.sleep(1.2)  # what is younger is no obstacle
        with pytest.raises(LockNotObtained) as stopped:
            run(database.engine, ("enforce",), REFERENCE, settings=HASTY, progress=told)
        assert f"session {session_id(holder)} " in str(stopped.value)
        desk.sql("UPDATE post SET title = 'x' WHERE id = 1", "INSERT INTO user (name) VALUES ('new')")
    assert any(note.startswith("add-foreign-key: attempt 1: ") for note in told.notes)
    run(database.engine, ("enforce", "validate"), REFERENCE, *POLICIES)
    assert desk.facts().not_null


def test_a_transaction_in_the_way_of_a_rebuild_is_named_before_it_is_tried(database: Database) -> None:
    """A rebuild too has everybody queue behind it; one that is stubborn is not tried."""
    desk = Desk.at(database, *BLOG)
    run(database.engine, ("sweep", "enforce"), REFERENCE, *POLICIES)
    stubborn = replace(HASTY, long_transaction=1.0)
    with desk.engine.connect() as holder:

        def hold(step: str) -> None:
            if step == "set-not-null":
                execute(holder, "SELECT * FROM post")
                time.sleep(2.2)

        told = Told(on_step=hold)
        with pytest.raises(LockNotObtained) as stopped:
            run(database.engine, ("validate",), REFERENCE, *POLICIES, settings=stubborn, progress=told)
        assert ("was not tried" in str(stopped.value)) is not desk.mariadb
        assert f"session {session_id(holder)} " in str(stopped.value)
    run(database.engine, ("validate",), REFERENCE, *POLICIES)


def test_a_rebuild_that_meets_an_open_transaction_at_its_end_is_tried_again(database: Database) -> None:
    """Its last wait is bounded as well: the work is lost and said to be, nobody stays queued, and once the
    transaction is over it goes through."""
    desk = Desk.at(database, *BLOG)
    slow_to_rebuild(desk)
    run(database.engine, ("sweep", "enforce"), REFERENCE, *POLICIES)
    quick = replace(FAST, lock_timeout_ms=50)
    over, released = threading.Event(), threading.Event()
    with desk.engine.connect() as holder, desk.open() as watcher:

        def hold() -> None:
            while not _at_work(watcher, "set-not-null"):
                if over.is_set():
                    return
            execute(holder, "SELECT * FROM post LIMIT 1")

        def release(note: str) -> None:
            if "of work are lost" in note:
                holder.rollback()
                released.set()

        holding = in_background(hold)
        told = Told(on_note=release)
        run(database.engine, ("validate",), REFERENCE, *POLICIES, settings=quick, progress=told)
        over.set()
        holding.join()
    assert released.is_set(), told.notes
    assert desk.facts().not_null


def test_a_null_written_during_the_rebuild_is_swept_and_the_rebuild_done_again(database: Database) -> None:
    """Without a guard it fails the rebuild at its very end (1138, MariaDB 1265)."""
    desk = Desk.at(database, *BLOG)
    slow_to_rebuild(desk)
    run(database.engine, ("sweep", "enforce"), REFERENCE, *POLICIES)
    desk.sql(*(f"DROP TRIGGER {desk.dialect.quote(guard)}" for guard in desk.facts().guards))
    told = Told()
    with during(
        desk, "set-not-null", "INSERT INTO post (id, user_id) VALUES (9000000, NULL)", "COMMIT"
    ) as errors:
        run(database.engine, ("validate",), REFERENCE, *POLICIES, progress=told)
    assert errors == []
    assert "something slipped in: sweeping again" in told.notes
    assert desk.facts().not_null
    assert desk.value("SELECT user_id FROM post WHERE id = 9000000") == 1


def test_a_rebuild_that_an_operator_kills_is_not_sent_again(database: Database) -> None:
    """1317: the table is as it was, the run says so, and goes on when it is told to."""
    desk = Desk.at(database, *BLOG)
    slow_to_rebuild(desk)
    run(database.engine, ("sweep", "enforce"), REFERENCE, *POLICIES)
    with desk.open() as watcher:

        def kill() -> None:
            while not (found := mysql_locks.leftovers(watcher)) or not _at_work(watcher, "set-not-null"):
                pass
            execute(watcher, f"KILL QUERY {found[0]}")

        killing = in_background(kill)
        with pytest.raises(StepFailed, match="set-not-null"):
            run(database.engine, ("validate",), REFERENCE, *POLICIES)
        killing.join()
    assert not desk.facts().not_null
    assert desk.value("SELECT COUNT(*) FROM information_schema.tables WHERE table_name LIKE '#sql%'") == 0
    run(database.engine, ("validate",), REFERENCE, *POLICIES)
    assert desk.facts().not_null


def test_an_orphan_written_with_checks_off_is_found_by_the_proof_and_swept(database: Database) -> None:
    """After the last sweep, under the enforced key; the journal names the session where the server can."""
    desk = Desk.at(database, *BLOG, ORPHANS)
    run(database.engine, ("sweep", "enforce"), REFERENCE, *POLICIES)
    with desk.open() as careless:
        execute(careless, "SET SESSION foreign_key_checks = 0")

        def write(step: str) -> None:
            if step == "set-not-null":
                execute(careless, "INSERT INTO post (id, user_id) VALUES (95, 98)")

        told = Told(on_step=write)
        run(database.engine, ("validate",), REFERENCE, *POLICIES, progress=told)
        named = [each for each in proof(database)["checks_off"] if f"session {session_id(careless)} " in each]
    assert "something slipped in: sweeping again" in told.notes
    assert dangling(desk) == 0
    assert desk.rows("SELECT id FROM post WHERE id = 95") == []
    assert proof(database)["orphans"] == 0
    assert bool(named) is not desk.mariadb
    assert not named or f"prove: it can still write orphans: {named[0]}" in told.notes


def test_validated_is_the_journals_word_and_a_recount_never_the_keys_presence(database: Database) -> None:
    """A key added with the checks off is enforced; after the run it is validated, by proof; with an orphan
    written since it is not any more, and verify says when it was."""
    desk = Desk.at(database, *BLOG)
    desk.sql(
        "SET SESSION foreign_key_checks = 0",
        "ALTER TABLE post MODIFY user_id int NOT NULL, ADD CONSTRAINT fk_post_user_id_user "
        "FOREIGN KEY (user_id) REFERENCES user (id)",
        "INSERT INTO post (id, user_id) VALUES (95, 98)",
    )

    def said() -> tuple[str, dict[str, str], str]:
        arguments = ("--url", database.url, "-r", str(REFERENCE), "--format", "json")
        report, verified = command("report", *arguments), command("verify", *arguments)
        checks = verified.json["references"][0]["checks"]
        (message,) = [each["message"] for each in checks if each["slug"] == "validated"]
        state = str(report.json["references"][0]["state"])
        return state, {each["slug"]: each["status"] for each in checks}, str(message)

    state, checks, _ = said()
    assert (state, checks["foreign-key"], checks["validated"]) == ("enforced", "passed", "failed")
    run(database.engine, UP, REFERENCE, *POLICIES)
    state, checks, message = said()
    assert (state, checks["validated"]) == ("validated", "passed")
    with database.engine.connect() as connection:
        assert f"validated by proof at {journal.proved_at(connection, REFERENCE)}" in message
    with desk.open() as careless:
        execute(careless, "SET SESSION foreign_key_checks = 0")
        execute(careless, "INSERT INTO post (id, user_id) VALUES (96, 98)")
        state, checks, message = said()
        assert (state, checks["validated"]) == ("enforced", "failed")
        assert message.startswith("validated by proof at ")
        assert (f"session {session_id(careless)} " in message) is not desk.mariadb


def test_an_account_without_super_goes_there_and_back(database: Database) -> None:
    """With the binary log on it may create no trigger (1419): it goes on without the guard and says so."""
    desk = Desk.at(database, *BLOG, ORPHANS)
    assert desk.value("SELECT @@log_bin_trust_function_creators") == 0
    before = picture(database)
    told = Told()
    with account(desk, database, ALL) as poor:
        run(poor.engine, UP, REFERENCE, *POLICIES, progress=told)
        facts = desk.facts()
        assert facts.foreign_key is not None
        assert facts.not_null
        (left_out,) = [note for note in told.notes if note.startswith("add-null-guard: left out")]
        assert "1419" in left_out
        assert any("No NULL guard can be put on post" in note for note in told.notes)
        assert dangling(desk) == 0
        run(poor.engine, DOWN, REFERENCE)
    assert_same(before, picture(database))


def test_writers_outside_strict_mode_make_no_zeros(database: Database) -> None:
    """The guard stops them first (1048) and the foreign key afterwards (1452); a key of 0 is what a server
    stores for NULL where neither is there."""
    desk = Desk.at(database, *BLOG, "CREATE TABLE bare (id int PRIMARY KEY, user_id int NOT NULL)")
    lax = "SET SESSION sql_mode = ''"
    desk.sql(lax, "INSERT IGNORE INTO bare VALUES (1, NULL)", "INSERT INTO bare (id) VALUES (2)")
    assert desk.rows("SELECT user_id FROM bare") == [(0,), (0,)]
    run(database.engine, ("sweep", "enforce"), REFERENCE, *POLICIES)
    for statement in (
        "INSERT IGNORE INTO post (id, user_id) VALUES (50, NULL)",
        "INSERT INTO post (id) VALUES (51)",
        "UPDATE post SET user_id = NULL WHERE id = 1",
    ):
        assert desk.fails(lax, statement) == 1048
    run(database.engine, ("validate",), REFERENCE, *POLICIES)
    for statement in ("INSERT INTO post (id) VALUES (51)", "UPDATE post SET user_id = NULL WHERE id = 1"):
        assert desk.fails(lax, statement) in (1048, 1452)
    desk.sql(lax, "INSERT IGNORE INTO post (id, user_id) VALUES (50, NULL)")
    assert desk.value("SELECT COUNT(*) FROM post") == 4
    assert dangling(desk) == 0


def test_an_account_that_may_only_read_sees_the_key_as_it_is(database: Database) -> None:
    """MariaDB hides the actions of keys from it in information_schema; the table's text has them."""
    reference = replace(REFERENCE, on_delete="CASCADE")
    desk = Desk.at(
        database,
        *BLOG,
        "ALTER TABLE post ADD CONSTRAINT fk_post_user_id_user FOREIGN KEY (user_id) REFERENCES user (id) "
        "ON DELETE CASCADE",
    )
    whole = desk.facts(reference)
    with account(desk, database, "SELECT ON {db}.*") as reader:
        seen = reader.facts(reference)
        assert seen.foreign_key == whole.foreign_key
        assert seen.parent.inbound == whole.parent.inbound
        assert seen.state == "enforced"
