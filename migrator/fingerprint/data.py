"""One table's rows, reduced to sums by the server that holds them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

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


#: What reading a piece gives: sums by part, or the rows one by one.
Found = dict[int, PartDigest] | list[RowSums]


@dataclass(frozen=True)
class Piece:
    """What one statement reads.

    Args:
        between: which range of the table, as the backend cuts it; None for all of it.
        keeps_rows: whether a digest per row is kept.
    """

    shape: Shape
    between: tuple[int, int] | None = None
    keeps_rows: bool = False


@dataclass(frozen=True)
class Cut:
    """A table in pieces."""

    shape: Shape
    key_range: tuple[int, int] | None
    pieces: tuple[Piece, ...]


def digest_table(
    backend: Backend, connection: Connection, shape: Shape, *, parts: int, row_limit: int
) -> TableDigest:
    """Digest one table inside a snapshot that is open already; see `data_digest`."""
    table = cut(backend, connection, shape, row_limit=row_limit)
    return put_together(table, parts, [read(backend, connection, piece, parts) for piece in table.pieces])


def cut(backend: Backend, connection: Connection, shape: Shape, *, row_limit: int, ways: int = 1) -> Cut:
    """Look how big a table is, and cut a big one into ranges.

    Args:
        ways: how many can work at it at once.
    """
    key_range = backend.key_range(connection, shape) if shape.columns else None
    if shape.columns and backend.rows_up_to(connection, shape, row_limit + 1) <= row_limit:
        return Cut(shape, key_range, (Piece(shape, keeps_rows=True),))
    # More pieces than ways: some are done long before others.
    ranges = backend.ranges(connection, shape, ways * 4) if shape.columns and ways > 1 else ()
    return Cut(shape, key_range, tuple(Piece(shape, between) for between in ranges) or (Piece(shape),))


def read(backend: Backend, connection: Connection, piece: Piece, parts: int) -> Found:
    """Read one piece, in one pass over it."""
    if not piece.shape.columns:
        # PostgreSQL allows a table without columns; its rows can only be counted.
        return {0: PartDigest(backend.rows_up_to(connection, piece.shape, 2**62), 0, 0, ())}
    if piece.keeps_rows:
        return list(backend.row_sums(connection, piece.shape, parts))
    return dict(backend.part_sums(connection, piece.shape, parts, piece.between))


def put_together(table: Cut, parts: int, found: Sequence[Found]) -> TableDigest:
    """A table's digest from its pieces, in any order."""
    if len(found) == 1 and isinstance(found[0], list):
        return _digest(table.shape, table.key_range, parts, add_up(found[0]), row_digests(found[0]))
    sums: dict[int, PartDigest] = {}
    for each in found:
        assert isinstance(each, dict)
        for part, more in each.items():
            had = sums.get(part)
            sums[part] = more if had is None else _added(had, more)
    return _digest(table.shape, table.key_range, parts, sums, None)


def _added(one: PartDigest, other: PartDigest) -> PartDigest:
    columns = tuple((a + b) % WORD for a, b in zip(one.columns, other.columns, strict=True))
    return PartDigest(one.rows + other.rows, one.total + other.total, one.keyed + other.keyed, columns)


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
