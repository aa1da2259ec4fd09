"""How each database spells what a script needs and no session is there to say: values, times, JSON.

Statements are built from SQLAlchemy's constructs, as those that run online are, and printed with their
values in place. A value of the user's becomes a literal here and nowhere else.
"""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Mapping
from decimal import Decimal
from typing import Any
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.sql.elements import ClauseElement, ColumnElement

from migrator.dialects import Dialect
from migrator.dialects.mysql_definition import literal as mysql_text
from migrator.dialects.pg_words import literal as pg_text
from migrator.dialects.sqlite_tokens import quote_text
from migrator.errors import UsageError

# The blank that SQLAlchemy writes before a line's end; a literal has neither.
_AT_LINE_END = re.compile(r" +\n(?=\s*(?:FROM|WHERE|LIMIT|\())")


class Words:
    """The words of one family. What is here suits SQLite.

    Args:
        dialect: ours; its SQLAlchemy dialect must not escape percent signs (paramstyle "named").
    """

    #: Expressions: the time as the journal writes it, who runs this, a new run's number.
    now = "strftime('%Y-%m-%dT%H:%M:%f000Z', 'now')"
    actor = "'a script'"
    run_id = "strftime('%Y%m%dT%H%M%S-', 'now') || lower(hex(randomblob(4)))"
    #: What a SELECT without a table selects from.
    nothing: sa.TextClause | None = None
    true, false = "json('true')", "json('false')"
    #: Whether a DELETE may join another table.
    deletes_from_two = False

    def __init__(self, dialect: Dialect) -> None:
        self.dialect = dialect

    def sql(self, statement: ClauseElement) -> str:
        """A statement, or an expression, as text with its values in place."""
        compiled = statement.compile(dialect=self.dialect.sa, compile_kwargs={"literal_binds": True})
        text = str(compiled).strip()
        if isinstance(statement, sa.schema.ExecutableDDLElement):
            return text  # to the byte as online: SQLite keeps a definition as it was written
        return _AT_LINE_END.sub("\n", text)

    def text(self, value: str) -> str:
        """A string literal, on one line: the shells read lines."""
        pieces = re.split("([\r\n])", value)
        each = [f"char({ord(one)})" if one in "\r\n" else quote_text(one) for one in pieces if one]
        return self._joined(each) if pieces[1:] else quote_text(value)

    def literal(self, value: Any) -> str:
        """A value as a literal.

        Raises:
            UsageError: a value that no script can hold.
        """
        if value is None:
            return "NULL"
        if isinstance(value, bool):
            return str(int(value))
        if isinstance(value, (int, float, Decimal)):
            return str(value)
        if isinstance(value, (str, UUID)):
            return self.text(str(value))
        if isinstance(value, (dt.date, dt.time)):
            return self.text(value.isoformat(" ") if isinstance(value, dt.datetime) else value.isoformat())
        raise UsageError(f"A script cannot hold the value {value!r}.", hint="Run this online, without --sql.")

    def value(self, value: Any) -> ColumnElement[Any]:
        """A value inside a statement."""
        return sa.literal_column(self.literal(value))

    def select(self, values: Mapping[str, ColumnElement[Any]]) -> sa.Select[Any]:
        """A SELECT of values by name, without a table."""
        query = sa.select(*(value.label(name) for name, value in values.items()))
        return query if self.nothing is None else query.select_from(self.nothing)

    def json(self, pairs: Mapping[str, str]) -> str:
        """An expression: the text of a JSON object.

        Args:
            pairs: the names, each with an expression.
        """
        return f"json_object({self._pairs(pairs)})"

    def json_with(self, column: str, name: str, value: str) -> str:
        """An expression: the text of a JSON object with one text in it more.

        Args:
            column: an expression for the object.
            name: a plain word.
            value: an expression for the text.
        """
        return f"json_set({column}, '$.{name}', {value})"

    def json_without(self, column: str, name: str) -> str:
        """An expression: the text of a JSON object without one of its names."""
        return f"json_remove({column}, '$.{name}')"

    def key_text(self, columns: list[str]) -> str:
        """An expression: a key as the journal keeps it (`codec.dump_key`), from expressions."""
        return f"(json_array({', '.join(columns)}) || '')"

    def key_part(self, column: str, at: int) -> str:
        """An expression: one value of such a text; the inverse of `key_text`."""
        return f"json_extract({column}, '$[{at}]')"

    def json_text(self, column: str, name: str) -> str:
        """An expression: a text out of a JSON object, NULL where it is not in it."""
        return f"json_extract({column}, '$.{name}')"

    def filled(self, value: Any, key: Mapping[str, str], type_: str | None = None) -> str:
        """An expression: a stated value with a parent's own key in it, see `CreateParents`.

        Args:
            value: as it was stated; `{id}` in a text stands for a part of the key.
            key: expressions, by the parts' names.
            type_: the type to make of the text; None where text is wanted.
        """
        marks = {f"{{{name}}}": part for name, part in key.items()}
        if not isinstance(value, str) or not any(mark in value for mark in marks):
            return self.literal(value)
        pieces = re.split("(" + "|".join(map(re.escape, marks)) + ")", value)
        each = [self._as_text(marks[one]) if one in marks else self.text(one) for one in pieces if one]
        return self._joined(each) if type_ is None else self._cast(self._joined(each), type_)

    def _as_text(self, expression: str) -> str:
        return f"CAST({expression} AS TEXT)"

    def _joined(self, texts: list[str]) -> str:
        return "(" + " || ".join(texts) + ")"

    def _cast(self, expression: str, type_: str) -> str:
        """Only PostgreSQL does not do it by itself."""
        return expression

    def _pairs(self, pairs: Mapping[str, str]) -> str:
        return ", ".join(f"{self.text(name)}, {value}" for name, value in pairs.items())


class PostgreSQLWords(Words):
    """PostgreSQL's."""

    now = """to_char(clock_timestamp() AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"')"""
    actor = "left(session_user || ' (a script)', 255)"
    run_id = (
        """to_char(clock_timestamp() AT TIME ZONE 'UTC', 'YYYYMMDD"T"HH24MISS-')"""
        " || left(gen_random_uuid()::text, 8)"
    )
    true, false = "true", "false"
    deletes_from_two = True

    def text(self, value: str) -> str:
        """A string literal, right whatever `standard_conforming_strings` says."""
        return pg_text(value)

    def literal(self, value: Any) -> str:
        """See `Words.literal`: no number is a boolean here."""
        return str(value).lower() if isinstance(value, bool) else super().literal(value)

    def _cast(self, expression: str, type_: str) -> str:
        return f"CAST({expression} AS {type_})"

    def json(self, pairs: Mapping[str, str]) -> str:
        """See `Words.json`."""
        return f"jsonb_build_object({self._pairs(pairs)})::text"

    def json_with(self, column: str, name: str, value: str) -> str:
        """See `Words.json_with`."""
        return f"({column}::jsonb || jsonb_build_object('{name}', {value}))::text"

    def json_without(self, column: str, name: str) -> str:
        """See `Words.json_without`."""
        return f"({column}::jsonb - '{name}')::text"

    def key_text(self, columns: list[str]) -> str:
        """See `Words.key_text`; what JSON has no form for is kept as its text."""
        return f"jsonb_build_array({', '.join(columns)})::text"

    def key_part(self, column: str, at: int) -> str:
        """See `Words.key_part`; a value with its type (`{"uuid": "..."}`) is that value."""
        part = f"({column}::jsonb -> {at})"
        return (
            f"CASE jsonb_typeof({part}) WHEN 'object' THEN (SELECT value FROM jsonb_each_text({part})) "
            f"ELSE {part} #>> '{{}}' END"
        )

    def json_text(self, column: str, name: str) -> str:
        """See `Words.json_text`."""
        return f"({column}::jsonb ->> '{name}')"


class MySQLWords(Words):
    """MySQL's and MariaDB's."""

    now = "DATE_FORMAT(UTC_TIMESTAMP(6), '%Y-%m-%dT%H:%i:%s.%fZ')"
    actor = "LEFT(CONCAT(CURRENT_USER(), ' (a script)'), 255)"
    run_id = "CONCAT(DATE_FORMAT(UTC_TIMESTAMP(), '%Y%m%dT%H%i%s-'), LEFT(UUID(), 8))"
    nothing = sa.text("DUAL")
    true, false = "TRUE", "FALSE"
    deletes_from_two = True

    def text(self, value: str) -> str:
        """A string literal that means the same whether or not backslashes escape, and whatever the client
        takes the script's letters and line ends for."""
        plain = value.isascii() and value.isprintable()
        return mysql_text(value) if plain else f"_utf8mb4 0x{value.encode().hex()}"

    def _as_text(self, expression: str) -> str:
        return f"CAST({expression} AS CHAR)"

    def _joined(self, texts: list[str]) -> str:
        return f"CONCAT({', '.join(texts)})"

    def json(self, pairs: Mapping[str, str]) -> str:
        """See `Words.json`."""
        return f"JSON_OBJECT({self._pairs(pairs)})"

    def json_with(self, column: str, name: str, value: str) -> str:
        """See `Words.json_with`."""
        return f"JSON_SET({column}, '$.{name}', {value})"

    def json_without(self, column: str, name: str) -> str:
        """See `Words.json_without`."""
        return f"JSON_REMOVE({column}, '$.{name}')"

    def key_text(self, columns: list[str]) -> str:
        """See `Words.key_text`. CONCAT makes a text of it: MariaDB would nest the array itself."""
        return f"CONCAT('', JSON_ARRAY({', '.join(columns)}))"

    def key_part(self, column: str, at: int) -> str:
        """See `Words.key_part`."""
        return f"JSON_UNQUOTE(JSON_EXTRACT({column}, '$[{at}]'))"

    def json_text(self, column: str, name: str) -> str:
        """See `Words.json_text`."""
        return f"JSON_UNQUOTE(JSON_EXTRACT({column}, '$.{name}'))"


def comment(text: str) -> str:
    """A comment, each line of the text one line."""
    return "\n".join(f"-- {line}".rstrip() for line in text.splitlines())
