"""Whole runs on PostgreSQL while something stands in their way: who is named, how often is tried, and what an
application that goes on writing meets."""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace

import pytest
import sqlalchemy as sa

from migrator import journal
from migrator.context import Context
from migrator.errors import LockNotObtained
from migrator.plan import enforce_plan
from migrator.policy import Backfill, Delete, Policy
from migrator.runner import Runner
from migrator.sessions import Sessions
from tests.operations.lifecycle import DOWN, FAST, UP, Told, run
from tests.operations.postgresql_desk import BLOG, REFERENCE, Desk, background, until_waiting
from tests.servers.database import Database

pytestmark = pytest.mark.engines("postgresql")

ORPHANS = "INSERT INTO post VALUES (901, NULL, 'null'), (902, 77, 'dangling'), (903, 78, 'dangling')"
HASTY = replace(FAST, lock_timeout_ms=100, lock_attempts=3)
WRITING = ("SET application_name = 'shop'", "UPDATE post SET title = 'secret' WHERE id = 1")


def test_a_session_that_stays_in_the_way_is_named_and_given_up_on(database: Database) -> None:
    """After so many attempts, with none of our locks left, and without a word of its query; the same command
    goes on from there."""
    desk = Desk.at(database, *BLOG)
    told = Told()
    with desk.transaction(*WRITING, "SELECT pg_sleep(0.6)") as other:
        number = other.exec_driver_sql("SELECT pg_backend_pid()").scalar_one()
        with pytest.raises(LockNotObtained) as stopped:
            run(desk.engine, ["enforce"], REFERENCE, settings=HASTY, progress=told)
        assert desk.rows("SELECT pid FROM pg_locks WHERE relation = 'post'::regclass AND NOT granted") == []
        assert desk.facts().state == "none"
    said = " ".join([str(stopped.value), *told.notes])
    assert "got no lock in 3 attempt(s)" in said
    assert f"in the way is session {number} (shop, " in said
    assert re.search(r"idle in transaction, query begun at [\d:]{8}, RowExclusiveLock on post", said), said
    assert "secret" not in said
    assert stopped.value.exit_code == 5
    assert "Run the same command again" in said
    run(desk.engine, ["enforce"], REFERENCE)
    assert desk.facts().state == "enforced"


def test_a_session_that_leaves_is_waited_for(database: Database) -> None:
    """The next attempt after it has left does it."""
    desk = Desk.at(database, *BLOG)
    with desk.transaction(*WRITING) as other:

        def leave(message: str) -> None:
            if "attempt 2" in message:
                other.rollback()

        told = Told(on_note=leave)
        run(desk.engine, ["enforce"], REFERENCE, settings=replace(HASTY, lock_attempts=30), progress=told)
    assert desk.facts().state == "enforced"
    assert [note for note in told.notes if "add-foreign-key: attempt" in note]


def test_a_transaction_older_than_allowed_is_not_tried_against(database: Database) -> None:
    """The step is not sent at all, so that nobody queues behind it."""
    desk = Desk.at(database, *BLOG)
    settings = replace(HASTY, long_transaction=1.0)
    with desk.transaction() as other:

        def write(step: str) -> None:
            if step == "add-foreign-key":  # past the preflight, which would have refused it
                for statement in (*WRITING, "SELECT pg_sleep(1.1)"):
                    other.exec_driver_sql(statement)

        told = Told(on_step=write)
        with pytest.raises(
            LockNotObtained, match=r"was not tried: session .*shop.* would not give way"
        ) as found:
            run(desk.engine, ["enforce"], REFERENCE, settings=settings, progress=told)
    assert not [note for note in told.notes if "attempt" in note]
    assert "run the same command again" in str(found.value)


def test_an_index_is_not_built_that_an_old_snapshot_would_keep_invalid(database: Database) -> None:
    """CONCURRENTLY waits for it at the end, when all the work is done: so the run stops before."""
    desk = Desk.at(database, *BLOG, ORPHANS, "CREATE TABLE elsewhere ()")
    snapshot = ("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ", "TABLE elsewhere", "SELECT pg_sleep(1.1)")
    settings = replace(HASTY, long_transaction=1.0)
    with (
        desk.transaction(*snapshot),
        pytest.raises(
            LockNotObtained, match=r"create-index .* was not tried: session .* a snapshot\) would not"
        ),
    ):
        run(desk.engine, ["sweep"], REFERENCE, Delete(), Delete(), settings=settings)
    assert not [index for index in desk.facts().child.indexes if index.name == REFERENCE.index_name]
    run(desk.engine, ["sweep"], REFERENCE, Delete(), Delete())
    assert desk.facts().index is not None


def test_a_validation_is_not_sent_behind_what_will_outlast_it(database: Database) -> None:
    """Though nobody queues behind it, no number of attempts would get it through."""
    desk = Desk.at(database, *BLOG)
    run(desk.engine, ["enforce"], REFERENCE)
    with desk.transaction() as other:

        def lock(step: str) -> None:
            if step == "validate":
                for statement in ("LOCK TABLE post IN SHARE UPDATE EXCLUSIVE MODE", "SELECT pg_sleep(1.1)"):
                    other.exec_driver_sql(statement)

        told = Told(on_step=lock)
        with pytest.raises(LockNotObtained, match=r"Step validate of .* was not tried"):
            run(
                desk.engine,
                ["validate"],
                REFERENCE,
                Delete(),
                Delete(),
                settings=replace(HASTY, long_transaction=1.0),
                progress=told,
            )
    assert not [note for note in told.notes if "attempt" in note]
    run(desk.engine, ["validate"], REFERENCE, Delete(), Delete())
    assert desk.facts().state == "validated"


def test_the_pauses_between_attempts_are_bounded_and_jittered(database: Database) -> None:
    """From a twentieth of a second up to thirty, never twice the same."""
    desk = Desk.at(database, *BLOG)
    pauses: list[float] = []
    sessions = Sessions.of(desk.engine, replace(FAST, lock_timeout_ms=1, lock_attempts=13))
    with sessions.open() as connection:
        journal.ensure(connection)
        begun = journal.start(connection, REFERENCE, "enforce", {})
    context = Context(sessions, REFERENCE, begun)
    with desk.transaction(*WRITING), pytest.raises(LockNotObtained, match=r"13 attempt"):
        Runner(context, sleep=pauses.append).run(enforce_plan(desk.facts(), desk.dialect))
    sessions.close()
    assert len(pauses) == len(set(pauses)) == 12
    assert all(0.05 <= pause <= min(30, 0.1 * 2**number) for number, pause in enumerate(pauses, 1))


def test_a_deadlock_is_tried_again(database: Database) -> None:
    """An application that writes in the other order than we were told goes on, and then so do we."""
    desk = Desk.at(database, *BLOG)
    settings = replace(FAST, parent_first=False, lock_timeout_ms=20_000)
    told = Told()

    def enforce() -> None:
        run(desk.engine, ["enforce"], REFERENCE, settings=settings, progress=told)

    # It looks for a deadlock so late that we are the one to find it.
    late = "SET deadlock_timeout = '10min'"
    with (
        desk.transaction(late, """INSERT INTO "user" VALUES (99, 'new')""") as application,
        background(enforce) as errors,
    ):
        until_waiting(desk, 1)
        application.exec_driver_sql("INSERT INTO post VALUES (901, 99, 'new')")
        application.commit()
    assert errors == []
    assert [note for note in told.notes if "attempt 1: deadlock detected; once more" in note]
    assert desk.facts().state == "enforced"


def test_what_slips_in_before_the_proof_is_swept_and_the_key_stays(database: Database) -> None:
    """VALIDATE meets an orphan of a session with its checks off: back to the sweep, never to the start."""
    desk = Desk.at(database, *BLOG, ORPHANS)
    policies = (Backfill(to=1), Delete())
    run(desk.engine, UP[:2], REFERENCE, *policies)

    def slip_in(step: str) -> None:
        if step == "validate":
            unchecked = ("SET LOCAL session_replication_role = replica", 'DELETE FROM "user" WHERE id = 20')
            with desk.transaction(*unchecked) as other:
                other.commit()

    told = Told(on_step=slip_in)
    run(desk.engine, ["validate"], REFERENCE, *policies, progress=told)
    assert "something slipped in: sweeping again" in told.notes
    assert desk.facts().state == "validated"
    assert desk.value('SELECT count(*) FROM post WHERE user_id NOT IN (SELECT id FROM "user")') == 0


@dataclass
class Application:
    """Writes before each step of ours, in every way there is, and knows which rows there must be.

    Args:
        desk: where.
        rows: every post by its key, as the application believes it to be.
        refused: the errors it met.
    """

    desk: Desk
    rows: dict[int, tuple[int | None, str]]
    refused: set[str] = field(default_factory=set)
    number: int = 1000

    def step(self, _: str) -> None:
        """Something of everything."""
        for author in (1, None, 77):
            self.number += 1
            row = (author, f"post {self.number}")
            if self._write("INSERT INTO post VALUES (:id, :author, :title)", author=author, title=row[1]):
                self.rows[self.number] = row
            else:
                assert author != 1
        for key in (1, 901, 902, self.number - 2):
            title = f"changed {self.number}"
            if self._write("UPDATE post SET title = :title WHERE id = :key", title=title, key=key):
                self.rows[key] = (self.rows[key][0], title)

    def _write(self, statement: str, **values: object) -> bool:
        try:
            with self.desk.engine.begin() as connection:
                done = connection.execute(sa.text(statement), {"id": self.number, **values})
                return bool(done.rowcount)
        except sa.exc.IntegrityError as error:
            if statement.startswith("UPDATE"):
                raise
            self.refused.add(str(getattr(error.orig, "sqlstate", "")))
            return False


@pytest.mark.engines("postgresql", "postgresql-13", "postgresql-17")
@pytest.mark.parametrize("policies", [(Backfill(to=1), Delete()), (Delete(), Backfill(to=1))], ids=str)
def test_an_application_that_goes_on_writing_is_refused_orphans_and_nothing_else(
    database: Database, policies: tuple[Policy, Policy]
) -> None:
    """NULLs and dangling references that it writes until then are swept, and come back as it wrote them; rows
    that were wrong may be updated at any time; the schema is as it was."""
    desk = Desk.at(database, *BLOG, ORPHANS)
    schema = desk.schema()
    found = desk.rows("SELECT id, user_id, title FROM post")
    application = Application(desk, {key: (author, title) for key, author, title in found})
    told = Told(on_step=application.step)
    run(desk.engine, UP, REFERENCE, *policies, progress=told)
    assert desk.facts().state == "validated"
    assert desk.facts().not_null
    assert application.refused <= {"23502", "23503", "23514"}
    run(desk.engine, DOWN, REFERENCE, progress=told)
    assert desk.schema() == schema
    assert {
        key: (author, title) for key, author, title in desk.rows("SELECT id, user_id, title FROM post")
    } == (application.rows)
