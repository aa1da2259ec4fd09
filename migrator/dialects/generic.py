"""The catalog as SQLAlchemy's Inspector sees it: enough to report on any database it can reach.

What an engine has no notion of (keys in Trino, indexes in BigQuery) comes back as none there are; the
Inspector says so in several ways, all of which mean the same to a report.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection
from sqlalchemy.engine.interfaces import ReflectedColumn, ReflectedForeignKeyConstraint

from migrator.catalog import Column, Facts, ForeignKey, Index, Server, Table
from migrator.nearest import unknown_column, unknown_table
from migrator.reference import Reference, TableName

_SILENT = (NotImplementedError, sa.exc.NoSuchTableError, sa.exc.UnreflectableTableError)


@contextmanager
def unknown_types() -> Iterator[None]:
    """SQLAlchemy warns of each column whose type it has no class for (xml, point, geometry, ...). Such
    columns are as good as others to us."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Did not recognize type", sa.exc.SAWarning)
        yield


def inspect_table(connection: Connection, name: TableName) -> Table:
    """The table, or view, as the Inspector has it. Sizes, triggers and inbound keys stay unknown.

    Raises:
        UnknownTableError: there is none; the message names the nearest.
    """
    inspector = sa.inspect(connection)
    tables = _names(inspector.get_table_names, name.schema)
    views = _names(inspector.get_view_names, name.schema)
    if name.name not in (*tables, *views) and not inspector.has_table(name.name, schema=name.schema):
        raise unknown_table(name, [*tables, *views])
    at: dict[str, Any] = {"schema": name.schema}
    unique = _ask(inspector.get_unique_constraints, name.name, **at)
    indexes = _ask(inspector.get_indexes, name.name, **at)
    keys = [tuple(key["column_names"]) for key in unique]
    keys += [
        tuple(index["column_names"])
        for index in indexes
        if index["unique"] and None not in index["column_names"] and not _is_partial(index)
    ]
    primary = _ask(inspector.get_pk_constraint, name.name, **at) or {}
    with unknown_types():
        columns = inspector.get_columns(name.name, schema=name.schema)
    return Table(
        name=name,
        kind="view" if name.name in views else "table",
        columns=tuple(column_of(connection, column) for column in columns),
        primary_key=tuple(primary.get("constrained_columns") or ()),
        unique_keys=tuple(dict.fromkeys(keys)),
        foreign_keys=tuple(
            _foreign_key(name, key) for key in _ask(inspector.get_foreign_keys, name.name, **at)
        ),
        indexes=tuple(
            Index(
                name=str(index["name"]),
                columns=tuple(index["column_names"]),
                unique=bool(index["unique"]),
                partial=_is_partial(index),
            )
            for index in indexes
        ),
    )


def facts_from(server: Server, reference: Reference, child: Table, parent: Table) -> Facts:
    """Facts from what any catalog has.

    Raises:
        UnknownColumnError: a column of the reference is in neither table; the nearest are named.
    """
    for table, columns in ((child, reference.columns), (parent, reference.parent_columns)):
        for column in columns:
            if not table.has(column):
                raise unknown_column(table.name, column, (there.name for there in table.columns))
    return Facts(server=server, reference=reference, child=child, parent=parent)


def _ask(method: Callable[..., Any], name: str, **at: Any) -> Any:
    try:
        return method(name, **at)
    except _SILENT:
        return []


def _names(method: Callable[..., list[str]], schema: str | None) -> list[str]:
    try:
        return method(schema=schema)
    except _SILENT:
        return []


def column_of(connection: Connection, column: ReflectedColumn) -> Column:
    """A column as the Inspector describes it."""
    try:
        type_ = column["type"].compile(connection.dialect)
    except sa.exc.CompileError:  # NullType: a type that SQLAlchemy does not know
        type_ = ""
    computed = column.get("computed")
    generated = None if not computed else "stored" if computed.get("persisted") else "virtual"
    return Column(
        name=str(column["name"]),
        type=type_,
        nullable=bool(column.get("nullable", True)),
        default=column.get("default"),
        generated=generated,  # type: ignore[arg-type]  # one of the two words above
        identity="auto" if column.get("autoincrement") is True or column.get("identity") else None,
        collation=getattr(column["type"], "collation", None),
    )


def _foreign_key(child: TableName, key: ReflectedForeignKeyConstraint) -> ForeignKey:
    options = key.get("options") or {}
    return ForeignKey(
        name=key["name"],
        child=child,
        columns=tuple(key["constrained_columns"]),
        parent=TableName(key["referred_table"], key["referred_schema"]),
        parent_columns=tuple(key["referred_columns"]),
        on_delete=str(options.get("ondelete") or "NO ACTION").upper(),
        on_update=str(options.get("onupdate") or "NO ACTION").upper(),
        match=str(options.get("match") or "simple").lower(),
        deferrable=bool(options.get("deferrable")),
        initially_deferred=str(options.get("initially") or "").upper() == "DEFERRED",
    )


def _is_partial(index: Any) -> bool:
    options = index.get("dialect_options") or {}
    return any(name.endswith("_where") and value is not None for name, value in options.items())
