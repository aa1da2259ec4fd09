"""Copies of a database, one module per kind of server; `cloner_for` picks it."""

from __future__ import annotations

import importlib

from sqlalchemy.engine import URL

from migrator.drill.clones.base import PREFIX, Cloner, Leftover
from migrator.errors import UsageError

__all__ = ["PREFIX", "Cloner", "Leftover", "cloner_for"]

_MODULES = {
    "sqlite": ("migrator.drill.clones.sqlite", "SQLiteCloner"),
    "postgresql": ("migrator.drill.clones.postgresql", "PostgreSQLCloner"),
    # The server itself says whether it is MySQL or MariaDB: a mysql:// URL leads to either.
    "mysql": ("migrator.drill.clones.mysql", "MySQLCloner"),
    "mariadb": ("migrator.drill.clones.mysql", "MySQLCloner"),
}


def cloner_for(source: URL) -> Cloner:
    """What copies that database.

    Raises:
        UsageError: a database we have no module for.
    """
    name = source.get_backend_name()
    if name not in _MODULES:
        raise UsageError(
            f"A {name} database cannot be copied for a drill.",
            hint="Drills run on SQLite, PostgreSQL, MySQL and MariaDB.",
        )
    module, cls = _MODULES[name]
    cloner: Cloner = getattr(importlib.import_module(module), cls)(source)
    return cloner
