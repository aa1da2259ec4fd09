"""Statements that have no parameters, sent as they are; and numbers inside those that do."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection, CursorResult
from sqlalchemy.sql.elements import ColumnElement


def run_plain(connection: Connection, statement: str) -> CursorResult[Any]:
    """Run a statement without parameters: the driver then leaves its percent signs alone. The option is
    given to the statement, not to the connection, which would keep it for every later one."""
    return connection.exec_driver_sql(statement, execution_options={"no_parameters": True})


def number_sql(value: int) -> ColumnElement[int]:
    """A number of ours, inlined: it needs no type on any server."""
    return sa.literal_column(str(int(value)))
