"""From a policy to the repairs it asks for, in order; and the sources of values behind them."""

from __future__ import annotations

from collections.abc import Callable

from sqlalchemy.engine import Connection

from migrator import quarantine
from migrator.catalog import Facts
from migrator.closure import closure_of
from migrator.context import Context
from migrator.decisions import decided
from migrator.mirror import Mirror
from migrator.parents import MakeParents, check_parents, keyed_parent
from migrator.policy import (
    Backfill,
    CreateParents,
    Decisions,
    Delete,
    Expression,
    Lookup,
    Policy,
    SetNull,
    heard,
)
from migrator.reference import TableName
from migrator.repair import Remove, Repair, Repoint, RepointEach
from migrator.sentinel import make_target
from migrator.values import Computed, LookedUp, Source


def repairs_for(
    context: Context, connection: Connection, facts: Facts, mirror: Mirror, policy: Policy, kind: str
) -> tuple[Repair, ...]:
    """The repairs a policy asks for with one kind of orphan, first answer first; none where the rows are
    to stay. A missing sentinel row is created here, in a transaction of its own."""
    found: list[Repair] = []
    for one in heard(policy, kind):
        source = source_of(facts, one, lambda path: decided(context.dialect, connection, facts, path))
        if source is not None:
            found.append(RepointEach(context, facts, mirror, source))
        elif isinstance(one, Delete):
            closure = closure_of(connection, context.dialect, facts, one.dependants, make=True)
            found.append(Remove(context, facts, mirror, closure))
        elif isinstance(one, SetNull):
            found.append(Repoint(context, facts, mirror, None))
        elif isinstance(one, Backfill):
            found.append(Repoint(context, facts, mirror, make_target(context, connection, facts, one)))
        elif isinstance(one, CreateParents):
            parents = mirror
            if facts.parent.name != facts.child.name:
                table = keyed_parent(facts)
                parents = quarantine.ensure_other(connection, context.dialect, facts.reference, table)
            found.append(MakeParents(context, facts, mirror, parents, check_parents(facts, one.values)))
    return tuple(found)


def source_of(facts: Facts, policy: Policy, file: Callable[[str], Source]) -> Source | None:
    """Where each row's own value comes from; None for a policy that gives all rows the same.

    Args:
        file: what the decisions in the file at a path come to.
    """
    reference = facts.reference
    if isinstance(policy, Expression):
        return Computed(reference, policy.expressions)
    if isinstance(policy, Lookup):
        schema, _, name = policy.table.rpartition(".")
        return LookedUp(reference, TableName(name, schema or None), tuple(policy.on.items()), policy.values)
    if isinstance(policy, Decisions):
        return file(policy.path)
    return None
