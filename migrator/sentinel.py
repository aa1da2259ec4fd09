"""The parent that a backfill points at: a stated key, or a sentinel row that is found or made."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection
from sqlalchemy.sql.elements import ColumnElement
from sqlalchemy.sql.expression import FromClause

from migrator import journal
from migrator.catalog import Column, Facts, Table
from migrator.codec import dump_key, load_key
from migrator.context import Context
from migrator.errors import Refused
from migrator.nearest import unknown_column
from migrator.policy import Backfill
from migrator.predicate import table_clause
from migrator.sentinel_row import SentinelRow, claimed, is_claimed
from migrator.typefamily import family
from migrator.worklist import bound

Key = tuple[Any, ...]

_TRUTH = {"true": True, "false": False}


def find_target(connection: Connection, facts: Facts, policy: Backfill) -> Key | None:
    """The key a backfill would use, if its row is there. Reads only.

    Raises:
        Refused: `to` is no key of the parent, or the sentinel cannot be told from other rows.
        UnknownColumnError: a required column of the sentinel is not there.
    """
    reference = facts.reference
    if policy.to is not None:
        return _stated_parent(connection, facts, stated_key(facts, policy.to))
    for name in sorted(policy.required):
        if not facts.parent.has(name):
            raise unknown_column(facts.parent.name, name, (column.name for column in facts.parent.columns))
    stated = stated_values(facts.parent, policy.sentinel)
    unique = unique_part(facts.parent, stated)
    if not unique:
        return None
    found = _lookup(connection, facts, unique)
    if len(found) > 1:
        raise Refused(
            f"{len(found)} rows of {reference.parent} look like the sentinel "
            f"({', '.join(f'{name}={value!r}' for name, value in unique.items())}).",
            hint="Name the one to use with -x backfill_to=<key>.",
        )
    if not found:
        _check_free(connection, facts, stated)
    return found[0] if found else None


def stated_key(facts: Facts, said: Key) -> Key:
    """The key of an existing parent as `backfill_to` says it.

    Raises:
        Refused: it has not as many values as the parent's key.
    """
    parent, columns = facts.reference.parent, facts.reference.parent_columns
    if len(said) != len(columns):
        raise Refused(
            f"backfill_to gives {len(said)} value(s); the key of {parent} has {len(columns)}.",
            hint=f"Give one value for each of: {', '.join(columns)}.",
        )
    return tuple(_meant(facts.parent.column(name), value) for name, value in zip(columns, said, strict=True))


def _stated_parent(connection: Connection, facts: Facts, key: Key) -> Key:
    reference = facts.reference
    try:
        found = _lookup(connection, facts, dict(zip(reference.parent_columns, key, strict=True)))
    except sa.exc.DataError:  # PostgreSQL: text that is no number
        found = []
    # MySQL takes '1abc' for 1 and 'abc' for 0.
    if not found or not all(map(_is_meant, found[0], key)):
        raise Refused(
            f"backfill_to={', '.join(map(str, key))}: {reference.parent} has no such row, "
            "so every backfilled row would be an orphan again.",
            hint=f"Name an existing {', '.join(reference.parent_columns)} of {reference.parent}.",
        )
    return found[0]


def _is_meant(found: Any, said: Any) -> bool:
    if not isinstance(found, int):
        return True
    try:
        return int(str(said)) == found
    except ValueError:
        return False


def _check_free(connection: Connection, facts: Facts, stated: Mapping[str, Any]) -> None:
    """No other row has a stated value in a unique column, and no row refers to a stated key."""
    reference = facts.reference
    if set(reference.parent_columns) <= set(stated):
        key = tuple(stated[name] for name in reference.parent_columns)
        if is_claimed(connection, reference, key):
            raise claimed(reference, key)
    for key in facts.parent.unique_keys:
        values = {name: stated[name] for name in key if name in stated}
        if len(values) == len(key) and _lookup(connection, facts, values):
            shown = ", ".join(f"{name}={value!r}" for name, value in values.items())
            raise Refused(
                f"The sentinel row of {facts.reference.parent} cannot be made: another row has {shown}.",
                hint=f"State another value with -x sentinel.{key[0]}=<value>, or name that row with "
                "-x backfill_to=<key>.",
            )


def check_sentinel(facts: Facts, policy: Backfill) -> None:
    """Whether a sentinel row could be made, before anything is changed.

    Raises:
        Refused: a NOT NULL column has neither a default nor a stated value; the message gives the
            `-x` argument that states one.
    """
    parent = facts.parent
    stated = stated_values(parent, policy.sentinel)
    for column in parent.columns:
        given = column.name in stated or column.default is not None or column.identity or column.generated
        # SQLite lets a text key be NULL; a sentinel whose key is NULL would be nobody's parent.
        is_key = column.name in (*parent.primary_key, *facts.reference.parent_columns)
        if not given and (is_key or not column.nullable):
            what = "part of the key" if is_key else "NOT NULL"
            raise Refused(
                f"The sentinel row of {parent.name} needs a value for {column.name}: it is {what}, has no "
                "default, and none is stated.",
                hint=f"Give one with -x sentinel.{column.name}=<value>, or name an existing row with "
                "-x backfill_to=<key>.",
            )


def make_target(context: Context, connection: Connection, facts: Facts, policy: Backfill) -> Key:
    """The key to backfill with, its row created where it is missing. That it is ours is journaled in
    the transaction that creates it, so a crash leaves either both or neither."""
    if policy.to is None:
        for key in _remembered(connection, facts):
            if _lookup(connection, facts, dict(zip(facts.reference.parent_columns, key, strict=True))):
                return key
    found = find_target(connection, facts, policy)
    if found is not None:
        return found
    check_sentinel(facts, policy)
    run = journal.reload(connection, context.run)
    make = SentinelRow(context.dialect, facts, stated_values(facts.parent, policy.sentinel))
    key = make.create(
        connection,
        lambda key: journal.record(connection, run, facts={**run.facts, "sentinel": dump_key(key)}),
    )
    context.progress.note(
        f"created the sentinel row of {facts.reference.parent}: "
        + ", ".join(
            f"{name}={value!r}" for name, value in zip(facts.reference.parent_columns, key, strict=True)
        )
    )
    return key


def remove_if_unused(context: Context, connection: Connection, facts: Facts, key: Key) -> bool:
    """Delete a sentinel row that we made, if no declared foreign key and no row of the child refers
    to it any more. Returns whether it is gone."""
    named = [bound(value) for value in key]
    with context.dialect.transaction(connection):
        if any(connection.scalar(query) for query in users(facts, named)):
            return False
        connection.execute(without(facts, named))
    return True


def users(facts: Facts, key: Sequence[ColumnElement[Any]]) -> list[sa.Select[Any]]:
    """How many rows refer to a parent, by the reference and by each declared foreign key.

    Args:
        key: the parent's, as expressions.
    """
    reference = facts.reference
    child = table_clause(reference.child, *reference.columns).alias("d")
    used = sa.select(sa.func.count()).select_from(child)
    found = [
        used.where(*(child.c[ours] == value for ours, value in zip(reference.columns, key, strict=True)))
    ]
    for fk in facts.parent.inbound:
        # By way of the row itself: they may refer to another key of it than the reference does.
        row = table_clause(reference.parent, *{*reference.parent_columns, *fk.parent_columns}).alias("p")
        other = table_clause(fk.child, *fk.columns).alias("d")
        pairs = zip(fk.columns, fk.parent_columns, strict=True)
        same = sa.and_(*(other.c[ours] == row.c[theirs] for ours, theirs in pairs))
        query = sa.select(sa.func.count()).select_from(other.join(row, same))
        found.append(query.where(*_is(row, reference.parent_columns, key)))
    return found


def without(facts: Facts, key: Sequence[ColumnElement[Any]]) -> sa.Delete:
    """Delete a parent by its key."""
    parent = table_clause(facts.reference.parent, *facts.reference.parent_columns)
    return sa.delete(parent).where(*_is(parent, facts.reference.parent_columns, key))


def _is(
    row: FromClause, columns: Sequence[str], key: Sequence[ColumnElement[Any]]
) -> list[ColumnElement[bool]]:
    return [row.c[name] == value for name, value in zip(columns, key, strict=True)]


def stated_values(parent: Table, sentinel: Mapping[str, Any]) -> dict[str, Any]:
    """The stated values for columns that the parent has."""
    return {name: _meant(parent.column(name), value) for name, value in sentinel.items() if parent.has(name)}


def _meant(column: Column, value: Any) -> Any:
    """`true` and `false`, which a command line can only say in letters, are meant as such where the column is
    a yes or no. A number for a text is its digits: PostgreSQL does not compare the two, and MySQL, which
    compares them as numbers, takes '05' and '5x' for 5."""
    if _is_truth(column):
        return _TRUTH.get(str(value).lower(), value)
    return str(value) if type(value) is int and family(column) == "text" else value


def _is_truth(column: Column) -> bool:
    # MySQL's BOOLEAN is a number of one digit.
    return family(column) == "boolean" or column.type.lower().startswith("tinyint(1)")


def unique_part(parent: Table, stated: Mapping[str, Any]) -> dict[str, Any]:
    """The stated values that tell the sentinel from every other row: a unique key's, else all. Of several
    keys it is the one stated first, whichever order the server lists them in."""
    keys = [key for key in (parent.primary_key, *parent.unique_keys) if key and set(key) <= set(stated)]
    place = {name: at for at, name in enumerate(stated)}
    chosen = min(keys, key=lambda key: (len(key), sorted(place[name] for name in key)), default=tuple(stated))
    return {name: stated[name] for name in chosen}


def _lookup(connection: Connection, facts: Facts, values: Mapping[str, Any]) -> list[Key]:
    reference = facts.reference
    parent = table_clause(reference.parent, *reference.parent_columns, *values).alias("p")
    query = (
        sa.select(*(parent.c[name] for name in reference.parent_columns))
        .where(*(parent.c[name] == bound(value) for name, value in values.items()))
        .limit(2)
    )
    return [tuple(row) for row in connection.execute(query)]


def _remembered(connection: Connection, facts: Facts) -> list[Key]:
    """The keys of the sentinel rows that runs of this reference made: a parent that is stated nothing of
    has no values to find its row by."""
    runs = journal.runs(connection, facts.reference)
    return [
        load_key(run.facts["sentinel"]) for run in runs if run.state != "undone" and "sentinel" in run.facts
    ]
