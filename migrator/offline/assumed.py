"""The catalog of a database that cannot be asked: the tables as some metadata would create them.

Types are spelled as the servers' own catalogs spell them, so that a script can compare them with what it
finds before it changes anything.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

import sqlalchemy as sa

from migrator.catalog import Column, Index, Table
from migrator.dialects import Dialect
from migrator.reference import Reference, TableName

# How `format_type` answers to the names SQLAlchemy writes.
_POSTGRESQL: Mapping[str, str] = {
    "VARCHAR": "character varying",
    "CHAR": "character",
    "INTEGER": "integer",
    "FLOAT": "double precision",
    "DECIMAL": "numeric",
    "BOOL": "boolean",
}


def table_of(dialect: Dialect, metadata: sa.MetaData, name: TableName, version: tuple[int, ...]) -> Table:
    """A table of the metadata as the catalog would have it after CREATE TABLE.

    Args:
        dialect: ours for the database.
        metadata, name: which table; it is in the metadata.
        version: the server's.
    """
    table = metadata.tables[name.name if name.schema is None else f"{name.schema}.{name.name}"]
    key = tuple(column.name for column in table.primary_key.columns)
    unique = [each for each in table.constraints if isinstance(each, sa.UniqueConstraint)]
    indexes = [
        Index(str(each.name), tuple(column.name for column in each.columns), unique=True) for each in unique
    ]
    indexes += [
        Index(str(each.name), tuple(column.name for column in each.columns), unique=bool(each.unique))
        for each in table.indexes
    ]
    return Table(
        TableName(name.name, name.schema or ("public" if dialect.family == "postgresql" else None)),
        "table",
        tuple(_column(dialect, table, column, version) for column in table.columns),
        primary_key=key,
        unique_keys=tuple(tuple(str(name) for name in index.columns) for index in indexes if index.unique),
        indexes=tuple(indexes),
        engine="InnoDB" if dialect.family in ("mysql", "mariadb") else None,
    )


def made_for(made: Iterable[sa.MetaData], reference: Reference) -> sa.MetaData | None:
    """The first metadata that has the tables of a reference, and in them its columns."""
    names = {reference.child.name, reference.parent.name}
    return next((one for one in made if names <= set(one.tables) and _has_columns(one, reference)), None)


def _has_columns(metadata: sa.MetaData, reference: Reference) -> bool:
    sides: list[tuple[TableName, tuple[str, ...]]] = [
        (reference.child, reference.columns),
        (reference.parent, reference.parent_columns),
    ]
    return all(
        name.schema is None and set(columns) <= set(metadata.tables[name.name].columns.keys())
        for name, columns in sides
    )


def _column(dialect: Dialect, table: sa.Table, column: sa.Column[Any], version: tuple[int, ...]) -> Column:
    type_ = _type(dialect, column, version)
    is_auto = table.autoincrement_column is column
    default = "nextval" if is_auto and dialect.family == "postgresql" else None
    return Column(
        column.name,
        type_,
        nullable=bool(column.nullable),
        default=default,
        identity="auto" if is_auto else None,
        definition=type_,
    )


def _type(dialect: Dialect, column: sa.Column[Any], version: tuple[int, ...]) -> str:
    words = column.type.compile(dialect=dialect.sa)
    if dialect.family == "postgresql":
        head, rest = re.fullmatch(r"([A-Z]+)(.*)", words, re.DOTALL).groups()  # type: ignore[union-attr]
        return (_POSTGRESQL.get(head, head) + rest).lower()
    shown = words.lower().replace("integer", "int")
    # Servers that still show a display width: MariaDB, and MySQL before 8.0.19.
    if shown == "int" and (dialect.family == "mariadb" or version < (8, 0, 19)):
        return "int(11)"
    return shown
