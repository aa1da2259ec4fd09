"""Foreign keys that MySQL does not check: the index it takes for them goes on with a column that is NULL.

From 9.6 on foreign keys are the SQL layer's. It looks for the first index that begins with the key's columns,
and where *any* column of that index is NULL, the row is let through as if the reference were NULL: with an
index on (user_id, deleted_at), every post that is not deleted may name a user who is not there. Measured on
9.7.4; with `innodb_native_foreign_keys=ON`, and on MariaDB, the same row is refused.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final

from sqlalchemy.engine import Connection

from migrator.catalog import Facts, Index
from migrator.dialects.mysql_definition import quote
from migrator.dialects.mysql_words import columns_sql, pairs, serving_indexes, table_sql
from migrator.dialects.telling import Problem

_SINCE: Final = (9, 6)


def half_checked(connection: Connection, facts: Facts, variables: Mapping[str, str]) -> Iterator[Problem]:
    """Whether the key would be half checked, or is."""
    native = variables.get("innodb_native_foreign_keys", "").upper() == "ON"
    if facts.server.family != "mysql" or facts.server.version < _SINCE or native:
        return
    columns, _ = pairs(facts)
    index = _taken(connection, facts)
    loose = [
        name
        for name in (index.columns if index else ())
        if name is not None and name not in columns and facts.child.column(name).nullable
    ]
    if index is None or not loose:
        return
    table, name = table_sql(facts.child.name), quote(index.name)
    yield Problem(
        "refuse",
        "half-checked-key",
        f"{facts.child.name}: MySQL {facts.server.text} checks {facts.reference} by the index {index.name}, "
        f"and lets every row through whose {' or '.join(loose)} is NULL.",
        f"Put an index on the reference alone before it: ALTER TABLE {table} ADD INDEX "
        f"{quote(facts.reference.index_name)} ({columns_sql(columns)}), DROP INDEX {name}; and then make "
        f"{name} again as it was. Or start the server with innodb_native_foreign_keys=ON.",
    )


def _taken(connection: Connection, facts: Facts) -> Index | None:
    """The index that serves the key: the first in the table's own order. None where we are yet to make it."""
    show = f"SHOW INDEX FROM {table_sql(facts.child.name)}"
    shown = connection.exec_driver_sql(show, execution_options={"no_parameters": True}).mappings()
    serving = {index.name: index for index in serving_indexes(facts)}
    return next((serving[name] for row in shown if (name := str(row["Key_name"])) in serving), None)
