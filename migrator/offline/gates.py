"""What may say no to a sweep, as conditions on its worklist: the same questions, in the same order, as
`scan.gate` asks."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import sqlalchemy as sa

from migrator.answers import cannot_be_null, has_no_last_word, nobody_to_create
from migrator.catalog import ForeignKey
from migrator.collisions import collisions, refusal
from migrator.detect import breaking_kinds
from migrator.errors import Refused
from migrator.offline.sweeping import Sweeping
from migrator.parents import check_parents, same_values
from migrator.policy import Backfill, CreateParents, Delete, Keep, Policy, Refuse, SetNull
from migrator.predicate import child_alias, none_null, orphaned, table_clause
from migrator.sentinel import check_sentinel, stated_values
from migrator.sentinel_row import claimed
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
    for name, chain in sweeping.chains.items():
        any_there = f"{sweeping.listed(name)} > 0"
        for policy in chain:
            # At the end of a chain these speak of what is left, if anything is.
            if len(chain) == 1 or not isinstance(policy, (Refuse, Keep)):
                for gate in _allowed(sweeping, name, policy):
                    yield Gate(
                        f"{any_there} AND {gate.condition}" if gate.condition else any_there, gate.message
                    )
        yield from _answers(sweeping, name)
    yield from dependants(sweeping)


def dependants(sweeping: Sweeping) -> Iterator[Gate]:
    """What speaks against a delete, asked again of what a later round has listed."""
    reference = sweeping.facts.reference
    doomed = [
        name for name, chain in sweeping.chains.items() if any(isinstance(one, Delete) for one in chain)
    ]
    for fk in sweeping.facts.child.inbound if doomed else ():
        yield Gate(
            f"{_referring(sweeping, fk, doomed)} > 0",
            f"rows of {fk.child} refer to orphans of {reference} that are to be deleted",
        )


def _allowed(sweeping: Sweeping, name: str, policy: Policy) -> Iterator[Gate]:
    """What speaks against a policy where there are orphans of a kind; an empty condition: that alone."""
    problem = _problem(sweeping, name, policy)
    if problem is not None:
        yield Gate("", problem)
    elif isinstance(policy, CreateParents):
        yield from _parents(sweeping, policy)
    elif isinstance(policy, Backfill):
        missing = _missing(sweeping, policy)
        if missing is not None:
            yield missing
        if len(sweeping.chains[name]) == 1:
            yield from _collisions(sweeping, name, policy)


def _collisions(sweeping: Sweeping, name: str, policy: Backfill) -> Iterator[Gate]:
    """The questions of `collisions.check_collisions`."""
    facts, values = sweeping.facts, sweeping.parent_values(policy)
    columns = facts.reference.parent_columns
    parent = table_clause(facts.reference.parent, *columns, *values).alias("p")
    # Without a value to find it by, the parent is one that nobody refers to yet.
    target = [
        sa.select(parent.c[column]).where(*sweeping.same(parent, values)).correlate(None).scalar_subquery()
        for column in columns
    ]
    for query in collisions(facts, sweeping.worklist, name, target if values else None):
        yield Gate(f"EXISTS ({sweeping.words.sql(query)})", refusal(facts).message)


def _parents(sweeping: Sweeping, policy: CreateParents) -> Iterator[Gate]:
    """That the parents cannot be made; see `parents.check_parents` and `check_unique`."""
    facts = sweeping.facts
    try:
        values = check_parents(facts, policy.values)
    except Refused as error:
        yield Gate("", error.message.split(":")[0])
        return
    refusal = same_values(facts, values)
    if refusal is not None:
        child = child_alias(facts.reference)
        several = (
            sa.select(*(child.c[column] for column in facts.reference.columns))
            .where(orphaned(facts.reference, child), none_null(facts.reference, child))
            .distinct()
            .limit(2)
            .subquery("n")
        )
        count = sweeping.words.sql(sa.select(sa.func.count()).select_from(several))
        yield Gate(f"({count}) > 1", refusal.message)


def _answers(sweeping: Sweeping, name: str) -> Iterator[Gate]:
    """The questions of `answers.check_answers`."""
    chain, reference, words = sweeping.chains[name], sweeping.facts.reference, sweeping.words
    listed = sweeping.listed(name)
    if not chain:
        yield Gate(f"{listed} > 0", nobody_to_create(sweeping.facts, name).message)
    questions = sweeping.questions(name)
    if questions is None:
        return
    divided = questions.divided()
    if divided is not None:
        yield Gate(
            f"EXISTS ({words.sql(divided)})",
            f"the lookup has two different answers for a row of {reference.child}; nothing was changed",
        )
    yield Gate(
        f"EXISTS ({words.sql(questions.astray())})",
        f"a value for a row of {reference.child} is itself no parent in {reference.parent}; "
        "nothing was changed",
    )
    if has_no_last_word(chain):
        yield Gate(
            f"({words.sql(questions.answered())}) < {listed}",
            f"{name} orphans of {reference} have no answer; nothing was changed",
        )


def cannot_be_computed(sweeping: Sweeping) -> str:
    """What to say where a policy's own SQL fails."""
    names = dict.fromkeys(
        one.name for name, chain in sweeping.chains.items() if sweeping.questions(name) for one in chain
    )
    return f"the {'/'.join(names)} policy of {sweeping.facts.reference} cannot be computed"


def _problem(sweeping: Sweeping, name: str, policy: Policy) -> str | None:
    reference = sweeping.facts.reference
    if isinstance(policy, Refuse):
        return f"{name} orphans of {reference}, and the policy is to refuse; nothing was changed"
    if isinstance(policy, SetNull) and (refusal := cannot_be_null(sweeping.facts)):
        return refusal.message
    if isinstance(policy, Keep) and name in breaking_kinds(reference):
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
            return Gate("", message)
        return Gate(f"{count} = 0", message)
    reference, stated = sweeping.facts.reference, stated_values(sweeping.facts.parent, policy.sentinel)
    if set(reference.parent_columns) <= set(stated):
        key = tuple(stated[name] for name in reference.parent_columns)
        taken = sweeping.claimed([sweeping.words.literal(value) for value in key])
        return Gate(f"{count} = 0 AND {taken}", claimed(reference, key).message)
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
