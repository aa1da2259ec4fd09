"""Differences between two upgrades that must be there, told from those that must not.

The upgrade makes a sentinel row; a sequence or AUTO_INCREMENT never gives the same number twice, and a
default may be the time of day. So the second upgrade's sentinel may have another key and other defaults, and
the rows it was given to another reference. Nothing else may differ. Sequences and counters are not compared.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from migrator import quarantine
from migrator.drill.rows import Sentinel, label_of, sentinels
from migrator.drill.stage import Stage
from migrator.fingerprint import Difference, Fingerprint, compare
from migrator.fingerprint.exact import ROW
from migrator.mirror import ACTION, CHANGED

_ALL = 10**9
_SHOWN = 10


@dataclass(frozen=True)
class _Moved:
    """A sentinel row made anew.

    Args:
        old, new: its keys.
        parent, child: what the fingerprint calls the tables.
        rows: the keys of the child's rows that were given to it, as text.
    """

    old: Sentinel
    new: Sentinel
    parent: str | None
    child: str | None
    rows: frozenset[tuple[str, ...]]


def explained(
    stage: Stage, first: Fingerprint, now: Fingerprint
) -> tuple[tuple[Difference, ...], tuple[str, ...]]:
    """What differs from the first upgrade.

    Args:
        first: after the first upgrade.
        now: taken just now.

    Returns:
        The differences without an explanation, and the explanations of the others.
    """
    found = compare(first, now, limit=_ALL)
    if not found:
        return (), ()
    with stage.connected() as connection:
        moved = list(_moved(connection, stage, now))
    unexplained: list[Difference] = []
    expected: list[str] = []
    for one in found:
        why = next((text for each in moved if (text := _why(one, each))), None)
        if why is None:
            unexplained.append(replace(one, keys=one.keys[:_SHOWN]))
        else:
            expected.append(why)
    return tuple(unexplained), tuple(dict.fromkeys(expected))


def _moved(connection: Connection, stage: Stage, now: Fingerprint) -> Iterator[_Moved]:
    references = [one.reference for one in stage.found]
    for new in sentinels(connection, references):
        reference = new.reference
        for old in stage.sentinels:
            if old.reference == reference:
                parent, child = label_of(now, reference.parent), label_of(now, reference.child)
                yield _Moved(old, new, parent, child, frozenset(_given(connection, new)))


def _given(connection: Connection, sentinel: Sentinel) -> Iterator[tuple[str, ...]]:
    """The keys of the rows in quarantine that are still in their table, changed."""
    for mirror in quarantine.mirrors(connection, sentinel.reference):
        if mirror.source.name != sentinel.reference.child.name:
            continue
        clause = mirror.clause
        columns = [clause.c[place] for place in mirror.places.values()]
        query = sa.select(*columns).where(clause.c[ACTION] == sa.literal_column(f"'{CHANGED}'"))
        for row in connection.execute(query):
            yield tuple(map(str, row))


def _why(one: Difference, moved: _Moved) -> str | None:
    """The explanation of a difference, if this sentinel is one."""
    if one.kind != "data":
        return None
    reference = moved.new.reference
    names = reference.parent_columns
    keys = _text(names, moved.old.key), _text(names, moved.new.key)
    if one.object == moved.parent and _is_sentinel(one, moved):
        if moved.old.key == moved.new.key:
            return f"{moved.parent}: the sentinel row {keys[1]} was made anew, with defaults of its own time."
        return (
            f"{moved.parent}: the sentinel row has {keys[1]} now and had {keys[0]} the first time: a number "
            "once given is not given again."
        )
    if one.object == moved.child and one.column in reference.columns:
        if all(set(key) == {ROW} for key in one.keys):
            # Without a key nothing but their number says that they are the same rows.
            if len(one.keys) != len(moved.rows):
                return None
        elif not all(tuple(map(str, key.values())) in moved.rows for key in one.keys):
            return None
        return (
            f"{moved.child}.{one.column}: the {len(moved.rows):,} rows given to the sentinel name it by its "
            "new key."
        )
    return None


def _is_sentinel(one: Difference, moved: _Moved) -> bool:
    """Whether the difference is about the old or the new sentinel row and no other."""
    if len(one.keys) != 1:
        return False
    key: Mapping[str, Any] = one.keys[0]
    names = moved.new.reference.parent_columns
    if set(key) != set(names):
        return True  # named by another key than the one referred to: one row, which came, went or changed
    values = tuple(str(key[name]) for name in names)
    return values in (tuple(map(str, moved.old.key)), tuple(map(str, moved.new.key)))


def _text(names: tuple[str, ...], key: tuple[Any, ...]) -> str:
    return ", ".join(f"{name} = {value}" for name, value in zip(names, key, strict=True))
