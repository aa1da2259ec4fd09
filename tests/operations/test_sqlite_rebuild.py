"""The rebuild of a table on real SQLite files: what was asked for changes, and nothing else does."""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from migrator.dialects.sqlite_facts import read_table
from migrator.dialects.sqlite_statement import run_rebuild
from tests.operations.sqlite_files import SCHEMAS, SQLiteFile, make, run_shell, tie, without


@pytest.fixture(params=list(SCHEMAS.values()), ids=list(SCHEMAS))
def file(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[SQLiteFile]:
    made = make(tmp_path, request.param)
    yield made
    made.connection.close()


@pytest.fixture
def blog(tmp_path: Path) -> Iterator[SQLiteFile]:
    made = make(tmp_path, SCHEMAS["inbound keys and triggers"])
    yield made
    made.connection.close()


def test_only_the_definition_asked_for_changes(file: SQLiteFile) -> None:
    """Rows, rowids, types, indexes, triggers, views, sequences and statistics are as they were."""
    before = file.snapshot()
    definition = read_table(file.rows, "post").sql

    run_rebuild(file.rows, file.plan())

    after = file.snapshot()
    assert without(after, "post") == without(before, "post")
    assert read_table(file.rows, "post").sql == tie(definition)
    assert file.rows("PRAGMA foreign_key_check") == []
    assert file.rows("PRAGMA integrity_check") == [("ok",)]


def test_the_inverse_brings_back_every_byte(file: SQLiteFile) -> None:
    """Add and drop: the schema's texts, the rows and their rowids are those of the beginning."""
    before = file.snapshot()

    run_rebuild(file.rows, file.plan())
    run_rebuild(file.rows, file.untie())

    assert file.snapshot() == before


def test_the_script_for_the_shell_does_the_same(file: SQLiteFile, tmp_path: Path) -> None:
    """`sqlite3 file < script` ends where the online run ends."""
    copy = tmp_path / "copy.db"
    plan = file.plan()
    shutil.copy(file.path, copy)

    run_rebuild(file.rows, plan)
    shell = run_shell(copy, plan.script())

    assert (shell.returncode, shell.stderr, shell.stdout) == (0, "", "")
    other = SQLiteFile(copy)
    assert other.snapshot() == file.snapshot()
    other.connection.close()


def test_the_plain_statements_do_the_same(file: SQLiteFile) -> None:
    """For a runner that looks at no rows: each check fails by itself."""
    before = file.snapshot()

    for plan in (file.plan, file.untie):
        for statement in plan().statements:
            for sql in statement.as_sql():
                file.rows(sql)

    assert file.snapshot() == before


def test_the_new_key_is_enforced_and_cascades_of_others_still_work(blog: SQLiteFile) -> None:
    """After COMMIT the connection enforces foreign keys again, old ones and the new one."""
    run_rebuild(blog.rows, blog.plan())

    with pytest.raises(sqlite3.IntegrityError, match="FOREIGN KEY"):
        blog.rows("INSERT INTO post (user_id) VALUES (99)")
    with pytest.raises(sqlite3.IntegrityError, match="NOT NULL"):
        blog.rows("INSERT INTO post (user_id) VALUES (NULL)")
    blog.rows("DELETE FROM post WHERE id = 2")
    assert blog.rows("SELECT post_id FROM comment") == [(1,)]
    assert blog.rows("SELECT id FROM post") == [(1,), (4,)]


def test_triggers_fire_again(blog: SQLiteFile) -> None:
    """Those of the table, those elsewhere that write to it, and none of them while rows are copied."""
    log = blog.rows("SELECT count(*) FROM log")

    run_rebuild(blog.rows, blog.plan())

    assert blog.rows("SELECT count(*) FROM log") == log
    blog.rows("INSERT INTO post (id, user_id) VALUES (8, 1)")
    blog.rows("INSERT INTO comment (post_id) VALUES (8)")
    assert blog.rows("SELECT what FROM log")[-1] == ("post; 8",)
    assert blog.rows("SELECT user_id FROM post WHERE id = 8") == [(2,)]
    with pytest.raises(sqlite3.IntegrityError, match="no"):
        blog.rows("DELETE FROM post WHERE id = 8")


def test_the_next_autoincrement_key_is_the_one_it_would_have_been(tmp_path: Path) -> None:
    """A key that was given away and deleted is not given again."""
    blog = make(tmp_path, SCHEMAS["autoincrement"])
    run_rebuild(blog.rows, blog.plan())

    blog.rows("INSERT INTO post (user_id) VALUES (1)")

    assert blog.rows("SELECT max(id) FROM post") == [(501,)]
    blog.connection.close()


def test_planner_statistics_survive(tmp_path: Path) -> None:
    """A dropped table would take its rows of sqlite_stat1 along; a table that steps aside does not."""
    blog = make(tmp_path, SCHEMAS["statistics"])
    before = blog.rows("SELECT * FROM sqlite_stat1 ORDER BY 1, 2")

    run_rebuild(blog.rows, blog.plan())

    assert blog.rows("SELECT * FROM sqlite_stat1 ORDER BY 1, 2") == before
    blog.connection.close()


def test_fifty_thousand_rows_come_through(tmp_path: Path) -> None:
    """Every row with its rowid, and rows of other types than the column's, too."""
    blog = make(
        tmp_path,
        """CREATE TABLE post (user_id INT, body, PRIMARY KEY (body)); CREATE INDEX ix ON post (user_id);
        WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 50000)
        INSERT INTO post (rowid, user_id, body)
          SELECT i * 3 - 70000, 1 + i % 2, CASE i % 3 WHEN 0 THEN i WHEN 1 THEN 'b' || i ELSE i + 0.5 END
          FROM n;""",
    )
    before = blog.snapshot()

    run_rebuild(blog.rows, blog.plan())
    assert without(blog.snapshot(), "post") == without(before, "post")
    run_rebuild(blog.rows, blog.untie())

    assert blog.snapshot() == before
    assert len(before["post"]) == 50_000
    blog.connection.close()
