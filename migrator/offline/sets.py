"""Several references in one script: rounds of sweeps, written out, and the way back.

How many rounds there will be only the run finds out, and a script cannot go back to its beginning. So as many
as can be needed are written out; where references go in a circle there is no such number, and the script
stops at its end where orphans are left. What was done stands, is journaled, and the next script goes on.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from alembic.runtime.migration import MigrationContext

from migrator.journal import SET
from migrator.offline.script import Also, job_of, write_script
from migrator.offline.stage import Stage
from migrator.operate import Policies
from migrator.operations import OPERATIONS
from migrator.policy import Backfill, CreateParents
from migrator.reference import Reference
from migrator.set_operations import SetOperation
from migrator.sets import rounds_of, where
from migrator.settings import Settings

#: Rounds written out where references go in a circle: each link of a chain of rows takes one.
_IN_A_CIRCLE = 10

Chosen = Callable[[Reference], Policies]


def write_sweep_set(
    context: MigrationContext,
    operation: SetOperation,
    policies: Chosen,
    settings: Settings,
    arguments: Mapping[str, Any],
) -> None:
    """Print `sweep_set`; arguments as for `write_script`, policies by reference.

    Raises:
        MigratorError: see `write_script`.
    """
    order, stage = operation.references, Stage.of(context, arguments)
    for reference in order:
        stage.facts("sweep", reference)
    runs = [run for reference in order for run in stage.runs(reference)]
    number, done = where(rounds_of(runs, order), order)
    last = number + _enough(order, policies) - 1
    while number <= last:
        for reference in order:
            if reference in done:
                continue
            mark = {SET: {"references": [str(one) for one in order], "round": number}}
            none_left = order if number == last and reference == order[-1] else ()
            sweep = OPERATIONS["sweep"](reference)
            also = Also(facts=mark, none_left=none_left)
            write_script(context, sweep, policies(reference), settings, arguments, also)
        number, done = number + 1, frozenset()


def write_restore_set(
    context: MigrationContext,
    operation: SetOperation,
    policies: Chosen,
    settings: Settings,
    arguments: Mapping[str, Any],
) -> None:
    """Print `restore_set`: the rows of all of them come back together, before the sweeps are taken back one
    by one; see `migrator.sets`. Arguments as for `write_sweep_set`.

    Raises:
        MigratorError: see `write_script`.
    """
    stage = Stage.of(context, arguments)
    restores = {reference: OPERATIONS["restore"](reference) for reference in operation.references}
    jobs = [job_of(stage, each, policies(reference), settings) for reference, each in restores.items()]
    together = tuple(job for job in jobs if job is not None)
    for reference in reversed(restores):
        also = Also(together=together)
        if write_script(context, restores[reference], policies(reference), settings, arguments, also):
            together = ()


def _enough(order: tuple[Reference, ...], policies: Chosen) -> int:
    """Rounds, the last of which finds nothing. Those first whose child is the parent of others, one round
    settles all; a row that a policy makes may be an orphan by a reference before it."""
    if _in_a_circle(order):
        return _IN_A_CIRCLE
    makes = any(
        isinstance(one, CreateParents) or (isinstance(one, Backfill) and one.to is None)
        for reference in order
        for one in policies(reference).each
    )
    return len(order) + 1 if makes else 2


def _in_a_circle(order: tuple[Reference, ...]) -> bool:
    """Whether a table is reached from itself by way of others; by itself it is a sweep's own affair."""
    parents = {(each.child, each.parent) for each in order if not each.is_self_reference}
    while True:
        further = {(one, other) for one, by in parents for also, other in parents if by == also} | parents
        if further == parents:
            return any(one == other for one, other in parents)
        parents = further
