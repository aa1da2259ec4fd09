"""URLs of given servers, as people write them, turned into URLs that SQLAlchemy connects with."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError

from tests.servers.recipes import FamilyName

VARIABLES: Final[dict[FamilyName, str]] = {
    "postgresql": "MIGRATOR_TEST_POSTGRESQL_URL",
    "mysql": "MIGRATOR_TEST_MYSQL_URL",
    "mariadb": "MIGRATOR_TEST_MARIADB_URL",
}
_DRIVERS: Final = {
    "postgres": "postgresql+psycopg",
    "postgresql": "postgresql+psycopg",
    "mysql": "mysql+pymysql",
    "mariadb": "mysql+pymysql",
    "mariadb+pymysql": "mysql+pymysql",
}


def given_urls(family: FamilyName, environ: Mapping[str, str]) -> list[URL]:
    """Read the URLs given for a family.

    Args:
        family: whose servers.
        environ: the environment; the family's variable holds URLs separated by white space.

    Raises:
        ValueError: one of them is no URL; the message shows no password.
    """
    variable = VARIABLES.get(family, "")
    return [_read(text, variable) for text in environ.get(variable, "").split()]


def _read(text: str, variable: str) -> URL:
    try:
        url = make_url(text)
    except (ArgumentError, ValueError):
        raise ValueError(f"{variable} holds something that is no database URL") from None
    return url.set(drivername=_DRIVERS.get(url.drivername, url.drivername))


def with_password(url: URL) -> str:
    """Write a URL whole; `str(url)` hides the password."""
    return url.render_as_string(hide_password=False)
