"""Columns that look like references and have no foreign key, by name and type.

`user_id`, `OwnerUserId` and `userid` name a table that is there and its key; `country_code` names the
key `code` of `country`; `parent_id` names its own table; columns that are named like all of another
table's composite key name that. Whether the values agree is for a count to say.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from migrator.catalog import Column
from migrator.dialects.generic import column_of, unknown_types
from migrator.naming import is_own_table
from migrator.nearest import check_schema
from migrator.reference import Reference, TableName
from migrator.typefamily import family


@dataclass(frozen=True)
class Candidate:
    """A column, or several, that look like a reference.

    Args:
        reference: what it would be. A reference of a table to itself is taken to allow NULL.
        why: what gave it away, in words.
    """

    reference: Reference
    why: str


@dataclass(frozen=True)
class _Table:
    name: TableName
    words: tuple[str, ...]
    columns: dict[str, Column]
    key: tuple[str, ...]
    declared: frozenset[tuple[str, ...]]

    def takes(self, column: Column, key: str) -> bool:
        """Whether a column's type goes with the key's."""
        return len({family(column), family(self.columns[key])} - {"untyped"}) <= 1


def candidates(connection: Connection, *, schema: str | None = None) -> list[Candidate]:
    """All candidates of a schema, by table and column.

    Args:
        connection: only its catalog is read.
        schema: where to look; by default the server's own.

    Raises:
        UsageError: there is no such schema.
        sqlalchemy.exc.DBAPIError: as the driver said it.
    """
    check_schema(connection, schema)
    tables = _tables(connection, schema)
    return [found for child in tables for found in (*_single(child, tables), *_composite(child, tables))]


def candidates_in(metadata: sa.MetaData) -> list[Candidate]:
    """The same among the tables that models describe; no database is asked."""
    default = sa.engine.default.DefaultDialect()
    tables = [
        _Table(
            TableName(table.name, table.schema),
            _table_words(table.name),
            {column.name: _described(column, default) for column in table.columns},
            tuple(column.name for column in table.primary_key.columns),
            frozenset(tuple(column.name for column in key.columns) for key in table.foreign_key_constraints),
        )
        for table in sorted(metadata.tables.values(), key=lambda table: (table.schema or "", table.name))
    ]
    return [found for child in tables for found in (*_single(child, tables), *_composite(child, tables))]


def words(name: str) -> tuple[str, ...]:
    """A name in lower-case words: `OwnerUserId` and `owner_user_id` are the same three."""
    spaced = re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", " ", name)
    return tuple(re.findall(r"[^\W_]+", spaced.lower()))


def singular(word: str) -> str:
    """`users` as `user`, `cities` as `city`, `addresses` as `address`; `news` and `status` stay."""
    if word.endswith("ies") and len(word) > 4:
        return word[:-3] + "y"
    if re.search(r"(?:ss|x|z|ch|sh)es$", word):
        return word[:-2]
    if word.endswith("s") and not word.endswith(("ss", "us", "is", "ws")):
        return word[:-1]
    return word


def _tables(connection: Connection, schema: str | None) -> list[_Table]:
    inspector = sa.inspect(connection)
    try:
        with unknown_types():
            columns = inspector.get_multi_columns(schema=schema)
        keys: Any = inspector.get_multi_pk_constraint(schema=schema)
        declared: Any = inspector.get_multi_foreign_keys(schema=schema)
    except NotImplementedError:
        return []
    return [
        _Table(
            TableName(at[1], at[0]),
            _table_words(at[1]),
            {str(column["name"]): column_of(connection, column) for column in described},
            tuple((keys.get(at) or {}).get("constrained_columns") or ()),
            frozenset(tuple(key["constrained_columns"]) for key in declared.get(at) or ()),
        )
        for at, described in sorted(columns.items(), key=lambda item: (item[0][0] or "", item[0][1]))
        if not is_own_table(at[1])
    ]


def _described(column: sa.Column[Any], dialect: sa.Dialect) -> Column:
    try:
        type_ = column.type.compile(dialect)
    except sa.exc.CompileError:  # a type of one database only
        type_ = ""
    generated = "stored" if column.computed is not None else None
    return Column(column.name, type_, bool(column.nullable), generated=generated)  # type: ignore[arg-type]


def _table_words(name: str) -> tuple[str, ...]:
    parts = words(name)
    return (*parts[:-1], singular(parts[-1])) if parts else ()


def _single(child: _Table, tables: list[_Table]) -> Iterator[Candidate]:
    taken = {column for columns in child.declared for column in columns}
    for column in child.columns.values():
        if column.name in taken or column.generated or (column.name,) == child.key == ("id",):
            continue
        found = [
            (score, parent)
            for parent in tables
            if len(parent.key) == 1
            and parent.takes(column, parent.key[0])
            and (score := _score(child, column, parent))
        ]
        if found:
            # The longest table name that fits: `blog_post_id` is of blog_post, not of post.
            _, parent = max(found, key=lambda one: (one[0], one[1].name == child.name))
            yield _candidate(child, (column.name,), parent)


def _score(child: _Table, column: Column, parent: _Table) -> int:
    """How many words of the column's name speak for the parent; 0 for none."""
    ours, key = words(column.name), words(parent.key[0])
    if child.name == parent.name:
        if (column.name,) == parent.key:
            return 0
        if ours == ("parent", *key):
            return len(ours)
    is_own_key = (column.name,) == child.key
    # A key that carries its table's name (user.user_id) needs it only once.
    carries = key[: len(parent.words)] == parent.words
    full = key if carries else (*parent.words, *key)
    if ours == full or "".join(ours) == "".join(full):
        return len(full) + 1
    if ours[-len(full) :] == full and not is_own_key:
        return len(full)
    if ours == parent.words and family(column) in ("integer", "uuid") and not is_own_key:
        return len(ours)
    # A key with a telling name of its own (`isbn`, `country_code`) under that same name.
    if ours == key and len("".join(key)) > 3 and not is_own_key and key not in (("name",), ("uuid",)):
        return len(key)
    return 0


def _composite(child: _Table, tables: list[_Table]) -> Iterator[Candidate]:
    for parent in tables:
        key = parent.key
        if len(key) < 2 or parent.name == child.name or not set(key) <= set(child.columns):
            continue
        if set(key) == set(child.key) or any(set(columns) == set(key) for columns in child.declared):
            continue
        if all(parent.takes(child.columns[column], column) for column in key):
            yield _candidate(child, key, parent)


def _candidate(child: _Table, columns: tuple[str, ...], parent: _Table) -> Candidate:
    itself = child.name == parent.name
    reference = Reference(child.name, columns, parent.name, parent.key, nullable=itself)
    named = ", ".join(columns)
    if len(columns) > 1:
        return Candidate(reference, f"{named} are named like the key of {parent.name}")
    what = "its own table" if itself else f"table {parent.name}"
    return Candidate(reference, f"{named} names {what} and has the type of its key")
