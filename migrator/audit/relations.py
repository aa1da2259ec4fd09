"""`missing-foreign-key` and `missing-back-reference` in models."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Mapper, RelationshipProperty

from migrator.audit.model import Finding
from migrator.discover import Candidate, candidates_in
from migrator.reference import Reference, TableName
from migrator.report.findings import command


def undeclared(metadata: sa.MetaData, mappers: Sequence[Mapper[Any]]) -> list[Candidate]:
    """The references that models act on, or whose columns are named like one, and that have no foreign key;
    what a relationship says comes first."""
    found = [candidate for mapper in mappers for candidate in _by_relationship(mapper)]
    taken = {(one.reference.child, one.reference.columns) for one in found}
    named = candidates_in(metadata)
    return [*found, *(one for one in named if (one.reference.child, one.reference.columns) not in taken)]


def missing_foreign_keys(
    metadata: sa.MetaData, mappers: Sequence[Mapper[Any]], names: dict[Any, str]
) -> Iterator[Finding]:
    """Columns that name another model's key and have no foreign key."""
    for candidate in undeclared(metadata, mappers):
        reference = candidate.reference
        table = metadata.tables[_key(reference.child)]
        columns = [table.c[name] for name in reference.columns]
        where = ", ".join(names.get(column, str(column)) for column in columns)
        yield Finding(
            "missing-foreign-key",
            "high",
            where,
            f"{where} names {reference.parent}.{', '.join(reference.parent_columns)} ({candidate.why}) and"
            " has no foreign key: nothing stops it from naming nobody"
            + (", or from being NULL." if any(column.nullable for column in columns) else "."),
            _declaration(reference, columns, names),
            {
                "reference": str(reference),
                "why": candidate.why,
                "nullable": any(bool(column.nullable) for column in columns),
                "migration": command("revision", reference),
            },
        )


def missing_back_references(mappers: Sequence[Mapper[Any]]) -> Iterator[Finding]:
    """Relationships that lead one way only, or both ways without knowing of each other."""
    for mapper in mappers:
        for found in mapper.relationships:
            if found.parent is not mapper or found.viewonly or found.back_populates or found.backref:
                continue
            yield _one_way(mapper, found)


def _one_way(mapper: Mapper[Any], found: RelationshipProperty[Any]) -> Finding:
    owner, other = mapper.class_.__name__, found.mapper.class_.__name__
    where = f"{owner}.{found.key}"
    twin = next(
        (
            one.key
            for one in found.mapper.relationships
            if one.mapper is mapper and one is not found and not one.viewonly and not one.back_populates
        ),
        None,
    )
    if twin is not None:
        message = (
            f"{where} and {other}.{twin} do not know of each other: after a change of one the other is stale."
        )
        fix = (
            f'{owner}.{found.key}: relationship(back_populates="{twin}")\n'
            f'{other}.{twin}: relationship(back_populates="{found.key}")'
        )
    else:
        back = _attribute(found, owner)
        one = found.direction.name == "ONETOMANY"
        message = (
            f"{where} leads to {other}, and {other} has no way back"
            + (": a row does not know its owner" if one else "")
            + "."
        )
        type_ = f'Mapped["{owner}"]' if one else f'Mapped[list["{owner}"]]'
        fix = (
            f'{other}: {back}: {type_} = relationship(back_populates="{found.key}")\n'
            f'{where}: add back_populates="{back}"'
        )
    return Finding(
        "missing-back-reference",
        "medium",
        where,
        message,
        fix,
        {"relationship": where, "leads_to": other, "direction": found.direction.name},
    )


def _by_relationship(mapper: Mapper[Any]) -> Iterator[Candidate]:
    for found in mapper.relationships:
        if found.parent is not mapper or found.viewonly or found.secondary is not None:
            continue
        # (local, remote): of a one-to-many the remote side is the child.
        pairs = [
            (remote, local) if found.direction.name == "ONETOMANY" else (local, remote)
            for local, remote in found.local_remote_pairs or ()
        ]
        if not pairs or not all(isinstance(end, sa.Column) for pair in pairs for end in pair):
            continue
        (child, parent), columns = (pairs[0][0].table, pairs[0][1].table), [ours for ours, _ in pairs]
        if any(set(columns) <= {*key.columns} for key in getattr(child, "foreign_key_constraints", ())):
            continue
        reference = Reference(
            TableName(child.name, child.schema),
            tuple(ours.name for ours in columns),
            TableName(parent.name, parent.schema),
            tuple(theirs.name for _, theirs in pairs),
        )
        yield Candidate(reference, f"{mapper.class_.__name__}.{found.key} joins by it")


def _declaration(reference: Reference, columns: Sequence[sa.Column[Any]], names: dict[Any, str]) -> str:
    if len(columns) == 1:
        column, parent = columns[0], reference.parent
        schema = f"{parent.schema}." if parent.schema else ""
        key = f'ForeignKey("{schema}{parent.name}.{reference.parent_columns[0]}")'
        attribute = names.get(column, column.name).rpartition(".")[2]
        try:
            type_ = column.type.python_type.__name__
        except NotImplementedError:
            type_ = "Any"
        optional = " | None" if reference.nullable else ""
        # MySQL and MariaDB make an index of their own; the other servers do not.
        return f"{attribute}: Mapped[{type_}{optional}] = mapped_column({key}, index=True)"
    ours = ", ".join(f'"{name}"' for name in reference.columns)
    theirs = ", ".join(f'"{reference.parent.name}.{name}"' for name in reference.parent_columns)
    return f"__table_args__ = (ForeignKeyConstraint([{ours}], [{theirs}]),)"


def _attribute(found: RelationshipProperty[Any], owner: str) -> str:
    """What the way back would be called: `user_id` leads to `user`."""
    if found.direction.name == "ONETOMANY":
        for _, remote in found.local_remote_pairs or ():
            name = str(getattr(remote, "name", ""))
            if name.endswith("_id") and len(name) > 3:
                return name[:-3]
        return owner.lower()
    return f"{owner.lower()}s"


def _key(table: TableName) -> str:
    return f"{table.schema}.{table.name}" if table.schema else table.name
