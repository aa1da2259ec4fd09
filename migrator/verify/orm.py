"""What the models say: the relationship resolves both ways, and no default was computed at import."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection
from sqlalchemy.orm import Mapper, RelationshipProperty, Session, with_parent

from migrator.reference import Reference
from migrator.verify.model import Check


def mappers_of(base: Any) -> list[Mapper[Any]]:
    """The mapped classes behind a declarative base; none for a plain `MetaData`."""
    registry = getattr(base, "registry", None)
    return sorted(getattr(registry, "mappers", ()), key=lambda mapper: mapper.class_.__name__)


def model_checks(connection: Connection, reference: Reference, mappers: list[Mapper[Any]]) -> Iterator[Check]:
    """Checks of one reference against mapped classes.

    Args:
        connection: in a read-only transaction.
        reference: whose relationships to look for.
        mappers: of all models.
    """
    children = [mapper for mapper in mappers if _is(mapper, reference.child.name)]
    parents = [mapper for mapper in mappers if _is(mapper, reference.parent.name)]
    if not children or not parents:
        return
    child, parent = children[0], parents[0]
    up, down = _relationship(child, parent, reference, "up"), _relationship(parent, child, reference, "down")
    yield from _there(child, parent, up, down)
    if up is not None and down is not None:
        yield _resolves(connection, child, up, down)
    yield from _defaults(child)


def _is(mapper: Mapper[Any], table: str) -> bool:
    return getattr(mapper.local_table, "name", None) == table


def _relationship(
    mapper: Mapper[Any], other: Mapper[Any], reference: Reference, way: str
) -> RelationshipProperty[Any] | None:
    for found in mapper.relationships:
        if found.mapper is not other or (found.direction.name == "MANYTOONE") != (way == "up"):
            continue
        pairs = {(local.name, remote.name) for local, remote in found.local_remote_pairs or ()}
        wanted = set(zip(reference.columns, reference.parent_columns, strict=True))
        if pairs == (wanted if way == "up" else {(theirs, ours) for ours, theirs in wanted}):
            return found
    return None


def _there(
    child: Mapper[Any],
    parent: Mapper[Any],
    up: RelationshipProperty[Any] | None,
    down: RelationshipProperty[Any] | None,
) -> Iterator[Check]:
    names = child.class_.__name__, parent.class_.__name__
    for one, found, (owner, other) in (
        ("relationship", up, names),
        ("back-reference", down, names[::-1]),
    ):
        if found is None:
            yield Check(
                one,
                "failed",
                f"{owner} has no relationship to {other}",
                f"Give {owner} a relationship() with back_populates, and {other} its counterpart.",
            )
        else:
            yield Check(one, "passed", f"{owner}.{found.key} leads to {other}")
    if up is not None and down is not None:
        tied = up.back_populates == down.key and down.back_populates == up.key
        yield Check(
            "tied-both-ways",
            "passed" if tied else "failed",
            f"{names[0]}.{up.key} and {names[1]}.{down.key} "
            + ("know each other" if tied else "do not know each other: one will be stale after a change"),
            None if tied else f"Say back_populates={down.key!r} and back_populates={up.key!r}.",
        )


def _resolves(
    connection: Connection, child: Mapper[Any], up: RelationshipProperty[Any], down: RelationshipProperty[Any]
) -> Check:
    """One row there and back. Not the whole collection: a prolific author's may be large."""
    with Session(bind=connection) as session:
        columns = [local for local, _ in up.local_remote_pairs or ()]
        query = sa.select(child.class_).where(*(column.is_not(None) for column in columns)).limit(1)
        row = session.scalars(query).first()
        if row is None:
            return Check("resolves", "skipped", f"no row of {child.class_.__name__} to try it on")
        parent = getattr(row, up.key)
        there = f"{child.class_.__name__}.{up.key}"
        if parent is None:
            return Check("resolves", "failed", f"{there} is None although the column names a row")
        back = f"{type(parent).__name__}.{down.key}"
        attribute = getattr(type(parent), down.key)
        identity = sa.inspect(row).identity
        same = (column == value for column, value in zip(child.primary_key, identity, strict=True))
        found = session.scalars(sa.select(child.class_).where(with_parent(parent, attribute), *same)).first()
        if found is not row:
            return Check("resolves", "failed", f"{there} leads to a row whose {back} does not lead back")
        return Check("resolves", "passed", f"{there} and {back} lead to each other, tried on one row")


def _defaults(mapper: Mapper[Any]) -> Iterator[Check]:
    for column in mapper.columns:
        default = getattr(column, "default", None)
        if default is None or not isinstance(column.type, sa.DateTime | sa.Date | sa.Time):
            continue
        name = f"{mapper.class_.__name__}.{column.key}"
        if default.is_scalar and isinstance(default.arg, dt.datetime | dt.date | dt.time):
            yield Check(
                "frozen-default",
                "failed",
                f"the default of {name} was computed when the module was imported: every row of one "
                "process start gets the same",
                "Pass a callable: default=utc_now, not default=utc_now().",
            )
        elif default.is_callable:
            yield Check("frozen-default", "passed", f"the default of {name} is computed for each row")
