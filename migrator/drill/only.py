"""Nothing that runs inside may connect to any database but one.

An Alembic environment decides for itself where it connects. One that takes no notice of the URL it is
given would run the drill on the real database; so every connection made in this process is looked at
before its first statement.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import sqlalchemy as sa
from sqlalchemy.engine import URL, Connection, Engine

from migrator.connect import shown
from migrator.errors import Refused


@contextmanager
def only(target: URL) -> Iterator[None]:
    """Refuse every connection of SQLAlchemy's to another database than `target`, whoever makes it.

    Raises:
        Refused: from whoever connects elsewhere, before anything was done there.
    """

    def look(connection: Connection) -> None:
        found = connection.engine.url
        if same_database(found, target):
            return
        connection.close()
        raise Refused(
            f"The Alembic environment connects to {shown(found)}, not to {shown(target)} as it was told. "
            "Nothing was changed.",
            hint="Let its env.py take the URL from config.get_main_option('sqlalchemy.url'), from "
            "`-x url=`, MIGRATOR_URL or DATABASE_URL.",
        )

    sa.event.listen(Engine, "engine_connect", look)
    try:
        yield
    finally:
        sa.event.remove(Engine, "engine_connect", look)


def same_database(one: URL, other: URL) -> bool:
    """Whether two URLs lead to one database, whatever their drivers and users."""
    if one.get_backend_name() == "sqlite" or other.get_backend_name() == "sqlite":
        return _file(one) == _file(other)
    return (_host(one), one.port or other.port, one.database) == (
        _host(other),
        other.port or one.port,
        other.database,
    )


def _host(url: URL) -> str:
    host = (url.host or "localhost").lower()
    return "localhost" if host in ("127.0.0.1", "::1") else host


def _file(url: URL) -> object:
    if url.get_backend_name() != "sqlite" or url.database in (None, "", ":memory:"):
        return url
    return Path(str(url.database).removeprefix("file:").partition("?")[0]).resolve()
