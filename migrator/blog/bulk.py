"""The fastest plain way to put many rows into a table on each engine."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any, Final, cast

import psycopg
from psycopg import sql
from sqlalchemy import Column, Connection, Dialect, Table, func, select
from sqlalchemy.exc import DBAPIError

Row = Sequence[Any]

# Large enough that a round trip costs nothing, small enough that memory stays flat.
_CHUNK: Final = 5_000


def insert_rows(connection: Connection, table: Table, rows: Iterable[Row]) -> int:
    """Insert rows in the caller's transaction, with COPY where the driver has it.

    Args:
        connection: an open connection; the caller commits.
        table: the table the rows go into.
        rows: one sequence of values per row, in the order of the table's columns; read once, and never
            held in memory as a whole.

    Returns:
        The number of rows inserted.

    Raises:
        sqlalchemy.exc.DBAPIError: the database refused a row.
    """
    dialect = connection.dialect
    return _LOADERS.get(f"{dialect.name}+{dialect.driver}", _insert)(connection, table, rows)


def _chunks(rows: Iterable[Row]) -> Iterator[list[Row]]:
    iterator = iter(rows)
    while chunk := list(islice(iterator, _CHUNK)):
        yield chunk


def _insert(connection: Connection, table: Table, rows: Iterable[Row]) -> int:
    """Send each chunk as one executemany, which PyMySQL folds into INSERTs of many rows."""
    statement = _insert_statement(table, connection.dialect)
    adapt = _adapter(table, connection.dialect)
    count = 0
    for chunk in _chunks(rows):
        connection.exec_driver_sql(statement, [adapt(row) for row in chunk])
        count += len(chunk)
    return count


def _insert_statement(table: Table, dialect: Dialect) -> str:
    # Not an `insert()` that SQLAlchemy executes: it looks at every parameter of every row, which takes
    # longer than the database needs to store them. Quoting is still SQLAlchemy's.
    preparer = dialect.identifier_preparer
    columns = ", ".join(preparer.format_column(column) for column in table.columns)
    marks = ", ".join([_MARKS[dialect.paramstyle]] * len(table.columns))
    return f"INSERT INTO {preparer.format_table(table)} ({columns}) VALUES ({marks})"


def _adapter(table: Table, dialect: Dialect) -> Callable[[Row], tuple[Any, ...]]:
    """Give what turns a row into the parameters the driver takes."""
    found = ((place, _processor(column, dialect)) for place, column in enumerate(table.columns))
    processors = [(place, processor) for place, processor in found if processor is not None]

    def adapt(row: Row) -> tuple[Any, ...]:
        if not processors:
            return tuple(row)
        values = list(row)
        for place, process in processors:
            values[place] = process(values[place])
        return tuple(values)

    return adapt


def _processor(column: Column[Any], dialect: Dialect) -> Callable[[Any], Any] | None:
    return column.type.dialect_impl(dialect).bind_processor(dialect)


def _copy(connection: Connection, table: Table, rows: Iterable[Row]) -> int:
    # Identifiers are quoted by psycopg here: SQLAlchemy would double a percent sign, for a statement with
    # parameters, and COPY has none.
    statement = sql.SQL("COPY {} ({}) FROM STDIN").format(
        sql.Identifier(*filter(None, (table.schema, table.name))),
        sql.SQL(", ").join(sql.Identifier(column.name) for column in table.columns),
    )
    # A transaction SQLAlchemy does not know of would be neither committed nor rolled back by the caller.
    if not connection.in_transaction():
        connection.begin()
    driver = cast("psycopg.Connection[Any]", connection.connection.driver_connection)
    count = 0
    try:
        with driver.cursor() as cursor, cursor.copy(statement) as copy:
            for row in rows:
                copy.write_row(row)
                count += 1
    except psycopg.Error as error:
        # As SQLAlchemy would have raised it, so that callers have one kind of error to catch. The rows
        # are left out of it.
        raise DBAPIError.instance(statement.as_string(driver), None, error, psycopg.Error) from error
    _advance_serial(connection, table)
    return count


def _advance_serial(connection: Connection, table: Table) -> None:
    """Move the serial past the keys just written: unlike MySQL and SQLite, PostgreSQL does not look."""
    key = table.autoincrement_column
    if key is not None:
        name = connection.dialect.identifier_preparer.format_table(table)
        # Both functions are strict: no serial, or no row, means nothing happens.
        connection.execute(select(func.setval(func.pg_get_serial_sequence(name, key.name), func.max(key))))


_MARKS: Final[Mapping[str, str]] = {"qmark": "?", "format": "%s", "pyformat": "%s"}
_LOADERS: Final[Mapping[str, Callable[[Connection, Table, Iterable[Row]], int]]] = {
    "postgresql+psycopg": _copy,
}
