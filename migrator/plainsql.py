"""Statements that have no parameters, sent as they are."""

from __future__ import annotations

from typing import Any

from sqlalchemy.engine import Connection, CursorResult


def run_plain(connection: Connection, statement: str) -> CursorResult[Any]:
    """Run a statement without parameters: the driver then leaves its percent signs alone. The option is
    given to the statement, not to the connection, which would keep it for every later one."""
    return connection.exec_driver_sql(statement, execution_options={"no_parameters": True})
