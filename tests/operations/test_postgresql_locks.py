"""Locks on PostgreSQL: what each step holds and for how long, who is named, what is waited for.

No test measures time: a step either gets its locks while another session keeps its own, or fails
within the server's own bound.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace

import pytest
import sqlalchemy as sa

from migrator.catalog import Facts
from migrator.dialects.pg_words import LockingSql, lock_name
from migrator.plan import Step
from migrator.reference import TableName
from tests.operations.postgresql_desk import BLOG, REFERENCE, Desk
from tests.servers.database import Database

pytestmark = pytest.mark.engines("postgresql")

POST, USER = TableName("post", "public"), TableName("user", "public")


def step_named(steps: tuple[Step, ...], name: str) -> Step:
    """The step of that name."""
    return next(step for step in steps if step.name == name)


def enforced(database: Database) -> Desk:
    """A blog whose reference is enforced."""
    desk = Desk.at(database, *BLOG)
    desk.run(desk.dialect.enforce_steps(desk.facts()))
    return desk


def test_each_step_takes_the_locks_that_it_states(database: Database) -> None:
    """Not one more and not a stronger one, on child and parent, all the way there and back."""
    desk = Desk.at(database, *BLOG)
    for steps in (desk.dialect.enforce_steps, desk.dialect.validate_steps):
        for step in steps(desk.facts()):
            assert _locks_taken(desk, step) == _locks_stated(step), step.name
            desk.run([step])
    ours = frozenset({"add-foreign-key", "add-null-guard", "add-null-check", "validate", "set-not-null"})
    for back in (desk.dialect.unvalidate_steps, desk.dialect.release_steps):
        for step in back(desk.facts(), ours):
            assert _locks_taken(desk, step) == _locks_stated(step), step.name
            desk.run([step])


def _locks_stated(step: Step) -> set[tuple[str, str]]:
    assert isinstance(step.work, LockingSql)
    return {(table.name, lock_name(mode)) for table, mode in step.work.locks}


def _locks_taken(desk: Desk, step: Step) -> set[tuple[str, str]]:
    """The strongest lock on each table after the step's statements, rolled back."""
    assert isinstance(step.work, LockingSql)
    with desk.transaction(*step.work.statements) as connection:
        rows = connection.exec_driver_sql(
            "SELECT c.relname, l.mode FROM pg_locks l JOIN pg_class c ON c.oid = l.relation "
            "WHERE l.pid = pg_backend_pid() AND c.relname IN ('post', 'user')"
        ).all()
    order = ("AccessShare", "RowShare", "RowExclusive", "ShareUpdateExclusive", "Share", "ShareRowExclusive")
    ranks = {f"{mode}Lock": rank for rank, mode in enumerate((*order, "Exclusive", "AccessExclusive"))}
    strongest: dict[str, str] = {}
    for table, mode in rows:
        if table not in strongest or ranks[mode] > ranks[strongest[table]]:
            strongest[table] = mode
    # Looking a table's columns up is ACCESS SHARE, which only ACCESS EXCLUSIVE waits for.
    return {(table, mode) for table, mode in strongest.items() if mode != "AccessShareLock"}


def test_no_lock_is_held_between_add_and_validate(database: Database) -> None:
    """ADD's locks end with its own transaction, so that the scan of VALIDATE holds up nobody."""
    desk = Desk.at(database, *BLOG)
    steps = desk.dialect.enforce_steps(desk.facts()) + desk.dialect.validate_steps(desk.facts())
    for step in steps:
        with desk.open() as connection:
            desk.dialect.run_sql(connection, step, desk.settings)
            # The step's own connection is open still, and holds nothing.
            assert desk.dialect.blockers(connection, [POST, USER]) == []
            held = connection.exec_driver_sql(
                "SELECT count(*) FROM pg_locks WHERE pid = pg_backend_pid() AND relation IN "
                "('post'::regclass, '\"user\"'::regclass)"
            )
            assert held.scalar_one() == 0


def test_writers_go_on_while_validate_holds_its_locks(database: Database) -> None:
    """Insert, update and delete on both tables pass beside it."""
    desk = enforced(database)
    validate = step_named(desk.dialect.validate_steps(replace_nullable(desk.facts())), "validate")
    assert isinstance(validate.work, LockingSql)
    with desk.transaction(*validate.work.statements):
        desk.sql(
            "SET lock_timeout = '200ms'",
            """INSERT INTO "user" VALUES (99, 'new')""",
            "INSERT INTO post VALUES (901, 99, 'new')",
            "UPDATE post SET title = 'changed' WHERE id = 1",
            "DELETE FROM post WHERE id = 901",
            'DELETE FROM "user" WHERE id = 99',
        )


def replace_nullable(facts: Facts) -> Facts:
    """The same facts for a nullable reference, whose validation is the foreign key's alone."""
    return replace(facts, reference=replace(facts.reference, nullable=True))


def test_a_blocking_step_gives_up_within_its_bound_and_names_the_blocker(database: Database) -> None:
    """A writer's open transaction stops it: lock timeout, nothing changed, no lock left."""
    desk = Desk.at(database, *BLOG)
    key = step_named(desk.dialect.enforce_steps(desk.facts()), "add-foreign-key")
    with desk.transaction("SET application_name = 'shop'", "UPDATE post SET title = 'x' WHERE id = 1"):
        with pytest.raises(sa.exc.OperationalError) as error:
            desk.attempt(key)
        assert desk.dialect.verdict(error.value) == "lock-timeout"
        with desk.open() as connection:
            (blocker,) = desk.dialect.blockers(connection, [POST])
        assert blocker.application == "shop"
        assert blocker.kind == "session"
        assert "idle in transaction" in blocker.what
        assert "RowExclusiveLock on post" in blocker.what
        assert "title" not in str(blocker)
    assert desk.facts().state == "none"
    desk.run([key])


def test_who_stands_in_the_way_depends_on_the_step(database: Database) -> None:
    """An open reader does not hold up SHARE ROW EXCLUSIVE; it does hold up ACCESS EXCLUSIVE."""
    desk = Desk.at(database, *BLOG)
    add = step_named(desk.dialect.enforce_steps(desk.facts()), "add-foreign-key")
    with desk.transaction("SELECT count(*) FROM post", "SELECT pg_sleep(0.6)"):
        with desk.open() as connection:
            assert desk.dialect.obstacles(connection, desk.facts(), add) == []
        desk.run([add])
        (release,) = desk.dialect.release_steps(desk.facts(), frozenset({"add-foreign-key"}))
        with desk.open() as connection:
            (reader,) = desk.dialect.obstacles(connection, desk.facts(), release)
        assert "AccessShareLock on post" in reader.what
        with pytest.raises(sa.exc.OperationalError) as error:
            desk.attempt(release)
        assert desk.dialect.verdict(error.value) == "lock-timeout"
    desk.run([release])


def test_an_index_build_waits_for_old_snapshots_and_names_them(database: Database) -> None:
    """Even those that never touched the table."""
    desk = Desk.at(database, *BLOG)
    (build,) = desk.dialect.index_steps(desk.facts())
    with desk.transaction(
        "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ", "SELECT 1", "SELECT pg_sleep(1.1)"
    ):
        with desk.open() as connection:
            (old,) = desk.dialect.obstacles(connection, desk.facts(), build)
        assert old.what.endswith("a snapshot")


def test_an_index_build_that_gives_up_leaves_no_index(database: Database) -> None:
    """What PostgreSQL leaves INVALID is cleared away as far as the same lock allows."""
    desk = Desk.at(database, *BLOG)
    (build,) = desk.dialect.index_steps(desk.facts())
    with desk.transaction("UPDATE post SET title = 'x' WHERE id = 1"):
        with pytest.raises(sa.exc.OperationalError) as error:
            desk.attempt(build)
        assert desk.dialect.verdict(error.value) == "lock-timeout"
    assert not [index for index in desk.facts().child.indexes if index.valid and index.name != "post_pkey"]
    desk.run([build])
    assert desk.facts().index is not None


def test_an_application_that_writes_parent_then_child_meets_no_deadlock(database: Database) -> None:
    """We lock in its order, so one of us waits; without that, ADD takes the child first: 40P01."""
    desk = Desk.at(database, *BLOG)
    key = step_named(desk.dialect.enforce_steps(desk.facts()), "add-foreign-key")
    assert isinstance(key.work, LockingSql)
    patient = replace(desk, settings=replace(desk.settings, lock_timeout_ms=20_000))
    with (
        desk.transaction("""INSERT INTO "user" VALUES (99, 'new')""") as application,
        _background(lambda: patient.attempt(key)) as errors,
    ):
        _until_waiting(desk, 1)
        application.exec_driver_sql("INSERT INTO post VALUES (901, 99, 'new')")
        application.commit()
    assert errors == []
    assert desk.facts().state == "enforced"


def test_a_deadlock_is_told_by_its_number(database: Database) -> None:
    """The same two transactions in opposite order: somebody is the victim, and may try again."""
    desk = Desk.at(database, *BLOG)
    key = step_named(desk.dialect.enforce_steps(desk.facts()), "add-foreign-key")
    assert isinstance(key.work, LockingSql)
    bare = replace(key, work=replace(key.work, statements=key.work.statements[-1:]))
    patient = replace(desk, settings=replace(desk.settings, lock_timeout_ms=20_000))
    with (
        desk.transaction("""INSERT INTO "user" VALUES (99, 'new')""") as application,
        _background(lambda: patient.attempt(bare)) as errors,
    ):
        _until_waiting(desk, 1)
        try:
            application.exec_driver_sql("INSERT INTO post VALUES (901, 99, 'new')")
        except sa.exc.DBAPIError as error:
            errors.append(error)
        application.rollback()
    assert [desk.dialect.verdict(error) for error in errors] == ["deadlock"]


def test_the_order_of_locks_follows_the_settings(database: Database) -> None:
    """For an application that writes the child first."""
    desk = Desk.at(database, *BLOG)
    other = desk.dialect.configured(replace(desk.settings, parent_first=False))
    for dialect, tables in ((desk.dialect, '"user", "public"."post"'), (other, '"post", "public"."user"')):
        key = step_named(dialect.enforce_steps(desk.facts()), "add-foreign-key")
        assert isinstance(key.work, LockingSql)
        assert key.work.statements[0] == f'LOCK TABLE "public".{tables} IN SHARE ROW EXCLUSIVE MODE'


def test_without_the_right_to_lock_the_parent_there_is_no_lock_table(database: Database) -> None:
    """REFERENCES and SELECT on the parent are enough for the protocol, not for LOCK TABLE."""
    desk = Desk.at(database, *BLOG)
    role = f"clerk_{database.name}"
    desk.sql(
        f'CREATE ROLE "{role}"',
        f'GRANT CREATE ON SCHEMA public TO "{role}"',
        f'ALTER TABLE post OWNER TO "{role}"',
        f'GRANT SELECT, REFERENCES ON "user" TO "{role}"',
    )
    try:
        with desk.open() as connection:
            connection.exec_driver_sql(f'SET ROLE "{role}"')
            facts = desk.dialect.facts(connection, REFERENCE)
            assert list(desk.dialect.environment_problems(connection, facts, desk.settings)) == []
            for steps in (desk.dialect.enforce_steps, desk.dialect.validate_steps):
                for step in steps(facts):
                    assert isinstance(step.work, LockingSql)
                    assert not any("LOCK TABLE" in statement for statement in step.work.statements)
                    desk.dialect.run_sql(connection, step, desk.settings)
        assert desk.facts().state == "validated"
    finally:
        desk.sql(f'DROP OWNED BY "{role}"', f'DROP ROLE "{role}"')


def test_settings_of_a_step_are_gone_with_its_transaction(database: Database) -> None:
    """`SET LOCAL`: the time limits of the short steps never outlive them."""
    desk = Desk.at(database, *BLOG)
    key = step_named(desk.dialect.enforce_steps(desk.facts()), "add-foreign-key")
    with desk.open() as connection:
        desk.dialect.run_sql(connection, key, desk.settings)
        assert connection.exec_driver_sql("SHOW lock_timeout").scalar_one() == "0"


def test_time_limits_of_the_database_do_not_end_a_long_step(database: Database) -> None:
    """Whatever its defaults are, a step of long patience works without one and waits with one."""
    desk = Desk.at(database)
    names = ["statement_timeout", "idle_in_transaction_session_timeout", "lock_timeout"]
    with desk.open() as connection:
        version = desk.dialect.server(connection).version
    names += ["transaction_timeout"] if version >= (17,) else []
    desk.sql(*(f"ALTER DATABASE \"{database.name}\" SET {name} = '77s'" for name in names))
    seen = "CREATE TABLE seen AS SELECT name, setting FROM pg_settings WHERE name LIKE '%_timeout'"
    desk.attempt(Step("look", "look at the settings", LockingSql((seen,), patience="long")))
    found = {str(name): str(setting) for name, setting in desk.rows("SELECT name, setting FROM seen")}
    assert {found[name] for name in names if name != "lock_timeout"} == {"0"}
    assert int(found["lock_timeout"]) > int(found["deadlock_timeout"])


def test_a_lost_connection_is_told_apart(database: Database) -> None:
    """The run is interrupted, not failed."""
    desk = Desk.at(database, *BLOG)
    with desk.open() as victim:
        suicide = sa.text("SELECT pg_terminate_backend(pg_backend_pid())")
        with pytest.raises(sa.exc.OperationalError) as error:
            victim.execute(suicide)
        assert desk.dialect.verdict(error.value) == "lost"


def test_the_run_lock_is_held_by_one_session_and_dies_with_it(database: Database) -> None:
    """Another session gets False, and True once the first is gone; no transaction stays open."""
    desk = Desk.at(database)
    with desk.engine.connect() as second:
        with desk.engine.connect() as first:
            assert desk.dialect.try_lock(first, "run") is True
            assert not first.in_transaction()
            assert desk.dialect.try_lock(second, "run") is False
            desk.dialect.unlock(first, "run")
            assert desk.dialect.try_lock(second, "run") is True
            desk.dialect.unlock(second, "run")
            assert desk.dialect.try_lock(first, "run") is True
        _until(lambda: desk.dialect.try_lock(second, "run") is True)


def test_a_snapshot_is_read_only_and_consistent(database: Database) -> None:
    """In autocommit mode and out of it: a write is refused, and a later commit is not seen."""
    desk = Desk.at(database, *BLOG)
    for autocommit in (True, False):
        with desk.engine.connect() as connection:
            if autocommit:
                connection = connection.execution_options(isolation_level="AUTOCOMMIT")
            with desk.dialect.read_only(connection) as inside:
                count = sa.text("SELECT count(*) FROM post")
                before = inside.execute(count).scalar_one()
                desk.sql(f"INSERT INTO post VALUES ({900 + autocommit}, 1, 'later')")
                assert inside.execute(count).scalar_one() == before
                nested = inside.begin_nested() if not autocommit else None
                with pytest.raises(sa.exc.InternalError, match="read-only"):
                    inside.execute(sa.text("DELETE FROM post"))
                if nested is not None:
                    nested.rollback()
            desk.dialect.facts(connection, REFERENCE)


@contextmanager
def _background(work: Callable[[], None]) -> Iterator[list[Exception]]:
    """Run something in a thread of its own; its error, if any, is in the list at the end."""
    errors: list[Exception] = []

    def run() -> None:
        try:
            work()
        except sa.exc.DBAPIError as error:
            errors.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield errors
    finally:
        thread.join()


def _until_waiting(desk: Desk, sessions: int) -> None:
    _until(lambda: desk.value("SELECT count(DISTINCT pid) FROM pg_locks WHERE NOT granted") >= sessions)


def _until(condition: Callable[[], bool]) -> None:
    """Wait for another session; the suite's own time limit is the bound."""
    pause = threading.Event()
    while not condition():
        pause.wait(0.05)
