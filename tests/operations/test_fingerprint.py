"""The fingerprint of the data: the same for the same rows, and differences named by table, column, key."""

from __future__ import annotations

import pytest
from sqlalchemy import Column, Integer, MetaData, Table, text

from migrator.errors import UnknownTableError, UsageError
from migrator.fingerprint import (
    Difference,
    Fingerprint,
    TableDigest,
    compare,
    data_digest,
    differing_keys,
    table_differences,
    take,
)
from migrator.naming import is_own_table
from tests.conftest import Database

ROWS = 300
EXACT, SUMS = 50_000, 10
"""Row limits under which the blog keeps a digest per row, or sums per part only."""

BLOG = (
    "CREATE TABLE post (id INTEGER PRIMARY KEY, title VARCHAR(30), author INTEGER, body VARCHAR(100))",
    "CREATE TABLE tag (code VARCHAR(20) NOT NULL, lang VARCHAR(5) NOT NULL, label VARCHAR(30), "
    "PRIMARY KEY (code, lang))",
    "CREATE TABLE log (who VARCHAR(30), what VARCHAR(30))",
    "INSERT INTO post (id, title, author, body) VALUES "
    + ", ".join(f"({i}, 't{i}', {i % 7}, 'body')" for i in range(1, ROWS + 1)),
    "INSERT INTO tag (code, lang, label) VALUES " + ", ".join(f"('c{i}', 'en', 'l{i}')" for i in range(60)),
    "INSERT INTO log (who, what) VALUES ('a', 'x'), ('a', 'x'), ('b', NULL), "
    + ", ".join(f"('u{i}', 'w{i}')" for i in range(40)),
)


def run(database: Database, *statements: str) -> None:
    with database.engine.begin() as connection:
        for statement in statements:
            connection.exec_driver_sql(statement)


def label(database: Database, table: str) -> str:
    return f"public.{table}" if database.family == "postgresql" else table


def summary(differences: tuple[Difference, ...]) -> list[tuple[str, str | None, list[object]]]:
    """Table, column and keys' values of each difference, without the schema's name."""
    return [
        (d.object.removeprefix("public."), d.column, [tuple(key.values()) for key in d.keys])
        for d in differences
    ]


def digest(database: Database, table: str, row_limit: int) -> TableDigest:
    with database.engine.connect() as connection:
        return data_digest(connection, label(database, table), row_limit=row_limit)


@pytest.fixture
def blog(database: Database) -> Database:
    """A database with a table of each kind: integer key, text key of two columns, no key."""
    run(database, *BLOG)
    return database


@pytest.mark.parametrize("row_limit", [EXACT, SUMS])
def test_the_same_rows_give_the_same_fingerprint_and_json(blog: Database, row_limit: int) -> None:
    """Whenever it is taken, and after a trip through JSON."""
    first, second = take(blog.engine, row_limit=row_limit), take(blog.engine, row_limit=row_limit)
    assert first.identical(second)
    assert first == second == Fingerprint.from_json(first.to_json())
    assert first.to_json() == second.to_json()
    assert compare(first, second) == ()


def test_a_text_that_is_no_fingerprint_is_refused() -> None:
    """Reading some other JSON says so."""
    with pytest.raises(ValueError, match="not a fingerprint"):
        Fingerprint.from_json('{"schema": "other/1"}')


def test_the_order_of_rows_does_not_matter(blog: Database) -> None:
    """Rows written again in another order are the same rows."""
    before = take(blog.engine)
    with blog.new_database() as other:
        run(other, *BLOG[:3])
        with blog.engine.connect() as source, other.engine.begin() as target:
            for table in ("post", "tag", "log"):
                rows = source.exec_driver_sql(f"SELECT * FROM {table}").mappings().all()
                names = [str(name) for name in rows[0]]
                insert = f"INSERT INTO {table} ({', '.join(names)}) VALUES (:{', :'.join(names)})"
                target.execute(text(insert), [dict(row) for row in reversed(rows)])
        assert take(other.engine).identical(before)


def test_exact_digests_and_sums_agree_on_the_totals(blog: Database) -> None:
    """Crossing the row limit between before and after is no difference."""
    assert compare(take(blog.engine, row_limit=EXACT), take(blog.engine, row_limit=SUMS)) == ()
    assert compare(take(blog.engine, parts=11), take(blog.engine, parts=1021)) == ()


CHANGES: dict[str, tuple[tuple[str, ...], list[tuple[str, str | None, list[object]]]]] = {
    "one cell": (("UPDATE post SET title = 'other' WHERE id = 17",), [("post", "title", [(17,)])]),
    "two cells of a row": (
        ("UPDATE post SET title = 'other', author = 99 WHERE id = 17",),
        [("post", "author", [(17,)]), ("post", "title", [(17,)])],
    ),
    "an empty string for NULL": (
        ("UPDATE post SET body = NULL WHERE id = 5",),
        [("post", "body", [(5,)])],
    ),
    "the word NULL": (("UPDATE post SET body = 'NULL' WHERE id = 5",), [("post", "body", [(5,)])]),
    "values of two rows swapped": (
        ("UPDATE post SET title = CASE id WHEN 8 THEN 't9' ELSE 't8' END WHERE id IN (8, 9)",),
        [("post", "title", [(8,), (9,)])],
    ),
    "values of two columns swapped": (
        ("UPDATE post SET title = 'body', body = 't3' WHERE id = 3",),
        [("post", "body", [(3,)]), ("post", "title", [(3,)])],
    ),
    "a row deleted": (("DELETE FROM post WHERE id = 40",), [("post", None, [(40,)])]),
    "a row added": (("INSERT INTO post (id) VALUES (1000)",), [("post", None, [(1000,)])]),
    "a row under another key": (
        ("UPDATE post SET id = 2000 WHERE id = 40",),
        [("post", None, [(40,)]), ("post", None, [(2000,)])],
    ),
}


@pytest.mark.parametrize("row_limit", [EXACT, SUMS])
@pytest.mark.parametrize("change", CHANGES)
def test_a_change_is_named_by_column_and_key(blog: Database, change: str, row_limit: int) -> None:
    """Also when only sums were kept, and the state before is gone."""
    statements, expected = CHANGES[change]
    before = take(blog.engine, row_limit=row_limit)
    run(blog, *statements)
    assert summary(compare(before, take(blog.engine, row_limit=row_limit))) == expected


@pytest.mark.parametrize("row_limit", [EXACT, SUMS])
def test_a_text_key_is_named_by_looking_it_up(blog: Database, row_limit: int) -> None:
    """A hashed key is found again among the rows of its part."""
    before = digest(blog, "tag", row_limit)
    run(blog, "UPDATE tag SET label = 'other' WHERE code = 'c9'")
    with blog.engine.connect() as connection:
        found = differing_keys(connection, before, label(blog, "tag"))
    assert summary(found) == [("tag", "label", [("c9", "en")])]


def test_an_integer_key_of_any_size_is_named_without_looking_it_up(blog: Database) -> None:
    """Negative ones and snowflakes, as long as a table's keys lie within a range of 2**40."""
    for place, key in enumerate((-5, 1541815603606036480)):
        run(blog, f"CREATE TABLE big{place} (id BIGINT PRIMARY KEY, v INTEGER)")
        run(blog, f"INSERT INTO big{place} VALUES ({key}, 1), ({key + 7}, 1), ({key + 1021}, 1)")
        before = digest(blog, f"big{place}", 0)
        run(blog, f"DELETE FROM big{place} WHERE id = {key}")
        found = table_differences(before, digest(blog, f"big{place}", 0))
        if blog.family != "sqlite":  # There a BIGINT key may hold anything, and is hashed.
            assert summary(tuple(found)) == [(f"big{place}", None, [(key,)])]


def test_a_text_key_is_a_number_until_it_is_looked_up(blog: Database) -> None:
    """The comparison of sums alone says so."""
    before = digest(blog, "tag", SUMS)
    run(blog, "UPDATE tag SET label = 'other' WHERE code = 'c9'")
    (found,) = table_differences(before, digest(blog, "tag", SUMS))
    assert (found.column, list(found.keys[0])) == ("label", ["(number of key)"])


def test_two_live_databases_are_compared_to_the_row(blog: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """Parts that differ are read row by row on both sides, however many rows of a part differ."""
    monkeypatch.setattr("migrator.fingerprint.narrow.DEFAULT_ROW_LIMIT", SUMS)
    monkeypatch.setattr("migrator.fingerprint.narrow.DEFAULT_PARTS", 3)
    with blog.new_database() as other:
        run(other, *BLOG)
        run(
            other,
            "UPDATE post SET body = 'x' WHERE id IN (5, 6, 8, 9, 12)",
            "DELETE FROM tag WHERE code = 'c9'",
        )
        with other.engine.connect() as now, blog.engine.connect() as before:
            posts = differing_keys(now, before, label(blog, "post"))
            tags = differing_keys(now, before, label(blog, "tag"))
            assert differing_keys(now, before, label(blog, "log")) == ()
    assert summary(posts) == [("post", "body", [(5,), (6,), (8,), (9,), (12,)])]
    assert summary(tags) == [("tag", None, [("c9", "en")])]


def test_another_key_may_tell_rows_apart(blog: Database) -> None:
    """Columns given by name stand in for a key the table has not."""
    with blog.new_database() as other:
        run(other, *BLOG)
        run(other, "UPDATE log SET what = 'changed' WHERE who = 'u7'")
        with other.engine.connect() as now, blog.engine.connect() as before:
            found = differing_keys(now, before, label(blog, "log"), ["who"])
            with pytest.raises(UsageError, match="no column nobody"):
                differing_keys(now, before, label(blog, "log"), ["nobody"])
    assert summary(found) == [("log", "what", [("u7",)])]


def test_many_changed_rows_in_a_part_are_reported_with_their_size(blog: Database) -> None:
    """Sums cannot tell them apart: column and parts are named, and candidates where they can be asked for."""
    with blog.engine.connect() as connection:
        before = data_digest(connection, label(blog, "post"), row_limit=SUMS, parts=2)
    run(blog, "UPDATE post SET title = 'other' WHERE id IN (2, 4, 6)")
    with blog.engine.connect() as connection:
        (found,) = differing_keys(connection, before, label(blog, "post"))
    assert found.column == "title"
    assert len(found.keys) == 10
    assert "several rows changed in 1 of 2 parts, which hold 150 rows" in found.detail
    assert "not all of them differ" in found.detail


def test_no_more_keys_are_listed_than_asked_for(blog: Database) -> None:
    """The count is complete all the same."""
    before = take(blog.engine)
    run(blog, "UPDATE post SET title = 'other'")
    (found,) = compare(before, take(blog.engine), limit=3)
    assert summary((found,)) == [("post", "title", [(1,), (2,), (3,)])]
    assert found.detail == "changed in 300 rows"


@pytest.mark.parametrize("row_limit", [EXACT, SUMS])
def test_a_table_without_key_is_compared_as_a_multiset(blog: Database, row_limit: int) -> None:
    """One of two equal rows less is a difference; so is one more, or a changed one."""
    before = take(blog.engine, row_limit=row_limit)
    run(blog, "INSERT INTO log (who, what) VALUES ('a', 'x')")
    (found,) = compare(before, take(blog.engine, row_limit=row_limit))
    assert (found.object, found.column, len(found.keys)) == (label(blog, "log"), None, 1)
    assert "1 row new" in found.detail
    run(blog, "DELETE FROM log WHERE who = 'a'", "INSERT INTO log (who, what) VALUES ('a', 'x'), ('a', 'x')")
    assert compare(before, take(blog.engine, row_limit=row_limit)) == ()
    run(blog, "UPDATE log SET what = 'w8' WHERE who = 'u7'", "UPDATE log SET what = 'w7' WHERE who = 'u8'")
    assert {d.object for d in compare(before, take(blog.engine, row_limit=row_limit))} == {label(blog, "log")}


def test_the_changed_column_of_a_table_without_key_is_named(blog: Database) -> None:
    """Its values taken together tell which one it was."""
    before = take(blog.engine)
    run(blog, "UPDATE log SET what = '' WHERE who = 'b'")
    (found,) = compare(before, take(blog.engine))
    assert (found.column, list(found.keys[0])) == ("what", ["(row)"])


def test_a_dropped_column_is_a_difference_beside_those_of_other_columns(blog: Database) -> None:
    """What is left of the rows is compared still."""
    before = take(blog.engine)
    run(blog, "ALTER TABLE post DROP COLUMN body", "UPDATE post SET title = 'other' WHERE id = 2")
    found = [d for d in compare(before, take(blog.engine)) if d.kind == "data"]
    assert summary(tuple(found)) == [("post", "body", []), ("post", "title", [(2,)])]


def test_another_key_alone_is_no_difference_in_data(blog: Database) -> None:
    """A key dropped or added changes the schema, not the rows."""
    before = take(blog.engine)
    if blog.family == "sqlite":
        run(blog, "ALTER TABLE tag RENAME TO t", "CREATE TABLE tag AS SELECT * FROM t", "DROP TABLE t")
    else:
        drop = "DROP CONSTRAINT tag_pkey" if blog.family == "postgresql" else "DROP PRIMARY KEY"
        run(blog, f"ALTER TABLE tag {drop}")
    assert {d.kind for d in compare(before, take(blog.engine))} == {"schema"}
    run(blog, "UPDATE tag SET label = 'other' WHERE code = 'c9'")
    assert {d.kind for d in compare(before, take(blog.engine))} == {"schema", "data"}


def test_our_own_tables_are_left_out(blog: Database) -> None:
    """Those that begin with our prefix, and Alembic's."""
    before = take(blog.engine)
    run(
        blog, "CREATE TABLE migrator_run (id INTEGER PRIMARY KEY)", "CREATE TABLE alembic_version (v INTEGER)"
    )
    assert compare(before, take(blog.engine)) == ()
    assert is_own_table("migrator_run")
    assert is_own_table("alembic_version")
    assert not is_own_table("post")


def test_only_the_chosen_tables_are_taken(blog: Database) -> None:
    """By bare name or with the schema."""
    assert list(take(blog.engine, only_tables={"post"}).tables) == [label(blog, "post")]
    assert list(take(blog.engine, only_tables={label(blog, "tag")}).tables) == [label(blog, "tag")]


def test_an_unknown_table_is_named(blog: Database) -> None:
    """The error says which."""
    with blog.engine.connect() as connection, pytest.raises(UnknownTableError, match="nowhere"):
        data_digest(connection, "nowhere")


def test_a_connection_in_a_transaction_keeps_it(blog: Database) -> None:
    """Its own uncommitted rows are seen, and nothing is committed or rolled back."""
    before = take(blog.engine)
    with blog.engine.connect() as connection:
        connection.execute(text("UPDATE post SET title = 'other' WHERE id = 1"))
        assert summary(compare(before, take(connection))) == [("post", "title", [(1,)])]
        assert connection.in_transaction()
        connection.rollback()
    assert compare(before, take(blog.engine)) == ()


@pytest.mark.engines("postgresql")
def test_an_autocommit_connection_is_refused(blog: Database) -> None:
    """The settings would be gone before the next statement."""
    engine = blog.engine.execution_options(isolation_level="AUTOCOMMIT")
    with pytest.raises(UsageError, match="without AUTOCOMMIT"):
        take(engine)


def test_counters_are_compared_on_request_only(database: Database) -> None:
    """A round trip may use up numbers."""
    column = {
        "postgresql": "id SERIAL PRIMARY KEY",
        "sqlite": "id INTEGER PRIMARY KEY AUTOINCREMENT",
    }.get(database.family, "id INTEGER AUTO_INCREMENT PRIMARY KEY")
    run(database, f"CREATE TABLE item ({column}, v INTEGER)", "INSERT INTO item (v) VALUES (1)")
    before = take(database.engine)
    run(database, "INSERT INTO item (v) VALUES (2)", "DELETE FROM item WHERE v = 2")
    after = take(database.engine)
    assert before.identical(after)
    assert not before.identical(after, counters=True)
    assert [d.kind for d in compare(before, after, counters=True)] == ["counter"]


NAMES = ("order", "Mixed Case", "100%", "a:b", "semi;colon", "it's", "Ünïcode")


def test_any_name_is_quoted(database: Database) -> None:
    """Reserved words, spaces, percent signs, colons and quotes, of tables and columns."""
    tables = [
        Table(name, MetaData(), Column(f"{name} x", Integer, primary_key=True), Column("v", Integer))
        for name in NAMES
    ]
    with database.engine.begin() as connection:
        for table in tables:
            table.create(connection)
            connection.execute(table.insert().values([1, 2]))
    before = take(database.engine)
    assert sorted(before.tables) == sorted(label(database, name) for name in NAMES)
    assert all(digest.rows == 1 for digest in before.tables.values())
    with database.engine.begin() as connection:
        for table in tables:
            connection.execute(table.update().values({"v": 3}))
    changed = compare(before, take(database.engine))
    assert sorted(d.object for d in changed) == sorted(before.tables)
    assert all(d.keys == ({f"{d.object.removeprefix('public.')} x": 1},) for d in changed)
