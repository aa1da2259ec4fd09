"""Sessions, batches and error numbers of MySQL and MariaDB, on real servers."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import sqlalchemy as sa
from sqlalchemy.engine import Connection

from migrator.dialects.mysql_sessions import error_number, execute
from migrator.dialects.telling import Verdict
from migrator.plan import Sql, Step
from migrator.policy import Backfill, Delete
from migrator.predicate import table_clause
from migrator.reference import TableName
from migrator.sessions import Sessions
from tests.operations.lifecycle import DOWN, UP, assert_same, picture, run
from tests.operations.mysql_desk import BLOG, REFERENCE, Desk
from tests.servers.database import Database

pytestmark = pytest.mark.engines("mysql", "mariadb", "mariadb-10.11")


def test_a_read_only_session_sees_one_moment_and_writes_nothing(database: Database) -> None:
    """REPEATABLE READ from its first moment; 1792 for every write; also in autocommit mode."""
    desk = Desk.at(database, *BLOG)
    with desk.open() as autocommit, desk.engine.connect() as plain:
        for connection in (autocommit, plain):
            with desk.dialect.read_only(connection):
                desk.sql("INSERT INTO post (user_id) VALUES (1)")
                assert connection.exec_driver_sql("SELECT COUNT(*) FROM post").scalar() == 4
                with pytest.raises(sa.exc.DBAPIError) as caught:
                    execute(connection, "INSERT INTO post (user_id) VALUES (1)")
                assert error_number(caught.value) == 1792
            assert connection.exec_driver_sql("SELECT COUNT(*) FROM post").scalar() == 5
            desk.sql("DELETE FROM post WHERE id > 4")
            execute(connection, "INSERT INTO post (user_id) VALUES (1)")
            connection.rollback()
            desk.sql("DELETE FROM post WHERE id > 4")


def test_a_batch_session_is_strict_in_utc_and_at_read_committed(database: Database) -> None:
    """Whatever the server's defaults are."""
    desk = Desk.at(database, *BLOG)
    with desk.engine.connect() as connection:
        execute(
            connection,
            "SET SESSION sql_mode = '', SESSION foreign_key_checks = 0, SESSION time_zone = '+05:00'",
        )
        connection.rollback()
        desk.dialect.prepare(connection, desk.settings)
        mode, checks, zone = connection.exec_driver_sql(
            "SELECT @@sql_mode, @@foreign_key_checks, @@time_zone"
        ).one()
        assert {"STRICT_ALL_TABLES", "STRICT_TRANS_TABLES"} <= set(mode.split(","))
        assert not {"NO_ZERO_DATE", "NO_ZERO_IN_DATE"} & set(mode.split(","))
        assert (checks, zone) == (1, "+00:00")
        with desk.dialect.transaction(connection):
            execute(connection, "UPDATE post SET title = 'x' WHERE id = 1")
            level = "tx_isolation" if desk.mariadb and database.version < (11, 1) else "transaction_isolation"
            assert connection.exec_driver_sql(f"SELECT @@{level}").scalar() == "READ-COMMITTED"


def test_what_every_session_is_set_to_falsifies_nothing(database: Database) -> None:
    """A server or an account may cut answers short, refuse statements, begin transactions by itself and store
    tables where nothing is undone: the way there and back is the same."""
    desk = Desk.at(database, *BLOG, "INSERT INTO post (id, user_id) VALUES (90, 99), (91, NULL), (92, 98)")
    start = picture(database)
    hostile = (
        "SET SESSION sql_select_limit = 2, SESSION max_join_size = 5, SESSION sql_big_selects = 0, "
        "SESSION sql_safe_updates = 1, SESSION completion_type = 'CHAIN', SESSION sql_auto_is_null = 1, "
        "SESSION foreign_key_checks = 0, SESSION default_storage_engine = 'MyISAM'"
    )
    engine = sa.create_engine(database.url, poolclass=sa.NullPool, connect_args={"init_command": hostile})
    with engine.connect() as connection:
        assert connection.exec_driver_sql("SELECT @@default_storage_engine").scalar() == "MyISAM"
    run(engine, UP, REFERENCE, Backfill(to=1), Delete())
    engines = "SELECT DISTINCT engine FROM information_schema.tables WHERE table_schema = DATABASE()"
    assert desk.rows(engines) == [("InnoDB",)]
    assert desk.facts().not_null
    run(engine, DOWN, REFERENCE)
    assert_same(start, picture(database))


def test_no_session_of_ours_has_a_limit_of_time(database: Database) -> None:
    """A count of everything takes as long as it takes; what the server allows others is put aside."""
    desk = Desk.at(database, *BLOG)
    limit = "max_statement_time" if desk.mariadb else "max_execution_time"
    init = {"init_command": f"SET SESSION {limit} = 60"}
    engine = sa.create_engine(database.url, poolclass=sa.NullPool, connect_args=init)
    asked = f"SELECT @@{limit}"
    with engine.connect() as connection:
        assert connection.exec_driver_sql(asked).scalar() == 60
    sessions = Sessions.of(engine)
    for opened in (sessions.open, sessions.fresh, sessions.work, sessions.read):
        with opened() as connection:
            assert connection.exec_driver_sql(asked).scalar() == 0, opened
    sessions.close()


def test_a_batch_is_one_transaction(database: Database) -> None:
    """All of it or nothing, on a connection in autocommit mode."""
    desk = Desk.at(database, *BLOG)
    with desk.engine.connect() as connection:
        desk.dialect.prepare(connection, desk.settings)
        with desk.dialect.transaction(connection):
            execute(connection, "DELETE FROM post WHERE id = 1")
            assert desk.value("SELECT COUNT(*) FROM post") == 4
        assert desk.value("SELECT COUNT(*) FROM post") == 3

        def fails() -> None:
            with desk.dialect.transaction(connection):
                execute(connection, "DELETE FROM post WHERE id = 2")
                raise ZeroDivisionError

        with pytest.raises(ZeroDivisionError):
            fails()
        assert desk.value("SELECT COUNT(*) FROM post") == 3


def test_copying_orphans_locks_no_row_of_child_or_parent(database: Database) -> None:
    """At READ COMMITTED the application goes on writing; at REPEATABLE READ it would wait (1205)."""
    desk = Desk.at(database, *BLOG, "CREATE TABLE work LIKE post", "INSERT INTO post VALUES (9, 99, '')")
    copy = (
        "INSERT INTO work SELECT c.* FROM post c WHERE NOT EXISTS "
        "(SELECT 1 FROM user p WHERE p.id = c.user_id)"
    )
    application = ("UPDATE post SET title = 'x' WHERE id = 2", "INSERT INTO user (name) VALUES ('new')")
    with desk.engine.connect() as connection:
        desk.dialect.prepare(connection, desk.settings)
        with desk.dialect.transaction(connection):
            execute(connection, copy)
            desk.sql("SET SESSION innodb_lock_wait_timeout = 1", *application)
    desk.sql("DELETE FROM work")
    with desk.transaction("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ", copy):
        assert desk.fails("SET SESSION innodb_lock_wait_timeout = 1", application[0]) == 1205


def test_locked_rows_can_be_skipped(database: Database) -> None:
    """A batch takes what it can have."""
    desk = Desk.at(database, *BLOG)
    post = table_clause(TableName("post"), "id")
    query = desk.dialect.for_update(sa.select(post.c.id).where(post.c.id <= 2), skip_locked=True)
    with desk.transaction("UPDATE post SET title = 'x' WHERE id = 1"), desk.engine.connect() as connection:
        desk.dialect.prepare(connection, desk.settings)
        with desk.dialect.transaction(connection):
            assert connection.scalars(query).all() == [2]


@pytest.mark.parametrize("count", [3, 1500, 6000])
@pytest.mark.parametrize("columns", [("a",), ("a", "b")], ids=["single", "composite"])
def test_keys_are_looked_up_in_the_primary_key(
    database: Database, columns: tuple[str, ...], count: int
) -> None:
    """A range of it, and not a scan, for any number of keys, on either server."""
    desk = Desk.at(
        database,
        f"CREATE TABLE t (a int, b int, pad varchar(200), PRIMARY KEY ({', '.join(columns)}))",
        "INSERT INTO t VALUES (1, 1, REPEAT('x', 200))",
        *[f"INSERT INTO t SELECT a + {2**n}, b, pad FROM t" for n in range(17)],
        "ANALYZE TABLE t",
    )
    clause = table_clause(TableName("t"), "a", "b")
    keys = [tuple([number * 5 + 1, 1][: len(columns)]) for number in range(count)]
    condition = desk.dialect.key_in([clause.c[column] for column in columns], keys)
    query = desk.dialect.for_update(sa.select(clause.c.a).where(condition))
    update = sa.update(clause).where(condition).values(b=1)
    for statement in (query, update):
        compiled = statement.compile(desk.engine, compile_kwargs={"render_postcompile": True})
        with desk.engine.connect() as connection:
            desk.dialect.prepare(connection, desk.settings)
            form = "" if desk.mariadb else "FORMAT=TRADITIONAL "
            explaining = connection.exec_driver_sql(f"EXPLAIN {form}{compiled}", dict(compiled.params))
            explained = explaining.mappings().all()
        assert [(row["type"], row["key"], int(row["rows"])) for row in explained] == [
            ("range", "PRIMARY", count)
        ]


def test_any_value_that_is_stored_can_be_copied_and_put_back(database: Database) -> None:
    """Zero and impossible dates, values outside an ENUM, a key of 0, bits, bytes, every kind of column."""
    desk = Desk.at(
        database,
        "SET SESSION sql_mode = 'NO_AUTO_VALUE_ON_ZERO,ALLOW_INVALID_DATES'",
        "CREATE TABLE t (id int PRIMARY KEY AUTO_INCREMENT, e enum('x','y'), s set('p','q'), d date, "
        "stamp timestamp NOT NULL DEFAULT CURRENT_TIMESTAMP ON UPDATE CURRENT_TIMESTAMP, "
        "bits bit(3), raw varbinary(5), label varchar(9) CHARACTER SET latin1, many decimal(30, 10), "
        "j json, hidden int INVISIBLE DEFAULT 5, g int AS (hidden + 1) STORED)",
        "INSERT INTO t (id, e, s, d, stamp, bits, raw, label, many, j, hidden) VALUES "
        "(0, 'none', '', '0000-00-00', '0000-00-00 00:00:00', b'101', x'00ff27', 'ÿ''%s', "
        "12345678901234567890.0123456789, '{\"a\": 1}', 7)",
        "INSERT INTO t (id, e, s, d) VALUES (7, 'y', 'p,q', '2001-02-31')",
    )
    checksum = "SELECT t.*, hidden, e + 0, HEX(raw), HEX(label), stamp + 0, bits + 0 FROM t ORDER BY id"
    before = desk.rows(checksum)
    with desk.engine.connect() as connection:
        desk.dialect.prepare(connection, desk.settings)
        table = desk.dialect.table(connection, TableName("t"))
        columns = [desk.dialect.sequence_column("n"), *map(desk.dialect.mirror_column, table.columns)]
        execute(connection, desk.dialect.create_mirror(TableName("mirror"), columns))
        every = desk.dialect.columns_sql([column.name for column in table.columns])
        stored = desk.dialect.columns_sql([column.name for column in table.stored_columns])
        with desk.dialect.transaction(connection):
            execute(connection, f"INSERT INTO mirror ({every}) SELECT {every} FROM t ORDER BY id")
            execute(connection, "DELETE FROM t")
            execute(connection, f"INSERT INTO t ({stored}) SELECT {stored} FROM mirror ORDER BY n")
        mirror = desk.dialect.table(connection, TableName("mirror"))
    assert desk.rows(checksum) == before
    assert mirror.engine == "InnoDB"
    assert all(column.nullable and not column.generated for column in mirror.columns[1:])


def test_an_update_of_ours_leaves_on_update_columns_alone(database: Database) -> None:
    """They are set to themselves."""
    desk = Desk.at(
        database,
        "CREATE TABLE t (id int PRIMARY KEY, n int, at datetime ON UPDATE CURRENT_TIMESTAMP)",
        "INSERT INTO t VALUES (1, 1, '2001-01-01')",
    )
    with desk.open() as connection:
        extras = desk.dialect.change_extras(desk.dialect.table(connection, TableName("t")))
        same = "".join(f", {column} = {expression}" for column, expression in extras.items())
        execute(connection, f"UPDATE t SET n = 2{same}")
    assert str(desk.value("SELECT at FROM t")) == "2001-01-01 00:00:00"


def test_a_row_of_defaults_can_be_inserted(database: Database) -> None:
    """In the server's own spelling."""
    desk = Desk.at(database, *BLOG)
    desk.sql(desk.dialect.insert_defaults(TableName("user")))
    assert desk.value("SELECT COUNT(*) FROM user") == 5


def test_a_read_timeout_of_the_clients_is_lifted(database: Database) -> None:
    """An ALTER abandoned by its client goes on without us."""
    desk = Desk.at(database, *BLOG)
    engine = sa.create_engine(database.url, connect_args={"read_timeout": 1}, poolclass=sa.NullPool)
    slow = Step("slow", "sleeps", Sql(("DO SLEEP(1.5)",), mode="autocommit"))
    with engine.connect() as connection:
        desk.dialect.run_sql(connection.execution_options(isolation_level="AUTOCOMMIT"), slow, desk.settings)


def test_statements_of_a_step_in_a_transaction_are_kept_or_lost_together(database: Database) -> None:
    """For work that is no DDL."""
    desk = Desk.at(database, *BLOG)
    insert = "INSERT INTO user (id) VALUES (50)"
    desk.attempt(Step("both", "", Sql((insert, "DELETE FROM user WHERE id = 50"))))
    assert desk.attempt_fails(Step("none", "", Sql((insert, insert)))) == 1062
    assert desk.value("SELECT COUNT(*) FROM user") == 4


ERRORS: list[tuple[str, Verdict]] = [
    ("INSERT INTO post (user_id) VALUES (99)", "violation"),
    ("DELETE FROM user WHERE id = 1", "violation"),
    ("INSERT INTO user (id) VALUES (NULL), (1)", "violation"),
    ("INSERT INTO post (id, user_id) VALUES (50, NULL)", "violation"),
    ("ALTER TABLE post ADD KEY ix_post_user_id (title)", "duplicate"),
    ("CREATE TABLE post (id int)", "duplicate"),
    ("CREATE USER", "other"),
    ("SELECT * FROM nothing", "other"),
]


@pytest.mark.parametrize(("statement", "verdict"), ERRORS)
def test_an_error_is_judged_by_its_number(database: Database, statement: str, verdict: Verdict) -> None:
    """Whatever its text says, in whatever language."""
    desk = Desk.at(database, *BLOG)
    desk.upgrade()
    with desk.open() as connection, pytest.raises(sa.exc.DBAPIError) as caught:
        execute(connection, statement)
    assert desk.dialect.verdict(caught.value) == verdict


def test_locks_deadlocks_and_lost_connections_are_told_apart(database: Database) -> None:
    """1205, 1213 and a session that was ended."""
    desk = Desk.at(database, *BLOG)

    def verdict(of: Connection, *statements: str) -> Verdict:
        for statement in statements[:-1]:
            execute(of, statement)
        with pytest.raises(sa.exc.DBAPIError) as caught:
            execute(of, statements[-1])
        return desk.dialect.verdict(caught.value)

    update: Callable[[int], str] = lambda key: f"UPDATE post SET title = 'x' WHERE id = {key}"  # noqa: E731
    with desk.transaction(update(1)), desk.engine.connect() as second:
        assert verdict(second, "SET SESSION innodb_lock_wait_timeout = 1", update(1)) == "lock-timeout"
    with desk.open() as first, desk.open() as second:
        session = first.exec_driver_sql("SELECT CONNECTION_ID()").scalar_one()
        execute(second, f"KILL {session}")
        assert verdict(first, "SELECT 1") == "lost"
    assert desk.dialect.verdict(ValueError("no error of a database")) == "other"


def test_ansi_quotes_of_the_server_are_kept_for_sqlalchemys_sake(database: Database) -> None:
    """Where SQLAlchemy found them it writes names in double quotes on that connection."""
    ansi = {"init_command": "SET SESSION sql_mode = 'ANSI_QUOTES'"}
    engine = sa.create_engine(database.url, connect_args=ansi, poolclass=sa.NullPool)
    desk = Desk.at(database, *BLOG)
    with engine.connect() as connection:
        desk.dialect.prepare(connection, desk.settings)
        user = table_clause(TableName("user"), "id")
        assert connection.scalar(sa.select(sa.func.count()).select_from(user)) == 4
        assert "ANSI_QUOTES" in str(connection.exec_driver_sql("SELECT @@sql_mode").scalar())
