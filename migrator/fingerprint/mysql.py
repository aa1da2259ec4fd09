"""MySQL 8.0 to 9.7: settings, tables, and sums of rows.

A row's canonical text joins its columns with `|`; strings carry their length, so no content can pass for a
boundary, and everything is binary, so no charset is converted. What may be long is replaced by its SHA2, or
the joined text could pass max_allowed_packet, and CONCAT answers that with NULL. The row hash is SHA2 because
9.7 has neither MD5() nor SHA1(); the cells' hashes are CRC32, multiplied by a number made from the key, so
that values exchanged between two rows change the sum.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Final

from sqlalchemy import (
    CHAR,
    ColumnElement,
    Connection,
    Double,
    LargeBinary,
    cast,
    func,
    literal_column,
    select,
    text,
)
from sqlalchemy.dialects.mysql import INTEGER

from migrator.fingerprint.backend import Backend, Fact, RowSums, evenly, opened
from migrator.fingerprint.model import HASH_BITS, KEY_BITS, WORD, ColumnShape, KeyValue, PartDigest, Shape
from migrator.fingerprint.mysql_schema import AUTO_INCREMENT, check_facts, described_facts
from migrator.plainsql import number_sql

INTEGERS: Final = frozenset({"tinyint", "smallint", "mediumint", "int", "bigint"})
FLOATS: Final = frozenset({"float", "double"})
STRINGS: Final = frozenset({"char", "varchar"})
BINARIES: Final = frozenset({"binary", "varbinary"})
TEXTS: Final = frozenset({"tinytext", "text", "mediumtext", "longtext", "json"})
BLOBS: Final = frozenset({"tinyblob", "blob", "mediumblob", "longblob"})
TIMES: Final = frozenset({"year", "date", "time", "datetime", "timestamp"})
PLAIN: Final = INTEGERS | TIMES | {"decimal", "inet4", "inet6", "uuid"}

# h * (k * SHIFT + 1) carries both sums in one DECIMAL(65), and so SHA2 is computed once per row instead of
# twice: the server shares no common subexpressions. It holds for 10**8 rows in a part.
SHIFT: Final = 10**26

TABLES: Final = text("""
    SELECT c.table_name, c.column_name, c.data_type, k.seq_in_index
    FROM information_schema.tables t
    JOIN information_schema.columns c ON c.table_schema = t.table_schema AND c.table_name = t.table_name
    LEFT JOIN information_schema.statistics k
           ON k.table_schema = c.table_schema AND k.table_name = c.table_name
          AND k.column_name = c.column_name AND k.index_name = 'PRIMARY'
    WHERE t.table_schema = coalesce(:schema, database())
      AND t.table_type IN ('BASE TABLE', 'SYSTEM VERSIONED')
    ORDER BY c.table_name
""")


class MySQL(Backend):
    """Fingerprints MySQL."""

    name = "mysql"

    # AUTO_INCREMENT is otherwise what it was when it was last asked for, up to a day ago.
    extra_settings: Mapping[str, str] = {"information_schema_stats_expiry": "0"}

    @contextmanager
    def beside(self, connection: Connection, count: int, *, still: bool) -> Iterator[Sequence[Connection]]:
        """See `Backend.beside`. A snapshot cannot be shared, and FLUSH TABLES WITH READ LOCK, under which
        several are the same, would hold up the application: so only where nobody writes."""
        if not still:
            yield ()
            return
        with opened(connection, count, self.snapshot) as others:
            yield others

    def ranges(self, connection: Connection, shape: Shape, count: int) -> Sequence[tuple[int, int]]:
        """See `Backend.ranges`: of the primary key, by which the rows lie, where it is one integer."""
        found = self.key_range(connection, shape)
        return () if found is None else evenly(*found, count)

    def session(self, connection: Connection) -> int:
        """See `Backend.session`."""
        return int(connection.exec_driver_sql("SELECT CONNECTION_ID()").scalar_one())

    def call_off(self, connection: Connection, session: int) -> None:
        """See `Backend.call_off`."""
        connection.exec_driver_sql(f"KILL QUERY {session}")

    @contextmanager
    def snapshot(self, connection: Connection) -> Iterator[None]:
        """START TRANSACTION WITH CONSISTENT SNAPSHOT, READ ONLY, at REPEATABLE READ; session settings are
        put back at the end. Only InnoDB tables take part in the snapshot."""
        opened = None if connection.in_transaction() else connection.begin()
        saved: dict[str, Any] = {}
        try:
            if opened is not None:
                connection.exec_driver_sql("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
                connection.exec_driver_sql("START TRANSACTION WITH CONSISTENT SNAPSHOT, READ ONLY")
            names = ("time_zone", "sql_mode", *self.extra_settings)
            row = connection.exec_driver_sql("SELECT " + ", ".join(f"@@SESSION.{n}" for n in names)).one()
            saved = dict(zip(names, row, strict=True))
            # CHAR columns come padded under this mode; everything else reads the same in every mode.
            mode = str(saved["sql_mode"]).replace("PAD_CHAR_TO_FULL_LENGTH", "")
            _set(connection, {"time_zone": "+00:00", "sql_mode": mode, **self.extra_settings})
            yield
        finally:
            if saved and not connection.invalidated:
                _set(connection, saved)
            if opened is not None:
                opened.rollback()

    def facts(self, connection: Connection, schema: str | None) -> Iterator[Fact]:
        """Read the information schema, whose text is the same however a table came to be."""
        yield from described_facts(connection, schema)
        yield from check_facts(connection, schema)

    def counters(self, connection: Connection, schema: str | None) -> Mapping[str, int]:
        """Read every table's next AUTO_INCREMENT value."""
        return {name: int(value) for name, value in connection.execute(AUTO_INCREMENT, {"schema": schema})}

    def tables(self, connection: Connection, schema: str | None) -> Sequence[Shape]:
        """Return the base tables, with invisible and generated columns."""
        found: dict[str, list[tuple[str, str, int | None]]] = {}
        for name, *entry in connection.execute(TABLES, {"schema": schema}):
            found.setdefault(name, []).append((entry[0], entry[1], entry[2]))
        shapes = []
        for name, entries in found.items():
            columns = tuple(ColumnShape(c, kind.lower()) for c, kind, _ in sorted(entries))
            keyed = sorted((place, c, kind.lower()) for c, kind, place in entries if place is not None)
            integer = len(keyed) == 1 and keyed[0][2] in INTEGERS
            shapes.append(Shape(schema, name, columns, tuple(c for _, c, _ in keyed), integer))
        return sorted(shapes, key=lambda shape: shape.name)

    def part_sums(
        self,
        connection: Connection,
        shape: Shape,
        part_count: int,
        between: tuple[int, int] | None = None,
    ) -> Iterator[tuple[int, PartDigest]]:
        """Group the hashes by part."""
        source: Any = self.source(shape)
        number = _number(shape, source)
        packed = _row_hash(shape, source) * (number * literal_column(str(SHIFT)) + literal_column("1"))
        part = (number % literal_column(str(part_count))).label("migrator_part")
        cells = [func.sum(cell) for cell in _cells(shape, source)]
        statement = select(part, func.count(), func.sum(packed), *cells).group_by(part)
        if between is not None:
            key = source.c[shape.key[0]]
            statement = statement.where(key.between(number_sql(between[0]), number_sql(between[1])))
        for part_number, rows, both, *sums in connection.execute(statement):
            keyed, total = divmod(int(both), SHIFT)
            columns = tuple(int(value) % WORD for value in sums)
            yield int(part_number), PartDigest(rows, total, keyed, columns)

    def row_sums(
        self, connection: Connection, shape: Shape, part_count: int, chosen: Collection[int] | None = None
    ) -> Iterator[RowSums]:
        """Read the hashes of every row, or of those in the chosen parts."""
        source: Any = self.source(shape)
        number = _number(shape, source)
        part = number % literal_column(str(part_count))
        keys = [_key_value(shape.column(name), source.c[name]) for name in shape.key]
        columns = [*keys, *_cells(shape, source)]
        # Labels of our own: two columns may differ in nothing but case, and results are read by place.
        labelled = [expression.label(f"migrator_{i}") for i, expression in enumerate(columns)]
        statement = select(part.label("p"), number.label("k"), _row_hash(shape, source).label("h"), *labelled)
        if chosen is not None:
            statement = statement.where(part.in_(sorted(chosen)))
        width = len(shape.key)
        for part_number, k, row_hash, *rest in connection.execute(statement):
            key: tuple[KeyValue, ...] = tuple(rest[:width]) or (f"{row_hash:014x}",)
            yield RowSums(int(part_number), key, int(k), int(row_hash), tuple(int(c) for c in rest[width:]))


def _set(connection: Connection, settings: Mapping[str, Any]) -> None:
    for name, value in settings.items():
        number = int(value) if str(value).isdigit() else value
        connection.execute(text(f"SET SESSION {name} = :value"), {"value": number})


def _exact(shaped: ColumnShape, cell: ColumnElement[Any]) -> ColumnElement[Any]:
    """The cell as a value whose text is exact: binary for strings, plain for what has one spelling only."""
    kind = shaped.type
    if kind in PLAIN:
        return cell
    if kind in FLOATS:
        # FLOAT is written with six digits, as a DOUBLE with all it has.
        return cast(cell, Double())
    if kind == "bit":
        return cell + literal_column("0")
    if kind in ("enum", "set"):
        # The number tells the empty string of a rejected value from one that was listed.
        return func.concat(cell + literal_column("0"), literal_column("':'"), cast(cell, LargeBinary()))
    if kind in STRINGS or kind in BINARIES:
        return cast(cell, LargeBinary())
    return cell if kind in TEXTS or kind in BLOBS else func.hex(cell)


def _piece(shaped: ColumnShape, cell: ColumnElement[Any]) -> ColumnElement[Any]:
    """What the cell adds to its row's text; no piece of a value that is there begins with `~`."""
    exact, kind = _exact(shaped, cell), shaped.type
    if kind in STRINGS or kind in BINARIES or kind in ("enum", "set"):
        exact = func.concat(func.length(cell), literal_column("':'"), exact)
    elif kind not in PLAIN and kind not in FLOATS and kind != "bit":
        exact = func.sha2(exact, literal_column("256"))
    return func.ifnull(exact, literal_column("'~'"))


def _row_text(shape: Shape, source: Any, names: Sequence[str]) -> ColumnElement[Any]:
    pieces = [_piece(shape.column(name), source.c[name]) for name in names]
    return func.concat_ws(literal_column("'|'"), *pieces)


def _row_hash(shape: Shape, source: Any) -> ColumnElement[Any]:
    joined = _row_text(shape, source, [c.name for c in shape.columns])
    digits = func.left(func.sha2(joined, literal_column("256")), literal_column(str(HASH_BITS // 4)))
    return cast(func.conv(digits, literal_column("16"), literal_column("10")), INTEGER(unsigned=True))


def _number(shape: Shape, source: Any) -> ColumnElement[Any]:
    """The key as a number: an integer's 40 low bits, else 32 bits of the key's text, else of the row's."""
    if shape.integer_key:
        masked: ColumnElement[Any] = source.c[shape.key[0]].op("&")(literal_column(str(2**KEY_BITS - 1)))
        return masked.self_group()
    return func.crc32(_row_text(shape, source, shape.key or [c.name for c in shape.columns]))


def _cells(shape: Shape, source: Any) -> list[ColumnElement[Any]]:
    weight: ColumnElement[Any] = literal_column("1")
    if shape.key:
        weight = _number(shape, source) % literal_column("2147483647") + literal_column("1")
    # CRC32 stays below the number that stands for NULL, and no weight makes that one's halves cancel out.
    return [
        func.ifnull(func.crc32(_exact(c, source.c[c.name])), literal_column("6949403057")) * weight
        for c in shape.columns
    ]


def _key_value(shaped: ColumnShape, cell: ColumnElement[Any]) -> ColumnElement[Any]:
    if shaped.type in INTEGERS or shaped.type in STRINGS:
        return cell
    if shaped.type in BINARIES or shaped.type in BLOBS:
        return func.concat(literal_column("'0x'"), func.hex(cell))
    return cast(cell, CHAR())
