"""Quarantined rows one by one, streamed, every value exact."""

from __future__ import annotations

from collections.abc import Generator, Mapping
from dataclasses import dataclass, field
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from migrator.catalog import Column, Table, shown
from migrator.dialects import Dialect
from migrator.exact import Exact, exact_for
from migrator.mirror import ACTION, AT, CHANGED, CREATED, DELETED, ID, KIND, RUN_ID, STATE
from migrator.plainsql import number_sql
from migrator.quarantined.holdings import Holding, Selection
from migrator.report.values import pairs

_OURS = (ID, RUN_ID, KIND, ACTION, STATE, AT)


@dataclass(frozen=True)
class HeldRow:
    """One quarantined row.

    Args:
        holding: where it lies.
        id: its number in the mirror.
        values: the whole original row, as `Exact.text` gives values.
        new: for a changed row: what we set its columns to.
        place: where it was, of a table without a key.
    """

    holding: Holding
    id: int
    run: str
    kind: str
    action: str
    state: str
    at: str
    values: Mapping[str, Any]
    new: Mapping[str, Any]
    place: Mapping[str, Any] = field(default_factory=dict)

    @property
    def key(self) -> dict[str, Any]:
        """What names the row."""
        if self.place:
            return {shown(column): value for column, value in self.place.items()}
        return {column: self.values[column] for column in self.holding.mirror.key}

    @property
    def reference_values(self) -> dict[str, Any]:
        """The columns the reference is about, as they were."""
        return {column: self.values[column] for column in self.holding.mirror.reference_columns}

    @property
    def reason(self) -> str:
        """Why it was set aside and what was done, in a sentence."""
        return f"{self._why()}; {self._done()}"

    def _why(self) -> str:
        reference = self.holding.reference
        if self.kind == "dependant":
            return "it referred to a row that was removed"
        if self.action == CREATED:
            return "rows named it and it was not there"
        columns = ", ".join(reference.columns)
        if self.kind == "null":
            return f"{columns} was NULL"
        if self.kind == "partial":
            return f"{columns} was NULL in part: {pairs(self.reference_values)}"
        return f"{pairs(self.reference_values)} names no row of {reference.parent}"

    def _done(self) -> str:
        if self.action == DELETED:
            return "the row was removed"
        if self.action == CHANGED:
            return f"set to {pairs(self.new)}"
        return "it was created" if self.action == CREATED else "the parent was created"


def held_rows(
    connection: Connection,
    dialect: Dialect,
    holding: Holding,
    selection: Selection,
    *,
    limit: int | None = None,
    after: int = 0,
) -> Generator[HeldRow]:
    """The selected rows of one mirror in the order in which they were taken.

    Args:
        connection: must stay open while they are read; without `limit` through a cursor of the server's,
            so that memory stays flat however many there are.
        after: only rows with higher numbers than this.
    """
    exact = exact_for(dialect)
    columns = mirror_columns(connection, dialect, holding)
    clause, mirror = holding.mirror.clause, holding.mirror
    new = [columns[column] for column in mirror.reference_columns]
    query = (
        sa.select(
            *(clause.c[name] for name in _OURS),
            *(exact.text(cell, of).label(None) for cell, of in zip(mirror.new(clause), new, strict=True)),
            *(exact.text(clause.c[name], columns[name]).label(None) for name in mirror.captured),
        )
        .where(*selection.where(mirror, clause))
        .order_by(clause.c[ID])
    )
    if limit is None:
        query = query.execution_options(yield_per=1000)
    else:
        query = query.limit(limit)
    if after:
        query = query.where(clause.c[ID] > number_sql(after))
    at, end = len(_OURS), len(_OURS) + len(new)
    with connection.execute(query) as found:
        for row in found:
            yield HeldRow(
                holding,
                int(row[0]),
                run=str(row[1]),
                kind=str(row[2]).strip(),
                action=str(row[3]),
                state=str(row[4]),
                at=str(row[5]),
                values={
                    name: readable(exact, value)
                    for name, value in zip(mirror.columns, row[end:], strict=False)
                },
                new={
                    name: readable(exact, value)
                    for name, value in zip(mirror.reference_columns, row[at:end], strict=True)
                }
                if str(row[3]) == CHANGED
                else {},
                place={mirror.key[0]: row[-1]} if mirror.by_address else {},
            )


def mirror_columns(connection: Connection, dialect: Dialect, holding: Holding) -> dict[str, Column]:
    """The mirror's columns by name, with the types the values have in it."""
    table: Table = dialect.table(connection, holding.mirror.name)
    return {column.name: column for column in table.columns}


def readable(exact: Exact, value: Any) -> Any:
    """A value that was made text in the server, which a driver may have given as bytes."""
    # MySQL's HEX() and CAST() may arrive as bytes; where the value itself is read, bytes are bytes.
    return bytes(value).decode() if isinstance(value, bytes) and not exact.as_read else value
