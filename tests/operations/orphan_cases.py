"""Tables with orphans of every shape, and what a report must say of them, counted in Python."""

from __future__ import annotations

import random
import uuid
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Engine

from migrator.detect import Counts
from migrator.reference import Reference, TableName

Row = dict[str, Any]


@dataclass(frozen=True)
class Case:
    """A child and its parent, made and filled.

    Args:
        reference: between them.
        key: the child's key columns.
        parents, children: their rows.
    """

    reference: Reference
    key: tuple[str, ...]
    parents: list[Row]
    children: list[Row]

    def value(self, row: Row) -> tuple[Any, ...]:
        """A child row's reference."""
        return tuple(row[column] for column in self.reference.columns)

    def kind(self, row: Row) -> str:
        """valid, null, partial or dangling, by looking each parent up."""
        value = self.value(row)
        if None in value:
            return "null" if set(value) == {None} else "partial"
        there = {tuple(parent[column] for column in self.reference.parent_columns) for parent in self.parents}
        return "valid" if value in there else "dangling"

    def counts(self) -> Counts:
        """What `detect.count` must say."""
        kinds = Counter(self.kind(row) for row in self.children)
        missing = {self.value(row) for row in self.children if self.kind(row) == "dangling"}
        return Counts(
            len(self.children),
            kinds["valid"],
            kinds["null"],
            kinds["partial"],
            kinds["dangling"],
            len(missing),
        )

    def keys(self, kind: str) -> list[tuple[Any, ...]]:
        """The keys of the rows of one kind, in order."""
        rows = [row for row in self.children if self.kind(row) == kind]
        return sorted(tuple(row[column] for column in self.key) for row in rows)

    def missing(self) -> list[tuple[tuple[Any, ...], int]]:
        """The missing parents and how many rows name each, most first, then by value."""
        named = Counter(self.value(row) for row in self.children if self.kind(row) == "dangling")
        return sorted(named.items(), key=lambda item: (-item[1], item[0]))


def table(engine: Engine, name: str, *columns: sa.Column[Any]) -> sa.Table:
    """A table whose text is compared byte for byte on MySQL and MariaDB too, as Python does."""
    with engine.connect() as connection:  # the dialect learns here which of the two it talks to
        is_mariadb = getattr(connection.dialect, "is_mariadb", False)
    collation = "utf8mb4_nopad_bin" if is_mariadb else "utf8mb4_0900_bin"
    return sa.Table(name, sa.MetaData(), *columns, mysql_collate=collation, mariadb_collate=collation)


def key(name: str, type_: Any = sa.Integer) -> sa.Column[Any]:
    """A column of a primary key whose values the test states."""
    return sa.Column(name, type_, primary_key=True, autoincrement=False)


def fill(engine: Engine, made: sa.Table, rows: list[Row]) -> None:
    """Create a table and insert its rows, in one statement: odd names make odd parameter names."""
    with engine.begin() as connection:
        made.create(connection)
        if rows:
            values: list[Mapping[Any, Any]] = [
                {made.c[name]: value for name, value in row.items()} for row in rows
            ]
            connection.execute(sa.insert(made).values(values))


def simple(engine: Engine, child: str = "post", parent: str = "user", column: str = "user_id") -> Case:
    """One integer column; some parents named by several orphans."""
    drawn = random.Random(3)
    parents = [{"id": key} for key in range(1, 30) if key % 4]
    children = [{"id": key, column: drawn.choice([None, *range(1, 34)])} for key in range(1, 201)]
    fill(engine, table(engine, parent, key("id")), parents)
    made = table(
        engine,
        child,
        key("id"),
        sa.Column(column, sa.Integer),
    )
    fill(engine, made, children)
    reference = Reference(TableName(child), (column,), TableName(parent), ("id",))
    return Case(reference, ("id",), parents, children)


def awkward(engine: Engine) -> Case:
    """Reserved words, CamelCase, blanks, percent signs, quotes: all at once."""
    return simple(engine, 'Order "of" 100% %s', "select", "User's %s 5% :x")


def clashing(engine: Engine) -> Case:
    """A reference column with the name of something a counting query might call its own."""
    return simple(engine, "c", "p", "n")


def itself(engine: Engine) -> Case:
    """A table that refers to itself, some rows to themselves."""
    drawn = random.Random(4)
    rows = [{"id": key, "parent_id": drawn.choice([None, key, *range(1, 90)])} for key in range(1, 60)]
    made = table(
        engine,
        "node",
        key("id"),
        sa.Column("parent_id", sa.Integer),
    )
    fill(engine, made, rows)
    return Case(Reference.parse("node.parent_id -> node.id"), ("id",), rows, rows)


def composite(engine: Engine) -> Case:
    """Two columns, in another order than in the parent, and a child whose key is two columns as well."""
    drawn = random.Random(5)
    parents = [{"country": country, "code": code} for country in "ABC" for code in (1, 2, 3)]
    children = [
        {
            "part": part,
            "number": number,
            "land": drawn.choice([None, *"ABCD"]),
            "region": drawn.choice([None, 1, 2, 3, 4]),
        }
        for part in ("x", "y")
        for number in range(60)
    ]
    fill(
        engine,
        table(
            engine,
            "region",
            key("country", sa.String(2)),
            key("code"),
        ),
        parents,
    )
    made = table(
        engine,
        "city",
        key("part", sa.String(2)),
        key("number"),
        sa.Column("region", sa.Integer),
        sa.Column("land", sa.String(2)),
    )
    fill(engine, made, children)
    reference = Reference.parse("city(region, land) -> region(code, country)")
    return Case(reference, ("part", "number"), parents, children)


def half_null(engine: Engine) -> Case:
    """Of the reference's two columns one is NOT NULL from the beginning."""
    parents = [{"country": country, "code": code} for country in "AB" for code in (1, 2)]
    children = [
        {"id": 10 * code + at, "land": land, "region": code}
        for at, land in enumerate(["A", "B", "C", None])
        for code in (1, 2, 3)
    ]
    fill(engine, table(engine, "region", key("country", sa.String(2)), key("code")), parents)
    columns = (sa.Column("land", sa.String(2)), sa.Column("region", sa.Integer, nullable=False))
    fill(engine, table(engine, "city", key("id"), *columns), children)
    return Case(Reference.parse("city(region, land) -> region(code, country)"), ("id",), parents, children)


def within_key(engine: Engine) -> Case:
    """The reference's two columns are part of the child's own key: a row given a parent has another key."""
    parents = [{"country": country, "code": code} for country in "ABC" for code in (1, 2)]
    children = [
        {"land": land, "region": region, "number": 10 * region + at, "name": f"{land}{region}"}
        for at, land in enumerate("ABCDE")
        for region in (1, 2, 3)
    ]
    parent = table(engine, "region", key("country", sa.String(2)), key("code"))
    columns = (key("land", sa.String(2)), key("region"), key("number"))
    fill(engine, parent, parents)
    fill(engine, table(engine, "town", *columns, sa.Column("name", sa.String(9))), children)
    reference = Reference.parse("town(region, land) -> region(code, country)")
    return Case(reference, ("land", "region", "number"), parents, children)


def text_keys(engine: Engine) -> Case:
    """Keys that are text, with quotes, percent signs, blanks and letters beyond ASCII."""
    drawn = random.Random(6)
    words = ["a", "A", "", " ", "it's", '"q"', "100%", "%s", "é", "e", "\\", "漢字"]
    parents = [{"word": word} for word in words[:8]]
    children = [{"id": key, "word": drawn.choice([None, *words, "gone"])} for key in range(1, 120)]
    fill(engine, table(engine, "word", key("word", sa.String(20))), parents)
    made = table(
        engine,
        "use",
        key("id"),
        sa.Column("word", sa.String(20)),
    )
    fill(engine, made, children)
    return Case(Reference.parse("use.word -> word.word"), ("id",), parents, children)


def uuid_keys(engine: Engine) -> Case:
    """UUIDs, in the type that each engine has for them; on MySQL and SQLite that is CHAR(32)."""
    native = engine.dialect.name == "postgresql"
    type_: sa.types.TypeEngine[Any] = sa.Uuid() if native else sa.String(36)
    drawn = random.Random(7)
    made_up = [uuid.UUID(int=drawn.getrandbits(128)) for _ in range(20)]
    keys: list[Any] = [*made_up] if native else [str(one) for one in made_up]
    parents = [{"id": key} for key in keys[:12]]
    children = [{"id": key, "owner": drawn.choice([None, *keys])} for key in keys]
    fill(engine, table(engine, "owner", key("id", type_)), parents)
    made = table(engine, "thing", key("id", type_), sa.Column("owner", type_))
    fill(engine, made, children)
    return Case(Reference.parse("thing.owner -> owner.id"), ("id",), parents, children)


CASES = (simple, awkward, clashing, itself, composite, text_keys, uuid_keys)


def all_cases(engine: Engine) -> list[Case]:
    """Every case, in one database."""
    return [make(engine) for make in CASES]
