"""What the policies want of this database, asked before a row is touched: rights on the parent where parents
are to be made, and no partly NULL key that would have to stay under MATCH FULL.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from migrator.catalog import Facts
from migrator.detect import Counts, breaking_kinds
from migrator.dialects import Dialect
from migrator.dialects.telling import Problem
from migrator.errors import MigratorError
from migrator.policy import Backfill, CreateParents, Keep, Policy, heard
from migrator.predicate import Kind, breaks, child_alias, kind
from migrator.reference import Reference
from migrator.sentinel import find_target, stated_values, unique_part

#: Whether there are orphans of a kind; None where that is not to be asked.
There = Callable[[Kind], bool | None]


def counted(counts: Counts | None) -> There:
    """By counts that were made, or not."""
    return lambda kind: None if counts is None else getattr(counts, kind) > 0


def looked_at(connection: Connection, reference: Reference) -> There:
    """By a look at the rows, which reads no further than the first of the kind."""

    def there(name: Kind) -> bool:
        child = child_alias(reference)
        found: sa.Select[tuple[str]] = sa.select(sa.literal_column("1")).select_from(child)
        named: sa.ColumnElement[str] = sa.literal_column(f"'{name}'", sa.String)
        found = found.where(breaks(reference, child), kind(reference, child) == named)
        return bool(connection.scalar(sa.select(sa.exists(found))))

    return there


def policy_problems(
    connection: Connection,
    dialect: Dialect,
    facts: Facts,
    *,
    on_null: Policy,
    on_dangling: Policy,
    there: There,
) -> Iterator[Problem]:
    """Everything that stands against these policies here.

    Args:
        facts: of the reference, with nothing against them: its columns can be compared.
        there: says whether there are orphans of a kind; asked only where it matters.
    """
    policies: dict[Kind, Policy] = {"null": on_null, "partial": on_null, "dangling": on_dangling}
    reference = facts.reference
    full = reference.nullable and reference.match == "full" and len(reference.columns) > 1
    if full and isinstance(on_null, Keep) and there("partial"):
        yield cannot_stay(dialect, facts)
    for name in breaking_kinds(reference):
        for policy in heard(policies[name], name):
            problem = _rights(connection, dialect, facts, policy)
            if problem is not None and there(name) is not False:
                yield problem
                return


def cannot_stay(dialect: Dialect, facts: Facts) -> Problem:
    """Partly NULL keys that are to be kept, and that MATCH FULL would refuse."""
    reference = facts.reference
    sets = ", ".join(f"{dialect.quote(column)} = NULL" for column in reference.columns)
    some = " OR ".join(f"{dialect.quote(column)} IS NULL" for column in reference.columns)
    return Problem(
        "refuse",
        "partial-reference",
        f"Rows of {reference.child} have ({', '.join(reference.columns)}) NULL in part, which MATCH FULL "
        f"refuses and on_null=keep would leave as they are: {reference.name} would never validate.",
        f"UPDATE {dialect.table_sql(facts.child.name)} SET {sets} WHERE {some}; or let -x on_null=set-null "
        "do the same and keep the old values.",
    )


def _rights(connection: Connection, dialect: Dialect, facts: Facts, policy: Policy) -> Problem | None:
    """What the account lacks to make parents; nothing where a sentinel row is there already."""
    parent, key = facts.parent, facts.reference.parent_columns
    if isinstance(policy, CreateParents):
        reads = frozenset(column.name for column in parent.columns)  # they are kept whole
        return dialect.lacks_on_parent(
            connection, facts, reads, frozenset((*key, *stated_values(parent, policy.values)))
        )
    if not isinstance(policy, Backfill) or policy.to is not None:
        return None
    stated = stated_values(parent, policy.sentinel)
    found_by = [unique for unique in parent.unique_keys if set(unique) <= set(stated)]
    reads = frozenset((*key, *unique_part(parent, stated), *(name for each in found_by for name in each)))
    problem = dialect.lacks_on_parent(connection, facts, reads, frozenset((*key, *stated)))
    if problem is None:
        return None
    problem = replace(problem, fix=f"{problem.fix} Or name an existing parent with -x backfill_to=<key>.")
    if dialect.lacks_on_parent(connection, facts, reads, frozenset()) is not None:
        return problem  # nor may it be looked for
    try:
        return None if find_target(connection, facts, policy) is not None else problem
    except (MigratorError, sa.exc.DataError):
        return problem  # what is wrong with its values is said where it is made
