"""Every change of the schema is noticed, in the object it belongs to, and gone once it is undone.

The changes are made one after the other in one database.
"""

from __future__ import annotations

from collections.abc import Mapping

import pytest
from sqlalchemy.exc import ProgrammingError

from migrator.fingerprint import compare, schema_text, take
from tests.conftest import Database
from tests.operations import schema_changes_mysql as mysql
from tests.operations import schema_changes_postgresql as postgresql

SQLITE_BASE = """
    CREATE TABLE users (id INTEGER PRIMARY KEY, name TEXT COLLATE NOCASE);
    CREATE TABLE post (id INTEGER PRIMARY KEY AUTOINCREMENT, title TEXT DEFAULT 'x', user_id INTEGER);
    CREATE INDEX post_title ON post (title);
    CREATE VIEW titles AS SELECT title FROM post
"""

SQLITE: dict[str, tuple[str, str]] = {
    "column": ("ALTER TABLE post ADD extra INTEGER", "ALTER TABLE post DROP extra"),
    "column name": ("ALTER TABLE post RENAME title TO t", "ALTER TABLE post RENAME t TO title"),
    "index": ("CREATE INDEX i ON post (user_id)", "DROP INDEX i"),
    "predicate": ("DROP INDEX post_title; CREATE INDEX post_title ON post (title) WHERE id > 0",
                  "DROP INDEX post_title; CREATE INDEX post_title ON post (title)"),
    "spelling": ("DROP INDEX post_title; CREATE INDEX post_title ON post(title)",
                 "DROP INDEX post_title; CREATE INDEX post_title ON post (title)"),
    "trigger": ("CREATE TRIGGER t AFTER INSERT ON post BEGIN SELECT 1; END", "DROP TRIGGER t"),
    "view": ("DROP VIEW titles; CREATE VIEW titles AS SELECT title, id FROM post",
             "DROP VIEW titles; CREATE VIEW titles AS SELECT title FROM post"),
    "table": ("CREATE TABLE more (x)", "DROP TABLE more"),
    "constraints": (
        "DROP TABLE users; CREATE TABLE users (id INTEGER PRIMARY KEY, name TEXT COLLATE NOCASE NOT NULL "
        "UNIQUE CHECK (name <> ''))",
        "DROP TABLE users; CREATE TABLE users (id INTEGER PRIMARY KEY, name TEXT COLLATE NOCASE)",
    ),
    "user version": ("PRAGMA user_version = 7", "PRAGMA user_version = 0"),
    "full text": ("CREATE VIRTUAL TABLE words USING fts5 (w)", "DROP TABLE words"),
}  # fmt: skip


def run(database: Database, script: str) -> None:
    """Run the script's statements."""
    # psycopg sends a script as it stands; the body of SQLite's trigger holds a semicolon of its own.
    whole = database.family == "postgresql" or "BEGIN" in script
    statements = [script] if whole else script.replace(";\n", "; ").split("; ")
    with database.engine.begin() as connection:
        for statement in statements:
            connection.exec_driver_sql(statement)


def assert_noticed(database: Database, changes: Mapping[str, tuple[str, str]]) -> None:
    """Make each change and undo it; tell of all that were not noticed, or left a trace."""
    before = take(database.engine)
    unnoticed, left = [], {}
    for name, (change, undo) in changes.items():
        run(database, change)
        found = compare(before, take(database.engine))
        if not any(difference.kind == "schema" for difference in found):
            unnoticed.append(name)
        run(database, undo)
        rest = compare(before, take(database.engine))
        if rest:
            left[name] = "\n".join(f"{d.object}: {d.detail}" for d in rest)
            before = take(database.engine)
    assert unnoticed == []
    assert left == {}


@pytest.mark.engines("postgresql")
def test_every_change_is_noticed_on_postgresql(database: Database) -> None:
    """Columns, constraints, indexes, triggers, views, sequences, routines, types, privileges, and more."""
    with database.engine.begin() as connection:
        connection.exec_driver_sql(postgresql.BASE)
    changes = dict(postgresql.CHANGES)
    for version, more in postgresql.SINCE.items():
        if database.version >= (version,):
            changes |= more
    assert_noticed(database, changes)


@pytest.mark.engines("mysql")
def test_every_change_is_noticed_on_mysql(database: Database) -> None:
    """Whatever the information schema tells of."""
    run(database, mysql.BASE)
    assert_noticed(database, mysql.CHANGES | mysql.MYSQL_ONLY)


@pytest.mark.engines("mariadb")
def test_every_change_is_noticed_on_mariadb(database: Database) -> None:
    """As on MySQL, with its own sequences, column checks and versioned tables."""
    run(database, mysql.BASE)
    assert_noticed(database, mysql.CHANGES | mysql.MARIADB_ONLY)


@pytest.mark.engines("sqlite")
def test_every_change_is_noticed_on_sqlite(database: Database) -> None:
    """Byte for byte: another spelling is another schema."""
    run(database, SQLITE_BASE)
    assert_noticed(database, SQLITE)


def test_a_difference_shows_what_changed_as_a_diff(database: Database) -> None:
    """A line that went and a line that came, under the object's name."""
    run(database, "CREATE TABLE post (id INTEGER PRIMARY KEY)")
    before = take(database.engine)
    run(database, "ALTER TABLE post ADD title VARCHAR(30)")
    (found,) = (d for d in compare(before, take(database.engine)) if d.kind == "schema")
    assert found.object.endswith("post")
    assert found.detail.startswith(f"--- {found.object} (before)\n+++ {found.object} (after)\n")
    assert any(line.startswith("+column") and "title" in line for line in found.detail.splitlines())


def test_the_schema_alone_can_be_read(database: Database) -> None:
    """With another idea of what to leave out."""
    run(
        database,
        "CREATE TABLE post (id INTEGER PRIMARY KEY); CREATE TABLE migrator_x (id INTEGER PRIMARY KEY)",
    )
    with database.engine.connect() as connection:
        ours = [key for key in schema_text(connection) if "migrator_x" in key]
        everything = [key for key in schema_text(connection, ignore=lambda _: False) if "migrator_x" in key]
    assert ours == []
    assert len(everything) == 1


@pytest.mark.engines("mysql", "mariadb")
def test_a_clone_under_another_name_is_identical(database: Database) -> None:
    """The database's own name is in none of the texts."""
    with database.new_database() as other:
        for each in (database, other):
            run(each, mysql.BASE)
        assert compare(take(database.engine), take(other.engine)) == ()


@pytest.mark.engines("postgresql")
def test_a_policy_that_hides_rows_is_an_error_not_a_difference(database: Database) -> None:
    """A role that row security applies to is told so."""
    with database.engine.connect() as connection:
        connection.exec_driver_sql("CREATE ROLE fingerprint_reader")
        connection.exec_driver_sql("CREATE TABLE post (id integer)")
        connection.exec_driver_sql("GRANT SELECT ON post TO fingerprint_reader")
        connection.exec_driver_sql("ALTER TABLE post ENABLE ROW LEVEL SECURITY")
        connection.exec_driver_sql("SET LOCAL ROLE fingerprint_reader")
        with pytest.raises(ProgrammingError, match="row-level security"):
            take(connection)
        connection.rollback()
