"""The one place that knows which database is fingerprinted by which module."""

from __future__ import annotations

from sqlalchemy import Connection

from migrator.errors import UsageError
from migrator.fingerprint.backend import Backend
from migrator.fingerprint.mariadb import MariaDB
from migrator.fingerprint.mysql import MySQL
from migrator.fingerprint.postgresql import PostgreSQL
from migrator.fingerprint.sqlite import SQLite


def backend_for(connection: Connection) -> Backend:
    """Return the backend for the server behind `connection`.

    MariaDB is told from MySQL by the server itself: both are reached through `mysql://` URLs.
    Raises UsageError for a database there is no module for.
    """
    if getattr(connection.dialect, "is_mariadb", False):
        return MariaDB()
    match connection.dialect.name:
        case "postgresql":
            return PostgreSQL()
        case "mysql":
            return MySQL()
        case "sqlite":
            return SQLite()
        case other:
            raise UsageError(f"no fingerprint for {other}: use PostgreSQL, MySQL, MariaDB or SQLite")
