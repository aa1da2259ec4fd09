"""The batches wait while the server is busy, say for what, and go on; what cannot be read is refused."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from typing import Any

import pytest
import sqlalchemy as sa

from migrator.blog.revisions import DELETED_AUTHOR, POST_AUTHOR
from migrator.blog.seed import seed
from migrator.errors import PreflightRefused, UsageError
from migrator.settings import Settings, resolve
from tests.conftest import Database, ServerFactory
from tests.operations.lifecycle import FAST, assert_same, picture, rows_of, run

SERVERS = ("postgresql", "mysql", "mariadb")
#: More than the limit by so many that what other tests do at the same time makes no difference.
LIMIT, CROWD = 10, 16


class Releases:
    """Ends what the run waits for, once it says that it does."""

    def __init__(self, release: Callable[[], object]) -> None:
        self.release = release
        self.notes: list[str] = []

    def step(self, name: str, title: str) -> None:
        """Nothing."""

    def rows(self, what: str, done: int, total: int | None) -> None:
        """Nothing."""

    def note(self, message: str) -> None:
        """The run waits, or goes on."""
        if message.startswith(("waiting", "going on")):
            self.notes.append(message)
        if message.startswith("waiting"):
            self.release()


def blog(database: Database) -> None:
    """Twenty posts, nine of them orphans."""
    with database.engine.begin() as connection:
        seed(connection, posts=20, users=4, null_share=0.2, dangling_share=0.25)


def sweep(database: Database, settings: Settings, progress: Releases | None = None) -> None:
    """All of it, to the deleted author."""
    policies = (DELETED_AUTHOR, DELETED_AUTHOR)
    run(database.engine, ("sweep",), POST_AUTHOR, *policies, settings=settings, progress=progress)


def orphans(database: Database) -> int:
    """How many posts have no author."""
    users = {
        row["id"] for row in rows_of(database.engine, replace(POST_AUTHOR, child=POST_AUTHOR.parent), "id")
    }
    posts = rows_of(database.engine, POST_AUTHOR, "id", "user_id")
    return sum(post["user_id"] not in users for post in posts)


@contextmanager
def crowd(database: Database, statement: str) -> Iterator[Callable[[], None]]:
    """Sessions that are at a statement for long; gives what ends them."""
    connections = [database.engine.connect() for _ in range(CROWD)]
    numbers = [_number(connection) for connection in connections]

    def work(connection: sa.Connection) -> None:
        with suppress(sa.exc.DBAPIError):
            connection.exec_driver_sql(statement)

    threads = [threading.Thread(target=work, args=(connection,)) for connection in connections]
    for thread in threads:
        thread.start()

    def end() -> None:
        kill = "SELECT pg_terminate_backend({})" if database.family == "postgresql" else "KILL {}"
        with database.engine.connect() as connection:
            while numbers:
                with suppress(sa.exc.DBAPIError):
                    connection.exec_driver_sql(kill.format(numbers.pop()))
        for thread in threads:
            thread.join()

    try:
        yield end
    finally:
        end()
        for connection in connections:
            connection.invalidate()
            connection.close()


def _number(connection: sa.Connection) -> int:
    ask = "SELECT pg_backend_pid()" if connection.dialect.name == "postgresql" else "SELECT CONNECTION_ID()"
    return int(connection.exec_driver_sql(ask).scalar_one())


@pytest.mark.engines(*SERVERS)
def test_a_crowd_at_work_holds_the_batches(database: Database) -> None:
    """More active sessions than the limit: the run waits until they are gone."""
    blog(database)
    sleep = "SELECT pg_sleep(600)" if database.family == "postgresql" else "SELECT SLEEP(600)"
    with crowd(database, sleep) as end:
        heard = Releases(end)
        sweep(database, replace(FAST, max_active_sessions=LIMIT), heard)
    assert "active sessions (max_active_sessions=10)" in heard.notes[0]
    assert heard.notes[-1].startswith("going on after")
    assert orphans(database) == 0


@pytest.mark.engines(*SERVERS)
def test_a_queue_for_a_row_holds_the_batches(database: Database) -> None:
    """More sessions that wait for locks than the limit: the run does not add to the queue."""
    blog(database)
    with database.engine.begin() as connection:
        connection.exec_driver_sql("CREATE TABLE counter (id integer PRIMARY KEY, n integer)")
        connection.exec_driver_sql("INSERT INTO counter VALUES (1, 0)")
    holder = database.engine.connect()
    holder.exec_driver_sql("UPDATE counter SET n = 1")
    with crowd(database, "UPDATE counter SET n = n + 1") as end:

        def release() -> None:
            holder.rollback()
            end()

        heard = Releases(release)
        sweep(database, replace(FAST, max_lock_waiters=LIMIT), heard)
    holder.close()
    assert "sessions wait for locks (max_lock_waiters=10)" in heard.notes[0]
    assert orphans(database) == 0


@pytest.mark.engines("postgresql-18")
def test_an_autovacuum_of_the_child_holds_the_batches(own_server: ServerFactory) -> None:
    """It goes on when the vacuum is gone."""
    server = own_server("-c", "autovacuum_naptime=1s")
    with server.new_database() as database:
        blog(database)
        slowly = """ALTER TABLE post SET (autovacuum_vacuum_threshold = 1, autovacuum_vacuum_scale_factor = 0,
                    autovacuum_vacuum_cost_delay = 100, autovacuum_vacuum_cost_limit = 1)"""
        with database.engine.begin() as connection:
            connection.exec_driver_sql(slowly)
            connection.exec_driver_sql(
                "INSERT INTO post (title, body, timestamp, user_id) "
                "SELECT 'filler', repeat('x', 500), now(), "
                '(SELECT min(id) FROM "user") FROM generate_series(1, 20000)'
            )
            connection.exec_driver_sql("DELETE FROM post WHERE title = 'filler' AND mod(id, 3) = 0")

        def is_vacuumed() -> Any:
            with database.engine.connect() as connection:
                query = "SELECT pid FROM pg_stat_progress_vacuum WHERE relid = 'post'::regclass"
                return connection.exec_driver_sql(query).scalar()

        pause = threading.Event()
        while not is_vacuumed():
            pause.wait(0.1)

        def send_away() -> None:
            with database.engine.begin() as connection:
                connection.exec_driver_sql("ALTER TABLE post SET (autovacuum_enabled = false)")

        heard = Releases(send_away)  # ALTER TABLE cancels a vacuum that is in its way
        sweep(database, replace(FAST, wait_for_autovacuum=True), heard)
        assert "autovacuum at work on post (process" in heard.notes[0]
        assert orphans(database) == 0


@pytest.mark.engines("postgresql-18", "mysql-9.7", "mariadb-11.8")
def test_what_an_account_may_not_read_is_refused(database: Database) -> None:
    """Before the first change, with the grant that is missing."""
    blog(database)
    role = f"{database.name}_plain"
    url = sa.make_url(database.url).set(username=role, password="secret")
    is_postgresql = database.family == "postgresql"
    make = [f"CREATE USER {role} IDENTIFIED BY 'secret'", f"GRANT ALL ON {database.name}.* TO {role}"]
    if is_postgresql:
        make = [f"CREATE ROLE {role} LOGIN PASSWORD 'secret'", f"GRANT ALL ON SCHEMA public TO {role}"]
        make += [f'ALTER TABLE "{table}" OWNER TO {role}' for table in ("post", "user")]
    with database.engine.begin() as connection:
        for statement in make:
            connection.exec_driver_sql(statement)
    before = picture(database)
    engine = sa.create_engine(url, poolclass=sa.NullPool)
    policies = (DELETED_AUTHOR, DELETED_AUTHOR)
    limits: list[dict[str, Any]] = [{"max_lock_waiters": 5}]
    if is_postgresql:
        limits += [{"max_active_sessions": 5}, {"max_replica_lag": 5}]
    try:
        for limit in limits:
            with pytest.raises(
                PreflightRefused, match=r"A throttle cannot be read: .* Nothing was ch"
            ) as refused:
                run(engine, ("sweep",), POST_AUTHOR, *policies, settings=replace(FAST, **limit))
            assert refused.value.hint is not None
            assert refused.value.hint.startswith("GRANT ")
            assert_same(before, picture(database))
    finally:
        with database.engine.begin() as connection:
            drop = ("DROP OWNED BY {0} CASCADE", "DROP ROLE {0}") if is_postgresql else ("DROP USER {0}",)
            for statement in drop:
                connection.exec_driver_sql(statement.format(role))


@pytest.mark.engines("sqlite", "postgresql", "mysql", "mariadb")
@pytest.mark.parametrize(
    "limit", ["max_active_sessions", "max_lock_waiters", "max_replica_lag", "wait_for_autovacuum"]
)
def test_what_a_server_does_not_know_is_refused(database: Database, limit: str) -> None:
    """SQLite knows nothing of all that, MySQL and MariaDB nothing of their replicas nor of a vacuum; a
    PostgreSQL server that nobody follows has no replica that could keep up."""
    blog(database)
    before = picture(database)
    settings = resolve({"pause_ms": 0, limit: "1" if limit == "wait_for_autovacuum" else "1000"}, {})
    knows = database.family != "sqlite" and limit in ("max_active_sessions", "max_lock_waiters")
    if knows or (database.family == "postgresql" and limit == "wait_for_autovacuum"):
        sweep(database, settings)
        assert orphans(database) == 0
        return
    with pytest.raises(
        PreflightRefused, match=rf"A throttle cannot be read: .*{limit}.* Nothing was changed"
    ):
        sweep(database, settings)
    assert_same(before, picture(database))


def test_throttles_are_settings_like_any_other() -> None:
    """From flags and the environment; nought is off; a URL is never shown."""
    found = resolve({"max_replica_lag": "2.5"}, {"MIGRATOR_REPLICA_URL": "mysql://me:secret@replica/"})
    assert found.max_replica_lag == 2.5
    assert found.replica_url == "mysql://me:secret@replica/"
    assert "secret" not in repr(found)
    assert resolve({"max_lock_waiters": "0", "wait_for_autovacuum": "yes"}, {}).wait_for_autovacuum
    for name, value in (("max_replica_lag", "-1"), ("max_active_sessions", "few"), ("log", "loud")):
        with pytest.raises(UsageError, match=name):
            resolve({name: value}, {})
    with pytest.raises(UsageError, match="replica_url does nothing without max_replica_lag"):
        resolve({"replica_url": "mysql://me:secret@replica/"}, {})
    with pytest.raises(UsageError, match="replica_lag_query does nothing without replica_url"):
        resolve({"max_replica_lag": 5, "replica_lag_query": "SELECT 1"}, {})
