"""Values of a key that Python has no word for: `infinity`, a year BC, 24:00, a month.

A row is addressed by the values of its key, read and sent back. psycopg refuses those it cannot represent,
and makes 30 days of a month, which is another key. Read as the server's text they come back as what they
were.
"""

from __future__ import annotations

from typing import Any, Final

from psycopg import Connection as Driver
from psycopg import DataError, NotSupportedError
from psycopg.abc import Loader
from psycopg.types import datetime as types
from sqlalchemy.engine import Connection

_REFUSED: Final = (DataError, NotSupportedError, OverflowError, ValueError)


def _lenient(loader: type[Loader]) -> type[Loader]:
    """The loader, with the server's text where it would refuse."""

    class Lenient(loader):  # type: ignore[misc, valid-type]  # a class made from an argument
        def load(self, data: Any) -> Any:
            text = bytes(data).decode()
            # A month is 30 days to psycopg, a year 365; only intervals are written with these words.
            if "mon" in text or "year" in text:
                return text
            try:
                return super().load(data)
            except _REFUSED:
                return text

    return Lenient


_LOADERS: Final = {
    "date": _lenient(types.DateLoader),
    "time": _lenient(types.TimeLoader),
    "timetz": _lenient(types.TimetzLoader),
    "timestamp": _lenient(types.TimestampLoader),
    "timestamptz": _lenient(types.TimestamptzLoader),
    "interval": _lenient(types.IntervalLoader),
}


def read_as_text_what_python_cannot_hold(connection: Connection) -> None:
    """Have this connection read such values as text, all others as before. No lock, no round trip.

    Args:
        connection: a session of ours; other drivers than psycopg 3 are left as they are.
    """
    driver = connection.connection.driver_connection
    if not isinstance(driver, Driver):
        return
    for name, loader in _LOADERS.items():
        driver.adapters.register_loader(name, loader)
