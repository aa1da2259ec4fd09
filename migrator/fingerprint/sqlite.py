"""SQLite: the schema byte for byte, and rows hashed in this process, where the database runs anyway.

Rows are read through a driver cursor with text delivered as `bytearray`: a text is then told from a blob
(`bytes`), malformed UTF-8 and NUL characters come through, and 1, 1.0, '1' and x'31' all write out
differently under `repr`, which is exact for floats too.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from hashlib import blake2b
from itertools import repeat
from operator import add, mul
from typing import Any, Final, cast
from zlib import crc32

from sqlalchemy import Connection, column, select, table, text

from migrator.fingerprint.backend import Backend, Fact, RowSums
from migrator.fingerprint.model import (
    HASH_BITS,
    KEY_BITS,
    WORD,
    ColumnShape,
    KeyValue,
    PartDigest,
    Shape,
)

CHUNK_ROWS: Final = 2_000

TABLES: Final = text("""
    SELECT l.name FROM pragma_table_list AS l
    WHERE l.schema = :schema AND l.type IN ('table', 'shadow') AND l.name NOT LIKE 'sqlite\\_%' ESCAPE '\\'
    ORDER BY l.name
""")

COLUMNS: Final = text("""
    SELECT cid, name, type, "notnull", dflt_value, pk, hidden
    FROM pragma_table_xinfo(:table, :schema) ORDER BY cid
""")

KEY_INDEXES: Final = text("SELECT 1 FROM pragma_index_list(:table, :schema) WHERE origin = 'pk'")

# Settings kept in the file which change what the rows mean to the application.
PRAGMAS: Final = ("encoding", "user_version", "application_id")


class SQLite(Backend):
    """Fingerprints SQLite."""

    name = "sqlite"

    @contextmanager
    def snapshot(self, connection: Connection) -> Iterator[None]:
        """A deferred read transaction: SHARED from the first read on, in WAL mode no writer waits for it."""
        driver = _driver(connection)
        opened = None if connection.in_transaction() else connection.begin()
        # The driver begins before a write only, so a read transaction has to be begun by hand.
        began = not driver.in_transaction
        try:
            if began:
                driver.execute("BEGIN")
            yield
        finally:
            if began:
                driver.rollback()
            if opened is not None:
                opened.rollback()

    def facts(self, connection: Connection, schema: str | None) -> Iterator[Fact]:
        """Yield `sqlite_schema` as it stands, and what the server made of every table's columns."""
        # sqlite_master is the same table under the name that also works with a schema before it.
        space = schema or "main"
        for pragma in PRAGMAS:
            value = connection.exec_driver_sql(f"PRAGMA {pragma}").scalar_one()
            yield Fact("database", None, space, space, f"{pragma} {value}")
        listing = table("sqlite_master", *map(column, ("type", "name", "tbl_name", "sql")), schema=space)
        for kind, name, owner, sql in connection.execute(select(listing).order_by(column("name"))):
            if name.startswith("sqlite_") and sql is None:
                # The index behind a key: known by its columns, its number depends on the others.
                name = owner
            elif name.startswith("sqlite_"):
                continue
            if kind == "table" or kind == "view":
                yield Fact(kind, None, name, name, sql)
                for row in connection.execute(COLUMNS, {"table": name, "schema": space}):
                    yield Fact(kind, None, name, name, "column " + " | ".join(map(str, row)))
            elif sql is not None:
                yield Fact(kind, None, owner, name, sql)

    def counters(self, connection: Connection, schema: str | None) -> Mapping[str, int]:
        """Read `sqlite_sequence`, which exists once a table was made with AUTOINCREMENT."""
        space = schema or "main"
        listing = table("sqlite_master", column("name"), schema=space)
        kept = select(listing).where(column("name") == "sqlite_sequence")
        if connection.execute(kept).first() is None:
            return {}
        source = table("sqlite_sequence", column("name"), column("seq"), schema=space)
        return {name: int(value or 0) for name, value in connection.execute(select(source))}

    def tables(self, connection: Connection, schema: str | None) -> Sequence[Shape]:
        """Return the tables; of virtual ones only the shadow tables that hold their content."""
        space = schema or "main"
        shapes = []
        for name in connection.execute(TABLES, {"schema": space}).scalars().all():
            rows = connection.execute(COLUMNS, {"table": name, "schema": space}).all()
            columns = tuple(sorted((ColumnShape(r.name, r.type) for r in rows), key=lambda c: c.name))
            key = tuple(r.name for r in sorted((r for r in rows if r.pk), key=lambda r: r.pk))
            # Only the rowid's alias is sure to hold an integer, and it alone needs no index.
            found = connection.execute(KEY_INDEXES, {"table": name, "schema": space})
            integer = len(key) == 1 and found.first() is None
            shapes.append(Shape(schema, name, columns, key, integer))
        return shapes

    def part_sums(
        self,
        connection: Connection,
        shape: Shape,
        part_count: int,
        between: tuple[int, int] | None = None,
    ) -> Iterator[tuple[int, PartDigest]]:
        """Add up in one pass, memory bounded by the number of parts."""
        sums: dict[int, tuple[int, ...]] = {}
        zeros = (0,) * (len(shape.columns) + 3)
        for _, numbers, hashes, cells in _hashed(connection, shape):
            parts = [number % part_count for number in numbers]
            # Whole columns at a time, in C where there is a way: this runs once for every row of the table.
            values = zip(repeat(1), hashes, map(mul, hashes, numbers), *cells, strict=False)
            for part, row in zip(parts, values, strict=True):
                sums[part] = tuple(map(add, sums.get(part, zeros), row))
        for part, (rows, total, keyed, *columns) in sums.items():
            yield part, PartDigest(rows, total, keyed, tuple(value % WORD for value in columns))

    def row_sums(
        self, connection: Connection, shape: Shape, part_count: int, chosen: Collection[int] | None = None
    ) -> Iterator[RowSums]:
        """Yield every row's hashes; choosing parts saves nothing but the work of the caller."""
        for keys, numbers, hashes, columns in _hashed(connection, shape):
            for key, number, row_hash, cells in zip(
                keys, numbers, hashes, zip(*columns, strict=True), strict=True
            ):
                part = number % part_count
                if chosen is None or part in chosen:
                    named = tuple(map(_readable, key)) or (f"{row_hash:014x}",)
                    yield RowSums(part, named, number, row_hash, cells)


Chunk = tuple[list[tuple[Any, ...]], list[int], list[int], list[list[int]]]


def _hashed(connection: Connection, shape: Shape) -> Iterator[Chunk]:
    """Yield, chunk by chunk, the keys' raw values, every k, every h, and for each column its hashes."""
    source = table(shape.name, *(column(c.name) for c in shape.columns), schema=shape.schema)
    statement = str(select(source).compile(dialect=connection.dialect))
    names = [c.name for c in shape.columns]
    places = [names.index(name) for name in shape.key]
    driver = _driver(connection)
    previous, driver.text_factory = driver.text_factory, bytearray
    try:
        cursor = driver.execute(statement)
        while rows := cursor.fetchmany(CHUNK_ROWS):
            written = [list(map(repr, cells)) for cells in zip(*rows, strict=True)]
            # No repr has a line break in it, so none can pass for a boundary.
            hashes = [_hash(text, HASH_BITS) for text in map("\n".join, zip(*written, strict=True))]
            keys = [tuple(row[place] for place in places) for row in rows]
            numbers = _numbers(shape, keys, hashes)
            weights = [n % 2147483647 + 1 for n in numbers] if places else [1] * len(rows)
            cells = [list(map(mul, map(crc32, map(str.encode, texts)), weights)) for texts in written]
            yield keys, numbers, hashes, cells
    finally:
        driver.text_factory = previous


def _numbers(shape: Shape, keys: list[tuple[Any, ...]], hashes: list[int]) -> list[int]:
    """The keys as numbers: an integer's low bits, else a hash of the key, else of the row."""
    mask = (1 << KEY_BITS) - 1
    if not shape.key:
        return [row_hash & mask for row_hash in hashes]
    if shape.integer_key and all(type(key[0]) is int for key in keys):
        return [key[0] & mask for key in keys]
    return [_hash(repr(key), KEY_BITS) for key in keys]


def _hash(text: str, bits: int) -> int:
    return int.from_bytes(blake2b(text.encode(), digest_size=bits // 8).digest())


def _readable(value: Any) -> KeyValue:
    if value is None or isinstance(value, int):
        return value
    if isinstance(value, bytearray):
        return value.decode("utf-8", "backslashreplace")
    return f"0x{value.hex()}" if isinstance(value, bytes) else repr(value)


def _driver(connection: Connection) -> sqlite3.Connection:
    return cast(sqlite3.Connection, connection.connection.driver_connection)
