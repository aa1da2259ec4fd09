"""The column types a `dataset.json` may name: what they are on each engine, and how their text is read."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, time
from decimal import Decimal
from typing import Any, Final
from uuid import UUID

from sqlalchemy import (
    BigInteger,
    Boolean,
    Date,
    Double,
    Float,
    Integer,
    Numeric,
    SmallInteger,
    String,
    Text,
    Time,
    Uuid,
)
from sqlalchemy.dialects import mysql
from sqlalchemy.types import CHAR, DateTime, TypeEngine

from migrator.errors import UsageError

_MYSQL: Final = ("mysql", "mariadb")

# A row of MySQL holds 65,535 bytes, and a character takes up to four of them.
_LONGEST_VARCHAR: Final = 16_383
# An InnoDB index entry holds 3,072 bytes in all its columns.
_LONGEST_KEY: Final = 768


@dataclass(frozen=True, slots=True)
class ColumnType:
    """A column type of a dataset.

    Attributes:
        type: the SQLAlchemy type, with what differs on one engine as its variant.
        read: turns the text of a field into the value to store; ValueError or ArithmeticError if it cannot.
    """

    type: TypeEngine[Any]
    read: Callable[[str], Any]


def parse_type(declared: str, *, key_columns: int = 0) -> ColumnType:
    """Find what a declared type means.

    Args:
        declared: the type as written, such as ``int``, ``varchar(30)`` or ``decimal(10, 2)``.
        key_columns: how many columns share the key that this column is part of, 0 if it is in none.

    Returns:
        The type and its reader.

    Raises:
        UsageError: no such type is known.
    """
    match = _DECLARED.fullmatch(declared.strip().lower())
    make = _TYPES.get(re.sub(r"\s+", " ", match["name"])) if match else None
    if match is None or make is None:
        raise UsageError(
            f"the column type {declared!r} is not known.", hint=f"Known: {', '.join(sorted(_TYPES))}."
        )
    sizes = [int(size) for size in re.findall(r"\d+", match["sizes"] or "")]
    return make(sizes, key_columns)


_DECLARED: Final = re.compile(
    r"(?P<name>[a-z]\w*(?:\s+[a-z]\w*)*)\s*(?:\((?P<sizes>\s*\d+\s*(?:,\s*\d+\s*)?)\))?"
)


def _text(_sizes: list[int], key_columns: int) -> ColumnType:
    # MySQL cannot index TEXT as a whole, and its TEXT is 64 KB where elsewhere it is without bound.
    if key_columns:
        length = min(255, _LONGEST_KEY // key_columns)
        return ColumnType(Text().with_variant(mysql.VARCHAR(length), *_MYSQL), str)
    return ColumnType(Text().with_variant(mysql.LONGTEXT(), *_MYSQL), str)


def _varchar(sizes: list[int], key_columns: int) -> ColumnType:
    if not sizes:
        return _text(sizes, key_columns)
    if sizes[0] > _LONGEST_VARCHAR:
        return ColumnType(String(sizes[0]).with_variant(mysql.LONGTEXT(), *_MYSQL), str)
    return ColumnType(String(sizes[0]), str)


def _char(sizes: list[int], _key_columns: int) -> ColumnType:
    return ColumnType(CHAR(sizes[0] if sizes else 1), str)


def _decimal(sizes: list[int], _key_columns: int) -> ColumnType:
    # SQLite has no decimals: asking for none there is said once, here, instead of warned of at each use.
    precision, scale = (*sizes, 0, 0)[:2] if sizes else (38, 10)
    inexact = Numeric(precision, scale, asdecimal=False)
    return ColumnType(Numeric(precision, scale).with_variant(inexact, "sqlite"), Decimal)


def _datetime(_sizes: list[int], _key_columns: int) -> ColumnType:
    return ColumnType(DateTime().with_variant(mysql.DATETIME(fsp=6), *_MYSQL), _read_datetime)


def _time(_sizes: list[int], _key_columns: int) -> ColumnType:
    return ColumnType(Time().with_variant(mysql.TIME(fsp=6), *_MYSQL), time.fromisoformat)


def _plain(
    type_: Callable[[], TypeEngine[Any]], read: Callable[[str], Any]
) -> Callable[[list[int], int], ColumnType]:
    return lambda _sizes, _key_columns: ColumnType(type_(), read)


def _read_datetime(field: str) -> datetime:
    moment = datetime.fromisoformat(field)
    # MySQL and SQLite keep no offset; the moment is kept instead, in UTC.
    return moment if moment.tzinfo is None else moment.astimezone(UTC).replace(tzinfo=None)


def _read_boolean(field: str) -> bool:
    return _BOOLEANS[field.strip().lower()]


_BOOLEANS: Final[Mapping[str, bool]] = {
    **dict.fromkeys(("true", "t", "yes", "y", "on", "1"), True),
    **dict.fromkeys(("false", "f", "no", "n", "off", "0"), False),
}

_TYPES: Final[Mapping[str, Callable[[list[int], int], ColumnType]]] = {
    **dict.fromkeys(("tinyint", "smallint"), _plain(SmallInteger, int)),
    **dict.fromkeys(("int", "integer", "mediumint"), _plain(Integer, int)),
    "bigint": _plain(BigInteger, int),
    **dict.fromkeys(("varchar", "character varying", "nvarchar", "string"), _varchar),
    **dict.fromkeys(("char", "character", "nchar"), _char),
    **dict.fromkeys(("text", "tinytext", "mediumtext", "longtext", "clob"), _text),
    **dict.fromkeys(("decimal", "numeric"), _decimal),
    "real": _plain(Float, float),
    **dict.fromkeys(("float", "double", "double precision"), _plain(Double, float)),
    **dict.fromkeys(("boolean", "bool"), _plain(Boolean, _read_boolean)),
    **dict.fromkeys(("datetime", "timestamp", "timestamp without time zone"), _datetime),
    **dict.fromkeys(("timestamptz", "timestamp with time zone"), _datetime),
    "date": _plain(Date, date.fromisoformat),
    "time": _time,
    "uuid": _plain(Uuid, UUID),
}
