"""A running autovacuum on PostgreSQL: in the way of every step, and gone only for those who wait.

PostgreSQL sends a plain autovacuum away when someone has waited `deadlock_timeout` for it, and one
against wraparound never. Each test has a server of its own, whose autovacuum looks every second.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import replace

import pytest
import sqlalchemy as sa

from migrator import journal
from migrator.context import Context
from migrator.errors import LockNotObtained, PreflightRefused
from migrator.plan import Plan, Step, enforce_plan
from migrator.runner import Runner
from migrator.sessions import Sessions
from tests.conftest import ServerFactory
from tests.operations.lifecycle import FAST, Told, run
from tests.operations.postgresql_desk import BLOG, REFERENCE, Desk

pytestmark = pytest.mark.engines("postgresql")

# One page costs more than is allowed at a time, so each is followed by a long sleep.
SLOWLY = (
    "ALTER TABLE post SET (autovacuum_vacuum_threshold = 1, autovacuum_vacuum_scale_factor = 0, "
    "autovacuum_vacuum_cost_delay = 100, autovacuum_vacuum_cost_limit = 1{more})"
)
MANY = "INSERT INTO post SELECT n, 1 + n % 20, repeat('post ', 100) FROM generate_series(1000, 30000) n"


@pytest.fixture
def desk(own_server: ServerFactory) -> Iterator[Desk]:
    """A blog with many posts on a server that vacuums eagerly."""
    server = own_server("-c", "autovacuum_naptime=1s", "-c", "autovacuum_freeze_max_age=100000")
    with server.new_database() as database:
        # None of its own accord: the tests say when.
        yield Desk.at(database, *BLOG, "ALTER TABLE post SET (autovacuum_enabled = false)", MANY)


def until_vacuumed(desk: Desk) -> None:
    """Wait until an autovacuum works on the posts; the suite's time limit is the bound."""
    pause = threading.Event()
    while not desk.rows("SELECT 1 FROM pg_stat_progress_vacuum WHERE relid = 'post'::regclass"):
        pause.wait(0.1)


def add_key(desk: Desk) -> Step:
    """The first step that blocks."""
    return desk.dialect.enforce_steps(desk.facts())[0]


def test_a_patient_attempt_outlasts_a_plain_autovacuum(desk: Desk) -> None:
    """A short one never does, and says who is in the way; a run makes one patient attempt, and no other."""
    desk.sql(SLOWLY.format(more=", autovacuum_enabled = true"), "DELETE FROM post WHERE id % 3 = 0")
    until_vacuumed(desk)
    key = add_key(desk)
    with pytest.raises(sa.exc.OperationalError) as error:
        desk.attempt(key)
    assert desk.dialect.verdict(error.value) == "lock-timeout"
    with desk.open() as connection:
        (vacuum,) = desk.dialect.obstacles(connection, desk.facts(), key)
    assert vacuum.kind == "autovacuum"
    told = Told()
    run(desk.engine, ["enforce"], replace(REFERENCE, nullable=True), progress=told)
    assert desk.facts().state == "enforced"
    assert [note for note in told.notes if f"add-foreign-key: in the way is session {vacuum.pid}" in note]
    assert not [note for note in told.notes if "attempt" in note]


def test_validate_outlasts_a_plain_autovacuum_by_itself(desk: Desk) -> None:
    """It blocks nobody while it waits, so it waits long enough from the first time."""
    desk.run(desk.dialect.enforce_steps(desk.facts())[:1])
    desk.sql(SLOWLY.format(more=", autovacuum_enabled = true"), "DELETE FROM post WHERE id % 3 = 0")
    until_vacuumed(desk)
    check, validate, *_ = desk.dialect.validate_steps(desk.facts())
    desk.attempt(check, patient=True)
    until_vacuumed(desk)
    desk.attempt(validate)
    fk = desk.facts().foreign_key
    assert fk is not None
    assert fk.validated


def test_a_vacuum_against_wraparound_is_told_apart(desk: Desk) -> None:
    """It never gives way, so nothing is tried while it runs."""
    desk.sql(
        SLOWLY.format(more=", autovacuum_enabled = false"),  # which stops no vacuum against wraparound
        "DO $$ BEGIN FOR n IN 1..110000 LOOP PERFORM txid_current(); COMMIT; END LOOP; END $$",
    )
    until_vacuumed(desk)
    with desk.open() as connection:
        (vacuum,) = desk.dialect.obstacles(connection, desk.facts(), add_key(desk))
    assert vacuum.kind == "wraparound"
    assert "wraparound-vacuum" in [problem.slug for problem in desk.environment()]
    with pytest.raises(PreflightRefused, match=r"anti-wraparound vacuum of .* never gives way"):
        run(desk.engine, ["enforce"], REFERENCE)
    sessions = Sessions.of(desk.engine, FAST)
    with sessions.open() as connection:
        journal.ensure(connection)
        context = Context(sessions, REFERENCE, journal.start(connection, REFERENCE, "enforce", {}))
    # One that began after the preflight: no step is tried, be it one that nobody would queue behind.
    for plan in (enforce_plan(desk.facts(), desk.dialect), index_plan(desk)):
        with pytest.raises(
            LockNotObtained, match=f"was not tried: session {vacuum.pid} .* would not give way"
        ):
            Runner(context).run(plan)
    sessions.close()


def index_plan(desk: Desk) -> Plan:
    """The index alone."""
    return Plan("sweep", desk.facts(), desk.dialect.index_steps(desk.facts()))
