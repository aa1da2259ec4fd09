"""What a run in production would cost, judged by this one: rows, time, locks, disk."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Final

from migrator import journal
from migrator.catalog import Facts
from migrator.dialects import Dialect
from migrator.drill.model import Cost, Part, RevisionStep, Sampled, SetAside
from migrator.drill.stage import Stage
from migrator.errors import MigratorError
from migrator.operate import Policies
from migrator.plan import (
    Plan,
    enforce_plan,
    release_plan,
    restore_plan,
    sweep_plan,
    unvalidate_plan,
    validate_plan,
)

#: How a step's `blocks` begins when it keeps nobody waiting who reads or writes rows.
_HARMLESS: Final = ("nothing", "nobody", "no reader")


def with_locks(stage: Stage, steps: tuple[RevisionStep, ...]) -> tuple[RevisionStep, ...]:
    """The steps, each part with the lock it takes and what that blocks, as its plan says."""
    known: dict[str, tuple[str, str]] = {}
    with stage.sessions() as sessions, sessions.open() as connection:
        for facts in stage.facts():
            ours = journal.ours(connection, facts.reference) if journal.exists(connection) else frozenset()
            for plan in _plans(facts, sessions.dialect, ours):
                known.update({step.name: (step.lock, step.blocks) for step in plan.steps})
    return tuple(replace(step, parts=tuple(_locked(part, known) for part in step.parts)) for step in steps)


def cost(steps: tuple[RevisionStep, ...], aside: list[SetAside], grown: int | None) -> Cost:
    """What the upgrade cost here.

    Args:
        steps: the revisions on the first way up.
        aside: the rows set aside.
        grown: by how many bytes the database grew.
    """
    parts = [part for step in steps for part in step.parts]
    # A loop of batches holds none of its locks for longer than a batch.
    blocking = [
        part
        for part in parts
        if part.blocks and not part.blocks.startswith(_HARMLESS) and not part.lock.startswith("row locks")
    ]
    return Cost(
        rows=sum(one.total for one in aside),
        seconds=sum(step.seconds for step in steps),
        longest=max(blocking, key=lambda part: part.seconds, default=None),
        # A copy that was taken down first has room left from before.
        bytes=grown if grown and grown > 0 else None,
        how="Measured in this drill, on all the rows, with nobody else at work: with writers at work their "
        "waits come on top, and another machine takes its own time. Batches rest as the settings say. "
        "A step's time is the most that its lock can have lasted.",
    )


def extrapolated(found: Cost, sample: Sampled) -> Cost:
    """The cost for the whole database, judged by a sample of it: so many times as much."""
    times = sample.times
    return replace(
        found,
        rows=round(found.rows * times),
        seconds=found.seconds * times,
        bytes=None if found.bytes is None else round(found.bytes * times),
        how=f"Extrapolated from a sample of {sample.rows:,} of {sample.of:,} rows: rows, time and disk are "
        f"{times:,.1f} times what they were there, with nobody else at work. What takes the same time "
        "however many rows there are is counted too high by that; what grows faster than they do, such as "
        "an index that no longer fits into memory, too low. Kinds of orphan too rare for the sample were "
        "added to it and weigh too much. The longest lock is as it was in the sample: one that is held "
        "while a table is read or built anew lasts that many times as long.",
    )


def _locked(part: Part, known: dict[str, tuple[str, str]]) -> Part:
    lock, blocks = known.get(part.name, ("", ""))
    return replace(part, lock=lock, blocks=blocks)


def _plans(facts: Facts, dialect: Dialect, ours: frozenset[str]) -> Iterator[Plan]:
    policies = Policies.of(facts.reference)
    makers: tuple[Callable[[], Plan], ...] = (
        lambda: sweep_plan(facts, dialect, policies.on_null, policies.on_dangling),
        lambda: enforce_plan(facts, dialect),
        lambda: validate_plan(facts, dialect, policies.on_null, policies.on_dangling),
        lambda: unvalidate_plan(facts, dialect, ours),
        lambda: release_plan(facts, dialect, ours),
        lambda: restore_plan(facts, dialect, ours),
    )
    for make in makers:
        try:
            yield make()
        except MigratorError:  # a step that this table does not need may not be possible on it
            continue
