"""What a fingerprint is made of: plain values, comparable, and turned into JSON by `codec`.

A table's rows are reduced to sums, which do not depend on the order rows are read in, and in which two equal
rows do not cancel out as they would under XOR. Per part of the table (a part is chosen by the row's key):

    rows    how many
    total   the sum of h, a 56-bit hash of the whole row's canonical text
    keyed   the sum of h * k, where k is the key as a number below 2**40 (see `Shape.integer_key`)
    columns for each column, the sum modulo 2**64 of a hash of the cell mixed with the row's key

When exactly one row of a part changed, `keyed` divided by `total`, both as differences, *is* its key. That is
how a row is named although the "before" side is long gone and only sums were kept.

**Collision bound.** One changed row goes unnoticed only if its 56-bit row hash stays the same and the column
sums stay the same as well: at most 2**-56 * 2**-32 on MySQL, MariaDB and SQLite (32-bit cell hashes), at most
2**-56 * 2**-64 on PostgreSQL. The bound speaks of accidents: none of this resists someone who constructs rows
to collide.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, Literal, NamedTuple

KeyValue = int | str | None

DEFAULT_PARTS: Final = 1021
"""Parts a table is cut into. A prime, so that keys with a stride (snowflakes, shards) still spread."""

DEFAULT_ROW_LIMIT: Final = 50_000
"""Tables of at most this many rows also keep a digest per row, about 150 bytes each."""

KEY_BITS: Final = 40
HASH_BITS: Final = 56
WORD: Final = 2**64


@dataclass(frozen=True, slots=True)
class ColumnShape:
    """A column's name and the server's name for its type, without length or precision."""

    name: str
    type: str


@dataclass(frozen=True, slots=True)
class Shape:
    """What has to be known of a table to digest its rows.

    `columns` are sorted by name, so that a table whose columns stand in another order, which the schema part
    reports, does not seem to hold other rows too. `key` is the primary key, empty where there is none; such
    a table is compared as a multiset of rows. `only` is true where descendants are tables of their own.
    """

    schema: str | None
    name: str
    columns: tuple[ColumnShape, ...]
    key: tuple[str, ...]
    integer_key: bool
    only: bool = False

    @property
    def label(self) -> str:
        """The table's name as differences print it, with its schema where the server has several."""
        return self.name if self.schema is None else f"{self.schema}.{self.name}"

    def column(self, name: str) -> ColumnShape:
        """Return the column called `name`; raises KeyError where there is none."""
        for column in self.columns:
            if column.name == name:
                return column
        raise KeyError(f"{self.label} has no column {name}")


class PartDigest(NamedTuple):
    """The sums over one part of a table; see the module's docstring."""

    rows: int
    total: int
    keyed: int
    columns: tuple[int, ...]


class RowDigest(NamedTuple):
    """One row: its key's values (for a table without key, the row hash) and its hashes in hexadecimal.

    `code` holds 14 digits for the row and 8 for each column, in the order of the digest's columns.
    """

    key: tuple[KeyValue, ...]
    code: str


@dataclass(frozen=True, slots=True)
class TableDigest:
    """The rows of one table, reduced. `row_digests` is None where the table was too big to keep them."""

    table: str
    columns: tuple[str, ...]
    key: tuple[str, ...]
    integer_key: bool
    key_range: tuple[int, int] | None
    part_count: int
    parts: Mapping[int, PartDigest]
    row_digests: tuple[RowDigest, ...] | None = None

    @property
    def rows(self) -> int:
        """The number of rows."""
        return sum(part.rows for part in self.parts.values())

    @property
    def total(self) -> int:
        """The sum of the row hashes: depends on the rows alone, neither on the key nor on the parts."""
        return sum(part.total for part in self.parts.values())

    @property
    def column_sums(self) -> dict[str, int]:
        """The sum modulo 2**64 of every column's cells; comparable only where the key is the same."""
        sums = [0] * len(self.columns)
        for part in self.parts.values():
            sums = [(left + right) % WORD for left, right in zip(sums, part.columns, strict=True)]
        return dict(zip(self.columns, sums, strict=True))

    def same_rows(self, other: TableDigest) -> bool:
        """Tell whether both hold the same rows, whatever key and parts each was taken with."""
        if (self.rows, self.total, self.columns) != (other.rows, other.total, other.columns):
            return False
        return self.key != other.key or self.column_sums == other.column_sums


@dataclass(frozen=True, slots=True)
class Fingerprint:
    """Schema and data of a database at one moment.

    `schema` maps an object ("table public.post", "trigger public.post.stamp") to its canonical text; `tables`
    maps a table's label to its digest; `counters` holds the next or last value of sequences and
    AUTO_INCREMENT columns, which a faithful round trip may move and which are compared only on request.
    """

    dialect: str
    schema: Mapping[str, str]
    tables: Mapping[str, TableDigest]
    counters: Mapping[str, int] = field(default_factory=dict)

    def identical(self, other: Fingerprint, *, counters: bool = False) -> bool:
        """Tell whether schema and rows are the same; with `counters`, the counters as well."""
        return (
            self.schema == other.schema
            and self.tables.keys() == other.tables.keys()
            and all(digest.same_rows(other.tables[name]) for name, digest in self.tables.items())
            and (not counters or self.counters == other.counters)
        )

    def to_json(self) -> str:
        """Return the fingerprint as one line of JSON, which `from_json` reads back."""
        from migrator.fingerprint.codec import encode

        return encode(self)

    @staticmethod
    def from_json(text: str) -> Fingerprint:
        """Read what `to_json` wrote; raises ValueError where the text is something else."""
        from migrator.fingerprint.codec import decode

        return decode(text)


@dataclass(frozen=True, slots=True)
class Difference:
    """One thing that is not as it was.

    `object` is the schema object or the table; `column` the column whose cells differ, None where whole
    rows came or went; `detail` a unified diff for a schema, a sentence with the counts for data. `keys` are
    some of the rows, each a mapping of key column to value. Where the table has no key, "(row)" stands for
    it, with the row's hash; where only sums were kept and the key is no integer, "(number of key)", with a
    number that `differing_keys` can look up.
    """

    kind: Literal["schema", "data", "counter"]
    object: str
    column: str | None
    keys: tuple[Mapping[str, KeyValue], ...]
    detail: str
