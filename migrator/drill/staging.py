"""Where a drill may work in place: a name that says staging, and a marker that somebody put there."""

from __future__ import annotations

import os
from collections.abc import Mapping
from fnmatch import fnmatch
from pathlib import Path
from typing import Final

import sqlalchemy as sa
from sqlalchemy.engine import URL

from migrator.connect import connect, shown
from migrator.errors import Refused
from migrator.naming import OWN_PREFIX

DEFAULT_PATTERNS: Final = "*stag*,*test*,*drill*"
VARIABLE: Final = "MIGRATOR_STAGING"

_METADATA: Final = sa.MetaData()
MARKER: Final = sa.Table(
    OWN_PREFIX + "staging",
    _METADATA,
    sa.Column("id", sa.Integer, primary_key=True, autoincrement=False),
    mysql_engine="InnoDB",
)


def check_staging(url: URL) -> None:
    """Refuse what is not a staging copy.

    Raises:
        Refused: its name and host match no pattern, or the marker is not there.
        ConnectionFailed: it cannot be reached.
    """
    _check_name(url)
    with connect(url) as engine, engine.connect() as connection:
        if not sa.inspect(connection).has_table(MARKER.name):
            raise Refused(
                f"{shown(url)} does not hold the table {MARKER.name}, so it is not marked as a staging "
                "copy. Nothing was changed.",
                hint="If it is one, and its rows may be lost: migrator drill --mark-staging, same --url.",
            )


def mark_staging(url: URL) -> None:
    """Create the marker.

    Raises:
        Refused: name and host match no pattern.
        ConnectionFailed: it cannot be reached.
    """
    _check_name(url)
    with connect(url) as engine:
        _METADATA.create_all(engine, checkfirst=True)


def matches(url: URL, environ: Mapping[str, str] | None = None) -> bool:
    """Whether the database's name (an SQLite file's, without directories) or its host matches a pattern
    of `MIGRATOR_STAGING`; whether letters are capitals does not matter."""
    environ = os.environ if environ is None else environ
    patterns = [word.strip().lower() for word in _patterns(environ).split(",") if word.strip()]
    sqlite = url.get_backend_name() == "sqlite"
    name = Path(url.database or "").name if sqlite else url.database or ""
    return any(
        fnmatch(text.lower(), pattern) for text in (name, url.host or "") if text for pattern in patterns
    )


def _check_name(url: URL) -> None:
    if not matches(url):
        raise Refused(
            f"Neither the name nor the host of {shown(url)} matches {_patterns(os.environ)}, so it is taken "
            "for production. Nothing was changed.",
            hint=f"Leave --in-place out and the drill works on a copy; or say in {VARIABLE} what your "
            "staging databases or hosts are called, such as '*-stage,qa*'.",
        )


def _patterns(environ: Mapping[str, str]) -> str:
    return environ.get(VARIABLE) or DEFAULT_PATTERNS
