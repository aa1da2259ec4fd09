"""Beside others at work we read a table in one process; alone on the server with as many as it allows."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.engine import Connection, Engine

from migrator.batches import BatchSize
from migrator.errors import UsageError
from migrator.policy import Delete
from migrator.reference import Reference
from migrator.sessions import Sessions
from migrator.settings import Parallel, Settings, resolve
from tests.conftest import ServerFactory
from tests.listening import before_each
from tests.operations.lifecycle import FAST, UP, run
from tests.operations.postgresql_desk import Desk
from tests.operations.reporting import run as command
from tests.servers.database import Database

pytestmark = pytest.mark.engines("postgresql-18")

WORKERS = "SHOW max_parallel_workers_per_gather"
AHEAD = "SHOW effective_io_concurrency"


def allowed(engine: Engine, meanwhile: Callable[[], None], parallel: Parallel = "quiet") -> list[int]:
    """The workers that a session for batches may have and one that reads, when this happened before each."""
    sessions = Sessions.of(engine, Settings(parallel=parallel))
    found = []
    try:
        with sessions.open():
            meanwhile()
            with sessions.work() as connection:
                found.append(int(connection.exec_driver_sql(WORKERS).scalar_one()))
            meanwhile()
            with sessions.read() as connection:
                found.append(int(connection.exec_driver_sql(WORKERS).scalar_one()))
    finally:
        sessions.close()
    return found


@contextmanager
def somebody(engine: Engine) -> Iterator[Connection]:
    """A session of an application."""
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.exec_driver_sql("SELECT 1")
        yield connection


def test_who_is_at_work_is_spared_and_who_idles_is_not(own_server: ServerFactory) -> None:
    """A pool that was used a moment ago and idles now is not at work; whoever does something meanwhile is."""
    with own_server().new_database() as database:
        engine = database.engine
        with somebody(engine) as application:

            def works() -> None:
                application.exec_driver_sql("SELECT 1")

            def idles() -> None:
                """Nothing."""

            usual = int(application.exec_driver_sql(WORKERS).scalar_one())
            assert usual > 0
            assert allowed(engine, idles) == [usual, usual]
            assert allowed(engine, works) == [0, 0]
            assert allowed(engine, works, "always") == [usual, usual]
            assert allowed(engine, idles, "never") == [0, 0]


def test_beside_others_no_io_workers_read_ahead(own_server: ServerFactory) -> None:
    """They are processes as well: neither for batches nor for reading. The pool's sessions keep theirs."""
    with own_server().new_database() as database, somebody(database.engine) as application:
        usual = application.exec_driver_sql(AHEAD).scalar_one()
        assert usual != "0"
        cases: dict[Parallel, Any] = {"never": "0", "always": usual}
        for parallel, expected in cases.items():
            sessions = Sessions.of(database.engine, Settings(parallel=parallel))
            with sessions.work() as connection:
                assert connection.exec_driver_sql(AHEAD).scalar_one() == expected
            with sessions.read() as connection:
                assert connection.exec_driver_sql(AHEAD).scalar_one() == expected
            sessions.close()
        assert application.exec_driver_sql(AHEAD).scalar_one() == usual


def test_what_reads_a_whole_table_beside_others_does_so_in_one_process(database: Database) -> None:
    """The list of orphans, the index and the proof; said on their own sessions, which are closed."""
    spared: set[int] = set()
    read: dict[str, bool] = {}

    def listen(connection: Connection, _cursor: Any, statement: str, *_: Any) -> None:
        session = id(connection.connection.dbapi_connection)
        if "'max_parallel_maintenance_workers', '0'" in statement:
            spared.add(session)
        for begin in ("CREATE TABLE", "CREATE INDEX", "VALIDATE CONSTRAINT"):
            if begin in statement and (begin != "CREATE TABLE" or " AS SELECT row_number()" in statement):
                read[begin] = session in spared

    desk = Desk.at(
        database,
        "CREATE TABLE author (id integer PRIMARY KEY)",
        "CREATE TABLE post (id integer PRIMARY KEY, author_id integer)",
        "INSERT INTO author SELECT generate_series(1, 10)",
        "INSERT INTO post SELECT n, n % 12 FROM generate_series(1, 100) n",
        "ANALYZE post",
    )
    reference = Reference.parse("post.author_id -> author.id")
    settings = replace(FAST, parallel="never", scan_rows=0)
    with before_each(desk.engine, listen):
        run(desk.engine, UP, reference, Delete(), Delete(), settings=settings)
    assert read == {"CREATE TABLE": True, "CREATE INDEX": True, "VALIDATE CONSTRAINT": True}
    assert desk.value("SELECT count(*) FROM post") == 84


@pytest.mark.parametrize(("parallel", "spared"), [("never", True), ("always", False)])
def test_a_report_goes_by_the_setting_as_well(database: Database, parallel: str, spared: bool) -> None:
    """It has no option for it; the environment speaks for every command."""
    Desk.at(
        database,
        "CREATE TABLE author (id integer PRIMARY KEY)",
        "CREATE TABLE post (id integer PRIMARY KEY, author_id integer)",
    )
    sent: list[str] = []

    def listen(_connection: Connection, _cursor: Any, statement: str, *_: Any) -> None:
        sent.append(statement)

    with before_each(Engine, listen):
        ran = command(
            "report",
            "--url",
            database.url,
            "--reference",
            "post.author_id -> author.id",
            MIGRATOR_PARALLEL=parallel,
        )
    assert ran.code == 0, ran.err
    assert any("max_parallel_workers_per_gather" in each for each in sent) == spared


def test_batches_grow_slowly_beside_others() -> None:
    """Who wants a row of a batch waits for its end: it is not doubled because it was quick."""
    beside, alone = (BatchSize.of(Settings(), alone=alone).after(1000, 0.01).rows for alone in (False, True))
    assert (beside, alone) == (1201, 2001)


def test_a_word_that_is_none_is_refused() -> None:
    """With those there are."""
    with pytest.raises(UsageError, match="parallel must be one of quiet, always, never, not 'sometimes'"):
        resolve({"parallel": "sometimes"}, {})


def test_a_session_of_another_role_is_somebody_at_work(database: Database) -> None:
    """Of it an ordinary role sees neither kind nor state. One that may not read the view spares it too."""
    name = database.engine.url.database
    with database.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        for role in ("clerk", "application"):
            connection.exec_driver_sql(f"DROP ROLE IF EXISTS {role}_{name}")
            connection.exec_driver_sql(f"CREATE ROLE {role}_{name} LOGIN PASSWORD 'x'")
        connection.exec_driver_sql("REVOKE SELECT ON pg_stat_activity FROM PUBLIC")
    try:
        clerk, application = (
            sa.create_engine(
                database.engine.url.set(username=f"{role}_{name}", password="x"), poolclass=sa.NullPool
            )
            for role in ("clerk", "application")
        )
        assert allowed(clerk, lambda: None) == [0, 0]
        with database.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            connection.exec_driver_sql("GRANT SELECT ON pg_stat_activity TO PUBLIC")
        with somebody(application):
            assert allowed(clerk, lambda: None) == [0, 0]
    finally:
        with database.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            connection.exec_driver_sql("GRANT SELECT ON pg_stat_activity TO PUBLIC")
            for role in ("clerk", "application"):
                connection.exec_driver_sql(f"DROP ROLE {role}_{name}")
