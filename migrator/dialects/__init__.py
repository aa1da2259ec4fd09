"""One module per database; `dialect_for` picks it."""

from __future__ import annotations

import importlib

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from migrator.dialects.base import Dialect

__all__ = ["Dialect", "dialect_for", "dialect_of"]

_MODULES = {
    "postgresql": ("migrator.dialects.postgresql", "PostgreSQL"),
    "mysql": ("migrator.dialects.mysql", "MySQL"),
    "mariadb": ("migrator.dialects.mariadb", "MariaDB"),
    "sqlite": ("migrator.dialects.sqlite", "SQLite"),
}


def dialect_of(sa_dialect: sa.Dialect) -> Dialect:
    """Ours for a SQLAlchemy dialect; the read-only base where we have none."""
    # SQLAlchemy calls MariaDB "mysql" when it was reached through a mysql:// URL.
    name = "mariadb" if getattr(sa_dialect, "is_mariadb", False) else sa_dialect.name
    if name not in _MODULES:
        return Dialect(sa_dialect)
    module, cls = _MODULES[name]
    found: Dialect = getattr(importlib.import_module(module), cls)(sa_dialect)
    return found


def dialect_for(connection: Connection) -> Dialect:
    """Ours for an open connection (whose server has been asked for its version)."""
    return dialect_of(connection.dialect)
