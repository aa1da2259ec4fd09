"""Every engine the tests run on is the real one, set up as the tests rely on it."""

from __future__ import annotations

import subprocess

import pytest
import sqlalchemy as sa

from tests.conftest import Database, ServerFactory
from tests.servers.recipes import family_of

EVERY_ENGINE = ("sqlite", "postgresql", "postgresql-17", "postgresql-13", "mysql", "mariadb", "mariadb-10.11")


def _ask(database: Database, query: str) -> str:
    with database.engine.connect() as connection:
        return str(connection.exec_driver_sql(query).scalar_one())


@pytest.mark.engines(*EVERY_ENGINE)
def test_the_server_is_the_engine_it_is_named_after(database: Database, engine_id: str) -> None:
    """The version the server states is the one the test's name states."""
    assert database.engine_id == engine_id
    assert database.family == family_of(engine_id)
    query = "SELECT sqlite_version()" if database.family == "sqlite" else "SELECT version()"
    stated = _ask(database, query)
    release = engine_id.partition("-")[2]
    assert release in stated
    assert ("PostgreSQL" in stated) == (database.family == "postgresql")
    assert ("MariaDB" in stated) == (database.family == "mariadb")
    assert ".".join(map(str, database.version)) in stated


@pytest.mark.engines("postgresql", "postgresql-17", "postgresql-13")
def test_postgresql_speaks_utf8_and_has_room_for_what_tests_do(database: Database) -> None:
    """Encoding, connections, prepared transactions and the write-ahead log's level are as asked for."""
    assert _ask(database, "SHOW server_encoding") == "UTF8"
    assert int(_ask(database, "SHOW max_connections")) >= 100
    assert int(_ask(database, "SHOW max_prepared_transactions")) == 10
    assert _ask(database, "SHOW wal_level") == "logical"


@pytest.mark.engines("mysql")
def test_mysql_runs_as_a_replicated_production_server_does(database: Database) -> None:
    """Statements that break GTID consistency or row-based replication break tests too."""
    assert _ask(database, "SELECT @@gtid_mode") == "ON"
    assert _ask(database, "SELECT @@enforce_gtid_consistency") == "ON"
    assert _ask(database, "SELECT @@log_bin") == "1"
    assert _ask(database, "SELECT @@binlog_format") == "ROW"
    assert _ask(database, "SELECT @@character_set_database") == "utf8mb4"


@pytest.mark.engines("mariadb", "mariadb-10.11")
def test_mariadb_writes_a_row_based_binlog(database: Database) -> None:
    """As on a server with replicas."""
    assert _ask(database, "SELECT @@log_bin") == "1"
    assert _ask(database, "SELECT @@binlog_format") == "ROW"
    assert _ask(database, "SELECT @@character_set_database") == "utf8mb4"


@pytest.mark.engines(*EVERY_ENGINE)
def test_a_script_fed_to_the_client_program_reaches_the_database(database: Database) -> None:
    """The real client writes where the driver reads, letters beyond ASCII included."""
    database.client("CREATE TABLE written (word VARCHAR(40));\nINSERT INTO written VALUES ('żółw 🐢');\n")
    assert _ask(database, "SELECT word FROM written") == "żółw 🐢"
    assert "żółw 🐢" in database.client("SELECT word FROM written;\n").stdout


@pytest.mark.engines(*EVERY_ENGINE)
def test_the_client_program_stops_at_the_first_error(database: Database) -> None:
    """What follows a failed statement is not run, and the failure is told."""
    script = "CREATE TABLE first (id INT);\nSELECT nonsense FROM nowhere;\nCREATE TABLE second (id INT);\n"
    with pytest.raises(subprocess.CalledProcessError) as caught:
        database.client(script)
    assert "nowhere" in "".join(caught.value.__notes__)
    assert sa.inspect(database.engine).get_table_names() == ["first"]
    assert database.client("SELECT nonsense FROM nowhere;\n", check=False).returncode != 0


def test_each_test_has_a_database_of_its_own(database: Database) -> None:
    """A second database is empty too, and gone afterwards with everybody who was connected to it."""
    database.client("CREATE TABLE here (id INT);\n")
    with database.new_database() as other:
        assert other.name != database.name
        assert sa.inspect(other.engine).get_table_names() == []
        left_open = other.engine.connect()
        left_open.exec_driver_sql("CREATE TABLE there (id INT)")
    left_open.invalidate()
    left_open.close()
    assert sa.inspect(database.engine).get_table_names() == ["here"]


@pytest.mark.engines("postgresql")
def test_a_prepared_transaction_does_not_keep_a_database_from_being_dropped(database: Database) -> None:
    """What a crash test leaves behind is cleared away."""
    with database.new_database() as other, other.engine.connect() as connection:
        connection.exec_driver_sql("CREATE TABLE there (id INT)")
        connection.exec_driver_sql("PREPARE TRANSACTION 'left ''behind'")


@pytest.mark.engines("postgresql", "mysql", "mariadb")
def test_a_shared_server_is_not_stopped(database: Database) -> None:
    """Other tests use it."""
    with pytest.raises(RuntimeError, match="own_server"):
        database.restart()


@pytest.mark.engines("postgresql-18", "mysql-9.7", "mariadb-11.8")
def test_an_own_server_survives_a_crash_with_every_committed_row(own_server: ServerFactory) -> None:
    """Killed and started, it answers at the same address and has lost nothing."""
    with own_server().new_database() as database:
        with database.engine.begin() as connection:
            connection.exec_driver_sql("CREATE TABLE kept (id INT)")
            connection.exec_driver_sql("INSERT INTO kept VALUES (1), (2)")
        database.kill()
        with pytest.raises(sa.exc.OperationalError):
            database.engine.connect()
        database.start()
        assert _ask(database, "SELECT count(*) FROM kept") == "2"
        database.restart()
        assert _ask(database, "SELECT count(*) FROM kept") == "2"
