"""The editor against SQLite itself, over CREATE TABLE texts made at random."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from dataclasses import dataclass
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from migrator.dialects.sqlite_ddl import (
    add_foreign_key,
    column_definitions,
    drop_foreign_key,
    drop_not_null,
    foreign_keys,
    set_not_null,
)
from migrator.dialects.sqlite_tokens import tokenize

BLANKS = st.sampled_from([" ", " ", "\n", "\t", "\r\n  ", " /* , ( */ ", " -- it's )\n", "/**/", " --\r\n"])
NAMES = ["a", "B c", "check", "x]", 'say "x"', "it's", "`", "größe", "order", "-- d", "k1", "primary"]
TYPES = [
    "",
    "int",
    "INTEGER",
    "text",
    "VARCHAR(10)",
    "unsigned big int",
    "decimal (3, -2)",
    '"any thing"',
    "[t]",
]
CLAUSES = [
    "NULL", "NOT NULL", "NOT NULL ON CONFLICT FAIL", "CONSTRAINT nn NOT NULL", "UNIQUE", "DEFAULT 1",
    "UNIQUE ON CONFLICT IGNORE", "CHECK (1)", "CONSTRAINT [c )] CHECK (')' <> '(')", "COLLATE nocase",
    "DEFAULT -1.5e-3", "DEFAULT 'it''s, (NOT NULL'", "DEFAULT (1 + (2))", "DEFAULT x'ab'", "DEFAULT true",
    "REFERENCES p", "CONSTRAINT r REFERENCES p ( id ) ON DELETE SET NULL ON UPDATE NO ACTION",
    'REFERENCES "p" MATCH FULL DEFERRABLE INITIALLY DEFERRED', "REFERENCES p NOT DEFERRABLE",
    "REFERENCES p ON DELETE CASCADE CHECK (1) DEFERRABLE",
]  # fmt: skip
CONSTRAINTS = [
    "CHECK (1)", "CONSTRAINT cc CHECK ( 'x' <> \"y\" )", "UNIQUE ({0})", "UNIQUE ({0}, {1}) ON CONFLICT FAIL",
    "FOREIGN KEY ({0}) REFERENCES p", "CONSTRAINT f1 FOREIGN KEY ({1}) REFERENCES p(id) ON UPDATE RESTRICT",
    "FOREIGN KEY ({0}, {1}) REFERENCES [p] (x, y) ON DELETE SET DEFAULT DEFERRABLE INITIALLY IMMEDIATE",
]  # fmt: skip


@dataclass(frozen=True)
class Text:
    sql: str
    columns: tuple[str, ...]


def _quoted(draw: st.DrawFn, name: str) -> str:
    ways = ['"' + name.replace('"', '""') + '"', "`" + name.replace("`", "``") + "`"]
    ways += ["'" + name.replace("'", "''") + "'"] + ([f"[{name}]"] if "]" not in name else [])
    return draw(st.sampled_from(ways + ([name] if name in ("a", "größe", "k1") else [])))


@st.composite
def texts(draw: st.DrawFn) -> Text:
    """A CREATE TABLE with anything in it, blanks and comments wherever they may stand."""
    table, *columns = draw(st.permutations(NAMES))[: draw(st.integers(3, 5))]
    items = []
    for column in columns:
        clauses = draw(st.lists(st.sampled_from(CLAUSES), max_size=3, unique=True))
        items.append(" ".join([_quoted(draw, column), draw(st.sampled_from(TYPES)), *clauses]))
    for constraint in draw(st.lists(st.sampled_from(CONSTRAINTS), max_size=3, unique=True)):
        items.append(constraint.format(*(_quoted(draw, column) for column in columns[:2])))
    prefix = draw(st.sampled_from(["CREATE TABLE", "create table if not exists", "CREATE TABLE main."]))
    plain = f"{prefix} {_quoted(draw, table)} ({','.join(items)})"
    # Every blank may be any other, and one may stand before and behind every mark.
    parts = []
    for token in tokenize(plain):
        if token.kind == "space":
            parts.append(draw(BLANKS))
        elif token.kind == "mark" and token.text in "(),":
            around = st.one_of(st.just(""), BLANKS)
            parts += [draw(around), token.text, draw(around)]
        else:
            parts.append(token.text)
    return Text("".join(parts), tuple(columns))


def catalog(sql: str) -> tuple[list[Any], list[Any], list[Any]]:
    """What SQLite makes of it: columns, foreign keys, and the stored text."""
    with closing(sqlite3.connect(":memory:")) as connection:
        connection.execute("CREATE TABLE p (id INTEGER PRIMARY KEY, x INT, y INT, UNIQUE (x, y))")
        connection.execute(sql)
        query = "SELECT name, sql FROM sqlite_master WHERE type = 'table' AND name <> 'p'"
        ((table, text),) = connection.execute(query)
        columns = connection.execute(
            'SELECT name, type, "notnull", dflt_value FROM pragma_table_xinfo(?)', (table,)
        )
        keys = connection.execute(
            'SELECT id, "from", "table", "to", on_delete, on_update FROM pragma_foreign_key_list(?) '
            "ORDER BY id DESC, seq",
            (table,),
        )
        return list(columns), list(keys), [table, text]


def bare(default: str | None) -> str | None:
    """SQLite shows an expression without its parentheses and without what surrounds it."""
    return default if default is None or not default.startswith("(") else "("


@given(texts())
@settings(max_examples=100, deadline=None)
def test_tokens_joined_are_the_text(text: Text) -> None:
    """Nothing is lost between the tokens."""
    assert "".join(token.text for token in tokenize(text.sql)) == text.sql


@given(texts())
@settings(max_examples=100, deadline=None)
def test_the_columns_read_are_those_that_sqlite_reads(text: Text) -> None:
    """Names, NOT NULL and defaults agree with PRAGMA table_xinfo."""
    columns, _, _ = catalog(text.sql)
    mine = column_definitions(text.sql)

    assert [c.name for c in mine] == [name for name, *_ in columns]
    assert [c.not_null for c in mine] == [bool(strict) for _, _, strict, _ in columns]
    assert [c.type == "" for c in mine] == [type_ == "" for _, type_, _, _ in columns]
    for column, (_, _, _, default) in zip(mine, columns, strict=True):
        assert bare(column.default) in (default, "(")


@given(texts())
@settings(max_examples=100, deadline=None)
def test_the_foreign_keys_read_are_those_that_sqlite_reads(text: Text) -> None:
    """Columns, parent and actions agree with PRAGMA foreign_key_list, in reverse order of its ids."""
    _, rows, _ = catalog(text.sql)
    mine = foreign_keys(text.sql)

    flat = [
        (len(mine) - 1 - at, column, key.parent, key.parent_columns[seq] if key.parent_columns else None,
         key.on_delete or "NO ACTION", key.on_update or "NO ACTION")
        for at, key in enumerate(mine) for seq, column in enumerate(key.columns)
    ]  # fmt: skip
    assert flat == rows


@given(texts(), st.booleans(), st.sampled_from([None, "CASCADE", "SET NULL"]))
@settings(max_examples=100, deadline=None)
def test_adding_a_key_changes_nothing_else_and_dropping_it_brings_the_text_back(
    text: Text, deferrable: bool, on_delete: str | None
) -> None:
    """SQLite sees one key more and every other thing as before; drop(add(x)) == x."""
    columns, keys, _ = catalog(text.sql)
    child = text.columns[:2]
    edited = add_foreign_key(
        text.sql, name="fk ours", columns=child, parent="p", parent_columns=("x", "y"),
        on_delete=on_delete, deferrable=deferrable, initially_deferred=deferrable,
    )  # fmt: skip

    new_columns, new_keys, _ = catalog(edited)
    assert new_columns == columns
    assert [row[1:] for row in new_keys[: len(keys)]] == [row[1:] for row in keys]
    assert [row[1] for row in new_keys[len(keys) :]] == list(child)
    assert drop_foreign_key(edited, columns=child, name="fk ours") == text.sql


@given(texts())
@settings(max_examples=100, deadline=None)
def test_not_null_is_set_for_one_column_and_dropping_it_brings_the_text_back(text: Text) -> None:
    """SQLite sees one column more that is NOT NULL; drop(set(x)) == x."""
    columns, keys, _ = catalog(text.sql)
    for at, column in enumerate(column_definitions(text.sql)):
        if column.not_null:
            continue
        edited = set_not_null(text.sql, column.name)

        new_columns, new_keys, _ = catalog(edited)
        expected = [(*row[:2], 1 if i == at else row[2], row[3]) for i, row in enumerate(columns)]
        assert (new_columns, new_keys) == (expected, keys)
        assert drop_not_null(edited, column.name) == text.sql


@given(texts())
@settings(max_examples=100, deadline=None)
def test_whatever_the_author_wrote_can_be_dropped(text: Text) -> None:
    """Each NOT NULL and each key goes, however written, and SQLite sees nothing else change."""
    columns, keys, _ = catalog(text.sql)
    for at, column in enumerate(column_definitions(text.sql)):
        if column.not_null:
            new_columns, new_keys, _ = catalog(drop_not_null(text.sql, column.name))
            expected = [(*row[:2], 0 if i == at else row[2], row[3]) for i, row in enumerate(columns)]
            assert (new_columns, new_keys) == (expected, keys)
    declared = foreign_keys(text.sql)
    for at, key in enumerate(declared):
        if sum(other.columns == key.columns for other in declared) == 1:
            new_columns, new_keys, _ = catalog(drop_foreign_key(text.sql, columns=key.columns))
            kept = [row[1:] for row in keys if row[0] != len(declared) - 1 - at]
            assert new_columns == columns
            assert [row[1:] for row in new_keys] == kept
