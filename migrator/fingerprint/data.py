"""One table's rows, reduced to sums by the server that holds them."""

from __future__ import annotations

from collections.abc import Iterable

from sqlalchemy import Connection

from migrator.errors import UnknownTableError
from migrator.fingerprint.backend import Backend, RowSums
from migrator.fingerprint.model import (
    DEFAULT_PARTS,
    DEFAULT_ROW_LIMIT,
    WORD,
    PartDigest,
    RowDigest,
    Shape,
    TableDigest,
)
from migrator.fingerprint.registry import backend_for


def data_digest(
    connection: Connection,
    table: str | Shape,
    *,
    parts: int = DEFAULT_PARTS,
    row_limit: int = DEFAULT_ROW_LIMIT,
) -> TableDigest:
    """Digest one table in one pass over it; no rows travel, except on SQLite, which runs in this process.

    Args:
        connection: not in autocommit. A transaction that is open is used, else one is opened and rolled back.
        table: a name, with its schema (`public.post`) where the bare name is not unique.
        parts: into how many parts rows are sorted by key; two digests are narrowed only if they agree on it.
        row_limit: up to this many rows a digest per row is kept as well, and a difference is exact.

    Raises:
        UnknownTableError: there is no such table.
        sqlalchemy.exc.ProgrammingError: the role may not read the table, or a policy would hide rows.

    Locks taken: those of a SELECT.
    """
    backend = backend_for(connection)
    with backend.snapshot(connection):
        shape = find_shape(backend, connection, table) if isinstance(table, str) else table
        return digest_table(backend, connection, shape, parts=parts, row_limit=row_limit)


def find_shape(backend: Backend, connection: Connection, name: str) -> Shape:
    """Return the table labelled or called `name`; raises UnknownTableError if there is none, or several."""
    shapes = backend.tables(connection, None)
    found = [shape for shape in shapes if shape.label == name] or [s for s in shapes if s.name == name]
    if len(found) != 1:
        raise UnknownTableError(f"{len(found)} tables are called {name}: give one as schema.table")
    return found[0]


def digest_table(
    backend: Backend, connection: Connection, shape: Shape, *, parts: int, row_limit: int
) -> TableDigest:
    """Digest one table inside a snapshot that is open already; see `data_digest`."""
    if not shape.columns:
        # PostgreSQL allows a table without columns; its rows can only be counted.
        count = backend.rows_up_to(connection, shape, 2**62)
        return _digest(shape, None, parts, {0: PartDigest(count, 0, 0, ())}, None)
    key_range = backend.key_range(connection, shape)
    if backend.rows_up_to(connection, shape, row_limit + 1) > row_limit:
        sums = dict(backend.part_sums(connection, shape, parts))
        return _digest(shape, key_range, parts, sums, None)
    rows = list(backend.row_sums(connection, shape, parts))
    return _digest(shape, key_range, parts, add_up(rows), row_digests(rows))


def add_up(rows: Iterable[RowSums]) -> dict[int, PartDigest]:
    """Add rows' hashes up to the sums the server would have made of them."""
    sums: dict[int, PartDigest] = {}
    for row in rows:
        had = sums.get(row.part) or PartDigest(0, 0, 0, (0,) * len(row.cells))
        columns = tuple((s + c) % WORD for s, c in zip(had.columns, row.cells, strict=True))
        keyed = had.keyed + row.hash * row.number
        sums[row.part] = PartDigest(had.rows + 1, had.total + row.hash, keyed, columns)
    return sums


def row_digests(rows: Iterable[RowSums]) -> tuple[RowDigest, ...]:
    """Return the rows' digests in an order of their own, so that equal tables give equal JSON."""
    found = (RowDigest(row.key, f"{row.hash:014x}" + "".join(map(_folded, row.cells))) for row in rows)
    return tuple(sorted(found, key=lambda digest: (tuple(map(str, digest.key)), digest.code)))


def _folded(cell: int) -> str:
    # Not just the low half: a cell's hash times an even weight has zeros there.
    return f"{(cell ^ cell >> 32) & 0xFFFFFFFF:08x}"


def _digest(
    shape: Shape,
    key_range: tuple[int, int] | None,
    parts: int,
    sums: dict[int, PartDigest],
    rows: tuple[RowDigest, ...] | None,
) -> TableDigest:
    names = tuple(column.name for column in shape.columns)
    return TableDigest(
        shape.label, names, shape.key, shape.integer_key, key_range, parts, dict(sorted(sums.items())), rows
    )
