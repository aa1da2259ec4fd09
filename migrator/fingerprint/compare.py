"""What differs between two fingerprints, named by object, column and key."""

from __future__ import annotations

from collections.abc import Mapping

from migrator.fingerprint.exact import exact_differences
from migrator.fingerprint.model import Difference, Fingerprint, TableDigest
from migrator.fingerprint.parts import Unnamed, part_differences
from migrator.fingerprint.schema import schema_differences

DEFAULT_KEYS = 10


def compare(
    before: Fingerprint, after: Fingerprint, *, limit: int = DEFAULT_KEYS, counters: bool = False
) -> tuple[Difference, ...]:
    """Return what differs, the schema first, then the data by table; empty when the two are identical.

    Args:
        before, after: taken with the same `parts`, or a difference in data is named by table and column only.
        limit: at most so many keys are listed in each difference; `detail` has the full count.
        counters: compare sequences and AUTO_INCREMENT too.

    A table that exists on one side only is a difference in schema; its rows are not listed again.
    """
    found = schema_differences(before.schema, after.schema)
    for table in sorted(before.tables.keys() & after.tables.keys()):
        found += table_differences(before.tables[table], after.tables[table], limit=limit)
    if counters:
        found += _counter_differences(before.counters, after.counters)
    return tuple(found)


def table_differences(
    before: TableDigest, after: TableDigest, *, limit: int = DEFAULT_KEYS, unnamed: Unnamed | None = None
) -> list[Difference]:
    """Return what differs between two digests of a table; `unnamed` collects what only a look-up can name."""
    if before.same_rows(after):
        return []
    table, found = after.table, _column_changes(before, after)
    if before.key != after.key:
        if before.columns != after.columns or before.total != after.total or before.rows != after.rows:
            detail = f"rows differ ({before.rows} before, {after.rows} after); they have another key now"
            found.append(Difference("data", table, None, (), detail))
        return found
    if before.row_digests is not None and after.row_digests is not None:
        return found + exact_differences(before, after, limit)
    if before.part_count == after.part_count:
        return found + part_differences(before, after, limit, unnamed)
    sums, others = before.column_sums, after.column_sums
    detail = f"cells differ ({before.rows} rows before, {after.rows} after)"
    named: list[str | None] = [name for name in after.columns if name in sums and sums[name] != others[name]]
    return found + [Difference("data", table, name, (), detail) for name in named or [None]]


def _column_changes(before: TableDigest, after: TableDigest) -> list[Difference]:
    gone = [name for name in before.columns if name not in after.columns]
    come = [name for name in after.columns if name not in before.columns]
    return [
        Difference("data", after.table, name, (), f"the column is {word}, in {digest.rows} rows")
        for names, word, digest in ((gone, "gone", before), (come, "new", after))
        for name in names
    ]


def _counter_differences(before: Mapping[str, int], after: Mapping[str, int]) -> list[Difference]:
    return [
        Difference("counter", name, None, (), f"{before.get(name)} before, {after.get(name)} after")
        for name in sorted(before.keys() | after.keys())
        if before.get(name) != after.get(name)
    ]
