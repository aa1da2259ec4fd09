"""Values of a key that Python has no word for, or a word that means something else.

A row is addressed by the values of its key, read, compared and sent back. psycopg refuses those it cannot
represent (`infinity`, a year BC, 24:00), and makes 30 days of a month, which is another key. A `real` goes
back as double precision, where 0.1 is another number. NaN is not equal to itself, an array or a document
cannot be in a set, and of the two 02:30 of a night when the clocks go back Python says that they are one, as
of 12:00+02 and 10:00+00, which the server holds apart. Read as the server's text, or with the offset that the
server gave, they come back as what they were, and are equal where the server's are.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timezone
from functools import cache
from typing import Any, Final

from psycopg import Connection as Driver
from psycopg import DataError, NotSupportedError
from psycopg.abc import Loader
from psycopg.postgres import types as known
from psycopg.types import datetime as times
from psycopg.types import numeric
from psycopg.types.multirange import MultirangeInfo
from psycopg.types.range import RangeInfo
from psycopg.types.string import TextLoader
from sqlalchemy.engine import Connection

_REFUSED: Final = (DataError, NotSupportedError, OverflowError, ValueError)


def _lenient(loader: type[Loader]) -> type[Loader]:
    """The loader, with the server's text where it would refuse, or give what is not equal to itself."""

    class Lenient(loader):  # type: ignore[misc, valid-type]  # a class made from an argument
        def load(self, data: Any) -> Any:
            text = bytes(data).decode()
            # A month is 30 days to psycopg, a year 365; only intervals are written with these words.
            if "mon" in text or "year" in text or text == "NaN":
                return text
            try:
                return _placed(super().load(data))
            except _REFUSED:
                return text

    return Lenient


def _placed(value: Any) -> Any:
    """A point in time with its offset from UTC: two of one time zone are compared without looking at that."""
    offset = value.utcoffset() if isinstance(value, datetime) else None
    return value if offset is None else value.replace(tzinfo=timezone(offset))


_TIMES: Final[Mapping[str, type[Loader]]] = {
    "date": _lenient(times.DateLoader),
    "time": _lenient(times.TimeLoader),
    "timetz": _lenient(times.TimetzLoader),
    "timestamp": _lenient(times.TimestampLoader),
    "timestamptz": _lenient(times.TimestamptzLoader),
    "interval": _lenient(times.IntervalLoader),
}
_OF_KEYS: Final[Mapping[str, type[Loader]]] = {
    "float8": _lenient(numeric.FloatLoader),
    "numeric": _lenient(numeric.NumericLoader),
    **dict.fromkeys(("float4", "timetz", "jsonb"), TextLoader),
}


@cache
def _loaders(keys: bool) -> Mapping[int, type[Loader]]:
    """By the type's oid."""
    named = {**_TIMES, **_OF_KEYS} if keys else _TIMES
    found = {known[name].oid: loader for name, loader in named.items()}
    if not keys:
        return found
    found |= {each.oid: TextLoader for each in known if isinstance(each, (RangeInfo, MultirangeInfo))}
    # Arrays of a type that psycopg does not know it reads as text anyway.
    return found | {each.array_oid: TextLoader for each in known if each.array_oid}


def read_as_the_server_compares(connection: Connection, *, keys: bool) -> None:
    """Have this connection read such values so that they may be compared and sent back; all others as before.
    No lock, no round trip.

    Args:
        connection: a session of ours; other drivers than psycopg 3 are left as they are.
        keys: all of them: the session sweeps or restores. What reads the catalog on it has to ask for JSON
            instead of arrays, which SQLAlchemy's inspector does not, and no application's mapper may load its
            rows there. Else only the points and spans of time that psycopg would refuse.
    """
    driver = connection.connection.dbapi_connection
    if not isinstance(driver, Driver):
        return
    for oid, loader in _loaders(keys).items():
        driver.adapters.register_loader(oid, loader)
    # SQLAlchemy has it read as a dictionary where it is installed.
    store = driver.adapters.types.get("hstore")
    if keys and store is not None:
        driver.adapters.register_loader(store.oid, TextLoader)
