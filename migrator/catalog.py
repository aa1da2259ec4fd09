"""What the server knows about a reference, as plain values.

The dialects read the catalog and fill these in; plans and done-checks are functions of them. What
SQLAlchemy does not reflect is here too: validity, engines, inbound keys, privileges, sizes.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from migrator.errors import UnknownColumnError
from migrator.naming import OWN_PREFIX
from migrator.reference import Reference, TableName

State = Literal["none", "enforced", "validated"]


@dataclass(frozen=True)
class Column:
    """One column of a table.

    Args:
        name: its name.
        type: its type as SQL text, exact enough to declare a mirror column with (on MySQL with
            character set and collation, on SQLite the declared text, "" where there is none).
        nullable: what the catalog says. On PostgreSQL 18 a NOT VALID not-null says False.
        default: the default's SQL text, None where there is none.
        generated: "stored", "virtual", or None for an ordinary column.
        identity: "always", "by default", "auto" (AUTO_INCREMENT, serial, rowid alias) or None.
        on_update_now: MySQL's `ON UPDATE CURRENT_TIMESTAMP`.
        invisible: MySQL, MariaDB: left out of `SELECT *`.
        definition: MySQL, MariaDB: everything `MODIFY` must restate, without `[NOT] NULL`.
        collation: its collation where it differs from the server's default for the type.
        rounded: MySQL, MariaDB: what the server tells of a value is not all of it (FLOAT), so that no row is
            found by it again.
    """

    name: str
    type: str
    nullable: bool = True
    default: str | None = None
    generated: Literal["stored", "virtual"] | None = None
    identity: Literal["always", "by default", "auto"] | None = None
    on_update_now: bool = False
    invisible: bool = False
    definition: str = ""
    collation: str | None = None
    rounded: bool = False


@dataclass(frozen=True)
class ForeignKey:
    """A declared foreign key, seen from its child."""

    name: str | None
    child: TableName
    columns: tuple[str, ...]
    parent: TableName
    parent_columns: tuple[str, ...]
    on_delete: str = "NO ACTION"
    on_update: str = "NO ACTION"
    match: str = "simple"
    deferrable: bool = False
    initially_deferred: bool = False
    validated: bool | None = None  # None: this server keeps no such flag
    on_partitions: bool = False  # PostgreSQL before 18: on each partition, and not on the table yet

    def answers(self, reference: Reference) -> bool:
        """Whether it ties the same columns to the same key, whatever its name and actions."""
        pairs = frozenset(zip(self.columns, self.parent_columns, strict=True))
        wanted = frozenset(zip(reference.columns, reference.parent_columns, strict=True))
        return (
            pairs == wanted
            and self.parent.name == reference.parent.name
            and (reference.parent.schema is None or self.parent.schema == reference.parent.schema)
        )


@dataclass(frozen=True)
class Index:
    """An index. `columns` holds None where an expression stands."""

    name: str
    columns: tuple[str | None, ...]
    unique: bool = False
    valid: bool = True
    partial: bool = False
    kind: str = "btree"

    def leads_with(self, columns: tuple[str, ...]) -> bool:
        """Whether it serves a lookup by these columns: they are its first ones, in any order."""
        return (
            self.valid
            and not self.partial
            and self.kind.lower() in ("btree", "hash", "")
            and set(self.columns[: len(columns)]) == set(columns)
        )


@dataclass(frozen=True)
class Address:
    """Where a row lies, which names it where the table has no key: for as long as nobody moves it.

    Args:
        name: what it is called in tables of ours.
        column: what the server calls it.
        type: its type there.
        walkable: whether a range of addresses is found without reading the whole table.
    """

    name: str
    column: str
    type: str
    walkable: bool


#: PostgreSQL moves a row at each UPDATE of it, and all of them at VACUUM FULL.
CTID = Address(OWN_PREFIX + "ctid", "ctid", "tid", walkable=False)
#: SQLite may number the rows anew at VACUUM.
ROWID = Address(OWN_PREFIX + "rowid", "rowid", "INTEGER", walkable=True)
ADDRESSES = {address.name: address for address in (CTID, ROWID)}


def shown(column: str) -> str:
    """The name of a key column as people know it."""
    return ADDRESSES[column].column if column in ADDRESSES else column


@dataclass(frozen=True)
class Table:
    """A table as the catalog has it.

    Args:
        name: as the reference names it, with the schema it was found in where that matters.
        kind: "table", "partitioned", "partition", "view", "foreign", "unlogged", "temporary", "virtual".
        primary_key: its columns, empty where there is none.
        unique_keys: column sets of full (not partial, not expression) unique indexes and constraints.
        inbound: foreign keys of other tables (or its own) that refer to this one.
        triggers: names of the user's triggers.
        estimated_rows, bytes: from statistics; None where unknown.
        engine: MySQL, MariaDB: the storage engine.
        sql: SQLite: the CREATE TABLE text.
        extra: facts of one dialect only, for that dialect.
        address: what names its rows where there is no key; None where nothing does.
    """

    name: TableName
    kind: str
    columns: tuple[Column, ...]
    primary_key: tuple[str, ...] = ()
    unique_keys: tuple[tuple[str, ...], ...] = ()
    foreign_keys: tuple[ForeignKey, ...] = ()
    inbound: tuple[ForeignKey, ...] = ()
    indexes: tuple[Index, ...] = ()
    triggers: tuple[str, ...] = ()
    estimated_rows: int | None = None
    bytes: int | None = None
    engine: str | None = None
    sql: str | None = None
    extra: Mapping[str, Any] = field(default_factory=dict)
    address: Address | None = None

    def has(self, name: str) -> bool:
        """Whether a column of this name is there."""
        return any(column.name == name for column in self.columns)

    def column(self, name: str) -> Column:
        """The column of this name.

        Raises:
            UnknownColumnError: there is none; the message lists those that are.
        """
        for column in self.columns:
            if column.name == name:
                return column
        names = ", ".join(column.name for column in self.columns)
        raise UnknownColumnError(
            f"Table {self.name} has no column {name!r}.", hint=f"Its columns are: {names}."
        )

    @property
    def key(self) -> tuple[str, ...]:
        """The columns that name a row: the primary key, else the shortest unique key none of
        whose columns may be NULL; empty where there is neither. None whose values are told rounded."""
        if self.primary_key and not self.rounded_key:
            return self.primary_key
        columns = {column.name for column in self.columns if not column.nullable and not column.rounded}
        return min((key for key in self.unique_keys if columns.issuperset(key)), key=len, default=())

    @property
    def rounded_key(self) -> tuple[str, ...]:
        """The columns of the primary key whose values the server does not tell exactly."""
        return tuple(name for name in self.primary_key if self.column(name).rounded)

    @property
    def handle(self) -> tuple[str, ...]:
        """What names a row for now: the key, else its address; empty where there is neither."""
        return self.key or ((self.address.name,) if self.address is not None else ())

    @property
    def handle_columns(self) -> tuple[Column, ...]:
        """The columns of the handle; that of an address is in tables of ours only."""
        if self.key or self.address is None:
            return tuple(self.column(name) for name in self.key)
        return (Column(self.address.name, self.address.type),)

    def is_unique(self, columns: tuple[str, ...]) -> bool:
        """Whether some full unique key is made of exactly these columns, in any order."""
        keys = [set(key) for key in (self.primary_key, *self.unique_keys) if key]
        return set(columns) in keys

    @property
    def stored_columns(self) -> Iterator[Column]:
        """The columns that can be written: all but generated ones."""
        return (column for column in self.columns if column.generated is None)


@dataclass(frozen=True)
class Server:
    """Which server this is."""

    family: Literal["sqlite", "postgresql", "mysql", "mariadb", "other"]
    version: tuple[int, ...]
    text: str = ""


@dataclass(frozen=True)
class Facts:
    """Everything plans and done-checks need to know about one reference, read at one moment.

    Args:
        server, reference, child, parent: what and where.
        guards: names of our NULL guard triggers found on the child.
        null_check: PostgreSQL: the helper CHECK (or 18's not-null constraint): its validity.
        proved_at: the journal's word that every row was proved right (servers without a flag).
        ours: the journal's word which steps were begun and not taken back: what they made is ours.
        extra: facts of one dialect only, for that dialect.
    """

    server: Server
    reference: Reference
    child: Table
    parent: Table
    guards: tuple[str, ...] = ()
    null_check: Literal["absent", "not valid", "valid"] = "absent"
    proved_at: str | None = None
    ours: frozenset[str] = frozenset()
    extra: Mapping[str, Any] = field(default_factory=dict)

    @property
    def foreign_keys(self) -> tuple[ForeignKey, ...]:
        """The foreign keys that answer the reference by definition, whatever their names."""
        here = self.parent.name.schema  # a reference that names no schema means the table that was found
        return tuple(
            fk
            for fk in self.child.foreign_keys
            if fk.answers(self.reference) and (None in (here, fk.parent.schema) or fk.parent.schema == here)
        )

    @property
    def foreign_key(self) -> ForeignKey | None:
        """The one of the reference's name among them, or else the first."""
        named = [fk for fk in self.foreign_keys if fk.name == self.reference.name]
        return next(iter(named or self.foreign_keys), None)

    @property
    def not_null(self) -> bool:
        """Whether every reference column is NOT NULL, and proved so."""
        return self.null_check != "not valid" and not any(
            self.child.column(name).nullable for name in self.reference.columns
        )

    @property
    def index(self) -> Index | None:
        """An index that serves the child side: the one with our name first."""
        found = [ix for ix in self.child.indexes if ix.leads_with(self.reference.columns)]
        named = [ix for ix in found if ix.name == self.reference.index_name]
        return next(iter(named or found), None)

    @property
    def state(self) -> State:
        """`none`, `enforced` (new rows are checked) or `validated` (every row was proved right).
        Where the server keeps no validity flag, the journal's proof decides."""
        fk = self.foreign_key
        if fk is None:
            return "none"
        if not self.reference.nullable and not self.not_null:
            return "enforced"
        proved = fk.validated if fk.validated is not None else self.proved_at is not None
        return "validated" if proved else "enforced"
