"""PostgreSQL 13 to 18: settings, tables, and sums of rows.

Values are hashed as the text their output functions write, which is exact for every type once the settings
below are fixed: floats in the shortest form that reads back the same, timestamps in UTC, arrays with their
bounds, `json` as it was typed, names qualified. Hashing is `hashtextextended`, 64 bits with a seed, about ten
times as fast as md5; COLLATE "C" because under a nondeterministic collation equal strings hash alike.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Final

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Connection,
    Numeric,
    Select,
    Text,
    case,
    cast,
    collate,
    column,
    func,
    literal_column,
    select,
    table,
    text,
)

from migrator.errors import UsageError
from migrator.fingerprint.backend import Backend, Fact, RowSums, evenly, opened
from migrator.fingerprint.model import HASH_BITS, KEY_BITS, WORD, ColumnShape, PartDigest, Shape
from migrator.fingerprint.postgresql_objects import OBJECT_FACTS, SEQUENCES
from migrator.fingerprint.postgresql_tables import TABLE_FACTS

INTEGERS: Final = frozenset({"int2", "int4", "int8"})

SETTINGS: Final = text("""
    SELECT set_config(name, value, true) FROM (VALUES
        ('row_security', 'off'),  -- an error where a policy would hide rows, instead of fewer rows
        ('search_path', 'pg_catalog'),  -- every name in a definition is written with its schema
        ('extra_float_digits', '3'), ('bytea_output', 'hex'), ('lc_monetary', 'C'),
        ('datestyle', 'ISO, YMD'), ('intervalstyle', 'postgres'), ('timezone', 'UTC'),
        ('quote_all_identifiers', 'off')) AS setting (name, value)
""")

SCHEMAS: Final = text("""
    SELECT nspname FROM pg_namespace
    WHERE CASE WHEN CAST(:schema AS text) IS NULL
               THEN nspname NOT LIKE 'pg\\_%' AND nspname <> 'information_schema'
               ELSE nspname = :schema END
""")

# A partition's rows are read through its root; those of an ordinary parent's descendants are not (ONLY).
TABLES: Final = text("""
    SELECT n.nspname, c.relname, c.relkind = 'r',
           array_agg(a.attname ORDER BY a.attname COLLATE "C") FILTER (WHERE a.attname IS NOT NULL),
           array_agg(t.typname ORDER BY a.attname COLLATE "C") FILTER (WHERE a.attname IS NOT NULL),
           (SELECT array_agg(k.attname ORDER BY p.place)
            FROM pg_index i, pg_attribute k,
                 unnest(CAST(i.indkey AS int2[])) WITH ORDINALITY AS p (number, place)
            WHERE i.indrelid = c.oid AND i.indisprimary AND k.attrelid = c.oid AND k.attnum = p.number
              AND p.place <= i.indnkeyatts)
    FROM pg_class c
    JOIN pg_namespace n ON n.oid = c.relnamespace
    LEFT JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
    LEFT JOIN pg_type t ON t.oid = a.atttypid
    WHERE n.nspname = ANY (:schemas) AND NOT c.relispartition
      AND (c.relkind IN ('r', 'p') OR c.relkind = 'm' AND c.relispopulated)
      AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.classid = CAST('pg_class' AS regclass)
                      AND d.objid = c.oid AND d.deptype = 'e')
    GROUP BY n.nspname, c.relname, c.oid, c.relkind
    ORDER BY n.nspname COLLATE "C", c.relname COLLATE "C"
""")


BLOCKS: Final = text("""
    SELECT pg_relation_size(c.oid) / CAST(current_setting('block_size') AS bigint)
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE n.nspname = :schema AND c.relname = :name
""")


class PostgreSQL(Backend):
    """Fingerprints PostgreSQL."""

    name = "postgresql"

    @contextmanager
    def beside(self, connection: Connection, count: int, *, still: bool) -> Iterator[Sequence[Connection]]:
        """See `Backend.beside`. The snapshot is exported and holds as long as our transaction."""
        if connection.in_nested_transaction():  # the server exports no snapshot from inside a savepoint
            yield ()
            return
        exported = connection.execute(text("SELECT pg_export_snapshot()")).scalar_one()
        with opened(connection, count, lambda other: self.snapshot(other, of=exported)) as others:
            yield others

    def ranges(self, connection: Connection, shape: Shape, count: int) -> Sequence[tuple[int, int]]:
        """See `Backend.ranges`: of blocks, whatever the key is. PostgreSQL 13 would read the whole table for
        each of them, and of a partitioned table every partition has blocks of its own."""
        if not shape.only or (connection.dialect.server_version_info or (0,)) < (14,):
            return ()
        blocks = int(connection.execute(BLOCKS, {"schema": shape.schema, "name": shape.name}).scalar_one())
        return evenly(0, max(blocks, 1) - 1, count)

    def session(self, connection: Connection) -> int:
        """See `Backend.session`."""
        return int(connection.execute(text("SELECT pg_backend_pid()")).scalar_one())

    def call_off(self, connection: Connection, session: int) -> None:
        """See `Backend.call_off`."""
        connection.execute(text("SELECT pg_cancel_backend(:pid)"), {"pid": session})

    @contextmanager
    def snapshot(self, connection: Connection, *, of: str | None = None) -> Iterator[None]:
        """One REPEATABLE READ, READ ONLY transaction, or a savepoint of the caller's; seeing what the
        transaction sees that exported the snapshot `of`, if that is given.

        The settings are local to it and gone afterwards. Raises UsageError on an autocommit connection,
        where they would not outlive the statement that makes them.
        """
        inside = connection.in_transaction()
        transaction = connection.begin_nested() if inside else connection.begin()
        try:
            if not inside:
                connection.execute(text("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY"))
            if of is not None:
                # The server's own word for it, which takes no parameter.
                connection.execute(text(f"SET TRANSACTION SNAPSHOT '{of}'"))
            connection.execute(SETTINGS)
            if connection.execute(text("SELECT current_setting('search_path')")).scalar_one() != "pg_catalog":
                raise UsageError("a fingerprint wants a transaction: pass a connection without AUTOCOMMIT")
            yield
        finally:
            transaction.rollback()

    def facts(self, connection: Connection, schema: str | None) -> Iterator[Fact]:
        """Read the catalog; every definition comes from the server's own `pg_get_...def`."""
        schemas = self._schemas(connection, schema)
        for statement in (*TABLE_FACTS, *OBJECT_FACTS):
            for row in connection.execute(statement, {"schemas": schemas}):
                yield Fact(*row)

    def counters(self, connection: Connection, schema: str | None) -> Mapping[str, int]:
        """Read every sequence: its last value, minus its step where it was never called."""
        counters = {}
        found = connection.execute(SEQUENCES, {"schemas": self._schemas(connection, schema)}).all()
        for namespace, name, step in found:
            source = table(name, column("last_value"), column("is_called"), schema=namespace)
            last, called = connection.execute(select(source)).one()
            counters[f"{namespace}.{name}"] = last if called else last - step
        return counters

    def tables(self, connection: Connection, schema: str | None) -> Sequence[Shape]:
        """Return tables, partitioned tables and filled materialized views, those of extensions apart."""
        shapes = []
        for row in connection.execute(TABLES, {"schemas": self._schemas(connection, schema)}):
            namespace, name, only, names, types, key = row
            columns = tuple(ColumnShape(*pair) for pair in zip(names or (), types or (), strict=True))
            integer = len(key or ()) == 1 and dict(zip(names, types, strict=True))[key[0]] in INTEGERS
            shapes.append(Shape(namespace, name, columns, tuple(key or ()), integer, only))
        return shapes

    def part_sums(
        self,
        connection: Connection,
        shape: Shape,
        part_count: int,
        between: tuple[int, int] | None = None,
    ) -> Iterator[tuple[int, PartDigest]]:
        """Group the hashes by part. The server's own workers help with reading the table, not with hashing,
        which is nearly all of the work: that is what several connections are for."""
        hashed = self._hashed(shape, between=between).subquery()
        number, row_hash = hashed.c.k, hashed.c.h
        part = number % literal_column(str(part_count))
        cells = [hashed.c[f"c{i}"] for i in range(len(shape.columns))]
        statement = select(
            part.label("part"),
            func.count(),
            func.sum(row_hash),
            func.sum(cast(row_hash, Numeric) * number),
            *(func.sum(cell) for cell in cells),
        ).group_by(part)
        for part_number, rows, total, keyed, *sums in connection.execute(statement):
            columns = tuple(int(value) % WORD for value in sums)
            yield part_number, PartDigest(rows, int(total), int(keyed), columns)

    def row_sums(
        self, connection: Connection, shape: Shape, part_count: int, chosen: Collection[int] | None = None
    ) -> Iterator[RowSums]:
        """Stream the hashes; without a key the row's hash stands in its place."""
        hashed = self._hashed(shape, with_key=True).subquery()
        part = hashed.c.k % literal_column(str(part_count))
        statement = select(part, hashed)
        if chosen is not None:
            statement = statement.where(part.in_(sorted(chosen)))
        width = len(shape.key)
        for part_number, number, row_hash, *rest in connection.execute(statement):
            key = tuple(rest[:width]) or (f"{row_hash:014x}",)
            yield RowSums(part_number, key, number, row_hash, tuple(cell % WORD for cell in rest[width:]))

    def _schemas(self, connection: Connection, schema: str | None) -> list[str]:
        return list(connection.execute(SCHEMAS, {"schema": schema}).scalars())

    def _hashed(
        self, shape: Shape, *, with_key: bool = False, between: tuple[int, int] | None = None
    ) -> Select[Any]:
        """Select k, h, the key's values if wanted, and c0, c1, ... for every row.

        Both levels end in OFFSET 0, which keeps the planner from pulling them up and computing k again for
        every column, and h for every sum; a parallel scan is gathered below it.
        """
        source: Any = self.source(shape)
        if shape.only:
            from_clause = select(source).with_hint(source, "ONLY", dialect_name="postgresql")
        else:
            from_clause = select(source)
        if between is not None:
            # Blocks of the heap; a row lies in one of them for as long as the snapshot sees it.
            first, after = f"'({between[0]},0)'::tid", f"'({between[1] + 1},0)'::tid"
            from_clause = from_clause.where(literal_column(f"ctid >= {first} AND ctid < {after}"))
        number = _number(shape, source)
        inner = from_clause.add_columns(number.label("migrator_k")).offset(literal_column("0")).subquery()
        key_number = inner.c.migrator_k
        row = func.row(*(inner.c[c.name] for c in shape.columns))
        row_hash = func.hashtextextended(_c_text(cast(row, Text)), literal_column("1"))
        seed = key_number if shape.key else literal_column("0")
        columns: list[ColumnElement[Any]] = [
            key_number.label("k"),
            row_hash.op("&")(literal_column(str(2**HASH_BITS - 1))).label("h"),
        ]
        if with_key:
            columns += [_key_value(shape, inner.c, name).label(f"v{i}") for i, name in enumerate(shape.key)]
        for i, shaped in enumerate(shape.columns):
            cell = func.hashtextextended(_c_text(_as_text(shaped, inner.c[shaped.name])), seed)
            # NULL hashes to NULL; its stand-in is the seed, which no empty or 'NULL' string hashes to.
            columns.append(func.coalesce(cell, seed).label(f"c{i}"))
        return select(*columns).offset(literal_column("0"))


def _number(shape: Shape, source: Any) -> ColumnElement[Any]:
    """The key as a number of 40 bits: an integer's low bits, else a hash of the key, else of the row."""
    mask: ColumnElement[Any] = literal_column(str(2**KEY_BITS - 1))
    if shape.integer_key:
        return cast(source.c[shape.key[0]], BigInteger).op("&")(mask)
    names = shape.key or tuple(c.name for c in shape.columns)
    row = func.row(*(source.c[name] for name in names))
    hashed: ColumnElement[Any] = func.hashtextextended(_c_text(cast(row, Text)), literal_column("2"))
    return hashed.op("&")(mask)


def _as_text(shaped: ColumnShape, cell: ColumnElement[Any]) -> ColumnElement[Any]:
    """The cell as its output function writes it; a plain cast of bpchar would cut trailing spaces off."""
    if shaped.type == "bpchar":
        return case((cell.is_not(None), func.concat(cell)))
    return cast(cell, Text)


def _key_value(shape: Shape, columns: Any, name: str) -> ColumnElement[Any]:
    return columns[name] if shape.column(name).type in INTEGERS else cast(columns[name], Text)


def _c_text(value: ColumnElement[Any]) -> ColumnElement[Any]:
    return collate(value, "C")
