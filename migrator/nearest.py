"""Errors for a name that is not there, with the names that were perhaps meant."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from migrator.errors import UnknownColumnError, UnknownTableError, UsageError
from migrator.reference import TableName


def nearest(name: str, names: Iterable[str], limit: int = 3) -> list[str]:
    """The names most like `name`, best first; upper and lower case count as the same letter.

    Args:
        name: what was asked for.
        names: what there is.
        limit: how many at most.
    """
    by_folded: dict[str, list[str]] = {}
    for there in names:
        by_folded.setdefault(there.casefold(), []).append(there)
    close = get_close_matches(name.casefold(), by_folded, n=limit, cutoff=0.6)
    # `users` for `user`, `blog_post` for `post`: too unlike for the ratio when the rest is long.
    contained = [
        folded for folded in sorted(by_folded) if name.casefold() in folded or folded in name.casefold()
    ]
    return [there for folded in dict.fromkeys(close + contained) for there in by_folded[folded]][:limit]


def unknown_table(table: TableName, names: Iterable[str]) -> UnknownTableError:
    """The error for a table that is not there.

    Args:
        table: what was asked for.
        names: the tables of its schema.
    """
    there = sorted(names)
    where = f" in schema {table.schema}" if table.schema else ""
    close = nearest(table.name, there)
    if close:
        hint = "Did you mean " + " or ".join(close) + "?"
    elif there:
        listed = ", ".join(there[:10]) + (", ..." if len(there) > 10 else "")
        hint = f"The tables{where} are: {listed}."
    else:
        hint = f"There are no tables{where} at all: check the URL" + (" and the schema." if where else ".")
    return UnknownTableError(f"There is no table {table}.", hint=hint)


def check_schema(connection: Connection, schema: str | None) -> None:
    """Refuse a schema that is not there: the servers say nothing, or each in its own words.

    Args:
        schema: what was asked for; None for the server's own.

    Raises:
        UsageError: there is none of this name; the hint gives those that are there.
    """
    if schema is None:
        return
    there = sorted(sa.inspect(connection).get_schema_names())
    # Some servers take the case of such a name as it comes.
    if schema.casefold() not in map(str.casefold, there):
        close = nearest(schema, there)
        hint = "Did you mean " + " or ".join(close) + "?" if close else f"There are: {', '.join(there[:10])}."
        raise UsageError(f"There is no schema {schema}.", hint=hint)


def unknown_column(table: TableName, column: str, names: Iterable[str]) -> UnknownColumnError:
    """The error for a column that is not in its table.

    Args:
        table: the table.
        column: what was asked for.
        names: the table's columns.
    """
    there = list(names)
    close = nearest(column, there)
    hint = "Did you mean " + " or ".join(close) + "?" if close else f"Its columns are: {', '.join(there)}."
    return UnknownColumnError(f"Table {table} has no column {column!r}.", hint=hint)
