"""What stops a rebuild on SQLite, and that nothing has changed then."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from migrator.dialects.sqlite_ddl import DDLError
from migrator.dialects.sqlite_facts import read_table
from migrator.dialects.sqlite_rebuild import rebuild
from migrator.dialects.sqlite_statement import RebuildRefused, run_rebuild
from migrator.errors import UnknownTableError
from tests.operations.sqlite_files import SCHEMAS, SQLiteFile, make, run_shell


@pytest.fixture
def blog(tmp_path: Path) -> Iterator[SQLiteFile]:
    made = make(tmp_path, SCHEMAS["inbound keys and triggers"])
    yield made
    made.connection.close()


@pytest.mark.parametrize(
    ("script", "message"),
    [
        ("INSERT INTO post VALUES (50, 99, NULL)", r"would break a foreign key of post.*'user_id', 1"),
        ("INSERT INTO post VALUES (50, NULL, NULL)", r"NOT NULL constraint failed: post\.user_id"),
    ],
)
def test_rows_that_break_the_new_definition_stop_it_and_nothing_changes(
    blog: SQLiteFile, script: str, message: str
) -> None:
    """The transaction is rolled back, the settings are restored, the error names the column."""
    blog.rows(script)
    before = blog.snapshot()

    with pytest.raises((RebuildRefused, sqlite3.IntegrityError), match=message):
        run_rebuild(blog.rows, blog.plan())

    assert blog.snapshot() == before
    assert blog.rows("PRAGMA foreign_keys") == [(1,)]
    assert blog.rows("PRAGMA legacy_alter_table") == [(0,)]
    assert not blog.connection.in_transaction


def test_faults_that_were_there_before_are_nobody_s_business(blog: SQLiteFile) -> None:
    """Orphans of other keys neither stop a rebuild nor are touched by it."""
    blog.rows("PRAGMA foreign_keys=OFF")
    blog.rows("INSERT INTO comment (post_id) VALUES (777)")
    blog.rows("INSERT INTO post VALUES (60, 1, 778)")

    run_rebuild(blog.rows, blog.plan())

    assert sorted(blog.rows("PRAGMA foreign_key_check")) == [
        ("comment", 4, "Post", 0),
        ("post", 60, "post", 1),
    ]


def test_orphans_of_the_new_key_are_tolerated_when_it_is_only_enforced(blog: SQLiteFile) -> None:
    """`unchecked` names the columns of a reference that is enforced for new rows only."""
    blog.rows("INSERT INTO post VALUES (50, 99, NULL)")

    run_rebuild(blog.rows, blog.plan(unchecked=("USER_ID",)))

    assert blog.rows("PRAGMA foreign_key_check") == [("post", 50, "user", 0)]


@pytest.mark.parametrize(
    "change",
    [
        "CREATE INDEX late ON post (user_id)",
        "DROP TRIGGER one",
        "ALTER TABLE post ADD COLUMN late TEXT",
        "CREATE TRIGGER late AFTER DELETE ON post BEGIN SELECT 1; END",
    ],
)
def test_a_definition_that_changed_since_it_was_read_is_left_alone(blog: SQLiteFile, change: str) -> None:
    """Between reading and BEGIN another process may have added what the plan does not know."""
    plan = blog.plan()
    blog.rows(change)
    before = blog.snapshot()

    with pytest.raises(RebuildRefused, match="The definition of post has changed since it was read"):
        run_rebuild(blog.rows, plan)

    assert blog.snapshot() == before
    assert run_shell(blog.path, plan.script()).returncode != 0
    assert blog.snapshot() == before


def test_a_script_stops_with_the_reason_and_changes_nothing(blog: SQLiteFile) -> None:
    """The shell prints what the check found, and its exit code is not zero."""
    blog.rows("INSERT INTO post VALUES (50, 99, NULL)")
    before = blog.snapshot()

    shell = run_shell(blog.path, blog.plan().script())

    assert shell.returncode != 0
    assert "rows would break a foreign key of post" in shell.stderr
    assert blog.snapshot() == before


@pytest.mark.parametrize("row", ["(50, 99, NULL)", "(50, NULL, NULL)"])
def test_a_script_that_goes_on_after_an_error_destroys_nothing(blog: SQLiteFile, row: str) -> None:
    """Without `.bail on` each later statement finds the transaction gone and nothing to work on."""
    blog.rows(f"INSERT INTO post VALUES {row}")
    before = blog.snapshot()

    shell = run_shell(blog.path, blog.plan().script().replace(".bail on", ""))

    assert shell.returncode != 0
    assert blog.snapshot() == before


def test_every_prefix_of_the_statements_leaves_the_database_as_it_was(
    blog: SQLiteFile, tmp_path: Path
) -> None:
    """A crash after any statement before COMMIT is as if nothing had been begun."""
    before = blog.snapshot()
    plan = blog.plan()

    for length in range(len(plan.prepare) + len(plan.transaction)):
        crashed = SQLiteFile(blog.path)
        for statement in plan.statements[:length]:
            crashed.rows(statement.sql)
        crashed.connection.close()
        assert blog.snapshot() == before


def test_an_open_transaction_is_refused_and_kept(blog: SQLiteFile) -> None:
    """There the setting would be ignored and the DROP would cascade; the caller's work stays his."""
    plan = blog.plan()
    blog.rows("BEGIN")
    blog.rows("INSERT INTO post (id, user_id) VALUES (8, 1)")

    with pytest.raises(RebuildRefused, match="PRAGMA foreign_keys=OFF was ignored: a transaction is open"):
        run_rebuild(blog.rows, plan)
    blog.rows("COMMIT")

    assert blog.rows("SELECT id FROM post WHERE id = 8") == [(8,)]


def test_a_locked_database_is_left_alone(blog: SQLiteFile) -> None:
    """BEGIN IMMEDIATE fails within the busy timeout, before anything was done."""
    writer = SQLiteFile(blog.path)
    writer.rows("BEGIN IMMEDIATE")

    with pytest.raises(sqlite3.OperationalError, match="database is locked"):
        run_rebuild(blog.rows, blog.plan())

    writer.rows("ROLLBACK")
    writer.connection.close()
    assert blog.rows("PRAGMA foreign_keys") == [(1,)]


def test_a_temporary_table_of_the_same_name_is_refused(blog: SQLiteFile) -> None:
    """It would come first wherever the index and trigger texts name the table."""
    blog.rows("CREATE TEMP TABLE Post (x)")
    plan = blog.plan()

    with pytest.raises(RebuildRefused, match="hidden by a temporary object"):
        run_rebuild(blog.rows, plan)


def test_a_conflict_clause_cannot_skip_rows(tmp_path: Path) -> None:
    """UNIQUE ON CONFLICT IGNORE would drop duplicates that a damaged index let in."""
    blog = make(
        tmp_path,
        "CREATE TABLE post (user_id INT, n INT); INSERT INTO post VALUES (1, 1), (1, 1);",
    )
    facts = read_table(blog.rows, "post")
    plan = rebuild(facts, facts.sql.replace("n INT", "n INT UNIQUE ON CONFLICT IGNORE"))

    with pytest.raises(sqlite3.IntegrityError, match="UNIQUE constraint failed"):
        run_rebuild(blog.rows, plan)
    assert blog.rows("SELECT count(*) FROM post") == [(2,)]
    blog.connection.close()


def test_facts_that_miss_a_column_are_refused(blog: SQLiteFile) -> None:
    """Neither a stale fact nor another column list may lose a column."""
    facts = read_table(blog.rows, "POST")

    with pytest.raises(DDLError, match="Table post has the columns id, user_id; a definition declares"):
        rebuild(replace(facts, columns=("id", "user_id")), facts.sql)
    with pytest.raises(DDLError, match="a definition declares id"):
        rebuild(facts, "CREATE TABLE post (id INTEGER PRIMARY KEY)")
    with pytest.raises(DDLError, match="cannot be rebuilt from post to other"):
        rebuild(facts, facts.sql.replace("TABLE post", "TABLE other"))
    with pytest.raises(DDLError, match="neither WITHOUT ROWID nor AUTOINCREMENT"):
        rebuild(facts, facts.sql + " WITHOUT ROWID")


def test_only_tables_can_be_read(tmp_path: Path) -> None:
    """A view, or nothing at all, is no table."""
    blog = make(tmp_path, SCHEMAS["views"])

    for name in ("flat", "nothing"):
        with pytest.raises(UnknownTableError, match=name):
            read_table(blog.rows, name)
    blog.connection.close()
