"""Sweep, enforce, validate, and back, for every kind of key and name, judged by a brute-force oracle."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import replace

import pytest
import sqlalchemy as sa
from sqlalchemy.engine import Engine

from migrator.dialects import dialect_of
from migrator.policy import Backfill, Delete, Policy, SetNull
from migrator.reference import Reference
from tests.conftest import Database
from tests.operations import orphan_cases
from tests.operations.lifecycle import (
    DELETE,
    DOWN,
    KEEP,
    UP,
    Fate,
    Round,
    assert_same,
    becomes,
    expected_rows,
    picture,
    prove,
    rows_of,
    run,
)
from tests.operations.orphan_cases import Case, fill, key, table

Make = Callable[[Engine], Case]
Choice = tuple[Policy | None, Fate]


def round_of(database: Database, case: Case, null: Choice, dangling: Choice) -> Round:
    """Three operations with these policies; afterwards the rows are the oracle's, and proved right."""
    wanted = expected_rows(case, null[1], dangling[1])

    def there() -> None:
        assert rows_of(database.engine, case.reference, *case.children[0]) == wanted
        with database.engine.connect() as connection:
            facts = dialect_of(connection.dialect).facts(connection, case.reference)
        assert facts.foreign_key is not None
        assert facts.not_null is not case.reference.nullable

    return Round(lambda: run(database.engine, UP, case.reference, null[0], dangling[0]), there)


@pytest.mark.parametrize("make", [*orphan_cases.CASES, orphan_cases.within_key, orphan_cases.half_null])
def test_any_key_is_swept_constrained_and_given_back(database: Database, make: Make) -> None:
    """Backfilled to a stated parent, then deleted: composite, text and UUID keys, self-references, names
    that are reserved words or hold blanks, quotes and percent signs."""
    case = make(database.engine)
    to = tuple(case.parents[3][column] for column in case.reference.parent_columns)
    backfill: Choice = (Backfill(to=to), becomes(*to))
    prove(
        database,
        lambda: run(database.engine, DOWN, case.reference),
        round_of(database, case, backfill, backfill),
        round_of(database, case, (Delete(), DELETE), (Delete(), DELETE)),
    )


@pytest.mark.parametrize("make", [orphan_cases.simple, orphan_cases.itself, orphan_cases.composite])
def test_a_nullable_reference_keeps_its_nulls(database: Database, make: Make) -> None:
    """NULL is right there: such rows are never touched, and what dangles may be set to NULL."""
    case = make(database.engine)
    case = replace(case, reference=replace(case.reference, nullable=True))
    keep: Choice = (None, KEEP)
    nothing = becomes(*[None] * len(case.reference.columns))
    prove(
        database,
        lambda: run(database.engine, DOWN, case.reference),
        round_of(database, case, keep, (SetNull(), nothing)),
        round_of(database, case, keep, (Delete(), DELETE)),
    )


def test_a_chain_of_a_self_reference_is_deleted_link_by_link(database: Database) -> None:
    """Deleting a reply orphans the replies to it: rounds go on until nothing dangles, and all come back."""
    engine = database.engine
    rows = [{"id": number, "parent_id": number + 1} for number in range(1, 15)]
    rows += [{"id": number, "parent_id": number} for number in range(40, 60)]
    fill(engine, table(engine, "node", key("id"), sa.Column("parent_id", sa.Integer)), rows)
    case = Case(Reference.parse("node.parent_id -> node.id"), ("id",), rows, rows)
    prove(
        database,
        lambda: run(engine, DOWN, case.reference),
        round_of(database, case, (Delete(), DELETE), (Delete(), DELETE)),
    )


@pytest.mark.engines("postgresql")
def test_tables_in_other_schemas(database: Database) -> None:
    """Child and parent each in a schema of its own, neither of them on the search path."""
    engine = database.engine
    drawn = random.Random(8)
    parents = [{"id": number} for number in range(1, 20)]
    children = [{"id": number, "user": drawn.choice([None, *range(1, 30)])} for number in range(1, 60)]
    with engine.begin() as connection:
        connection.execute(sa.text('CREATE SCHEMA "Blog 1"'))
        connection.execute(sa.text("CREATE SCHEMA auth"))
    metadata = sa.MetaData()
    fill(engine, sa.Table("user", metadata, key("id"), schema="auth"), parents)
    post = sa.Table("post", metadata, key("id"), sa.Column("user", sa.Integer), schema="Blog 1")
    fill(engine, post, children)
    case = Case(Reference.parse('"Blog 1".post.user -> auth.user.id'), ("id",), parents, children)
    to: Choice = (Backfill(to=(5,)), becomes(5))
    prove(
        database,
        lambda: run(engine, DOWN, case.reference),
        round_of(database, case, to, to),
        round_of(database, case, (Delete(), DELETE), (Delete(), DELETE)),
    )


#: A type, and two keys of it that Python has no word for, or another one, or takes for equal.
_BEYOND = [
    ("date", "'infinity'", "'0001-01-01 BC'"),
    ("timestamptz", "'-infinity'", "'12000-01-01 00:00:00+00'"),
    ("time", "'24:00'", "'12:00'"),
    ("interval", "'1 mon'", "'-1 year 3 days 04:05:06.7'"),
    ("timetz", "'12:00+02'", "'10:00+00'"),
    ("real", "0.1", "'NaN'"),
    ("float8", "'NaN'", "0.1"),
    ("numeric", "'NaN'", "0.10"),
    ("int[]", "'{1,2}'", "'{}'"),
    ("text[]", "'{a,NULL}'", "'{\"b c\"}'"),
    ("jsonb", """'{"a": [1]}'""", "'3'"),
    ("tstzrange", "'[2025-10-26 00:30+00,infinity]'", "'empty'"),
    ("int4multirange", "'{[1,2),[4,5)}'", "'{}'"),
    ("codes", "'{1}'", "'{2,3}'"),
]


@pytest.mark.engines("postgresql-18")
@pytest.mark.parametrize(("kind", "one", "other"), _BEYOND)
def test_keys_that_python_has_no_word_for(database: Database, kind: str, one: str, other: str) -> None:
    """A history that ends at infinity, a year BC, NaN, an array, a document: the row is found, comes back."""
    with database.engine.begin() as connection:
        for statement in (
            "CREATE DOMAIN codes AS int[] CHECK (value[1] > 0)",
            "CREATE TABLE parent (id int PRIMARY KEY)",
            "INSERT INTO parent VALUES (1)",
            f"CREATE TABLE child (until {kind}, n int, parent_id int, PRIMARY KEY (until))",
            f"INSERT INTO child VALUES ({one}, 1, 7), ({other}, 2, NULL)",
        ):
            connection.exec_driver_sql(statement)
    reference = Reference.parse("child.parent_id -> parent.id")
    shown = sa.text("SELECT until::text, n, parent_id FROM child ORDER BY n")
    before = picture(database)
    with database.engine.connect() as connection:
        rows = connection.execute(shown).all()
    run(database.engine, UP, reference, Backfill(to=1), Backfill(to=1))
    with database.engine.connect() as connection:
        assert [row.parent_id for row in connection.execute(shown)] == [1, 1]
    run(database.engine, DOWN, reference)
    with database.engine.connect() as connection:
        assert connection.execute(shown).all() == rows
    run(database.engine, UP, reference, Delete(), Delete())
    run(database.engine, DOWN, reference)
    with database.engine.connect() as connection:
        assert connection.execute(shown).all() == rows
    assert_same(before, picture(database))


#: What names the rows of a child, and the rows: all are orphans that do not refer to 1.
_OWN_WAYS = {
    # A number to the server: as bytes it would not be found.
    "bits": (
        "flags bit(20) PRIMARY KEY",
        "(b'101', 7), (b'10000000001', NULL), (b'0', 7), (b'1', 1)",
    ),
    # Of a FLOAT the server shows six digits, by which no row is found again: another unique key names it.
    "told rounded": (
        "at float PRIMARY KEY, code varchar(9) NOT NULL UNIQUE",
        "(0.1, 'a', 7), (16777217, 'b', NULL), (0.7, 'c', 7), (0.3, 'd', 1)",
    ),
}


@pytest.mark.engines("mysql", "mariadb")
@pytest.mark.parametrize("way", _OWN_WAYS)
def test_keys_that_mysql_tells_in_its_own_way(database: Database, way: str) -> None:
    """Every row that dangles is found by what names it, changed or deleted, and comes back."""
    columns, rows = _OWN_WAYS[way]
    with database.engine.begin() as connection:
        for statement in (
            "CREATE TABLE parent (id int PRIMARY KEY)",
            "INSERT INTO parent VALUES (1)",
            f"CREATE TABLE child ({columns}, parent_id int)",
            f"INSERT INTO child VALUES {rows}",
        ):
            connection.exec_driver_sql(statement)
    reference = Reference.parse("child.parent_id -> parent.id")
    before = picture(database)
    for policy in (Backfill(to=1), Delete()):
        run(database.engine, UP, reference, policy, policy)
        with database.engine.connect() as connection:
            left = connection.execute(sa.text("SELECT DISTINCT parent_id FROM child")).scalars().all()
        assert left == [1]
        run(database.engine, DOWN, reference)
        assert_same(before, picture(database))


@pytest.mark.engines("sqlite")
def test_a_composite_key_is_looked_up_in_its_index_on_sqlite(database: Database) -> None:
    """By its first column, as long as there may be parameters for that too: not so for 12,000 keys."""
    t = sa.table("t", sa.column("a"), sa.column("b"))
    keys = [(number, f"k{number}") for number in range(12_000)]
    key_in = dialect_of(database.engine.dialect).key_in
    with database.engine.begin() as connection:
        connection.exec_driver_sql("CREATE TABLE t (a integer, b text COLLATE NOCASE, PRIMARY KEY (a, b))")
        connection.execute(
            sa.text("INSERT INTO t VALUES (:a, :b)"), [{"a": a, "b": b.upper()} for a, b in keys]
        )
        for some in (keys[:2], keys):
            found = sa.select(sa.func.count()).select_from(t).where(key_in([t.c.a, t.c.b], some))
            assert connection.scalar(found) == len(some)
        query = sa.select(t).where(key_in([t.c.a, t.c.b], keys[:2]))
        compiled = query.compile(connection, compile_kwargs={"render_postcompile": True})
        values = tuple(compiled.params[name] for name in compiled.positiontup or ())
        plan = connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {compiled}", values).all()
    assert any("SEARCH t USING" in row[3] for row in plan)
