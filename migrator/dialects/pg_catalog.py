"""Reads a table and a reference from PostgreSQL's catalog into plain values.

What SQLAlchemy's reflection leaves out is why this exists: whether a constraint was validated, an
INVALID index, inbound keys, the partition tree (https://www.postgresql.org/docs/current/catalogs.html).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import sqlalchemy as sa
from sqlalchemy.engine import Connection, RowMapping

from migrator.catalog import CTID, Column, Facts, ForeignKey, Index, Server, Table
from migrator.dialects import pg_queries as queries
from migrator.dialects.pg_facts import (
    TYPE_CONFLICTS,
    Extras,
    NotNull,
    Partition,
    check_state,
    extras,
    not_null_state,
    with_partitions_key,
)
from migrator.dialects.pg_words import GUARD_PREFIX, guard_of, null_check_name
from migrator.errors import UnknownTableError
from migrator.nearest import unknown_column, unknown_table
from migrator.reference import Reference, TableName

_ACTIONS: Final = {"a": "NO ACTION", "r": "RESTRICT", "c": "CASCADE", "n": "SET NULL", "d": "SET DEFAULT"}
_KINDS: Final = {"v": "view", "m": "view", "f": "foreign", "p": "partitioned"}


def read_server(connection: Connection) -> Server:
    """The server's version, from `server_version_num` (180004 is 18.4)."""
    number = int(connection.execute(sa.text("SELECT current_setting('server_version_num')")).scalar_one())
    version = (number // 10000, number % 10000)
    return Server("postgresql", version, ".".join(map(str, version)))


def read_table(connection: Connection, name: TableName) -> Table:
    """The table, whole; an unqualified name is looked up as the server does, along `search_path`.

    Raises:
        UnknownTableError: there is none; the message lists the nearest names.
    """
    return read_tables(connection, name)[0]


def read_tables(connection: Connection, *names: TableName) -> list[Table]:
    """The same for several, in as many questions as for one.

    Raises:
        UnknownTableError: one of them is not there.
    """
    wanted = {"names": [name.name for name in names], "schemas": [name.schema for name in names]}
    rows = connection.execute(sa.text(queries.RESOLVE), wanted).mappings().all()
    found = {row["place"]: row for row in rows}
    for place, name in enumerate(names, 1):
        if place not in found:
            raise _unknown(connection, name)
    reader = _Reader(connection, list({row["oid"] for row in rows}))
    return [reader.table(found[place]) for place in range(1, len(names) + 1)]


def read_facts(connection: Connection, reference: Reference) -> Facts:
    """Everything about one reference.

    Raises:
        UnknownTableError, UnknownColumnError.
    """
    server = read_server(connection)
    child, parent = read_tables(connection, reference.child, reference.parent)
    for table, columns in ((child, reference.columns), (parent, reference.parent_columns)):
        for column in columns:
            if not table.has(column):
                raise unknown_column(table.name, column, (there.name for there in table.columns))
    if server.version < (18,):
        child = with_partitions_key(child, reference)
    if server.version >= (18,):
        null_check = not_null_state(child, reference.columns)
    else:
        null_check = check_state(child, null_check_name(reference))
    guard = guard_of(reference, child.name)
    triggers = extras(child).all_triggers
    return Facts(
        server,
        reference,
        child,
        parent,
        guards=tuple(trigger for trigger in triggers if trigger in guard.triggers),
        null_check=null_check,
        extra={TYPE_CONFLICTS: _type_conflicts(connection, child, parent, reference)},
    )


def _type_conflicts(
    connection: Connection, child: Table, parent: Table, reference: Reference
) -> tuple[tuple[str, str], ...]:
    pairs = [
        (ours, theirs)
        for ours, theirs in zip(reference.columns, reference.parent_columns, strict=True)
        if child.column(ours).type != parent.column(theirs).type
    ]
    if not pairs:
        return ()
    values = {
        "child_schema": child.name.schema,
        "child": child.name.name,
        "columns": [ours for ours, _ in pairs],
        "parent_schema": parent.name.schema,
        "parent": parent.name.name,
        "parent_columns": [theirs for _, theirs in pairs],
    }
    return tuple((row[0], row[1]) for row in connection.execute(sa.text(queries.TYPE_CONFLICTS), values))


class _Reader:
    """Reads what belongs to some rows of `pg_class`.

    Args:
        oids: theirs.
    """

    def __init__(self, connection: Connection, oids: list[int]) -> None:
        self.connection = connection
        self.indexes = self.owned(queries.INDEXES, oids)
        self.constraints = self.owned(queries.CONSTRAINTS, oids)
        self.keys = self.owned(queries.FOREIGN_KEYS.format(side="conrelid"), oids)
        self.inbound = self.owned(queries.FOREIGN_KEYS.format(side="confrelid"), oids)
        self.triggers = self.owned(queries.TRIGGERS, oids)
        self.relatives = self.owned(queries.RELATIVES, oids)
        self.columns = self.owned(queries.COLUMNS, oids)

    def owned(self, query: str, oids: list[int]) -> dict[int, list[RowMapping]]:
        """The rows by the table that each belongs to."""
        found: dict[int, list[RowMapping]] = {oid: [] for oid in oids}
        for row in self.connection.execute(sa.text(query), {"oids": oids}).mappings():
            found[row["owner"]].append(row)
        return found

    def table(self, found: RowMapping) -> Table:
        oid: int = found["oid"]
        partitions, sizes = self.partitions(oid) if found["relkind"] == "p" else ((), (found,))
        indexes, constraints, keys = self.indexes[oid], self.constraints[oid], self.keys[oid]
        triggers = tuple(row["name"] for row in self.triggers[oid])
        relatives = self.relatives[oid]
        old_style = [row for row in relatives if not row["is_partition"]]
        rows = [size["rows"] for size in sizes if size["rows"] is not None]
        extra = Extras(
            lockable=found["lockable"],
            partition_of=next(
                (_name(row) for row in relatives if row["is_partition"] and row["is_parent"]), None
            ),
            inherits=tuple(_name(row) for row in old_style if row["is_parent"]),
            inherited_by=tuple(_name(row) for row in old_style if not row["is_parent"]),
            partitions=partitions,
            constraints=tuple((row["name"], row["definition"]) for row in constraints),
            not_nulls=tuple(
                NotNull(row["name"], row["column"], row["validated"])
                for row in constraints
                if row["type"] == "n"
            ),
            checks=tuple((row["name"], row["validated"]) for row in constraints if row["type"] == "c"),
            not_enforced=tuple(_foreign_key(row) for row in keys if not row["enforced"]),
            all_triggers=triggers,
            deferrable_key=any(row["primary"] and not row["immediate"] for row in indexes),
            ruled=found["ruled"],
            watched=found["watched"],
        )
        return Table(
            _name(found),
            _kind(found),
            tuple(_column(row) for row in self.columns[oid]),
            primary_key=next((tuple(row["columns"]) for row in indexes if row["primary"]), ()),
            unique_keys=tuple(tuple(row["columns"]) for row in indexes if _is_key(row)),
            foreign_keys=tuple(_foreign_key(row) for row in keys if row["enforced"]),
            inbound=tuple(_foreign_key(row) for row in self.inbound[oid] if row["enforced"]),
            indexes=tuple(_index(row) for row in indexes),
            triggers=tuple(name for name in triggers if not name.startswith(GUARD_PREFIX)),
            estimated_rows=sum(rows) if rows else None,
            bytes=sum(size["bytes"] for size in sizes),
            extra=extra.packed(),
            # One address in each of several tables would be many rows'.
            address=CTID if found["relkind"] == "r" and not old_style else None,
        )

    def partitions(self, oid: int) -> tuple[tuple[Partition, ...], Sequence[RowMapping]]:
        rows = self.connection.execute(sa.text(queries.PARTITIONS), {"oid": oid}).mappings().all()
        oids = [row["oid"] for row in rows]
        keys = self.owned(queries.FOREIGN_KEYS.format(side="conrelid"), oids)
        indexes = self.owned(queries.INDEXES, oids)
        members = tuple(
            Partition(
                _name(row),
                TableName(row["up_name"], row["up_schema"]),
                row["leaf"],
                row["foreign"],
                tuple(_foreign_key(key) for key in keys[row["oid"]] if key["enforced"]),
                tuple(_foreign_key(key) for key in keys[row["oid"]] if not key["inherited"]),
                tuple(_index(index) for index in indexes[row["oid"]]),
            )
            for row in rows
        )
        return members, [row for row in rows if row["leaf"]]


def _kind(found: RowMapping) -> str:
    persistence = {"u": "unlogged", "t": "temporary"}.get(found["persistence"])
    plain = "partition" if found["is_partition"] else "table"
    return _KINDS.get(found["relkind"]) or persistence or plain


def _name(row: RowMapping) -> TableName:
    return TableName(row["name"], row["schema"])


def _column(row: RowMapping) -> Column:
    identity = {"a": "always", "d": "by default"}.get(row["identity"])
    return Column(
        row["name"],
        row["type"],
        nullable=row["nullable"],
        default=row["default"],
        generated={"s": "stored", "v": "virtual"}.get(row["generated"]),  # type: ignore[arg-type]
        identity=identity or ("auto" if row["serial"] else None),  # type: ignore[arg-type]
        collation=row["collation"],
    )


def _foreign_key(row: RowMapping) -> ForeignKey:
    return ForeignKey(
        row["name"],
        TableName(row["child"], row["child_schema"]),
        tuple(row["columns"]),
        TableName(row["parent"], row["parent_schema"]),
        tuple(row["parent_columns"]),
        on_delete=_ACTIONS[row["on_delete"]],
        on_update=_ACTIONS[row["on_update"]],
        match="full" if row["match"] == "f" else "simple",
        deferrable=row["deferrable"],
        initially_deferred=row["deferred"],
        validated=row["validated"],
    )


def _index(row: RowMapping) -> Index:
    return Index(
        row["name"], tuple(row["columns"]), row["unique"], row["valid"], row["partial"], kind=row["kind"]
    )


def _is_key(row: RowMapping) -> bool:
    """Whether a foreign key may refer to it: a deferrable unique constraint will not do (55000)."""
    return bool(
        row["unique"]
        and not row["primary"]
        and row["valid"]
        and row["immediate"]
        and not row["partial"]
        and None not in row["columns"]
    )


def _unknown(connection: Connection, name: TableName) -> UnknownTableError:
    rows = connection.execute(sa.text(queries.NAMES)).mappings().all()
    elsewhere = [str(_name(row)) for row in rows if row["name"] == name.name]
    if elsewhere:
        return UnknownTableError(f"There is no table {name}.", hint=f"Did you mean {' or '.join(elsewhere)}?")
    if name.schema is None:
        return unknown_table(name, (row["name"] for row in rows if row["visible"]))
    return unknown_table(name, (row["name"] for row in rows if row["schema"] == name.schema))
