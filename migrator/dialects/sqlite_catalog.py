"""Reads a SQLite table into the project's facts: from its own text, not from what can be reflected."""

from __future__ import annotations

from typing import Any

from sqlalchemy.engine import Connection

from migrator.catalog import ROWID, Column, ForeignKey, Index, Table
from migrator.dialects import sqlite_ddl
from migrator.dialects.sqlite_facts import read_table
from migrator.dialects.sqlite_tokens import quote_text
from migrator.nearest import unknown_table
from migrator.reference import TableName


def execute(connection: Connection, sql: str) -> list[Any]:
    """Run one statement and fetch all: an open cursor would keep DROP TABLE waiting for ever."""
    result = connection.exec_driver_sql(sql, execution_options={"no_parameters": True})
    return list(result.all()) if result.returns_rows else []


def table(connection: Connection, name: TableName) -> Table:
    """The table as SQLite has it.

    Raises:
        UnknownTableError: there is none; the message names the nearest.
    """

    def run(sql: str) -> list[Any]:
        return execute(connection, sql)

    found = run(
        "SELECT type, name, sql FROM main.sqlite_master WHERE type IN ('table', 'view') "
        f"AND name = {quote_text(name.name)} COLLATE NOCASE"
    )
    if not found:
        tables = run("SELECT name FROM main.sqlite_master WHERE type IN ('table', 'view')")
        raise unknown_table(name, [row[0] for row in tables])
    kind, stored, sql = found[0]
    if kind == "view" or (sql or "").lstrip()[:14].upper() == "CREATE VIRTUAL":
        return Table(
            TableName(stored, name.schema), "view" if kind == "view" else "virtual", _columns(run, stored)
        )
    text = read_table(run, stored)
    indexes = _indexes(run, stored)
    pragma = run(f"SELECT name, pk FROM pragma_table_xinfo({quote_text(stored)}) WHERE pk > 0 ORDER BY pk")
    keys = tuple(row[0] for row in pragma)
    unique = tuple(
        tuple(column for column in index.columns if column is not None)
        for index in indexes
        if index.unique and not index.partial and None not in index.columns
    )
    columns = _columns(run, stored, text.sql, text.has_rowid_alias)
    return Table(
        TableName(stored, name.schema),
        "table",
        columns,
        primary_key=keys,
        unique_keys=tuple(key for key in unique if key != keys),
        foreign_keys=_foreign_keys(run, TableName(stored, name.schema), text.sql),
        inbound=_inbound(run, stored),
        indexes=indexes,
        triggers=tuple(trigger for trigger, _ in text.triggers),
        sql=text.sql,
        extra={"text": text},
        address=None if "rowid" in {column.name.lower() for column in columns} else ROWID,
    )


def _columns(run: Any, name: str, sql: str | None = None, has_alias: bool = False) -> tuple[Column, ...]:
    rows = run(
        f'SELECT name, type, "notnull", dflt_value, pk, hidden FROM pragma_table_xinfo({quote_text(name)})'
        " ORDER BY cid"
    )
    declared = {column.name: column for column in sqlite_ddl.column_definitions(sql)} if sql else {}
    found = []
    for column, type_, notnull, default, pk, hidden in rows:
        text = declared.get(column)
        collation = text.collation if text is not None else None
        found.append(
            Column(
                column,
                type_ or "",
                nullable=not notnull,
                default=default,
                generated={2: "virtual", 3: "stored"}.get(hidden),  # type: ignore[arg-type]
                identity="auto" if pk and has_alias else None,
                collation=collation,
            )
        )
    return tuple(found)


def _indexes(run: Any, name: str) -> tuple[Index, ...]:
    found = []
    for index, unique, partial in run(
        f'SELECT name, "unique", partial FROM pragma_index_list({quote_text(name)}) ORDER BY name'
    ):
        columns = run(f"SELECT name FROM pragma_index_info({quote_text(index)}) ORDER BY seqno")
        found.append(
            Index(index, tuple(row[0] for row in columns), unique=bool(unique), partial=bool(partial))
        )
    return tuple(found)


def _foreign_keys(run: Any, child: TableName, sql: str) -> tuple[ForeignKey, ...]:
    """From the text: PRAGMA foreign_key_list knows no constraint names."""
    found = []
    for key in sqlite_ddl.foreign_keys(sql):
        parent_columns = key.parent_columns or _primary_key(run, key.parent)
        if len(parent_columns) != len(key.columns):
            continue  # SQLite accepts it and fails at the first write; it answers no reference
        found.append(
            ForeignKey(
                key.name,
                child,
                key.columns,
                TableName(key.parent),
                parent_columns,
                on_delete=(key.on_delete or "NO ACTION").upper(),
                on_update=(key.on_update or "NO ACTION").upper(),
                deferrable=bool(key.deferrable),
                initially_deferred="INITIALLY DEFERRED" in (key.deferrable or "").upper(),
            )
        )
    return tuple(found)


def _primary_key(run: Any, name: str) -> tuple[str, ...]:
    rows = run(f"SELECT name FROM pragma_table_xinfo({quote_text(name)}) WHERE pk > 0 ORDER BY pk")
    return tuple(row[0] for row in rows)


def _inbound(run: Any, name: str) -> tuple[ForeignKey, ...]:
    """Every foreign key of the schema that refers to this table."""
    tables = run("SELECT name, sql FROM main.sqlite_master WHERE type = 'table' AND sql IS NOT NULL")
    found = []
    for other, sql in tables:
        if "references" not in sql.lower() or sql.lstrip()[:14].upper() == "CREATE VIRTUAL":
            continue
        for key in _foreign_keys(run, TableName(other), sql):
            if key.parent.name.lower() == name.lower():
                found.append(key)
    return tuple(found)
