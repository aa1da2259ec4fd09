"""The client is killed while the server is at work on an ALTER of its: the server carries on, and the next
run finds that ALTER in the processlist and waits for what becomes of it, instead of sending another."""

from __future__ import annotations

import subprocess
import threading
from dataclasses import replace

import pytest
from sqlalchemy.engine import Connection

from migrator.dialects import mysql_locks
from migrator.plan import Operation
from tests.conftest import Database
from tests.crash.leftovers import alters_sent, go
from tests.crash.one_operation import answer, waiting_before
from tests.operations.lifecycle import DOWN, FAST, UP, Told, assert_same, picture
from tests.operations.mysql_desk import BLOG, REFERENCE, Desk, in_background, slow_to_rebuild

HOLD_CHILD, HOLD_PARENT = "SELECT * FROM post", "UPDATE user SET name = 'held' WHERE id = 4"
ALTERS: list[tuple[Operation, str, str]] = [
    ("sweep", "create-index", HOLD_CHILD),
    ("enforce", "add-foreign-key", HOLD_PARENT),
    ("validate", "set-not-null", HOLD_CHILD),
    ("unvalidate", "drop-not-null", HOLD_CHILD),
    ("release", "drop-foreign-key", HOLD_CHILD),
    ("restore", "drop-index", HOLD_CHILD),
]


def kill_at_work(
    desk: Desk, watcher: Connection, process: subprocess.Popen[str], state: str = "Waiting for table"
) -> list[int]:
    """Let the process send its ALTER, and kill it once the server is at it; the sessions that are."""
    answer(process)
    while True:
        left = mysql_locks.leftovers(watcher)
        if any(each.startswith(state) for each in states(watcher, left)):
            break
        assert process.poll() is None
    process.kill()
    process.wait()
    return left


def statements(watcher: Connection, sessions: list[int]) -> list[str]:
    """What they were sent."""
    rows = watcher.exec_driver_sql("SHOW FULL PROCESSLIST").all()
    return [str(row[7]) for row in rows if row[0] in sessions]


def states(watcher: Connection, sessions: list[int]) -> list[str]:
    """What the server says they are doing."""
    rows = watcher.exec_driver_sql("SHOW PROCESSLIST").all()
    return [str(row[6]) for row in rows if row[0] in sessions]


@pytest.mark.engines("mysql", "mariadb", "mariadb-10.11")
@pytest.mark.parametrize(("operation", "step", "held"), ALTERS, ids=[step for _, step, _ in ALTERS])
def test_an_alter_whose_client_dies_while_it_waits(
    database: Database, operation: Operation, step: str, held: str
) -> None:
    """MySQL goes on waiting, and the next run waits for it; MariaDB lets it go, and the next run sends its
    own, as it does where a fence was waited for, which falls with its session. Either way the effect is ours
    and both ends are those of runs that nothing disturbed."""
    desk = Desk.at(database, *BLOG, "INSERT INTO post (id, user_id) VALUES (90, 99), (91, NULL)")
    start = picture(database)
    way = (*UP, *DOWN)
    at = way.index(operation)
    for before in way[:at]:
        go(database, before)
    with desk.open() as watcher, desk.transaction() as holder, alters_sent(step) as sent:
        with waiting_before(database.url, operation, REFERENCE, step) as process:
            holder.exec_driver_sql(held)
            left = kill_at_work(desk, watcher, process)
        if desk.mariadb:
            while mysql_locks.leftovers(watcher):
                pass
            holder.rollback()
            go(database, operation)
            assert len(sent) > 0
        else:
            assert mysql_locks.leftovers(watcher) == left
            fenced = any(" LOCK TABLES " in text for text in statements(watcher, left))
            waiting = threading.Event()

            def hear(note: str) -> None:
                if note.startswith("waiting: ") and all(str(session) in note for session in left):
                    waiting.set()

            # By now it is old enough to be taken for somebody's stubborn transaction.
            strict = replace(FAST, long_transaction=1.0) if step == "set-not-null" else FAST
            going = in_background(go, database, operation, Told(on_note=hear), strict)
            assert waiting.wait(60)
            # A second of waiting is what a statement of its own on this table would have got.
            holder.exec_driver_sql("DO SLEEP(2)")
            assert (going.is_alive(), sent) == (True, [])
            holder.rollback()
            going.join()
            assert bool(sent) is fenced
    for after in way[at + 1 :]:
        go(database, after)
    assert_same(start, picture(database))


@pytest.mark.engines("mysql", "mariadb", "mariadb-10.11")
@pytest.mark.parametrize(
    ("operation", "step"), [("validate", "set-not-null"), ("unvalidate", "drop-not-null")]
)
def test_a_rebuild_at_work_outlives_its_client(database: Database, operation: Operation, step: str) -> None:
    """On every server it goes on to its end; the next run waits for it and rebuilds nothing."""
    desk = Desk.at(database, *BLOG)
    slow_to_rebuild(desk)
    rows = desk.value("SELECT COUNT(*) FROM post")
    way = (*UP, *DOWN)
    at = way.index(operation)
    for before in way[:at]:
        go(database, before)
    with desk.open() as watcher, alters_sent(step) as sent:
        with waiting_before(database.url, operation, REFERENCE, step) as process:
            kill_at_work(desk, watcher, process, "altering table")
        go(database, operation)
    assert sent == []
    assert desk.facts().not_null is (operation == "validate")
    for after in way[at + 1 :]:
        go(database, after)
    assert desk.value("SELECT COUNT(*) FROM post") == rows
    facts = desk.facts()
    assert (facts.foreign_key, facts.guards, facts.not_null) == (None, (), False)
