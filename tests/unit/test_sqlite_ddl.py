"""The editor of CREATE TABLE texts, with SQLite itself as the judge of every text it makes."""

from __future__ import annotations

import sqlite3

import pytest

from migrator.dialects.sqlite_ddl import (
    ColumnDefinition,
    DDLError,
    ForeignKey,
    add_foreign_key,
    column_definitions,
    drop_foreign_key,
    drop_not_null,
    foreign_keys,
    rename_table,
    set_not_null,
)

# Texts that have a plain, nullable column `a`.
TEXTS = {
    "plain": "CREATE TABLE t (id INTEGER PRIMARY KEY, a INTEGER)",
    "no types": "CREATE TABLE t(a,b)",
    "autoincrement": "CREATE TABLE t (id INTEGER PRIMARY KEY AUTOINCREMENT, a INT)",
    "collate and checks": "CREATE TABLE t (a COLLATE NOCASE CHECK (a <> ')'), CONSTRAINT c CHECK (a<>'x,'))",
    "double quotes": 'CREATE TABLE "my ""t""" ("a" "int", "b c" text)',
    "brackets": "CREATE TABLE [t -- x] ([b,] int, [a] [some type](10))",
    "backticks": "CREATE TABLE `t``)` (`b(` int, `a`)",
    "strings as names": "CREATE TABLE 't' ('a' 'int' DEFAULT 'x')",
    "reserved name": 'CREATE TABLE "order" (a int, "check" int, "foreign" text)',
    "other alphabet": "CREATE TABLE größe (a int, naïve text DEFAULT 'é')",
    "generated": "CREATE TABLE t (a int, b AS (a * 2), c int GENERATED ALWAYS AS ((a)+(1)) STORED NOT NULL)",
    "strict": "CREATE TABLE t (id INTEGER PRIMARY KEY, a INT) STRICT",
    "without rowid": "CREATE TABLE t (k TEXT PRIMARY KEY, a INT) WITHOUT ROWID, STRICT",
    "trailing comment": "CREATE TABLE t (b int, a int -- the last, one)\n) STRICT -- that is all",
    "block comments": "CREATE TABLE t (/* ( */ a /* , */ int /* x */, b /* CHECK */ int/* ) */)",
    "comment at the end": "CREATE TABLE t (a int /* nullable */)",
    "two comments": "CREATE TABLE t (a int -- one\n  /* two */ -- three\n  \n)",
    "windows": "CREATE TABLE t (\r\n  a int,\r\n  b int -- b\r\n)",
    "windows, plain": "CREATE TABLE t (\r\n  a int,\r\n  b int\r\n)",
    "sqlalchemy": "CREATE TABLE t (\n\tid INTEGER NOT NULL, \n\ta INTEGER, \n\tPRIMARY KEY (id)\n)",
    "paren on the last line": "CREATE TABLE t (\n  b int,\n  a int)",
    "explicit null": "CREATE TABLE t (a int NULL, b int CONSTRAINT n NULL ON CONFLICT IGNORE)",
    "default words": "CREATE TABLE t (a DEFAULT -1.5e-3, b DEFAULT (1+(2)), c DEFAULT x'ab', d DEFAULT true)",
    "defaults like constraints": "CREATE TABLE t (a DEFAULT 'NOT NULL', b DEFAULT 'REFERENCES p')",
    "no comma between": "CREATE TABLE t (a int, b int, CHECK (a) UNIQUE (b) CONSTRAINT c CHECK(b))",
    "tight": 'CREATE TABLE t(a"int"CHECK(a>0),b"x"UNIQUE)',
    "many words in a type": "CREATE TABLE t (a unsigned big int, b double precision (3, -2))",
    "a type named generated": "CREATE TABLE t (a generated, b always)",
    "conflict clauses": "CREATE TABLE t (a UNIQUE ON CONFLICT REPLACE, CHECK (a) ON CONFLICT IGNORE)",
    "other keys": "CREATE TABLE t (b REFERENCES p, a, FOREIGN KEY (b) REFERENCES p (id) ON DELETE CASCADE)",
    "inline key last": "CREATE TABLE t (b int, a int REFERENCES p(id) ON UPDATE CASCADE MATCH FULL)",
    "deferred apart": "CREATE TABLE t (a REFERENCES p CHECK (a) NOT DEFERRABLE INITIALLY IMMEDIATE, b)",
    "if not exists": "CREATE TABLE IF NOT EXISTS main . t (a int);",
    "after add column": "CREATE TABLE t (id INTEGER PRIMARY KEY -- key\n, a INT)",
}


def stored(sql: str) -> str:
    """The text as SQLite stores it, which also proves that SQLite accepts it."""
    connection = sqlite3.connect(":memory:")
    connection.execute("CREATE TABLE p (id INTEGER PRIMARY KEY, x INT, y INT, UNIQUE (x, y))")
    connection.execute(sql)
    query = "SELECT sql FROM sqlite_master WHERE sql IS NOT NULL AND name NOT IN ('p', 'sqlite_sequence')"
    (text,) = connection.execute(query).fetchone()
    connection.close()
    return str(text)


@pytest.fixture(params=list(TEXTS.values()), ids=list(TEXTS))
def text(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def test_a_dropped_key_leaves_the_text_as_it_was_before_the_key_was_added(text: str) -> None:
    """drop(add(x)) == x, whatever the quoting, comments and layout."""
    with_key = add_foreign_key(text, name="fk a", columns=("a",), parent="p", parent_columns=("id",))

    stored(with_key)
    assert foreign_keys(with_key)[-1] == ForeignKey("fk a", ("a",), "p", ("id",))
    assert drop_foreign_key(with_key, columns=("a",), name="fk a") == text


def test_dropping_not_null_leaves_the_text_as_it_was_before_it_was_set(text: str) -> None:
    """drop_not_null(set_not_null(x)) == x, and SQLite takes the column for NOT NULL in between."""
    strict = set_not_null(text, "A")

    stored(strict)
    assert next(c for c in column_definitions(strict) if c.name == "a").not_null
    assert drop_not_null(strict, "a") == text


def test_the_edits_may_be_undone_in_the_order_they_were_made(text: str) -> None:
    """Neither edit disturbs the marks by which the other is undone."""
    both = add_foreign_key(
        set_not_null(text, "a"), name="fk", columns=("a",), parent="p", parent_columns=(), deferrable=True
    )

    stored(both)
    assert drop_foreign_key(drop_not_null(both, "a"), columns=("a",), name="fk") == text
    assert drop_not_null(drop_foreign_key(both, columns=("a",), name="fk"), "a") == text


def test_nothing_but_the_name_changes_when_a_table_is_renamed(text: str) -> None:
    """The rest of the text stays, and so does the manner of quoting."""
    renamed = rename_table(text, "a new ]\"`' name")

    stored(renamed)
    assert column_definitions(renamed) == column_definitions(text)
    assert foreign_keys(renamed) == foreign_keys(text)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("CREATE TABLE t (a int)", "CREATE TABLE [n] (a int)"),
        ("CREATE TABLE [t](a)", "CREATE TABLE [n](a)"),
        ("CREATE TABLE `t`(a)", "CREATE TABLE `n`(a)"),
        ("CREATE TABLE main.'t'(a)", "CREATE TABLE main.'n'(a)"),
    ],
)
def test_a_new_name_stands_in_the_quotes_of_the_old_one(before: str, after: str) -> None:
    """A bare name gets double quotes, as SQLite's own ALTER TABLE writes it."""
    assert rename_table(before, "n") == after.replace("[n]", '"n"' if "[t]" not in before else "[n]")


def test_a_key_is_written_in_the_layout_of_its_neighbours() -> None:
    """A constraint gets a line of its own where the others have one, and comments keep their line."""
    sql = "CREATE TABLE post (\n  id INTEGER PRIMARY KEY,\n  user_id INTEGER -- the author\n)"

    assert add_foreign_key(
        sql, name="fk", columns=("user_id",), parent="user", parent_columns=("id",), on_delete="SET NULL"
    ) == (
        "CREATE TABLE post (\n  id INTEGER PRIMARY KEY,\n  user_id INTEGER, -- the author\n"
        '  CONSTRAINT "fk" FOREIGN KEY ("user_id") REFERENCES "user" ("id") ON DELETE SET NULL\n)'
    )


def test_every_part_of_a_key_is_written_and_read_back() -> None:
    """Actions and deferral survive, and SQLite itself reads the same."""
    sql = add_foreign_key(
        "CREATE TABLE t (u, v)", name='a "b"', columns=("u", "v"), parent="p", parent_columns=("x", "y"),
        on_delete="SET DEFAULT", on_update="NO ACTION", deferrable=True, initially_deferred=True,
    )  # fmt: skip

    assert foreign_keys(sql) == (
        ForeignKey(
            'a "b"', ("u", "v"), "p", ("x", "y"), "SET DEFAULT", "NO ACTION", "DEFERRABLE INITIALLY DEFERRED"
        ),
    )
    connection = sqlite3.connect(":memory:")
    connection.execute(sql)
    rows = connection.execute('SELECT "from", "to", on_delete FROM pragma_foreign_key_list(\'t\')').fetchall()
    connection.close()
    assert rows == [("u", "x", "SET DEFAULT"), ("v", "y", "SET DEFAULT")]


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("CREATE TABLE t (a REFERENCES p)", "CREATE TABLE t (a)"),
        ("CREATE TABLE t (a int REFERENCES p(id) ON DELETE SET NULL, b)", "CREATE TABLE t (a int, b)"),
        ("CREATE TABLE t (a int CONSTRAINT [x] REFERENCES p NOT NULL)", "CREATE TABLE t (a int NOT NULL)"),
        ("CREATE TABLE t (a int REFERENCES p(id)NOT NULL)", "CREATE TABLE t (a int NOT NULL)"),
        ("CREATE TABLE t (a REFERENCES p NOT NULL DEFERRABLE)", "CREATE TABLE t (a NOT NULL)"),
        ("CREATE TABLE t (a -- note\n REFERENCES p, b)", "CREATE TABLE t (a -- note\n , b)"),
        ("CREATE TABLE t (a, FOREIGN KEY (a) REFERENCES p)", "CREATE TABLE t (a)"),
        ("CREATE TABLE t (a, foreign key ( [A] ) references p (id))", "CREATE TABLE t (a)"),
        ("CREATE TABLE t (a, FOREIGN KEY (a) REFERENCES p, CHECK (a))", "CREATE TABLE t (a, CHECK (a))"),
        ("CREATE TABLE t (a, FOREIGN KEY (a) REFERENCES p UNIQUE (a))", "CREATE TABLE t (a, UNIQUE (a))"),
        ("CREATE TABLE t (a, CHECK (a) FOREIGN KEY (a) REFERENCES p)", "CREATE TABLE t (a, CHECK (a))"),
        ("CREATE TABLE t (a, FOREIGN KEY (a) REFERENCES p -- why\n)", "CREATE TABLE t (a -- why\n)"),
        (
            "CREATE TABLE t (a, -- one\n  CONSTRAINT k FOREIGN KEY (a) REFERENCES p, -- two\n  CHECK (a)\n)",
            "CREATE TABLE t (a -- one\n  , -- two\n  CHECK (a)\n)",
        ),
    ],
)
def test_a_key_goes_wherever_it_was_declared(before: str, after: str) -> None:
    """Inline or at the end, named or not, first or last: only the key goes."""
    stored(before)
    stored(after)
    assert drop_foreign_key(before, columns=("a",)) == after


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("CREATE TABLE t (a int NOT NULL)", "CREATE TABLE t (a int)"),
        ("CREATE TABLE t (a NOT NULL DEFAULT 1)", "CREATE TABLE t (a DEFAULT 1)"),
        ("CREATE TABLE t (a int CONSTRAINT n NOT NULL ON CONFLICT FAIL, b)", "CREATE TABLE t (a int, b)"),
        ("CREATE TABLE t (a int NOT /* x */ NULL -- why\n)", "CREATE TABLE t (a int -- why\n)"),
        ("CREATE TABLE t (a int -- why\n NOT NULL, b)", "CREATE TABLE t (a int -- why\n , b)"),
        ("CREATE TABLE t (a'x'NOT NULL UNIQUE)", "CREATE TABLE t (a'x' UNIQUE)"),
    ],
)
def test_not_null_goes_with_its_name_and_conflict_clause(before: str, after: str) -> None:
    """Whatever else is said of the column stays."""
    stored(before)
    stored(after)
    assert drop_not_null(before, "a") == after


def test_an_explicit_null_is_kept_and_overruled() -> None:
    """SQLite lets NOT NULL stand behind NULL, and NOT NULL counts."""
    sql = set_not_null("CREATE TABLE t (a int NULL)", "a")
    connection = sqlite3.connect(":memory:")
    connection.execute(sql)

    with pytest.raises(sqlite3.IntegrityError, match=r"NOT NULL constraint failed: t\.a"):
        connection.execute("INSERT INTO t VALUES (NULL)")
    connection.close()


def test_columns_are_read_with_type_collation_and_default() -> None:
    """Everything the author wrote of a column is there, as written."""
    sql = (
        "CREATE TABLE t ([a b] VARCHAR (10) NOT NULL COLLATE nocase DEFAULT ('x' || ')'), "
        'c GENERATED ALWAYS AS (1), d AS (2) STORED, e double precision DEFAULT +1, "f" DEFAULT CURRENT_TIME)'
    )

    assert column_definitions(sql) == (
        ColumnDefinition("a b", "VARCHAR (10)", True, None, "nocase", "('x' || ')')"),
        ColumnDefinition("c", "", False, "virtual"),
        ColumnDefinition("d", "", False, "stored"),
        ColumnDefinition("e", "double precision", default="+1"),
        ColumnDefinition("f", "", default="CURRENT_TIME"),
    )


@pytest.mark.parametrize(
    ("sql", "message"),
    [
        ("CREATE VIRTUAL TABLE t USING fts5(a)", "virtual table"),
        ("CREATE VIEW t AS SELECT 1 AS a", "TABLE was expected"),
        ("CREATE TABLE t AS SELECT 1 AS a", "Table t: CREATE TABLE ... AS SELECT"),
        ("CREATE TABLE t (a int", "definition of t cannot be read at its end"),
        ("CREATE TABLE t (a CHECK (1)) nonsense )", r"definition of t cannot be read at '\)'"),
        ("CREATE TABLE t (a CONSTRAINT x)", "constraint name 'x' stands before no constraint"),
        ("", "cannot be read at its end"),
    ],
)
def test_what_cannot_be_edited_is_refused(sql: str, message: str) -> None:
    """The message names the table and the place."""
    with pytest.raises(DDLError, match=message):
        set_not_null(sql, "a")


def test_a_text_made_by_create_table_as_is_edited_like_any_other() -> None:
    """SQLite stores a normalised list of columns for it."""
    sql = stored('CREATE TABLE t AS SELECT id AS a, x AS "b c" FROM p')
    edited = set_not_null(sql, "a")

    assert drop_not_null(stored(edited), "a") == sql


ADD = {"name": "fk", "columns": ("a",), "parent": "p", "parent_columns": ("id",)}


@pytest.mark.parametrize(
    ("sql", "options", "message"),
    [
        ("CREATE TABLE t (a)", {"columns": ("z",)}, "Table t has no column 'z'"),
        ("CREATE TABLE t (a)", {"columns": ()}, "0 column"),
        ("CREATE TABLE t (a)", {"parent_columns": ("x", "y")}, "Foreign key fk of table t: 1 column"),
        ("CREATE TABLE t (a)", {"on_delete": "EXPLODE"}, "'EXPLODE' is no referential action"),
        ("CREATE TABLE t (a)", {"initially_deferred": True}, "needs DEFERRABLE"),
        ("CREATE TABLE t (a CONSTRAINT FK CHECK (a))", {}, "has a constraint of this name already"),
        ("CREATE TABLE t (a, CONSTRAINT [Fk] CHECK (a))", {}, "has a constraint of this name already"),
    ],
)
def test_a_key_that_makes_no_sense_is_not_added(sql: str, options: dict[str, object], message: str) -> None:
    """The message names table, constraint and column."""
    with pytest.raises(DDLError, match=message):
        add_foreign_key(sql, **{**ADD, **options})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("sql", "name", "message"),
    [
        ("CREATE TABLE t (a)", None, r"Table t has no foreign key on column\(s\) a"),
        ("CREATE TABLE t (a CONSTRAINT x REFERENCES p)", "y", "no foreign key named y"),
        ("CREATE TABLE t (a REFERENCES p, FOREIGN KEY (a) REFERENCES p)", None, "2 foreign keys"),
    ],
)
def test_a_key_is_dropped_only_when_exactly_one_is_meant(sql: str, name: str | None, message: str) -> None:
    """None or several: nothing is guessed."""
    with pytest.raises(DDLError, match=message):
        drop_foreign_key(sql, columns=("a",), name=name)


def test_not_null_is_neither_set_twice_nor_dropped_where_it_is_not_written() -> None:
    """Otherwise the inverse would take away what was there before."""
    with pytest.raises(DDLError, match=r"Column t\.a is NOT NULL already"):
        set_not_null("CREATE TABLE t (a NOT NULL)", "a")
    with pytest.raises(DDLError, match=r"Column t\.a is not declared NOT NULL"):
        drop_not_null("CREATE TABLE t (a PRIMARY KEY) WITHOUT ROWID", "a")
    with pytest.raises(ValueError, match="no column 'b'"):
        set_not_null("CREATE TABLE t (a)", "b")
