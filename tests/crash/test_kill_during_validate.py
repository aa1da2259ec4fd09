"""The client is killed while PostgreSQL is at work on a statement of its: the server carries on with it, and
the next run knows it as one of ours and waits for what becomes of it, instead of queueing up behind it."""

from __future__ import annotations

import subprocess
from contextlib import ExitStack
from functools import partial

import pytest
from sqlalchemy.engine import Connection

from migrator.dialects import pg_leftovers
from migrator.dialects.pg_sessions import execute
from migrator.plan import Operation
from tests.conftest import Database
from tests.crash.leftovers import alters_sent, go
from tests.crash.one_operation import answer, waiting_before
from tests.operations.lifecycle import DOWN, UP, Told, assert_same, picture
from tests.operations.postgresql_desk import BLOG, REFERENCE, Desk, background, until

WRITES = "UPDATE post SET title = 'held' WHERE id = 4"
VACUUMS = "LOCK TABLE post IN SHARE UPDATE EXCLUSIVE MODE"
STEPS: list[tuple[Operation, str, str, bool]] = [
    ("sweep", "create-index", WRITES, False),
    ("enforce", "add-foreign-key", WRITES, True),
    ("validate", "validate", VACUUMS, True),
    ("unvalidate", "unvalidate", WRITES, True),
    ("release", "release", WRITES, True),
    ("restore", "drop-index", WRITES, False),
]
ORPHANS = "INSERT INTO post VALUES (901, 99, 'dangling'), (902, NULL, 'null')"


def kill_at_work(watcher: Connection, process: subprocess.Popen[str]) -> list[int]:
    """Let the process send its statement, and kill it once the server is at it; the session that is."""
    answer(process)
    while not (left := pg_leftovers.leftovers(watcher)):
        assert process.poll() is None
    process.kill()
    process.wait()
    return left


@pytest.mark.engines("postgresql")
@pytest.mark.parametrize(("operation", "step", "held", "anew"), STEPS, ids=[step for _, step, _, _ in STEPS])
def test_a_statement_whose_client_dies_while_it_waits(
    database: Database, operation: Operation, step: str, held: str, anew: bool
) -> None:
    """The next run says what it waits for. What goes on by itself (CONCURRENTLY) stands in the end and is not
    sent again; what was in a transaction is undone and is. Both ends are those of runs that nothing
    disturbed."""
    desk = Desk.at(database, *BLOG, ORPHANS)
    start = picture(database)
    way = (*UP, *DOWN)
    at = way.index(operation)
    for before in way[:at]:
        go(database, before)
    with desk.open() as watcher, desk.transaction() as holder, alters_sent(step) as sent:

        def let_go(note: str) -> None:
            if note.startswith("waiting: "):
                assert (pg_leftovers.leftovers(watcher), sent) == (left, [])
                holder.rollback()

        with waiting_before(database.url, operation, REFERENCE, step) as process:
            holder.exec_driver_sql(held)
            left = kill_at_work(watcher, process)
        told = Told(on_note=let_go)
        go(database, operation, told)
        assert told.notes[0].endswith(f"still at work for an earlier run (session {left[0]})")
        assert bool(sent) is anew
    for after in way[at + 1 :]:
        go(database, after)
    assert_same(start, picture(database))


@pytest.mark.engines("postgresql")
def test_a_scan_of_ours_is_known_and_what_others_do_is_not(database: Database) -> None:
    """A session of our name that fills a list, or makes one of the whole table, is one; an application of
    that name is none, and neither is another session that sends what we would."""
    desk = Desk.at(database, *BLOG, 'CREATE TABLE "migrator_w_x" (id bigint)')
    fills, reads = 'INSERT INTO "migrator_w_x" SELECT id FROM post', "SELECT count(*) FROM post"
    makes = 'CREATE TABLE "migrator_w_y" AS SELECT id FROM post'
    pids: dict[tuple[str, str], int] = {}

    def send(application: str, statement: str) -> None:
        with desk.open() as connection:
            execute(connection, f"SET application_name = '{application}'")
            pids[application, statement] = connection.exec_driver_sql("SELECT pg_backend_pid()").scalar_one()
            execute(connection, statement)

    def all_wait() -> bool:
        return bool(
            desk.value(
                "SELECT count(*) = 4 FROM pg_stat_activity "
                "WHERE datname = current_database() AND wait_event_type = 'Lock'"
            )
        )

    with (
        ExitStack() as running,
        desk.open() as watcher,
        desk.transaction("LOCK TABLE post IN ACCESS EXCLUSIVE MODE"),
    ):
        for who, what in (("migrator", fills), ("migrator", makes), ("migrator", reads), ("psql", fills)):
            running.enter_context(background(partial(send, who, what)))
        until(all_wait)
        assert pg_leftovers.leftovers(watcher) == sorted([pids["migrator", fills], pids["migrator", makes]])
