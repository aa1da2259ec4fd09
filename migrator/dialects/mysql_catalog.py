"""Reads a table from `information_schema` and `SHOW CREATE TABLE`.

Neither keeps a metadata lock beyond its statement, inside a transaction or not, so a waiting ALTER
does not wait for us. But MySQL answers inside a transaction from its snapshot: read facts in autocommit
mode, or first thing in a transaction. Names are compared here and not by the server: MariaDB's
information_schema compares them without regard to case and accents, whatever `lower_case_table_names`
says.

Source: https://dev.mysql.com/doc/refman/8.4/en/information-schema.html,
https://mariadb.com/kb/en/information-schema-tables/, and the tests beside this project.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import groupby
from typing import Any, Literal

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from migrator.catalog import Column, Index, Table
from migrator.dialects.mysql_definition import ColumnText, columns_of, quote
from migrator.dialects.mysql_keys import Keys
from migrator.dialects.mysql_words import GUARD_PREFIX
from migrator.errors import UnknownTableError
from migrator.nearest import unknown_table
from migrator.reference import TableName

Record = Sequence[Any]

# Modes under which SHOW CREATE TABLE says something else.
_CHANGE_SHOW_CREATE = frozenset({"ANSI", "ANSI_QUOTES", "DB2", "MAXDB", "MSSQL", "MYSQL323", "MYSQL40"}) | {
    "NO_BACKSLASH_ESCAPES",
    "NO_FIELD_OPTIONS",
    "NO_KEY_OPTIONS",
    "NO_TABLE_OPTIONS",
    "ORACLE",
    "POSTGRESQL",
}
_COLUMNS = """
    SELECT column_name, column_type, is_nullable, extra, character_set_name, collation_name,
           data_type, table_name
      FROM information_schema.columns
     WHERE table_schema = :database AND table_name = :name ORDER BY ordinal_position"""
_INDEXES = """
    SELECT index_name, column_name, non_unique, sub_part, index_type, {visible}, table_name
      FROM information_schema.statistics
     WHERE table_schema = :database AND table_name = :name ORDER BY index_name, seq_in_index"""
_TRIGGERS = """
    SELECT trigger_name, event_object_table FROM information_schema.triggers
     WHERE event_object_schema = :database AND event_object_table = :name ORDER BY trigger_name"""
_TABLES = """
    SELECT table_name, table_type, engine, table_rows, data_length + index_length, create_options
      FROM information_schema.tables WHERE table_schema = :database"""


@dataclass(frozen=True)
class Catalog:
    """The catalog of one server, as one connection sees it.

    Args:
        connection: any connection to the server.
        mariadb: whether it is MariaDB.
        database: the current database, None where the URL names none.
        fold: how this server compares table names (`lower_case_table_names`).
        plain: whether the session's `sql_mode` leaves SHOW CREATE TABLE as it is by default.
    """

    connection: Connection
    mariadb: bool
    database: str | None
    fold: Callable[[str], str]
    plain: bool

    @classmethod
    def of(cls, connection: Connection, *, mariadb: bool) -> Catalog:
        """Ask the server how it is set up."""
        row = connection.exec_driver_sql(
            "SELECT DATABASE(), @@lower_case_table_names, @@sql_quote_show_create, @@sql_mode"
        ).one()
        fold: Callable[[str], str] = str.lower if int(row[1]) else str
        plain = int(row[2]) == 1 and not _CHANGE_SHOW_CREATE & set(str(row[3]).upper().split(","))
        return cls(connection, mariadb, row[0], fold, plain)

    def table(self, name: TableName) -> Table:
        """The table or view.

        Raises:
            UnknownTableError: there is none, or no database is named at all.
        """
        database = name.schema or self.database
        if database is None:
            raise UnknownTableError(
                f"Table {name}: the connection has no current database.",
                hint="Name it in the URL (mysql://user@host/database) or write database.table.",
            )
        about = self._about(database, name)
        stored = str(about[0])
        here = TableName(name.name, name.schema)
        view = str(about[1]).upper() == "VIEW" or about[1] == "SYSTEM VIEW"
        indexes = tuple(self._indexes(database, stored))
        triggers = self._triggers(database, stored)
        keys = Keys(self.connection, self.mariadb, self.database, self.fold)
        texts = {} if view else columns_of(self._show_create(database, stored))
        columns = tuple(self._columns(database, stored, texts))
        return Table(
            name=here,
            kind=_kind(str(about[1]), str(about[5] or "")),
            columns=columns,
            primary_key=next((_all(ix.columns) for ix in indexes if ix.name == "PRIMARY"), ()),
            unique_keys=tuple(
                _all(ix.columns)
                for ix in indexes
                if ix.unique and ix.name != "PRIMARY" and None not in ix.columns
            ),
            foreign_keys=tuple(keys.of(database, stored, here)),
            inbound=tuple(keys.inbound(database, stored, here)),
            indexes=indexes,
            triggers=tuple(trigger for trigger in triggers if not trigger.startswith(GUARD_PREFIX)),
            estimated_rows=None if about[3] is None else int(about[3]),
            bytes=None if about[4] is None else int(about[4]),
            engine=None if about[2] is None else str(about[2]),
            extra={
                "database": database,
                "stored_name": stored,
                "type": str(about[1]),
                "guards": tuple(trigger for trigger in triggers if trigger.startswith(GUARD_PREFIX)),
                "no_default": tuple(
                    name for name, text in texts.items() if text.default is None and not text.default_null
                ),
            },
        )

    def _ask(self, query: str, **values: Any) -> list[Record]:
        return list(self.connection.execute(sa.text(query), values).all())

    def _about(self, database: str, name: TableName) -> Record:
        # Without this MySQL 8 answers sizes that are up to a day old.
        if not self.mariadb:
            self.connection.exec_driver_sql("SET SESSION information_schema_stats_expiry = 0")
        found = self._ask(_TABLES + " AND table_name = :name", database=database, name=name.name)
        for row in found:
            if self.fold(str(row[0])) == self.fold(name.name):
                return row
        there = self._ask(
            "SELECT table_name FROM information_schema.tables WHERE table_schema = :database",
            database=database,
        )
        raise unknown_table(name, [str(row[0]) for row in there])

    def _columns(self, database: str, stored: str, texts: dict[str, ColumnText]) -> Iterator[Column]:
        for row in self._ask(_COLUMNS, database=database, name=stored):
            if str(row[7]) == stored:
                yield _column(row, texts.get(str(row[0])))

    def _show_create(self, database: str, stored: str) -> str:
        with self._plain_session():
            statement = f"SHOW CREATE TABLE {quote(database)}.{quote(stored)}"
            row = self.connection.exec_driver_sql(statement, execution_options={"no_parameters": True}).one()
        return str(row[1])

    @contextmanager
    def _plain_session(self) -> Iterator[None]:
        """Without the modes that change what SHOW CREATE TABLE says."""
        if self.plain:
            yield
            return
        run = self.connection.exec_driver_sql
        run("SET @migrator_mode = @@sql_mode, @migrator_quotes = @@sql_quote_show_create")
        run("SET SESSION sql_mode = '', SESSION sql_quote_show_create = 1")
        try:
            yield
        finally:
            run("SET SESSION sql_mode = @migrator_mode, SESSION sql_quote_show_create = @migrator_quotes")

    def _indexes(self, database: str, stored: str) -> Iterator[Index]:
        visible = "ignored = 'NO'" if self.mariadb else "is_visible = 'YES'"
        rows = self._ask(_INDEXES.format(visible=visible), database=database, name=stored)
        ours = [row for row in rows if str(row[6]) == stored]
        for name, parts in groupby(ours, key=lambda row: str(row[0])):
            columns = list(parts)
            yield Index(
                name=name,
                # An expression has no column; a prefix of a column serves no foreign key.
                columns=tuple(None if row[1] is None or row[3] else str(row[1]) for row in columns),
                unique=not int(columns[0][2]),
                valid=bool(columns[0][5]),
                kind=str(columns[0][4]).lower(),
            )

    def _triggers(self, database: str, stored: str) -> list[str]:
        rows = self._ask(_TRIGGERS, database=database, name=stored)
        return [str(row[0]) for row in rows if self.fold(str(row[1])) == self.fold(stored)]


def _column(row: Record, text: ColumnText | None) -> Column:
    extra = str(row[3] or "").lower()
    generated: Literal["stored", "virtual"] | None = None
    if "generated" in extra.replace("default_generated", ""):
        generated = "virtual" if "virtual" in extra else "stored"
    charset = f" CHARACTER SET {row[4]} COLLATE {row[5]}" if row[4] else ""
    return Column(
        name=str(row[0]),
        type=f"{row[1]}{charset}",
        nullable=str(row[2]) == "YES",
        default=text.default if text else None,
        generated=generated,
        identity="auto" if "auto_increment" in extra else None,
        on_update_now="on update" in extra,
        invisible="invisible" in extra,
        definition=text.definition if text else "",
        collation=str(row[5]) if row[5] else None,
        # Shown with six digits, and no row is equal to those (manual, B.3.4.8).
        rounded=str(row[1]).lower().startswith("float"),
    )


def _kind(type_: str, options: str) -> str:
    if "VIEW" in type_.upper():
        return "view"
    if "partitioned" in options.lower():
        return "partitioned"
    return "table"


def _all(columns: tuple[str | None, ...]) -> tuple[str, ...]:
    return tuple(column for column in columns if column is not None)
