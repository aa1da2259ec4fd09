"""An index behind each foreign key that leads to rows that are to be deleted. Without one the server reads
the whole referring table for each of them, under locks (airflow 24484: nine hours). InnoDB makes such an
index by itself; PostgreSQL and SQLite do not.
"""

from __future__ import annotations

from collections.abc import Iterator

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from migrator.catalog import Facts, ForeignKey
from migrator.closure import closure_of
from migrator.dialects import Dialect
from migrator.dialects.telling import Problem
from migrator.policy import Delete, Policy, heard
from migrator.predicate import table_clause
from migrator.reference import TableName
from migrator.settings import Settings


def unindexed(
    connection: Connection,
    dialect: Dialect,
    facts: Facts,
    settings: Settings,
    *,
    on_null: Policy,
    on_dangling: Policy,
) -> Iterator[Problem]:
    """Each foreign key that a delete would be slow by: a warning where the referring table is small, a
    refusal where it is not. Takes no lock; reads no more rows of a table than make it big.

    Args:
        settings: `max_unindexed_rows` says what is big; 0 for nothing.
        on_null, on_dangling: without a delete among them there is nothing to say.
    """
    deletes = [
        policy
        for kind, chosen in (("null", on_null), ("dangling", on_dangling))
        for policy in heard(chosen, kind)
        if isinstance(policy, Delete)
    ]
    keys: dict[ForeignKey, None] = {}
    for dependants in sorted({policy.dependants for policy in deletes}):
        closure = closure_of(connection, dialect, facts, dependants, make=False)
        keys |= dict.fromkeys(edge.key for edge in closure.edges)
        keys |= dict.fromkeys(protection.key for protection in closure.protected)
    for key in keys:
        table = dialect.table(connection, key.child)
        by_key = set(table.primary_key[: len(key.columns)]) == set(key.columns)  # SQLite's is no index
        if by_key or any(index.leads_with(key.columns) for index in table.indexes):
            continue
        most = settings.max_unindexed_rows
        big = most > 0 and _more_than(connection, key.child, most)
        yield _problem(key, dialect.build_index(table, key.columns), most if big else None)


def _problem(key: ForeignKey, statement: str, exceeded: int | None) -> Problem:
    columns = ", ".join(key.columns)
    message = (
        f"{key.child} refers to {key.parent} by {key.name or 'an unnamed foreign key'} and has no index that "
        f"begins with {columns}: each row of {key.parent} that is deleted reads all of {key.child}"
    )
    if exceeded is None:
        return Problem("warn", "inbound-index", f"{message}.", statement)
    return Problem(
        "refuse",
        "inbound-index",
        f"{message}, which has more than {exceeded} rows (max_unindexed_rows).",
        f"{statement} Or allow it with -x max_unindexed_rows=0.",
    )


def _more_than(connection: Connection, name: TableName, most: int) -> bool:
    few = sa.select(sa.literal_column("1")).select_from(table_clause(name)).limit(most + 1).subquery()
    return int(connection.scalar(sa.select(sa.func.count()).select_from(few)) or 0) > most
