"""What may say no to a sweep, as conditions on its worklist: the same questions, in the same order, as
`scan.gate` asks."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import sqlalchemy as sa

from migrator.catalog import ForeignKey
from migrator.errors import Refused
from migrator.offline.sweeping import Sweeping
from migrator.policy import Backfill, Delete, Keep, Policy, Refuse, SetNull
from migrator.predicate import table_clause
from migrator.sentinel import check_sentinel, stated_values
from migrator.worklist import KIND


@dataclass(frozen=True)
class Gate:
    """A reason to stop before the first change.

    Args:
        condition: an expression; where it is true the run stops.
        message: what to say then.
    """

    condition: str
    message: str


def gates(sweeping: Sweeping) -> Iterator[Gate]:
    """The same questions, in the same order, as `scan.gate` asks."""
    reference = sweeping.facts.reference
    touched = [name for name, policy in sweeping.policies.items() if not isinstance(policy, Keep)]
    if touched:
        yield Gate(
            f"{sweeping.listed(*touched)} > {sweeping.max_orphan_share!r} * {sweeping.total}",
            f"more orphans of {reference} than max_orphan_share={sweeping.max_orphan_share:g} allows; "
            "nothing was changed",
        )
    if touched and sweeping.max_orphans:
        yield Gate(
            f"{sweeping.listed(*touched)} > {sweeping.max_orphans}",
            f"more orphans of {reference} than max_orphans={sweeping.max_orphans} allows; "
            "nothing was changed",
        )
    for name, policy in sweeping.policies.items():
        problem = _problem(sweeping, name, policy)
        if problem is not None:
            yield Gate(f"{sweeping.listed(name)} > 0", problem)
        elif isinstance(policy, Backfill):
            missing = _missing(sweeping, policy)
            if missing is not None:
                yield Gate(f"{sweeping.listed(name)} > 0 AND {missing.condition}", missing.message)
    doomed = [name for name, policy in sweeping.policies.items() if isinstance(policy, Delete)]
    for fk in sweeping.facts.child.inbound if doomed else ():
        yield Gate(
            f"{_referring(sweeping, fk, doomed)} > 0",
            f"rows of {fk.child} refer to orphans of {reference} that are to be deleted",
        )


def _problem(sweeping: Sweeping, name: str, policy: Policy) -> str | None:
    reference = sweeping.facts.reference
    if isinstance(policy, Refuse):
        return f"{name} orphans of {reference}, and the policy is to refuse; nothing was changed"
    if isinstance(policy, SetNull) and not reference.nullable:
        return f"set-null would leave NULL in {reference}, which is NOT NULL; nothing was changed"
    if isinstance(policy, Keep) and not (name != "dangling" and reference.nullable):
        return f"{name} orphans of {reference} cannot be kept; nothing was changed"
    return None


def _missing(sweeping: Sweeping, policy: Backfill) -> Gate | None:
    """That the parent is not there and cannot be made."""
    count = _matching(sweeping, policy)
    parent = sweeping.facts.reference.parent
    if policy.to is not None:
        return Gate(f"{count} = 0", f"backfill_to names no row of {parent}; nothing was changed")
    try:
        check_sentinel(sweeping.facts, policy)
    except Refused as error:
        message = error.message.split(":")[0]
        if not stated_values(sweeping.facts.parent, policy.sentinel):
            return Gate("1 = 1", message)
        return Gate(f"{count} = 0", message)
    return None


def _matching(sweeping: Sweeping, policy: Backfill) -> str:
    values = sweeping.parent_values(policy)
    parent = table_clause(sweeping.facts.reference.parent, *values).alias("p")
    query = sa.select(sa.func.count()).select_from(parent)
    return f"({sweeping.words.sql(query.where(*sweeping.same(parent, values)))})"


def _referring(sweeping: Sweeping, fk: ForeignKey, kinds: list[str]) -> str:
    other = table_clause(fk.child, *fk.columns).alias("d")
    key = sweeping.facts.child.key
    child = table_clause(sweeping.facts.reference.child, *key, *fk.parent_columns).alias("c")
    listed = sweeping.worklist.clause.alias("w")
    query = (
        sa.select(sa.func.count())
        .select_from(
            listed.join(child, sa.and_(*(child.c[name] == listed.c[name] for name in key))).join(
                other,
                sa.and_(
                    *(
                        other.c[ours] == child.c[theirs]
                        for ours, theirs in zip(fk.columns, fk.parent_columns, strict=True)
                    )
                ),
            )
        )
        .where(listed.c[KIND].in_([sweeping.words.value(name) for name in kinds]))
    )
    return f"({sweeping.words.sql(query)})"
