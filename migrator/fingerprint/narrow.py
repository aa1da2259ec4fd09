"""From a table that differs to the rows that do, while a side that can be asked is still there."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from contextlib import ExitStack
from dataclasses import replace

from sqlalchemy import Connection

from migrator.errors import UsageError
from migrator.fingerprint.backend import Backend
from migrator.fingerprint.compare import DEFAULT_KEYS, table_differences
from migrator.fingerprint.data import add_up, digest_table, find_shape, row_digests
from migrator.fingerprint.model import (
    DEFAULT_PARTS,
    DEFAULT_ROW_LIMIT,
    Difference,
    KeyValue,
    Shape,
    TableDigest,
)
from migrator.fingerprint.parts import NUMBERED, Unnamed, differing_parts
from migrator.fingerprint.registry import backend_for


def differing_keys(
    connection: Connection,
    before: Connection | TableDigest,
    table: str,
    key_columns: Sequence[str] | None = None,
    limit: int = DEFAULT_KEYS,
) -> tuple[Difference, ...]:
    """Name the rows of one table that differ, in two passes over each side at most.

    Args:
        connection: the database as it is now.
        before: the other database, or a digest that was kept. With a database, the parts that differ are read
            again row by row, as many as `limit` keys may need, and every key is exact. With a digest, a part
            with one changed row gives its key, looked up here where it is no integer (a row that is gone
            then keeps the key's number); of a part with several, the first keys are listed as candidates and
            `detail` says so.
        table: as for `data_digest`.
        key_columns: what tells rows apart instead of the primary key; they need not be indexed.
        limit: at most so many keys are listed.

    Returns: one difference per column, and one each for rows gone and new; empty when the rows are the same.

    Raises: UnknownTableError; UsageError if `key_columns` is not the key a kept digest was taken with.

    Locks taken: those of a SELECT.
    """
    backend = backend_for(connection)
    with ExitStack() as stack:
        stack.enter_context(backend.snapshot(connection))
        shape = _shape(backend, connection, table, key_columns)
        if isinstance(before, TableDigest):
            return _from_digest(backend, connection, shape, before, limit)
        other = backend_for(before)
        stack.enter_context(other.snapshot(before))
        sides = ((other, before, _shape(other, before, table, key_columns)), (backend, connection, shape))
        old, new = (
            digest_table(b, c, s, parts=DEFAULT_PARTS, row_limit=DEFAULT_ROW_LIMIT) for b, c, s in sides
        )
        if old.same_rows(new) or old.key != new.key or None not in (old.row_digests, new.row_digests):
            return tuple(table_differences(old, new, limit=limit))
        differing = differing_parts(old, new)
        chosen = differing[: max(1, limit)]
        cut = [_only(d, b, c, s, chosen) for d, (b, c, s) in zip((old, new), sides, strict=True)]
        found = table_differences(cut[0], cut[1], limit=limit)
        more = (
            "" if len(chosen) == len(differing) else f", in the first {len(chosen)} of {len(differing)} parts"
        )
        return tuple(replace(difference, detail=difference.detail + more) for difference in found)


def _shape(backend: Backend, connection: Connection, table: str, key_columns: Sequence[str] | None) -> Shape:
    shape = find_shape(backend, connection, table)
    if key_columns is None or tuple(key_columns) == shape.key:
        return shape
    for name in key_columns:
        if name not in {column.name for column in shape.columns}:
            raise UsageError(f"{shape.label} has no column {name} to tell its rows apart by")
    return replace(shape, key=tuple(key_columns), integer_key=False)


def _only(
    digest: TableDigest, backend: Backend, connection: Connection, shape: Shape, chosen: Collection[int]
) -> TableDigest:
    """The digest cut down to the chosen parts, with every row of theirs."""
    rows = list(backend.row_sums(connection, shape, digest.part_count, chosen))
    return replace(digest, parts=add_up(rows), row_digests=row_digests(rows))


def _from_digest(
    backend: Backend, connection: Connection, shape: Shape, before: TableDigest, limit: int
) -> tuple[Difference, ...]:
    if before.key != shape.key:
        raise UsageError(f"the digest of {shape.label} was taken by key {before.key}, not by {shape.key}")
    row_limit = max(DEFAULT_ROW_LIMIT, len(before.row_digests or ()))
    after = digest_table(backend, connection, shape, parts=before.part_count, row_limit=row_limit)
    unnamed = Unnamed()
    found = table_differences(before, after, limit=limit, unnamed=unnamed)
    if not (unnamed.numbers or unnamed.parts):
        return tuple(found)
    parts = sorted(unnamed.parts)[: max(1, limit)]
    wanted = {*parts, *(number % before.part_count for number in unnamed.numbers)}
    names: dict[KeyValue, tuple[KeyValue, ...]] = {}
    candidates: list[tuple[KeyValue, ...]] = []
    for row in backend.row_sums(connection, shape, before.part_count, wanted):
        if row.number in unnamed.numbers:
            names[row.number] = row.key
        elif row.part in parts:
            candidates.append(row.key)
    return tuple(_with_names(d, shape, names, sorted(candidates, key=str), limit) for d in found)


def _with_names(
    difference: Difference,
    shape: Shape,
    names: dict[KeyValue, tuple[KeyValue, ...]],
    candidates: list[tuple[KeyValue, ...]],
    limit: int,
) -> Difference:
    keys = []
    for key in difference.keys:
        known = names.get(key.get(NUMBERED))
        keys.append(key if known is None else dict(zip(shape.key, known, strict=True)))
    detail = difference.detail
    if not keys and candidates:
        keys = [dict(zip(shape.key or ("(row)",), key, strict=True)) for key in candidates[:limit]]
        detail += "; some of these parts' keys are listed, not all of them differ"
    return replace(difference, keys=tuple(keys), detail=detail)
