"""Values for a row that must be refused: a parent's key that is not there, a key nobody has."""

from __future__ import annotations

import random
import re
import string
import uuid
from collections.abc import Iterator, Mapping
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from migrator.catalog import Column, Facts
from migrator.predicate import table_clause
from migrator.reference import TableName
from migrator.typefamily import family, length

_TRIES = 20

# Largest value of the integer types; unsigned ones reach twice as far.
_INTEGERS = (
    (r"tinyint", 2**7 - 1),
    (r"smallint|int2|smallserial", 2**15 - 1),
    (r"mediumint", 2**23 - 1),
    (r"bigint|int8|bigserial", 2**63 - 1),
)


def bound(value: Any) -> sa.BindParameter[Any]:
    """A value without a type: the column it is compared with, or put into, decides."""
    return sa.bindparam(None, value, sa.types.NullType())


def fresh(
    connection: Connection, table: TableName, column: Column, like: Column | None = None
) -> Iterator[Any]:
    """Values that are likely not in a column, the most harmless first; none for types we cannot make
    up values for.

    A number below the smallest comes before one above the largest: AUTO_INCREMENT and sequences do
    not notice it, not even when the transaction is rolled back.

    Args:
        connection: to read the column's ends.
        table, column: where the values must not be.
        like: the column the values must fit into, where that is another one.
    """
    fit = like or column
    drawn = random.Random()
    kind = family(fit)
    if kind == "untyped":
        kind = family(column)
    if kind == "integer":
        yield from _integers(connection, table, column, fit, drawn)
    elif kind == "number":
        yield from _ends(connection, table, column, (-1, 1))
    elif kind == "uuid":
        yield from (str(uuid.uuid4()) for _ in range(_TRIES))
    elif kind in ("text", "untyped"):
        size = min(length(fit) or 12, 12)
        letters = string.ascii_lowercase + string.digits
        yield from ("".join(drawn.choices(letters, k=size)) for _ in range(_TRIES))
    elif kind == "binary":
        yield from (drawn.randbytes(min(length(fit) or 16, 64)) for _ in range(_TRIES))


def missing_key(connection: Connection, facts: Facts) -> dict[str, Any] | None:
    """Values for the child's reference columns that no parent row has; None when none is found.

    Raises:
        sqlalchemy.exc.DBAPIError: as the driver said it.
    """
    reference = facts.reference
    parent = table_clause(reference.parent, *reference.parent_columns)
    there = connection.execute(
        sa.select(*(parent.c[name] for name in reference.parent_columns)).limit(1)
    ).first()
    if there is None:
        made = {
            ours: next(_for(connection, facts, ours, theirs), None)
            for ours, theirs in zip(reference.columns, reference.parent_columns, strict=True)
        }
        return None if None in made.values() else made
    # One column differs from a key that is there, so that the others are surely of the right kind.
    base = dict(zip(reference.parent_columns, there, strict=True))
    for ours, theirs in zip(reference.columns, reference.parent_columns, strict=True):
        for value in _for(connection, facts, ours, theirs):
            key = {**base, theirs: value}
            if not _exists(connection, parent, key):
                pairs = zip(reference.columns, reference.parent_columns, strict=True)
                return {name: key[parent_name] for name, parent_name in pairs}
    return None


def stand_in(column: Column) -> Any:
    """Some value for a column that must have one, in a table without rows; None where we know none."""
    return {
        "integer": 0,
        "number": 0,
        "text": "",
        "uuid": str(uuid.UUID(int=0)),
        "binary": b"",
        "moment": None if column.type.lower() == "time" else "2000-01-01",
        "boolean": False,
        "untyped": "",
    }.get(family(column))


def _for(connection: Connection, facts: Facts, ours: str, theirs: str) -> Iterator[Any]:
    column = facts.parent.column(theirs)
    return fresh(connection, facts.parent.name, column, facts.child.column(ours))


def _exists(connection: Connection, table: sa.TableClause, key: Mapping[str, Any]) -> bool:
    same = sa.and_(*(table.c[name] == bound(value) for name, value in key.items()))
    return bool(connection.execute(sa.select(sa.func.count()).select_from(table).where(same)).scalar_one())


def _integers(
    connection: Connection, table: TableName, column: Column, fit: Column, drawn: random.Random
) -> Iterator[int]:
    type_ = fit.type.lower()
    largest = next((most for words, most in _INTEGERS if re.search(words, type_)), 2**31 - 1)
    unsigned = "unsigned" in type_
    smallest = 1 if unsigned else -largest
    largest = largest * 2 if unsigned else largest
    low, high = _range(connection, table, column)
    # Two of them: in a table that refers to itself one is the row's key and one the parent it lacks.
    for below in (1, 2):
        if low - below >= smallest:
            # -1 where it is free: a person who sees it in a log knows what it is.
            yield low - below if unsigned else min(low - below, -below)
    for _ in range(_TRIES):
        if high > low:
            yield drawn.randint(max(low, smallest), min(high, largest))
    if high + 1 <= largest:
        yield high + 1


def _ends(connection: Connection, table: TableName, column: Column, steps: tuple[int, int]) -> Iterator[Any]:
    low, high = _range(connection, table, column)
    yield low + steps[0]
    yield high + steps[1]


def _range(connection: Connection, table: TableName, column: Column) -> tuple[Any, Any]:
    clause = table_clause(table, column.name)
    at = clause.c[column.name]
    low, high = connection.execute(sa.select(sa.func.min(at), sa.func.max(at))).one()
    return (0, 0) if low is None else (low, high)
