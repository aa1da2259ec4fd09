"""Which indexes the server would use for a query. Nothing is executed."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from migrator.dialects.base import Dialect


def indexes_used(dialect: Dialect, connection: Connection, query: sa.Select[Any]) -> frozenset[str] | None:
    """Names of the indexes in the query's plan; None where we cannot read this server's plans.

    On a small table a server rightly reads all of it; PostgreSQL is asked not to, MySQL and MariaDB name
    the indexes they would consider, so that the answer is about the index and not about the size.

    Args:
        dialect: ours for the connection.
        connection: inside a transaction.
        query: without bound values, but for numbers such as a LIMIT's.
    """
    if dialect.family not in _READERS:
        return None
    text = str(query.compile(dialect=connection.dialect, compile_kwargs={"literal_binds": True}))
    if connection.dialect.paramstyle in ("format", "pyformat"):
        text = text.replace("%%", "%")  # sent without parameters, so nobody halves them
    return frozenset(_READERS[dialect.family](connection, text))


def _run(connection: Connection, text: str) -> sa.CursorResult[Any]:
    return connection.exec_driver_sql(text, execution_options={"no_parameters": True})


def _postgresql(connection: Connection, text: str) -> Iterator[str]:
    _run(connection, "SET LOCAL enable_seqscan = off")
    # Not in a `finally`: an error ends the transaction, and the setting with it.
    plan = _run(connection, f"EXPLAIN (FORMAT JSON) {text}").scalar_one()
    _run(connection, "SET LOCAL enable_seqscan TO DEFAULT")
    yield from _names(json.loads(plan) if isinstance(plan, str) else plan)


def _names(node: Any) -> Iterator[str]:
    if isinstance(node, dict):
        if "Index Name" in node:
            yield str(node["Index Name"])
        node = list(node.values())
    if isinstance(node, list):
        for item in node:
            yield from _names(item)


def _mysql(connection: Connection, text: str) -> Iterator[str]:
    # FORMAT=TREE may be the server's default; the traditional rows are the same everywhere.
    for row in _run(connection, f"EXPLAIN {_traditional(connection)}{text}").mappings():
        for name in ("key", "possible_keys"):
            yield from str(row[name] or "").split(",")


def _traditional(connection: Connection) -> str:
    return "" if getattr(connection.dialect, "is_mariadb", False) else "FORMAT=TRADITIONAL "


def _sqlite(connection: Connection, text: str) -> Iterator[str]:
    for row in _run(connection, f"EXPLAIN QUERY PLAN {text}"):
        found = re.search(r"USING (?:COVERING )?INDEX (.+?)(?: \(|$)", str(row[-1]))
        if found:
            yield found.group(1)
        elif "USING INTEGER PRIMARY KEY" in str(row[-1]):
            yield "INTEGER PRIMARY KEY"


_READERS = {"postgresql": _postgresql, "mysql": _mysql, "mariadb": _mysql, "sqlite": _sqlite}
