"""Which way of reading its load a database has."""

from __future__ import annotations

from migrator.dialects.base import Dialect
from migrator.dialects.load import Load
from migrator.dialects.mysql_load import MySQLLoad
from migrator.dialects.pg_load import PostgreSQLLoad


def load_of(dialect: Dialect) -> Load:
    """The dialect's; one that refuses where it has none."""
    found: dict[str, Load] = {
        "postgresql": PostgreSQLLoad(),
        "mysql": MySQLLoad(),
        "mariadb": MySQLLoad(mariadb=True),
    }
    return found.get(dialect.family, Load())
