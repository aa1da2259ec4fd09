"""What only PostgreSQL knows of a table, as plain values, and what follows from it. Pure."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final, Literal

from migrator.catalog import Facts, ForeignKey, Index, Table
from migrator.reference import Reference, TableName

_KEY: Final = "postgresql"
TYPE_CONFLICTS: Final = "type_conflicts"


@dataclass(frozen=True)
class Partition:
    """One member of a partition tree, root excluded.

    Args:
        name: the partition.
        parent: the table it is attached to; the root or a partition that is itself partitioned.
        leaf: whether it holds rows.
        foreign: whether it is a foreign table.
        foreign_keys: those declared on it, inherited ones included.
        own_keys: those of them that are no part of a key of the table above.
        indexes: those on it.
    """

    name: TableName
    parent: TableName
    leaf: bool = True
    foreign: bool = False
    foreign_keys: tuple[ForeignKey, ...] = ()
    own_keys: tuple[ForeignKey, ...] = ()
    indexes: tuple[Index, ...] = ()


@dataclass(frozen=True)
class NotNull:
    """A not-null constraint, which PostgreSQL keeps as a constraint from version 18 on."""

    name: str
    column: str
    validated: bool


@dataclass(frozen=True)
class Extras:
    """What `Table` has no place for.

    Args:
        lockable: whether we may LOCK TABLE it in a blocking mode.
        partition_of: the table it is a partition of.
        inherits, inherited_by: old-style inheritance, both ways.
        partitions: its whole tree below it, parents before children.
        constraints: every constraint of the table by name, with its definition.
        not_nulls: its not-null constraints (18 and later).
        checks: its CHECK constraints by name, and whether each was validated.
        not_enforced: foreign keys declared NOT ENFORCED (18 and later): they check nothing.
        all_triggers: every trigger of the table, ours included.
        deferrable_key: whether its primary key is deferrable: no foreign key may refer to it.
        ruled: whether a rule may rewrite the statements sent to it.
        watched: whether an event trigger of the database's may refuse DDL.
    """

    lockable: bool = True
    partition_of: TableName | None = None
    inherits: tuple[TableName, ...] = ()
    inherited_by: tuple[TableName, ...] = ()
    partitions: tuple[Partition, ...] = ()
    constraints: tuple[tuple[str, str], ...] = ()
    not_nulls: tuple[NotNull, ...] = ()
    checks: tuple[tuple[str, bool], ...] = ()
    not_enforced: tuple[ForeignKey, ...] = ()
    all_triggers: tuple[str, ...] = ()
    deferrable_key: bool = False
    ruled: bool = False
    watched: bool = False

    def packed(self) -> dict[str, object]:
        """As `Table.extra` carries it."""
        return {_KEY: self}

    @property
    def leaves(self) -> tuple[Partition, ...]:
        """The partitions that hold rows."""
        return tuple(partition for partition in self.partitions if partition.leaf)


def extras(table: Table) -> Extras:
    """What only PostgreSQL knows of the table; nothing special where it was not read (offline)."""
    found = table.extra.get(_KEY)
    return found if isinstance(found, Extras) else Extras()


def type_conflicts(facts: Facts) -> tuple[tuple[str, str], ...]:
    """The pairs (column of the child, column of the parent) that the server would refuse to tie."""
    found = facts.extra.get(TYPE_CONFLICTS, ())
    return found if isinstance(found, tuple) else ()


def check_state(table: Table, name: str) -> Literal["absent", "not valid", "valid"]:
    """How far a CHECK of this name has come."""
    for check, validated in extras(table).checks:
        if check == name:
            return "valid" if validated else "not valid"
    return "absent"


def not_null_state(table: Table, columns: tuple[str, ...]) -> Literal["absent", "not valid", "valid"]:
    """How far the not-null constraints of these columns have come (18 and later)."""
    found = [constraint for constraint in extras(table).not_nulls if constraint.column in columns]
    if any(not constraint.validated for constraint in found):
        return "not valid"
    if any(table.column(column).nullable for column in columns):
        return "absent"
    return "valid"


def by_partition(facts: Facts) -> bool:
    """Whether the foreign key has to be added to every partition first: before 18, NOT VALID is
    refused on a partitioned child (42809)."""
    return facts.child.kind == "partitioned" and facts.server.version < (18,)


def leaf_foreign_key(facts: Facts, leaf: Partition) -> ForeignKey | None:
    """The partition's foreign key that answers the reference."""
    found = [fk for fk in leaf.foreign_keys if fk.answers(facts.reference)]
    named = [fk for fk in found if fk.name == facts.reference.name]
    return next(iter(named or found), None)


def own_foreign_key(facts: Facts) -> bool:
    """Whether the foreign key is declared on the child itself, rather than on each of its partitions."""
    fk = facts.foreign_key
    return fk is not None and not fk.on_partitions


def with_partitions_key(child: Table, reference: Reference) -> Table:
    """A partitioned child whose partitions all have the key, by its name, is enforced, although before 18 it
    stands on each of them and not yet on the child: one that says so, and claims no proof, is added."""
    leaves = extras(child).leaves
    if child.kind != "partitioned" or any(fk.answers(reference) for fk in child.foreign_keys) or not leaves:
        return child
    found = [
        [fk for fk in leaf.foreign_keys if fk.name == reference.name and fk.answers(reference)]
        for leaf in leaves
    ]
    if not all(found):
        return child
    standing = replace(found[0][0], child=child.name, validated=False, on_partitions=True)
    return replace(child, foreign_keys=(*child.foreign_keys, standing))
