"""SQLite files with tables that are hard to rebuild, and a way to look at all there is in them."""

from __future__ import annotations

import sqlite3
import subprocess
from pathlib import Path
from typing import Any

from migrator.dialects.sqlite_ddl import add_foreign_key, drop_foreign_key, drop_not_null, set_not_null
from migrator.dialects.sqlite_facts import read_table
from migrator.dialects.sqlite_rebuild import rebuild
from migrator.dialects.sqlite_statement import Rebuild

PARENT = """
    CREATE TABLE user (id INTEGER PRIMARY KEY, name TEXT);
    INSERT INTO user VALUES (1, 'a'), (2, 'b');
"""

# Each has a table `post` whose `user_id` is a plain column without orphans and without NULLs.
SCHEMAS = {
    "plain": """
        CREATE TABLE post (id INTEGER PRIMARY KEY, user_id INT);
        INSERT INTO post VALUES (7, 1), (9, 2);""",
    "layout and comments": """
        CREATE TABLE post (
            id INTEGER PRIMARY KEY, -- the key
            user_id INTEGER -- who wrote it; may be gone
        );
        INSERT INTO post VALUES (1, 1);""",
    "rowids": """
        CREATE TABLE post (user_id INT, body TEXT);
        INSERT INTO post (rowid, user_id, body) VALUES (-5, 1, 'x'), (40, 2, 'y'), (9000000000, 1, NULL);""",
    "a column named rowid": """
        CREATE TABLE post (rowid TEXT, OID TEXT, user_id INT);
        INSERT INTO post (_rowid_, rowid, oid, user_id) VALUES (17, 'r', 'o', 1), (3, 's', 'p', 2);""",
    "all rowid names taken": """
        CREATE TABLE post (rowid TEXT, oid TEXT, _rowid_ TEXT, user_id INT);
        INSERT INTO post VALUES ('r', 'o', '_', 1), ('b', 'a', '_', 2);
        CREATE INDEX covering ON post (rowid, oid, _rowid_, user_id);""",
    "descending key": """
        CREATE TABLE post (id INTEGER PRIMARY KEY DESC, user_id INT);
        INSERT INTO post (rowid, id, user_id) VALUES (50, 1, 1), (20, 2, 2);""",
    "autoincrement": """
        CREATE TABLE post (id INTEGER PRIMARY KEY AUTOINCREMENT, user_id INT);
        CREATE TABLE other (id INTEGER PRIMARY KEY AUTOINCREMENT);
        INSERT INTO post VALUES (1, 1), (500, 2); DELETE FROM post WHERE id = 500;
        INSERT INTO other VALUES (3);""",
    "autoincrement, never used": "CREATE TABLE post (id INTEGER PRIMARY KEY AUTOINCREMENT, user_id INT);",
    "without rowid, strict": """
        CREATE TABLE post (k TEXT COLLATE NOCASE, n ANY, user_id INTEGER, PRIMARY KEY (k, n))
          STRICT, WITHOUT ROWID;
        INSERT INTO post VALUES ('B', 1, 1), ('a', x'00', 2), ('a', 'c', 2);""",
    "constraints": """
        CREATE TABLE post (id INTEGER PRIMARY KEY ON CONFLICT REPLACE, user_id INT CHECK (user_id <> 99),
          slug TEXT COLLATE NOCASE UNIQUE ON CONFLICT IGNORE, n NUMERIC DEFAULT (1 + 2),
          CHECK (slug <> ')'), CONSTRAINT positive CHECK (n > 0) UNIQUE (n, slug));
        INSERT INTO post VALUES (1, 1, 'a', 1), (2, 2, 'b', 2.5), (3, 2, NULL, '7');""",
    "generated columns": """
        CREATE TABLE post (id INTEGER PRIMARY KEY, a INT, v AS (a * 2), user_id INT,
          s TEXT GENERATED ALWAYS AS (a || 'x') STORED UNIQUE);
        INSERT INTO post (a, user_id) VALUES (1, 1), (2, 2);""",
    "indexes": """
        CREATE TABLE post (id INTEGER PRIMARY KEY, user_id INT, title TEXT);
        CREATE UNIQUE INDEX first ON post (title COLLATE NOCASE DESC) WHERE user_id > 0;
        CREATE INDEX IF NOT EXISTS "second one" ON post (upper(title), user_id) -- an expression
        ;
        INSERT INTO post VALUES (1, 1, 'x'), (2, 2, 'y');""",
    "names of itself": """
        CREATE TABLE post (id INTEGER PRIMARY KEY AUTOINCREMENT, user_id INT,
          n INT CHECK (post.n > 0), g AS (n + 1));
        CREATE INDEX mine ON post (n) WHERE "POST".user_id > 0;
        INSERT INTO post (user_id, n) VALUES (1, 1), (2, 2);
        CREATE TRIGGER own AFTER UPDATE ON post BEGIN UPDATE post SET n = 3 WHERE post.id = new.id; END;""",
    "names of itself, rowids": """
        CREATE TABLE post (user_id INT, v, CHECK (post.v <> 'x'));
        INSERT INTO post (rowid, user_id, v) VALUES
          (30, 1, 1), (10, 2, 2.0), (20, 2, '3'), (-1, 1, x'34');""",
    "inbound keys and triggers": """
        CREATE TABLE post (id INTEGER PRIMARY KEY, user_id INT,
          parent INT REFERENCES post (id) ON DELETE CASCADE);
        CREATE TABLE comment (id INTEGER PRIMARY KEY, post_id INT REFERENCES "Post" ON DELETE CASCADE);
        CREATE TABLE log (what TEXT);
        CREATE TRIGGER one AFTER INSERT ON post BEGIN INSERT INTO log VALUES ('post; ' || new.id); END;
        CREATE TRIGGER two BEFORE DELETE ON post WHEN old.id > 5 BEGIN SELECT raise(ABORT, 'no'); END;
        CREATE TRIGGER three AFTER INSERT ON comment BEGIN
          UPDATE post SET user_id = (SELECT max(post.user_id) FROM post) WHERE post.id = new.post_id;
        END;
        INSERT INTO post VALUES (1, 1, NULL), (2, 2, 1), (3, 2, 2), (4, 1, 4);
        INSERT INTO comment (post_id) VALUES (1), (2), (2);""",
    "views": """
        CREATE TABLE post (id INTEGER PRIMARY KEY, user_id INT);
        INSERT INTO post VALUES (1, 1);
        CREATE VIEW flat AS SELECT post.id, name FROM post JOIN user ON user.id = post.user_id;
        CREATE VIEW deep AS WITH post AS (SELECT * FROM flat) SELECT * FROM post;
        CREATE TRIGGER write INSTEAD OF INSERT ON flat BEGIN INSERT INTO post VALUES (new.id, 1); END;
        CREATE VIEW broken AS SELECT * FROM nowhere;""",
    "full text": """
        CREATE TABLE post (id INTEGER PRIMARY KEY, user_id INT, body TEXT);
        CREATE VIRTUAL TABLE words USING fts5 (body, content='post', content_rowid='id');
        CREATE TRIGGER feed AFTER INSERT ON post BEGIN
          INSERT INTO words (rowid, body) VALUES (new.id, new.body);
        END;
        INSERT INTO post VALUES (1, 1, 'some words'), (2, 2, 'other words');""",
    "statistics": """
        CREATE TABLE post (id INTEGER PRIMARY KEY, user_id INT);
        CREATE INDEX by_user ON post (user_id);
        INSERT INTO post VALUES (1, 1), (2, 1), (3, 2);
        ANALYZE;""",
}

Snapshot = dict[str, list[tuple[Any, ...]]]


class SQLiteFile:
    """One file, opened as an application would: enforcement on, nothing begun behind our back."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.connection = sqlite3.connect(path, isolation_level=None, timeout=0)
        self.rows("PRAGMA foreign_keys=ON")

    def rows(self, sql: str) -> list[tuple[Any, ...]]:
        """Run one statement and fetch everything."""
        return self.connection.execute(sql).fetchall()

    def snapshot(self) -> Snapshot:
        """Every row of the schema and, with types and rowids, of every table."""
        found = {"schema": self.rows("SELECT type, name, tbl_name, sql FROM sqlite_master ORDER BY 1, 2")}
        for type_, name, _, sql in found["schema"]:
            if type_ != "table" or sql.startswith("CREATE VIRTUAL"):
                continue
            names = [row[1] for row in self.rows(f'PRAGMA table_xinfo("{name}")')]
            columns = "".join(f', "{column}", typeof("{column}")' for column in names)
            free = [n for n in ("rowid", "_rowid_", "oid") if n not in map(str.lower, names)]
            key = free[0] if free and "WITHOUT ROWID" not in sql else "0"
            found[name] = self.rows(f'SELECT {key}{columns} FROM "{name}" NOT INDEXED')
        return found

    def plan(self, *, table: str = "post", **options: Any) -> Rebuild:
        """Tie user_id to user, NOT NULL."""
        facts = read_table(self.rows, table)
        return rebuild(facts, tie(facts.sql), foreign_keys=True, **options)

    def untie(self) -> Rebuild:
        """The inverse of `plan`."""
        facts = read_table(self.rows, "post")
        return rebuild(facts, untie(facts.sql), foreign_keys=True)


def tie(sql: str) -> str:
    """The definition with the reference enforced."""
    sql = add_foreign_key(
        sql, name="fk_post_user_id_user", columns=("user_id",), parent="user", parent_columns=("id",)
    )
    return set_not_null(sql, "user_id")


def untie(sql: str) -> str:
    """The inverse of `tie`."""
    return drop_foreign_key(drop_not_null(sql, "user_id"), columns=("user_id",), name="fk_post_user_id_user")


def without(snapshot: Snapshot, table: str) -> Snapshot:
    """The snapshot without the definition of one table."""
    return snapshot | {"schema": [row for row in snapshot["schema"] if row[:2] != ("table", table)]}


def make(path: Path, script: str) -> SQLiteFile:
    """A database file with a parent table and whatever `script` adds."""
    file = SQLiteFile(path / "blog.db")
    file.connection.executescript(PARENT + script)
    return file


def run_shell(path: Path, script: str) -> subprocess.CompletedProcess[str]:
    """Feed a script to the sqlite3 shell."""
    return subprocess.run(
        ["sqlite3", str(path)], input=script, capture_output=True, text=True, check=False, timeout=60
    )
