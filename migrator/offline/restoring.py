"""The expressions of a restore that all databases share."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from sqlalchemy.sql.elements import ColumnElement
from sqlalchemy.sql.expression import FromClause

from migrator.catalog import Facts
from migrator.offline.words import Words
from migrator.predicate import table_clause
from migrator.quarantine import CONFLICT, HELD, STATE


def held(words: Words, kept: FromClause) -> ColumnElement[bool]:
    """True for the rows of a mirror, under an alias, that are set aside and not back."""
    return kept.c[STATE].in_([words.value(HELD), words.value(CONFLICT)])


def how_many(words: Words, kept: FromClause, condition: ColumnElement[bool]) -> str:
    """An expression: how many rows of a mirror, under an alias, meet a condition."""
    return f"({words.sql(sa.select(sa.func.count()).select_from(kept).where(condition))})"


def users(words: Words, facts: Facts, key: list[str]) -> str:
    """An expression: how many rows refer to a parent, by the reference or by a declared foreign key.

    Args:
        key: expressions for the parent's key.
    """
    reference = facts.reference
    values = dict(zip(reference.parent_columns, key, strict=True))
    pairs = [(reference.child, reference.columns, reference.parent_columns)]
    pairs += [
        (fk.child, fk.columns, fk.parent_columns) for fk in facts.parent.inbound if not fk.answers(reference)
    ]
    counts: list[str] = []
    for table, columns, parent_columns in pairs:
        clause = table_clause(table, *columns).alias("d")
        query = sa.select(sa.func.count()).select_from(clause)
        if set(parent_columns) <= set(values):
            same: list[ColumnElement[Any]] = [
                clause.c[ours] == sa.literal_column(values[theirs])
                for ours, theirs in zip(columns, parent_columns, strict=True)
            ]
        else:  # another key of the parent than the reference's
            row = table_clause(reference.parent, *{*values, *parent_columns}).alias("p")
            on = (
                clause.c[ours] == row.c[theirs] for ours, theirs in zip(columns, parent_columns, strict=True)
            )
            query = sa.select(sa.func.count()).select_from(clause.join(row, sa.and_(*on)))
            same = [row.c[name] == sa.literal_column(each) for name, each in values.items()]
        counts.append(f"({words.sql(query.where(*same))})")
    return " + ".join(counts)


def delete_parent(words: Words, facts: Facts, key: list[str]) -> str:
    """Delete a parent by its key."""
    reference = facts.reference
    parent = table_clause(reference.parent, *reference.parent_columns)
    same = [
        parent.c[name] == sa.literal_column(each)
        for name, each in zip(reference.parent_columns, key, strict=True)
    ]
    return words.sql(sa.delete(parent).where(*same))
