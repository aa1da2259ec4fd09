"""Sessions on PostgreSQL: their settings, their end, the run lock and the read-only snapshot."""

from __future__ import annotations

import pytest
import sqlalchemy as sa

from migrator.dialects.pg_words import LockingSql
from migrator.plan import Step
from tests.operations.postgresql_desk import BLOG, REFERENCE, Desk, until
from tests.servers.database import Database

pytestmark = pytest.mark.engines("postgresql")


def test_settings_of_a_step_are_gone_with_its_transaction(database: Database) -> None:
    """`SET LOCAL`: the time limits of the short steps never outlive them."""
    desk = Desk.at(database, *BLOG)
    key = desk.dialect.enforce_steps(desk.facts())[0]
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
        until(lambda: desk.dialect.try_lock(second, "run") is True)


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
