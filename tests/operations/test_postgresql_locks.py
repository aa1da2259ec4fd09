"""Locks on PostgreSQL: what each step holds and for how long, who is named, what is waited for.

No test measures time: a step either gets its locks while another session keeps its own, or fails
within the server's own bound.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace

import pytest
import sqlalchemy as sa

from migrator.catalog import Facts
from migrator.dialects.pg_words import LockingSql, lock_name
from migrator.plan import Step
from migrator.reference import TableName
from tests.operations.postgresql_desk import BLOG, REFERENCE, Desk, background, until_waiting
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


@contextmanager
def building(desk: Desk, name: str) -> Iterator[Callable[[], None]]:
    """Somebody builds an index on the posts' authors, which waits for a writer; gives what ends the writer.
    Their build must come to its end."""
    theirs = f"CREATE INDEX CONCURRENTLY {name} ON post (user_id)"
    with (
        desk.transaction("UPDATE post SET title = 'x' WHERE id = 1") as writer,
        background(lambda: desk.sql(theirs)) as errors,
    ):
        until_waiting(desk, 1)
        yield writer.rollback
    assert errors == []


def persistently(desk: Desk, step: Step) -> None:
    """As the runner does it, who also tries again after a deadlock."""
    while True:
        try:
            return desk.attempt(step)
        except sa.exc.DBAPIError as error:
            if desk.dialect.verdict(error) != "lock-timeout":
                raise


def test_an_index_that_somebody_is_building_is_waited_for(database: Database) -> None:
    """It looks like what a failed build has left, and is not dropped: refused at first, and once under way,
    theirs is taken when it is there."""
    desk = Desk.at(database, *BLOG)
    (build,) = desk.dialect.index_steps(desk.facts())
    number = f"SELECT to_regclass('{REFERENCE.index_name}')::oid::bigint"
    with building(desk, REFERENCE.index_name) as end_writer:
        (problem,) = [each for each in desk.environment() if each.severity == "refuse"]
        assert "is building public.ix_post_user_id at this moment" in problem.message
        (drop, _) = desk.dialect.index_steps(desk.facts())
        before = desk.value(number)
        with (
            background(lambda: persistently(desk, build)) as errors,
            background(lambda: persistently(desk, drop)) as more_errors,
        ):
            until_waiting(desk, 2)
            end_writer()
    assert [*errors, *more_errors] == []
    assert desk.facts().index is not None
    assert desk.value(number) == before


def test_a_build_of_somebody_elses_is_no_deadlocks_victim(database: Database) -> None:
    """VALIDATE waits for it, and it for the snapshot of whoever waits: so we give up, and try again."""
    desk = enforced(database)
    patient = replace(desk, settings=replace(desk.settings, long_lock_timeout_ms=60_000))
    check, validate, *_ = desk.dialect.validate_steps(desk.facts())
    desk.run([check])
    with (
        building(desk, "theirs") as end_writer,
        background(lambda: persistently(patient, validate)) as errors,
    ):
        until_waiting(desk, 2)
        end_writer()
    assert errors == []
    assert validate.done(desk.facts())


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
        background(lambda: patient.attempt(key)) as errors,
    ):
        until_waiting(desk, 1)
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
        background(lambda: patient.attempt(bare)) as errors,
    ):
        until_waiting(desk, 1)
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
    for dialect, first in ((desk.dialect, "user"), (other, "post")):
        key = step_named(dialect.enforce_steps(desk.facts()), "add-foreign-key")
        assert isinstance(key.work, LockingSql)
        assert key.work.statements[0] == f'LOCK TABLE "public"."{first}" IN SHARE ROW EXCLUSIVE MODE'


@pytest.mark.parametrize(
    "statements",
    [
        ("UPDATE post SET title = 'x' WHERE id = 1", "UPDATE post SET title = 'y' WHERE id = 1"),
        ("""INSERT INTO "user" VALUES (99, 'new')""", "INSERT INTO post VALUES (901, 99, 'new')"),
        ("SELECT FROM post WHERE id = 1", "UPDATE post SET title = 'x' WHERE id = 1"),
    ],
    ids=["a row written twice", "parent, then child", "read, then written"],
)
def test_transactions_that_need_the_other_table_finish_before_the_key_is_dropped(
    database: Database, statements: tuple[str, str]
) -> None:
    """We wait for each of them, and none of them for us."""
    desk = enforced(database)
    patient = replace(desk, settings=replace(desk.settings, lock_timeout_ms=80_000))
    (release,) = desk.dialect.release_steps(desk.facts(), frozenset({"add-foreign-key"}))
    with (
        desk.transaction(statements[0]) as application,
        background(lambda: patient.attempt(release)) as errors,
    ):
        until_waiting(desk, 1)
        application.exec_driver_sql(statements[1])
        application.commit()
    assert errors == []
    assert desk.facts().state == "none"


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
