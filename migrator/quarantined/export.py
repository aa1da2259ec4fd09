"""Quarantined rows written out, row by row as the server gives them: CSV, JSON Lines, SQL statements."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from contextlib import closing
from typing import Any, Protocol, TextIO

from sqlalchemy.engine import Connection

from migrator.catalog import Column, shown
from migrator.dialects import Dialect
from migrator.exact import Exact, exact_for
from migrator.mirror import CHANGED, DELETED
from migrator.quarantined.holdings import Holding, Selection
from migrator.quarantined.rows import HeldRow, held_rows, mirror_columns

#: What a line of CSV says about a row before the row itself.
_HEAD = ("reference", "run", "kind", "action", "state", "at", "table")


def export(
    out: TextIO,
    form: str,
    connection: Connection,
    dialect: Dialect,
    found: Iterable[Holding],
    selection: Selection,
) -> int:
    """Write the selected rows; memory stays flat.

    Args:
        form: `csv`, `jsonl` or `sql`.
        connection: in a read-only transaction; must stay open meanwhile.

    Returns:
        How many rows were written.
    """
    every = list(found)
    columns = {of.mirror.name: mirror_columns(connection, dialect, of) for of in every}
    kinds: dict[str, Callable[..., _Writer]] = {"csv": _Csv, "jsonl": _Lines, "sql": _Sql}
    writer = kinds[form](out, dialect, every)
    count = 0
    for holding in every:
        with closing(held_rows(connection, dialect, holding, selection)) as rows:
            for row in rows:
                writer.write(row, columns[holding.mirror.name])
                count += 1
    return count


class _Writer(Protocol):
    def write(self, row: HeldRow, columns: Mapping[str, Column]) -> None: ...


class _Csv:
    """One header for all tables. NULL is an empty field, an empty text is `""`, as COPY writes them."""

    def __init__(self, out: TextIO, dialect: Dialect, found: list[Holding]) -> None:
        self.out, self.exact = out, exact_for(dialect)
        self.names = list(dict.fromkeys(name for of in found for name in of.mirror.columns))
        self.new = list(dict.fromkeys(name for of in found for name in of.mirror.reference_columns))
        self._line([*_HEAD, *(f"value:{name}" for name in self.names), *(f"new:{name}" for name in self.new)])

    def write(self, row: HeldRow, columns: Mapping[str, Column]) -> None:
        """One line."""
        head = [str(row.holding.reference), row.run, row.kind, row.action, row.state, row.at]
        values = [_cell(self.exact, row.values.get(name), columns.get(name)) for name in self.names]
        new = [_cell(self.exact, row.new.get(name), columns.get(name)) for name in self.new]
        self._line([*head, str(row.holding.mirror.source), *values, *new])

    def _line(self, fields: Iterable[str | None]) -> None:
        self.out.write(",".join(_field(field) for field in fields) + "\n")


class _Lines:
    """One JSON object in each line."""

    def __init__(self, out: TextIO, dialect: Dialect, found: list[Holding]) -> None:
        self.out, self.exact = out, exact_for(dialect)

    def write(self, row: HeldRow, columns: Mapping[str, Column]) -> None:
        """One object."""
        self.out.write(json.dumps(row_to_json(row, columns, self.exact), ensure_ascii=False) + "\n")


class _Sql:
    """What a hand would run to put the rows back: an INSERT for a removed one; for a changed one an UPDATE
    that touches it only while it still has the value we set."""

    def __init__(self, out: TextIO, dialect: Dialect, found: list[Holding]) -> None:
        self.out, self.dialect, self.exact = out, dialect, exact_for(dialect)

    def write(self, row: HeldRow, columns: Mapping[str, Column]) -> None:
        """One statement; a row that is only evidence becomes a comment."""
        mirror, quote = row.holding.mirror, self.dialect.quote
        table = self.dialect.table_sql(mirror.source)
        literal = {name: self.exact.literal(value, columns[name]) for name, value in row.values.items()}
        if row.action == DELETED:
            names = self.dialect.columns_sql(mirror.stored)
            values = ", ".join(literal[name] for name in mirror.stored)
            insert = f"INSERT INTO {table} ({names})"
            statement = self.dialect.insert_identity(insert + " VALUES")
            self.out.write(f"{statement} ({values});\n")
        elif row.action == CHANGED:
            given = ", ".join(f"{quote(name)} = {literal[name]}" for name in mirror.reference_columns)
            new = {name: self.exact.literal(value, columns[name]) for name, value in row.new.items()}
            if mirror.by_address:
                where = [_is(quote(name), new.get(name, literal[name])) for name in mirror.stored]
                place = quote(shown(mirror.key[0]))
                one = f"SELECT {place} FROM {table} WHERE {' AND '.join(where)} LIMIT 1"
                where = [f"{place} = ({one})"]
            else:
                # A key that the reference is part of is the one that the sweep gave the row.
                where = [f"{quote(name)} = {literal[name]}" for name in mirror.key if name not in new]
                where += [_is(quote(name), value) for name, value in new.items()]
            self.out.write(f"UPDATE {table} SET {given} WHERE {' AND '.join(where)};\n")
        else:
            named = ", ".join(f"{name} = {literal[name]}" for name in mirror.key)
            comment = " ".join(f"{row.action}: {mirror.source} {named}".split())
            self.out.write(f"-- {comment}\n")


def row_to_json(row: HeldRow, columns: Mapping[str, Column], exact: Exact) -> dict[str, Any]:
    """A row with everything about it, as JSON Lines and `show --format json` have it."""

    def plain(values: Mapping[str, Any]) -> dict[str, Any]:
        return {name: exact.plain(value, columns[name]) for name, value in values.items()}

    return {
        "reference": str(row.holding.reference),
        "table": str(row.holding.mirror.source),
        "id": row.id,
        "run": row.run,
        "kind": row.kind,
        "action": row.action,
        "state": row.state,
        "at": row.at,
        "reason": row.reason,
        "key": {shown(name): value for name, value in plain(row.place or row.key).items()},
        "row": plain(row.values),
        "new": plain(row.new) or None,
    }


def _cell(exact: Exact, value: Any, column: Column | None) -> str | None:
    if value is None or column is None:
        return None
    return str(exact.plain(value, column))


def _field(value: str | None) -> str:
    if value is None:
        return ""
    if not value or any(mark in value for mark in ',"\r\n') or value != value.strip():
        return '"' + value.replace('"', '""') + '"'
    return value


def _is(column: str, literal: str) -> str:
    return f"{column} IS NULL" if literal == "NULL" else f"{column} = {literal}"
