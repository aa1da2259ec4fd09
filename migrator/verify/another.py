"""An existing row once more, with keys of its own: how a table is written to without knowing what it is for.

What a column means is not known here, so its value is one that the table holds already; only what must be
unique is made up.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from migrator.catalog import Table
from migrator.dialects import Dialect
from migrator.predicate import table_clause
from migrator.verify.madeup import bound, fresh, stand_in


class _Undo(Exception):
    """Ends a trial's transaction with a ROLLBACK."""


@dataclass(frozen=True)
class Another:
    """A row to be written.

    Args:
        statement: the INSERT.
        values: the columns that were stated or made up, which tell the row from every other one.
    """

    statement: sa.Insert
    values: Mapping[str, Any]


def another_row(connection: Connection, table: Table, stated: Mapping[str, Any]) -> Another | None:
    """A row like one that is there; in an empty table, one of stand-ins.

    Args:
        connection: to look for values nobody has.
        table: to write to.
        stated: the values of some columns.

    Returns:
        None where a column must have a value and we know none.
    """
    columns = [column.name for column in table.stored_columns]
    target = table_clause(table.name, *columns)
    new = {**_new_keys(connection, table, stated), **stated}
    if connection.execute(sa.select(sa.literal_column("1")).select_from(target).limit(1)).first() is None:
        for column in table.stored_columns:
            if column.name not in new and not column.nullable and column.default is None:
                value = stand_in(column)
                if value is None:
                    return None
                new[column.name] = value
        insert = sa.insert(target).values({target.c[name]: bound(value) for name, value in new.items()})
        return Another(insert, new)
    source = table_clause(table.name, *columns).alias("c")
    said: Mapping[str, Any] = {**loosened(table, stated), **new}
    row = sa.select(*(bound(said[name]) if name in said else source.c[name] for name in columns))
    # Named, so that the statement does not depend on the order the columns were created in.
    insert = sa.insert(target).from_select(
        [target.c[name] for name in columns], row.select_from(source).limit(1)
    )
    return Another(insert, new)


def loosened(table: Table, stated: Mapping[str, Any]) -> dict[str, None]:
    """NULL for what is beside the stated columns in other foreign keys, where it may be NULL: together with
    the stated values it would be a reference that nobody stated, and to nobody."""
    return {
        name: None
        for key in table.foreign_keys
        if key.match != "full" and set(key.columns) & set(stated)
        for name in key.columns
        if name not in stated and table.column(name).nullable
    }


def send(connection: Connection, dialect: Dialect, statement: sa.Insert | sa.Update | sa.Delete) -> int:
    """Execute a statement; returns how many rows it was about.

    Raises:
        sqlalchemy.exc.DBAPIError: as the driver said it.
    """
    compiled = statement.compile(dialect=connection.dialect)
    text = str(compiled)
    if isinstance(statement, sa.Insert):
        text = dialect.insert_identity(text)
    values: Any = compiled.construct_params()
    if compiled.positional:
        values = tuple(values[name] for name in compiled.positiontup or ())
    return int(connection.exec_driver_sql(text, values).rowcount)


@contextmanager
def rolled_back(connection: Connection, dialect: Dialect) -> Iterator[None]:
    """`dialect.transaction` that never commits, whatever happens in it."""
    with suppress(_Undo), dialect.transaction(connection):
        yield
        raise _Undo


def _new_keys(connection: Connection, table: Table, stated: Mapping[str, Any]) -> dict[str, Any]:
    """A value nobody has for one column of each unique key of which no column is stated.

    None of the stated ones: in a table that refers to itself the row would be its own parent.
    """
    given = list(stated.values())
    made = dict[str, Any]()
    for key in (table.primary_key, *table.unique_keys):
        if not key or set(key) & {*made, *stated}:
            continue
        foreign = {column for other in table.foreign_keys for column in other.columns}
        for name in sorted(key, key=lambda name: name in foreign):
            column = table.column(name)
            if column.generated is not None:
                continue
            drawn = fresh(connection, table.name, column)
            value = next((value for value in drawn if value not in given), None)
            if value is not None:
                made[name] = value
                break
    return made
