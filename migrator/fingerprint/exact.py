"""Differences between tables small enough that every row's digest was kept."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from migrator.fingerprint.model import Difference, KeyValue, RowDigest, TableDigest

ROW_DIGITS, CELL_DIGITS = 14, 8
ROW = "(row)"

Key = tuple[KeyValue, ...]


def exact_differences(before: TableDigest, after: TableDigest, limit: int) -> list[Difference]:
    """Return the rows that went, came, or changed, the changed ones by column.

    Both digests carry their rows and have the same key. Columns only one of them has are not looked at.
    """
    common = [name for name in after.columns if name in before.columns]
    # The row hash speaks of all columns: where these differ it says nothing.
    whole = before.columns == after.columns
    old, new = _by_key(before, common, whole), _by_key(after, common, whole)
    gone: list[Key] = []
    come: list[Key] = []
    changed: dict[str | None, list[Key]] = {}
    for key in sorted(old.keys() | new.keys(), key=_sortable):
        left, right = old.get(key, Counter()), new.get(key, Counter())
        removed, added = list((left - right).elements()), list((right - left).elements())
        paired = min(len(removed), len(added))
        for was, now in zip(removed[:paired], added[:paired], strict=True):
            for column in _changed(was, now, common):
                changed.setdefault(column, []).append(key)
        gone += [key] * (len(removed) - paired)
        come += [key] * (len(added) - paired)
    if not after.key and len(gone) == len(come) and gone:
        return _changed_without_key(before, after, gone, limit)
    found = [
        Difference(
            "data", after.table, column, name_keys(after.key, keys, limit), f"changed in {_rows(keys)}"
        )
        for column, keys in sorted(changed.items(), key=lambda item: str(item[0]))
    ]
    for keys, word in ((gone, "gone"), (come, "new")):
        if keys:
            named = name_keys(after.key, keys, limit)
            found.append(Difference("data", after.table, None, named, f"{_rows(keys)} {word}"))
    return found


def name_keys(columns: Sequence[str], keys: Sequence[Key], limit: int) -> tuple[dict[str, KeyValue], ...]:
    """Return the first `limit` keys as mappings of column to value."""
    names = columns or (ROW,)
    return tuple(dict(zip(names, key, strict=True)) for key in keys[:limit])


def _by_key(digest: TableDigest, columns: Sequence[str], whole: bool) -> dict[Key, Counter[str]]:
    """Group the rows' codes by key, cut to the given columns unless they are taken whole."""
    places = [digest.columns.index(name) for name in columns]
    grouped: dict[Key, Counter[str]] = {}
    for row in digest.row_digests or ():
        code = row.code if whole else _cut(row, places)
        grouped.setdefault(row.key, Counter())[code] += 1
    return grouped


def _cut(row: RowDigest, places: Sequence[int]) -> str:
    cells = (ROW_DIGITS + place * CELL_DIGITS for place in places)
    return "0" * ROW_DIGITS + "".join(row.code[start : start + CELL_DIGITS] for start in cells)


def _changed(was: str, now: str, columns: Sequence[str]) -> list[str | None]:
    starts = range(ROW_DIGITS, ROW_DIGITS + CELL_DIGITS * len(columns), CELL_DIGITS)
    names: list[str | None] = [
        name
        for name, start in zip(columns, starts, strict=True)
        if was[start : start + CELL_DIGITS] != now[start : start + CELL_DIGITS]
    ]
    return names or [None]


def _changed_without_key(
    before: TableDigest, after: TableDigest, rows: Sequence[Key], limit: int
) -> list[Difference]:
    """Name the columns whose values, taken together, are not the same; the rows by what they hashed to."""
    sums, others = before.column_sums, after.column_sums
    columns: list[str | None] = [name for name in after.columns if sums.get(name) != others[name]]
    keys = name_keys((), rows, limit)
    detail = f"changed in {_rows(rows)}; the table has no key, rows are named by their hash before"
    return [Difference("data", after.table, column, keys, detail) for column in columns or [None]]


def _rows(keys: Sequence[Key]) -> str:
    return "1 row" if len(keys) == 1 else f"{len(keys)} rows"


def _sortable(key: Key) -> tuple[tuple[bool, int, str], ...]:
    return tuple((isinstance(v, int), v if isinstance(v, int) else 0, str(v)) for v in key)
