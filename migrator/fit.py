"""Whether quarantined rows still fit their table: columns it has gained, lost or retyped since."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import sqlalchemy as sa
from sqlalchemy.engine import Connection
from sqlalchemy.sql.elements import ColumnElement

from migrator.catalog import Column, Table
from migrator.dialects import Dialect
from migrator.errors import UnknownTableError
from migrator.exact import exact_for
from migrator.mirror import Mirror


@dataclass(frozen=True)
class Fit:
    """A mirror beside its table as it is now.

    Args:
        mirror: the quarantine table.
        live: the table; None where it is gone.
        kept: the mirror's columns by name, with the types of then.
        columns: what is written back.
        lost: columns the mirror holds values of and the table no longer has.
        required: columns gained since that want a value and have no default.
        retyped: columns whose type is another one now.
    """

    mirror: Mirror
    live: Table | None
    kept: Mapping[str, Column]
    columns: tuple[str, ...] = ()
    lost: tuple[str, ...] = ()
    required: tuple[str, ...] = ()
    retyped: tuple[str, ...] = ()

    @property
    def stands(self) -> bool:
        """Whether rows can be looked for at all: their table and their key are there."""
        return self.live is not None and not set(self.mirror.key) & set(self.lost)

    @property
    def takes_rows(self) -> bool:
        """Whether removed rows can be inserted, as far as columns say."""
        return self.stands and not self.required

    @property
    def takes_references(self) -> bool:
        """Whether changed rows can be given their reference back, as far as columns say."""
        return self.stands and not set(self.mirror.reference_columns) & set(self.lost)

    def loses(self, kept: sa.FromClause) -> ColumnElement[bool] | None:
        """True for rows that hold a value no column is left for; None where that cannot be."""
        if not self.lost:
            return None
        return sa.or_(*(kept.c[column].is_not(None) for column in self.lost))

    def problems(self) -> Iterator[str]:
        """What does not fit, exactly, and what to do about it."""
        source = self.mirror.source
        if self.live is None:
            yield f"{source} is gone"
            return
        for name in self.lost:
            yield (
                f"{source} no longer has the column {name} {self.kept[name].type}, of which the quarantine "
                "holds values: add it again, or restore with --leave-out " + name
            )
        for name in self.required:
            yield (
                f"{source}.{name} is new, NOT NULL and has no default, and the quarantined rows have no "
                "value for it: give it a default"
            )
        for name in self.retyped:
            yield (
                f"{source}.{name} was {self.kept[name].type} and is {self.live.column(name).type}: only "
                "values that mean the same in both fit"
            )


def fit_of(
    connection: Connection, dialect: Dialect, mirror: Mirror, leave_out: frozenset[str] = frozenset()
) -> Fit:
    """Read both tables from the catalog, and compare.

    Args:
        leave_out: lost columns whose values are given up.
    """
    kept = {column.name: column for column in dialect.table(connection, mirror.name).columns}
    try:
        live = dialect.table(connection, mirror.source)
    except UnknownTableError:
        return Fit(mirror, None, kept)
    stored = {column.name: column for column in live.stored_columns}
    there = {column.name for column in live.columns}
    held = tuple(column for column in mirror.stored if column in kept)
    # A sweep after the loss rewrote the manifest; the mirror's table still has the column.
    forgotten = tuple(name for name in kept if name not in mirror.columns and not _ours(mirror, name))
    return Fit(
        mirror,
        live,
        kept,
        tuple(column for column in held if column in stored),
        tuple(column for column in (*held, *forgotten) if column not in there and column not in leave_out),
        tuple(
            name
            for name, column in stored.items()
            if name not in kept and not column.nullable and column.default is None and not column.identity
        ),
        tuple(column for column in held if column in stored and stored[column].type != kept[column].type),
    )


def altered(
    dialect: Dialect, fit: Fit, live: sa.FromClause, kept: sa.FromClause, columns: tuple[str, ...]
) -> ColumnElement[bool]:
    """True where one of these columns of the live row is not what the quarantine has of it."""
    exact = exact_for(dialect)
    assert fit.live is not None
    found = [
        (exact.differs_in_type if column in fit.retyped else exact.differs)(
            live.c[column], kept.c[column], fit.live.column(column), fit.kept[column]
        )
        for column in columns
    ]
    return sa.or_(*found) if found else sa.false()


def _ours(mirror: Mirror, name: str) -> bool:
    return name in set(mirror.clause.c.keys()) - set(mirror.columns)
