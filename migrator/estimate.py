"""How many orphans, roughly, from a sample of key ranges: for tables too large to scan.

Ranges of the child's key are drawn at random and every row in them is looked at. Rows that lie side by
side are alike (one bad import is a run of orphans), so the interval comes from how much the *ranges*
differ from each other, not from how many rows were read.
"""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from migrator.catalog import Table
from migrator.detect import Counts
from migrator.predicate import KINDS, Kind, child_alias, kind, orphaned
from migrator.reference import Reference
from migrator.typefamily import family

WINDOWS = 64
ROWS_PER_WINDOW = 1000
CONFIDENCE = 0.95
_Z = 1.96


@dataclass(frozen=True)
class Interval:
    """Between `low` and `high` rows, with the estimate's confidence."""

    low: int
    high: int


@dataclass(frozen=True)
class Estimate:
    """A sample and what follows from it.

    Args:
        counts: the most likely counts; `missing_parents` is those met in the sample, a lower bound.
        windows: how many key ranges were read.
        rows_read: the rows in them.
        confidence: of the intervals, 0 to 1.
        null, partial, dangling: their intervals.
    """

    counts: Counts
    windows: int
    rows_read: int
    confidence: float
    null: Interval
    partial: Interval
    dangling: Interval


def estimate(
    connection: Connection,
    reference: Reference,
    child: Table,
    *,
    windows: int = WINDOWS,
    rows_per_window: int = ROWS_PER_WINDOW,
    seed: int = 1,
) -> Estimate | None:
    """Sample, if the child's key allows it: one integer column. None where it does not, or where the
    table is so small that sampling would read all of it.

    Args:
        connection: inside `dialect.read_only`.
        reference: what to look for.
        child: the child, as the catalog has it.
        windows: how many key ranges.
        rows_per_window: how many rows each should hold, if keys are spread evenly.
        seed: the same seed draws the same ranges.

    Raises:
        sqlalchemy.exc.DBAPIError: as the driver said it.
    """
    if len(child.key) != 1 or family(child.column(child.key[0])) != "integer":
        return None
    alias = child_alias(reference, child.key[0])
    key = alias.c[child.key[0]]
    ends = connection.execute(sa.select(sa.func.min(key), sa.func.max(key))).one()
    if ends[0] is None:
        return None
    low, high = int(ends[0]), int(ends[1])
    span = high - low + 1
    expected = child.estimated_rows or span
    width = max(1, math.ceil(rows_per_window * span / max(1, expected)))
    if width * windows * 2 >= span:
        return None
    drawn = random.Random(seed)
    # Systematic with a random start in each stratum: ranges never overlap and cover the whole key space.
    stratum = span // windows
    starts = [low + number * stratum + drawn.randrange(max(1, stratum - width)) for number in range(windows)]
    read = [_window(connection, reference, child.key[0], start, start + width) for start in starts]
    return _combine(read, span / (width * windows))


@dataclass(frozen=True)
class _Window:
    rows: int
    of_kind: dict[Kind, int]
    missing: frozenset[tuple[object, ...]]


def _window(connection: Connection, reference: Reference, key: str, start: int, end: int) -> _Window:
    child = child_alias(reference, key)
    inside = sa.and_(child.c[key] >= start, child.c[key] < end)
    rows = connection.execute(sa.select(sa.func.count()).select_from(child).where(inside)).scalar_one()
    found = connection.execute(
        sa.select(kind(reference, child), *(child.c[name] for name in reference.columns))
        .select_from(child)
        .where(inside, orphaned(reference, child))
    ).all()
    of_kind = {one: sum(row[0].strip() == one for row in found) for one in KINDS}
    missing = frozenset(tuple(row[1:]) for row in found if row[0].strip() == "dangling")
    return _Window(int(rows), of_kind, missing)


def _combine(read: Sequence[_Window], factor: float) -> Estimate:
    rows_read = sum(window.rows for window in read)
    rows = round(rows_read * factor)
    totals = {one: round(sum(window.of_kind[one] for window in read) * factor) for one in KINDS}
    intervals = {one: _interval([window.of_kind[one] for window in read], factor) for one in KINDS}
    missing = len(frozenset[tuple[object, ...]]().union(*(window.missing for window in read)))
    valid = max(0, rows - sum(totals.values()))
    counts = Counts(rows, valid, totals["null"], totals["partial"], totals["dangling"], missing)
    return Estimate(counts, len(read), rows_read, CONFIDENCE, *(intervals[one] for one in KINDS))


def _interval(found: Sequence[int], factor: float) -> Interval:
    """The total's interval from the spread between windows; where none was met at all, the rule of
    three: with this confidence fewer than three windows' worth of the sample's scale exist."""
    count = len(found)
    total = sum(found)
    if total == 0:
        return Interval(0, math.ceil(3 * factor))
    mean = total / count
    variance = sum((one - mean) ** 2 for one in found) / max(1, count - 1)
    error = _Z * math.sqrt(variance * count * max(0.0, 1 - 1 / factor)) * factor
    return Interval(max(total, math.floor(total * factor - error)), math.ceil(total * factor + error))
