"""`frozen-timestamp`: clusters of rows that share one instant, as a default frozen at import leaves them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from migrator.audit.model import Finding
from migrator.catalog import Column, Table
from migrator.dialects import Dialect
from migrator.exact import exact_for
from migrator.predicate import table_clause
from migrator.reference import TableName
from migrator.typefamily import family

#: How many clusters of a column are listed.
_LISTED = 5


def frozen_timestamps(
    connection: Connection, dialect: Dialect, tables: Sequence[TableName], smallest: int
) -> Iterator[Finding]:
    """One pass over each table that has a column of date and time.

    Args:
        smallest: how many rows make a cluster.
    """
    for name in tables:
        table = dialect.table(connection, name)
        if table.kind in ("view", "foreign"):
            continue
        for column in table.columns:
            if _is_instant(column) and (found := _clusters(connection, dialect, table, column, smallest)):
                yield found


def _is_instant(column: Column) -> bool:
    return column.type.lower().startswith(("datetime", "timestamp")) and column.generated is None


def _clusters(
    connection: Connection, dialect: Dialect, table: Table, column: Column, smallest: int
) -> Finding | None:
    exact = exact_for(dialect)
    rows = table_clause(table.name, column.name, *table.key).alias("c")
    instant = rows.c[column.name]
    # Not plainly "n": a column may be called that.
    count = sa.func.count().label("migrator_cluster_rows")
    groups = (
        sa.select(instant.label("at"), count)
        .where(instant.is_not(None))
        .group_by(instant)
        .having(sa.func.count() >= sa.literal_column(str(int(smallest))))
        .subquery("g")
    )
    size = groups.c.migrator_cluster_rows
    clusters, held = connection.execute(
        sa.select(sa.func.count(), sa.func.sum(size)).select_from(groups)
    ).one()
    if not clusters:
        return None
    total = int(connection.scalar(sa.select(sa.func.count(instant)).select_from(rows)) or 0)
    key = table.key[0] if len(table.key) == 1 else None
    if key and family(table.column(key)) not in ("integer", "number", "text", "moment"):
        key = None  # PostgreSQL has no min() of a uuid
    span = [sa.func.min(rows.c[key]), sa.func.max(rows.c[key])] if key else []
    biggest = connection.execute(
        sa.select(exact.text(instant, column).label("at"), count, *span)
        .where(instant.is_not(None))
        .group_by(instant)
        .order_by(sa.desc("migrator_cluster_rows"), instant)
        .limit(_LISTED)
    ).all()
    listed = [
        {
            "instant": _text(row[0]),
            "rows": int(row[1]),
            **({"first": _key(row[2]), "last": _key(row[3])} if key else {}),
        }
        for row in biggest
        if int(row[1]) >= smallest
    ]
    where = f"{table.name}.{column.name}"
    share = int(held) / total if total else 0.0
    top = listed[0]
    between = f" ({key} {top['first']} to {top['last']})" if key else ""
    return Finding(
        "frozen-timestamp",
        "high" if share >= 0.5 else "medium",
        where,
        f"{int(held):,} of {total:,} rows share their {column.name} with at least {smallest - 1} others, in "
        f"{int(clusters):,} cluster(s); the biggest: {top['rows']:,} rows at {top['instant']}{between}. A "
        "default frozen at import leaves such rows; so does a bulk load, which is harmless.",
        f"SELECT {dialect.quote(column.name)}, COUNT(*) FROM {dialect.table_sql(table.name)} "
        f"GROUP BY {dialect.quote(column.name)} HAVING COUNT(*) >= {smallest} ORDER BY COUNT(*) DESC;\n"
        "The true times are not in the table: mend the default first (frozen-default), then mark these rows "
        "as approximate, or take the times from a log.",
        {"rows": int(held), "of": total, "clusters": int(clusters), "listed": listed},
    )


def _text(value: object) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)


def _key(value: object) -> object:
    return value if isinstance(value, int | str) else str(value)
