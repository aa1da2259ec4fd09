"""Which column types a foreign key ties, and the statement that makes them equal. Pure.

Source: https://dev.mysql.com/doc/refman/8.4/en/create-table-foreign-keys.html (3780) and our
measurements: lengths, DECIMAL's precision and fractional seconds may differ; size and sign of an
integer, character set and collation may not.
"""

from __future__ import annotations

import re

from migrator.catalog import Column, Facts
from migrator.dialects.mysql_definition import quote, with_nullness
from migrator.dialects.mysql_words import table_sql

_CANNOT_KEY = re.compile(r"(tiny|medium|long)?(text|blob)|json|geometry|(multi)?(point|linestring|polygon)|"
                         r"geom(etry)?collection|vector", re.IGNORECASE)  # fmt: skip
_SAME = {"char": "varchar", "binary": "varbinary", "integer": "int"}
_CHARSET = re.compile(r"\s+CHARACTER SET \S+", re.IGNORECASE)
_COLLATE = re.compile(r"\s+COLLATE \S+", re.IGNORECASE)


def _word(column: Column) -> str:
    match = re.match(r"\w+", column.type)
    return match.group().lower() if match else ""


def is_keyable(column: Column) -> bool:
    """Whether a column of this type can be part of a foreign key at all."""
    return _CANNOT_KEY.fullmatch(_word(column)) is None


def shape(column: Column) -> tuple[str, bool, str | None]:
    """What must be equal on both sides: kind, sign, collation."""
    word = _word(column)
    unsigned = re.search(r"\bunsigned\b", column.type, re.IGNORECASE) is not None
    return _SAME.get(word, word), unsigned, column.collation


def conflicts(facts: Facts) -> tuple[tuple[Column, Column], ...]:
    """The pairs of columns that no foreign key ties."""
    pairs = zip(facts.reference.columns, facts.reference.parent_columns, strict=True)
    columns = ((facts.child.column(ours), facts.parent.column(theirs)) for ours, theirs in pairs)
    return tuple((ours, theirs) for ours, theirs in columns if shape(ours) != shape(theirs))


def change_type(facts: Facts, ours: Column, theirs: Column) -> str:
    """The statement that gives our column the parent's type and leaves the rest of it as it is."""
    plain = ours.type.partition(" CHARACTER SET ")[0]
    rest = ours.definition.removeprefix(plain)
    rest = _COLLATE.sub("", _CHARSET.sub("", rest, count=1), count=1)
    definition = with_nullness(theirs.type + rest, "NULL" if ours.nullable else "NOT NULL")
    return f"ALTER TABLE {table_sql(facts.child.name)} MODIFY {quote(ours.name)} {definition};"
