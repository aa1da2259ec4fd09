"""Values as exact text, made by the server: what a driver would round, refuse or call None stays what it is
(infinite timestamps, zero dates, NaN, intervals, ranges, bits). And the same as SQL literals."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import mysql
from sqlalchemy.engine import Connection
from sqlalchemy.sql.elements import ColumnElement

from migrator.catalog import Column
from migrator.dialects import Dialect
from migrator.plainsql import run_plain
from migrator.typefamily import family


class _Named(sa.types.UserDefinedType[Any]):
    """A type by its SQL text, as the catalog has it."""

    cache_ok = True

    def __init__(self, name: str) -> None:
        self.name = name

    def get_col_spec(self, **_: Any) -> str:
        """The text itself."""
        return self.name


class Exact:
    """How a database without peculiarities writes values: as its driver reads them."""

    #: Whether `text` is the value itself, bytes and all.
    as_read = True

    def prepare(self, connection: Connection) -> None:
        """Session settings on which the text of a value would depend otherwise."""

    def text(self, cell: ColumnElement[Any], column: Column) -> ColumnElement[Any]:
        """The cell, as an expression whose value says all of it."""
        return cell

    def differs(
        self, left: ColumnElement[Any], right: ColumnElement[Any], ours: Column, theirs: Column
    ) -> ColumnElement[bool]:
        """Whether two cells are not the same to the last bit; NULL is the same as NULL."""
        one, other = self.text(left, ours), self.text(right, theirs)
        return sa.or_(one != other, one.is_(None) != other.is_(None))

    def differs_in_type(
        self, left: ColumnElement[Any], right: ColumnElement[Any], ours: Column, theirs: Column
    ) -> ColumnElement[bool]:
        """The same where the column was given another type since: whether the value is another one."""
        return sa.cast(left, sa.Text).is_distinct_from(sa.cast(right, sa.Text))

    def converted(self, cell: str, column: Column) -> str:
        """The SQL of a cell, for an INSERT into a column that was given another type since."""
        return cell

    def row(self, cells: Sequence[ColumnElement[Any]]) -> ColumnElement[str]:
        """Several cells as one text, which is the same exactly where they all are."""
        raise NotImplementedError

    def literal(self, value: Any, column: Column) -> str:
        """What `text` gave, as an SQL literal that makes the same value again."""
        if value is None:
            return "NULL"
        if isinstance(value, bool | int):
            return str(int(value))
        if isinstance(value, float):
            return _float(value)
        if isinstance(value, bytes | bytearray | memoryview):
            return f"X'{bytes(value).hex()}'"
        return _quoted(str(value))

    def plain(self, value: Any, column: Column) -> Any:
        """What `text` gave, as JSON holds it: integers as numbers, bytes as hexadecimal digits."""
        if isinstance(value, bytes | bytearray | memoryview):
            return "0x" + bytes(value).hex()
        if isinstance(value, float) and not math.isfinite(value):
            return str(value)
        if isinstance(value, str) and family(column) == "integer" and value.lstrip("-").isdigit():
            return int(value)
        return value


class _SQLite(Exact):
    """Every value has a type of its own, and the driver gives it back whole."""

    def differs(
        self, left: ColumnElement[Any], right: ColumnElement[Any], ours: Column, theirs: Column
    ) -> ColumnElement[bool]:
        """By `quote()`: it tells 1 from '1' and knows no collation."""
        return sa.func.quote(left) != sa.func.quote(right)

    def row(self, cells: Sequence[ColumnElement[Any]]) -> ColumnElement[str]:
        """By `quote()`, which ends each value where it ends."""
        text: ColumnElement[str] = sa.literal_column("''")
        for cell in cells:
            text = text.concat(sa.func.quote(cell)).concat(sa.literal_column("','"))
        return text

    def literal(self, value: Any, column: Column) -> str:
        """As `Exact`; a NUL inside a text would end it."""
        if isinstance(value, str) and "\0" in value:
            return f"CAST(X'{value.encode().hex()}' AS TEXT)"
        return super().literal(value, column)


class _PostgreSQL(Exact):
    """Everything has a text form from which it can be read back."""

    as_read = False

    def prepare(self, connection: Connection) -> None:
        for setting in (
            "datestyle = 'ISO, MDY'",
            "intervalstyle = 'postgres'",
            "extra_float_digits = 1",
            "bytea_output = 'hex'",
            "timezone = 'UTC'",
        ):
            run_plain(connection, f"SET {setting}")

    def text(self, cell: ColumnElement[Any], column: Column) -> ColumnElement[Any]:
        return sa.cast(cell, sa.Text)

    def differs(
        self, left: ColumnElement[Any], right: ColumnElement[Any], ours: Column, theirs: Column
    ) -> ColumnElement[bool]:
        """As text in the C collation: json has no equality, and a column's collation may be a loose one."""
        one, other = (sa.cast(cell, sa.Text).collate("C") for cell in (left, right))
        return one.is_distinct_from(other)

    def row(self, cells: Sequence[ColumnElement[Any]]) -> ColumnElement[str]:
        """A record's own text: it quotes what needs it, and leaves NULL out."""
        return sa.cast(sa.func.row(*cells), sa.Text).collate("C")

    def differs_in_type(
        self, left: ColumnElement[Any], right: ColumnElement[Any], ours: Column, theirs: Column
    ) -> ColumnElement[bool]:
        """By the way back: what became of the value, made its old type again, is what it was."""
        return self.differs(sa.cast(left, _Named(theirs.type)), right, theirs, theirs)

    def converted(self, cell: str, column: Column) -> str:
        """An explicit cast: text does not become a number by assignment."""
        return f"CAST({cell} AS {column.type})"

    def literal(self, value: Any, column: Column) -> str:
        """A literal without a type: the column it goes into decides."""
        if value is None:
            return "NULL"
        text = str(value)
        return f"E{_quoted(text.replace(chr(92), chr(92) * 2))}" if "\\" in text else _quoted(text)

    def plain(self, value: Any, column: Column) -> Any:
        if value is not None and family(column) == "boolean":
            return value in ("true", "t", True)
        return super().plain(value, column)


#: Types whose bytes are no text; what holds bits and shapes is written the same way.
_BYTES = ("binary", "varbinary", "tinyblob", "blob", "mediumblob", "longblob", "bit")
_SHAPES = (
    "geometry",
    "point",
    "linestring",
    "polygon",
    "multipoint",
    "multilinestring",
    "multipolygon",
    "geomcollection",
    "geometrycollection",
)


class _MySQL(Exact):
    """Bytes as hexadecimal digits, FLOAT with the digits of the DOUBLE it is, the rest as text."""

    as_read = False

    def prepare(self, connection: Connection) -> None:
        run_plain(connection, "SET SESSION time_zone = '+00:00'")

    def text(self, cell: ColumnElement[Any], column: Column) -> ColumnElement[Any]:
        word = _word(column)
        if word in (*_BYTES, *_SHAPES, "vector"):
            return sa.func.hex(cell)
        if word == "float":
            return sa.cast(sa.cast(cell, sa.Double()), mysql.CHAR(charset="utf8mb4"))
        return sa.cast(cell, mysql.CHAR(charset="utf8mb4"))

    def differs(
        self, left: ColumnElement[Any], right: ColumnElement[Any], ours: Column, theirs: Column
    ) -> ColumnElement[bool]:
        """Byte by byte: a collation would call 'a' and 'A ' the same."""
        one = sa.cast(self.text(left, ours), mysql.BINARY())
        other = sa.cast(self.text(right, theirs), mysql.BINARY())
        return one.is_distinct_from(other)

    def differs_in_type(
        self, left: ColumnElement[Any], right: ColumnElement[Any], ours: Column, theirs: Column
    ) -> ColumnElement[bool]:
        """As the server compares the two: strict mode has refused what does not fit, but not rounding."""
        return left.is_distinct_from(right)

    def literal(self, value: Any, column: Column) -> str:
        if value is None:
            return "NULL"
        text = value.decode() if isinstance(value, bytes) else str(value)
        if _word(column) in (*_BYTES, *_SHAPES, "vector"):
            return f"0x{text}" if text else "''"
        # What a backslash means depends on the session that reads this; bytes mean the same in every one.
        return f"_utf8mb4 X'{text.encode().hex()}'" if "\\" in text or "\0" in text else _quoted(text)

    def plain(self, value: Any, column: Column) -> Any:
        if value is not None and _word(column) in (*_BYTES, *_SHAPES, "vector"):
            return "0x" + (value.decode() if isinstance(value, bytes) else str(value)).lower()
        return super().plain(value.decode() if isinstance(value, bytes) else value, column)


_FAMILIES: dict[str, type[Exact]] = {
    "sqlite": _SQLite,
    "postgresql": _PostgreSQL,
    "mysql": _MySQL,
    "mariadb": _MySQL,
}


def exact_for(dialect: Dialect) -> Exact:
    """How this database writes values."""
    return _FAMILIES.get(dialect.family, Exact)()


def _word(column: Column) -> str:
    return column.type.lower().partition("(")[0].partition(" ")[0]


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def _float(value: float) -> str:
    if math.isnan(value):
        return "NULL"
    return repr(value) if math.isfinite(value) else ("9e999" if value > 0 else "-9e999")
