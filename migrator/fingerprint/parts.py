"""Differences between big tables, of which only sums per part were kept.

Where one row of a part changed, the difference of `keyed` divided by the difference of `total` is its key as
a number, and must leave the part's own remainder: that is both the decoding and the check on it. Two or more
changed rows in the same part cannot be told apart from sums; the part is then reported with its size.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

from migrator.fingerprint.exact import name_keys
from migrator.fingerprint.model import KEY_BITS, Difference, KeyValue, PartDigest, TableDigest

NUMBERED: Final = "(number of key)"
"""Stands for the key's columns where a hashed key is known by its number only."""


@dataclass(frozen=True, slots=True)
class Unnamed:
    """What sums alone cannot name: keys known as numbers only, and parts with several changed rows."""

    numbers: set[int] = field(default_factory=set)
    parts: set[int] = field(default_factory=set)


@dataclass(slots=True)
class _Group:
    keys: list[tuple[KeyValue, ...]] = field(default_factory=list)
    rows: int = 0
    parts: int = 0


def part_differences(
    before: TableDigest, after: TableDigest, limit: int, unnamed: Unnamed | None = None
) -> list[Difference]:
    """Return what differs by column, and by key where a part has one changed row.

    Both digests have the same key and number of parts. Columns only one of them has are not looked at, and
    then a row's hash says nothing and no key is decoded.
    """
    groups: dict[tuple[str, str], _Group] = {}
    for part, old, new in _differing(before, after):
        rows = new.rows - old.rows
        number = _number(part, old, new, before, after)
        words = ["new" if rows > 0 else "gone"] if rows else _columns(old, new, before, after)
        if number is None and rows == 0 and words == [""] and before.columns != after.columns:
            continue  # Only the column that came or went, which is reported already.
        for word in words:
            group = groups.setdefault(("rows", word) if rows else ("cells", word), _Group())
            if number is None:
                group.parts += 1
                group.rows += max(old.rows, new.rows)
                if unnamed is not None:
                    unnamed.parts.add(part)
                continue
            named = _named(number, abs(new.total - old.total), before, after)
            group.keys += [named] if named is not None else [(number, NUMBERED)]
            if named is None and unnamed is not None:
                unnamed.numbers.add(number)
    return [
        Difference(
            "data",
            after.table,
            None if kind == "rows" else word or None,
            _keys(after.key, group.keys, limit),
            _detail(kind, word, group, before, after),
        )
        for (kind, word), group in sorted(groups.items())
    ]


def _keys(
    columns: tuple[str, ...], keys: list[tuple[KeyValue, ...]], limit: int
) -> tuple[dict[str, KeyValue], ...]:
    """Name the first keys; a number that only a look-up turns into a key stands under a name of its own."""
    known = [key for key in keys if key[-1] != NUMBERED]
    numbers: list[dict[str, KeyValue]] = [{NUMBERED: key[0]} for key in keys if key[-1] == NUMBERED]
    named = name_keys(columns, sorted(known, key=_natural), limit)
    return (*named, *numbers)[:limit]


def _natural(key: tuple[KeyValue, ...]) -> tuple[tuple[int, str], ...]:
    return tuple((value if isinstance(value, int) else -1, str(value)) for value in key)


def differing_parts(before: TableDigest, after: TableDigest) -> list[int]:
    """Return the numbers of the parts that are not the same, in order."""
    return [part for part, _, _ in _differing(before, after)]


def _differing(before: TableDigest, after: TableDigest) -> Iterator[tuple[int, PartDigest, PartDigest]]:
    for part in sorted(before.parts.keys() | after.parts.keys()):
        old = before.parts.get(part) or PartDigest(0, 0, 0, (0,) * len(before.columns))
        new = after.parts.get(part) or PartDigest(0, 0, 0, (0,) * len(after.columns))
        if old != new:
            yield part, old, new


def _number(
    part: int, old: PartDigest, new: PartDigest, before: TableDigest, after: TableDigest
) -> int | None:
    """The key of the one row that changed, or None where more than one did."""
    total = new.total - old.total
    if before.columns != after.columns or abs(new.rows - old.rows) > 1 or total == 0:
        return None
    if not after.key and new.rows == old.rows:
        return None
    number, rest = divmod(new.keyed - old.keyed, total)
    fits = rest == 0 and 0 <= number < 1 << KEY_BITS and number % after.part_count == part
    return number if fits else None


def _named(
    number: int, row_hash: int, before: TableDigest, after: TableDigest
) -> tuple[KeyValue, ...] | None:
    """The key's values, where the number and the range of keys say them, and rows that are their own key."""
    if not after.key:
        return (f"{row_hash:014x}",)
    ranges = [r for r in (before.key_range, after.key_range) if r is not None]
    if not after.integer_key or not ranges:
        return None
    low, high = min(first for first, _ in ranges), max(last for _, last in ranges)
    span = 1 << KEY_BITS
    key = low + (number - low) % span
    return (key,) if key <= high < key + span else None


def _columns(old: PartDigest, new: PartDigest, before: TableDigest, after: TableDigest) -> list[str]:
    sums = dict(zip(before.columns, old.columns, strict=True))
    pairs = zip(after.columns, new.columns, strict=True)
    return [name for name, value in pairs if name in sums and sums[name] != value] or [""]


def _detail(kind: str, word: str, group: _Group, before: TableDigest, after: TableDigest) -> str:
    found = []
    if group.keys:
        count = len(group.keys)
        rows = "1 row" if count == 1 else f"{count} rows"
        found.append(f"{rows} {word}" if kind == "rows" else f"changed in {rows}")
    if group.parts:
        more = "rows came or went" if kind == "rows" else "several rows changed"
        found.append(f"{more} in {group.parts} of {after.part_count} parts, which hold {group.rows} rows")
    sizes = "" if before.rows == after.rows else f" ({before.rows} rows before, {after.rows} after)"
    return "; ".join(found) + sizes
