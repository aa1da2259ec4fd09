"""The facts with one thing changed, for what `evolve` and the partitions of PostgreSQL both need."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from migrator.catalog import Facts, ForeignKey, Table
from migrator.dialects.pg_facts import Extras, extras


def is_postgresql(facts: Facts) -> bool:
    """Not a protocol of its own: PostgreSQL alone keeps a constraint's validity, and facts of it."""
    return facts.server.family == "postgresql"


def with_child(facts: Facts, **values: object) -> Facts:
    """The child changed, which may be the parent as well."""
    child: Table = replace(facts.child, **values)  # type: ignore[arg-type]
    same = facts.reference.is_self_reference
    return replace(facts, child=child, parent=child if same else facts.parent)


def with_extras(facts: Facts, **values: object) -> Facts:
    """What only PostgreSQL knows of the child changed."""
    if not is_postgresql(facts):
        return facts
    changed: Extras = replace(extras(facts.child), **values)  # type: ignore[arg-type]
    return with_child(facts, extra={**facts.child.extra, **changed.packed()})


def with_inbound(facts: Facts, keys: Iterable[ForeignKey]) -> Facts:
    """The keys that refer to the parent changed, which may be the child as well."""
    parent = facts.child if facts.reference.is_self_reference else facts.parent
    parent = replace(parent, inbound=tuple(keys))
    return replace(facts, parent=parent, child=parent if facts.reference.is_self_reference else facts.child)


def without(keys: Iterable[ForeignKey], name: str) -> tuple[ForeignKey, ...]:
    """The keys but those of this name."""
    return tuple(key for key in keys if key.name != name)


def key_made(facts: Facts) -> ForeignKey:
    """The foreign key that the reference asks for, as it is added: not looked at a row yet."""
    reference = facts.reference
    return ForeignKey(
        reference.name,
        facts.child.name,
        reference.columns,
        facts.parent.name,
        reference.parent_columns,
        on_delete=reference.on_delete or "NO ACTION",
        on_update=reference.on_update or "NO ACTION",
        match=reference.match,
        deferrable=reference.deferrable or reference.initially_deferred,
        initially_deferred=reference.initially_deferred,
        validated=False if is_postgresql(facts) else None,
    )
