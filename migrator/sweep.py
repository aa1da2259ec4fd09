"""The sweep: scan, then settle the orphans in batches, everything first copied to quarantine.

A batch is one transaction: lock the rows by key, look again whether they are still orphans, capture,
change exactly the captured keys, compare counts, put back what has found its parent meanwhile, take
the entries off the worklist. Killed anywhere, the next start finds in the worklist what is still to be
done. A row that the application changed since the scan is looked at again, never overwritten.
"""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from migrator import journal, quarantine
from migrator.catalog import Facts
from migrator.closure import TooMuch
from migrator.context import Context
from migrator.errors import StepFailed
from migrator.healing import appeared, heal, heal_all
from migrator.locked import any_orphan, lock, still_orphans
from migrator.mirror import ID, Mirror
from migrator.parents import MakeParents
from migrator.patience import wait_or_give_up
from migrator.plan import Sweep
from migrator.policy import Backfill, Delete
from migrator.predicate import breaks, child_alias, none_null
from migrator.reference import Reference
from migrator.repair import Repair, Repoint, RepointEach
from migrator.repairs import repairs_for
from migrator.scan import gate, gate_dependants, policies_of, scan
from migrator.worklist import Key, Worklist

# Rounds after which a delta sweep gives up: someone writes orphans as fast as we remove them.
_ROUNDS = 50
# The same where deleting a row makes orphans of those that refer to it: a round for each link of a chain.
_LINKS = 10_000


class _ParentAppeared(Exception):
    """A parent of rows whose dependants we have removed is there by now; the batch is tried again."""


def sweep(context: Context, facts: Facts, step: str, work: Sweep) -> dict[str, Any]:
    """Run the sweep to its end, from wherever it was left.

    Args:
        context: the run.
        facts: the catalog, read just now.
        step: the step's name in the journal, where cursors and counts are kept.
        work: the policies; `delta` repeats the scan until it finds nothing.

    Returns:
        Counts: `rows`, `null`, `partial`, `dangling`, `changed`, `healed`, `rounds`.

    Raises:
        TooManyOrphans, Refused: before the first change.
        Interrupted: between two batches.
        StepFailed: the database did something else than it was told; the batch was undone.
    """
    with context.sessions.work() as connection:
        worklist = Worklist.of(context.dialect, context.reference, facts.child)
        begun = worklist.exists(connection)
        if not begun and _may_wait(facts, work) and not _nulls(connection, context.reference):
            return _heal_alone(context, connection, facts, step)
        while True:
            detail = scan(context, connection, worklist, step)
            counts = worklist.counts(connection)
            if not detail.get("changed"):
                gate(context, connection, facts, worklist, counts, work, detail)
            else:
                gate_dependants(context, connection, facts, worklist, counts, work)
            if work.scan_only:
                return detail
            detail = _round(context, connection, facts, worklist, counts, step, work, detail)
            chained = facts.reference.is_self_reference
            # A row that the application moved since the scan is met again by the next one.
            moving = not facts.child.key
            if not detail["found"] or not (work.delta or chained or moving):
                return detail
            if detail["rounds"] >= (_LINKS if chained else _ROUNDS):
                raise StepFailed(
                    f"Orphans of {context.reference} appear as fast as they are swept ({_ROUNDS} rounds).",
                    hint=f"Stop what writes them ({context.dialect.careless}?), then run this again.",
                )


def _may_wait(facts: Facts, work: Sweep) -> bool:
    """Whether dangling rows may be left to the step that meets them: one that could say no to them has to be
    asked now, before NOT NULL is declared."""
    policy = work.on_dangling
    sure = isinstance(policy, Backfill) or (isinstance(policy, Delete) and not facts.child.inbound)
    return work.looked_at_later and sure


def _heal_alone(context: Context, connection: Connection, facts: Facts, step: str) -> dict[str, Any]:
    """What every round ends with: rows whose parent appeared since they were set aside come back."""
    detail = journal.step_detail(connection, context.run, step)
    for mirror in quarantine.mirrors(connection, context.reference):
        if mirror.source == facts.child.name:
            healed = heal_all(context, connection, facts, mirror)
            if healed:
                detail = {**detail, "healed": detail.get("healed", 0) + healed}
                with context.dialect.transaction(connection):
                    journal.set_step_detail(connection, context.run, step, detail)
                    journal.record(connection, context.run, counts=detail)
    return detail


def _nulls(connection: Connection, reference: Reference) -> bool:
    """Whether a row breaks the reference by a NULL: answered from the supporting index."""
    child = child_alias(reference)
    broken: sa.Select[Any] = sa.select(sa.literal_column("1")).select_from(child)
    broken = broken.where(~none_null(reference, child), breaks(reference, child))
    return bool(connection.scalar(sa.select(sa.exists(broken))))


def _round(
    context: Context,
    connection: Connection,
    facts: Facts,
    worklist: Worklist,
    counts: Mapping[str, int],
    step: str,
    work: Sweep,
    detail: dict[str, Any],
) -> dict[str, Any]:
    """Settle what one scan found. A kind that is not there makes no sentinel."""
    mirror = quarantine.ensure(connection, context.dialect, context.reference, facts.child)
    policies = policies_of(work)
    repairs = {name: repairs_for(context, connection, facts, mirror, policies[name], name) for name in counts}
    goal = sum(counts.values())
    detail = _settle_all(context, connection, facts, worklist, goal, mirror, repairs, step, detail)
    healed = heal_all(context, connection, facts, mirror)
    detail = {
        **detail,
        "healed": detail.get("healed", 0) + healed,
        "rounds": detail.get("rounds", 0) + 1,
        "scanned": False,
        "after": None,
    }
    # The list goes before the journal says that the round is over: a crash between the two finds no
    # list, scans once more and finds nothing.
    worklist.drop(connection)
    with context.dialect.transaction(connection):
        journal.set_step_detail(connection, context.run, step, detail)
        journal.record(connection, context.run, counts=detail)
    return detail


def _settle_all(
    context: Context,
    connection: Connection,
    facts: Facts,
    worklist: Worklist,
    goal: int,
    mirror: Mirror,
    repairs: Mapping[str, tuple[Repair, ...]],
    step: str,
    detail: dict[str, Any],
) -> dict[str, Any]:
    """Work through the list twice: past rows that others hold locked, then waiting for them.

    Args:
        goal: how many are listed.
        repairs: what to do with each kind that is there, first answer first.
    """
    settings = context.sessions.settings
    size = context.sessions.first_batch(connection)
    seen, ended, undone = 0, -math.inf, 0
    for skip_locked in (True, False):
        after, failures = 0, 0
        while entries := worklist.page(connection, after, size.rows):
            _rest_since(ended, settings.pause_ms / 1000)
            context.check()
            began = time.monotonic()
            try:
                detail = _batch(
                    context, connection, facts, worklist, mirror, repairs, step, detail, entries, skip_locked
                )
            except _ParentAppeared as reason:
                # Undone whole; an orphan that has its parent by now is none when it is looked at again.
                undone += 1
                if undone > _ROUNDS:
                    raise _comes_and_goes(facts, _left(connection, worklist)) from reason
                size = size.half_of(len(entries))
                continue
            except TooMuch as reason:
                # Undone whole; half of it may be little enough.
                if len(entries) == 1:
                    if not detail.get("changed"):
                        raise
                    raise StepFailed(
                        f"{reason.message} {_left(connection, worklist)} orphans are left, this one of them.",
                        hint="Settle its dependants, then run the same command again: it goes on.",
                    ) from reason
                size = size.half_of(len(entries))
                continue
            except sa.exc.DBAPIError as error:
                failures += 1
                if mirror.moves and context.dialect.verdict(error) in ("duplicate", "violation"):
                    raise _key_taken(facts, mirror, error, _left(connection, worklist)) from error
                wait_or_give_up(
                    context.dialect,
                    error,
                    failures,
                    lambda: (
                        f"Rows of {facts.reference.child} stay locked by others; "
                        f"{_left(connection, worklist)} orphans are left."
                    ),
                )
                size = size.halved()
                continue
            failures = undone = 0
            after = entries[-1][0]
            seen += len(entries)
            ended = time.monotonic()
            size = size.after(len(entries), ended - began)
            context.progress.rows(f"sweep {context.reference}", min(seen, goal), goal)
    return detail


def _comes_and_goes(facts: Facts, left: int) -> StepFailed:
    """Batch after batch had to be undone for a parent that was there at its end, and not when it began."""
    return StepFailed(
        f"A parent that {facts.reference.child} refers to comes and goes: {_ROUNDS} batches had to be "
        f"undone. {left} orphans are left, nothing is lost.",
        hint="Find who inserts and deletes it, then run the same command again: it goes on.",
    )


def _key_taken(facts: Facts, mirror: Mirror, error: sa.exc.DBAPIError, left: int) -> StepFailed:
    """A row cannot have the key that its new reference would give it."""
    child, key = facts.reference.child, ", ".join(mirror.key)
    said = " ".join(str(error.orig).split())
    return StepFailed(
        f"{child}: the key ({key}) contains the reference, and a row cannot be given its new one: {said}. "
        f"The batch was undone and nothing is lost; {left} orphans are left.",
        hint="Another row has that key: settle one of the two by hand and run the same command again, which "
        "goes on; or take this back with alembic downgrade and choose another policy (on_dangling=delete).",
    )


def _rest_since(ended: float, pause: float) -> None:
    """Leave others so many seconds between two batches. What we did meanwhile, reading the list, is part of
    them: no row was held."""
    left = ended + pause - time.monotonic()
    if pause and left > 0:
        time.sleep(left)


def _left(connection: Connection, worklist: Worklist) -> int:
    """Entries not settled; those that the first pass stepped over are among them."""
    return sum(worklist.counts(connection).values())


def _batch(
    context: Context,
    connection: Connection,
    facts: Facts,
    worklist: Worklist,
    mirror: Mirror,
    repairs: Mapping[str, tuple[Repair, ...]],
    step: str,
    detail: dict[str, Any],
    entries: Sequence[tuple[int, Key]],
    skip_locked: bool,
) -> dict[str, Any]:
    """One transaction; returns the counts as journaled in it."""
    with context.dialect.transaction(connection):
        locked = lock(context, connection, facts, [key for _, key in entries], skip_locked=skip_locked)
        newest = connection.scalar(sa.select(sa.func.max(mirror.clause.c[ID]))) or 0
        changed: dict[str, int] = {}
        repointed: list[Key] = []
        orphans = still_orphans(context, connection, facts, locked)
        there = {key for key, _ in locked}
        for name, keys in orphans.items():
            left = keys
            for repair in repairs.get(name, ()):  # none for a kind the scan did not see: the next round's
                mine = repair.takes(connection, left, name) if left else []
                if mine:
                    changed[name] = changed.get(name, 0) + repair.apply(connection, mine, name)
                    repointed += mine if isinstance(repair, (Repoint, RepointEach)) else []
                    taken = set(mine)
                    left = [key for key in left if key not in taken]
        others = there.difference(*orphans.values())
        for name, repair in ((name, repair) for name, found in repairs.items() for repair in found):
            if isinstance(repair, MakeParents):
                changed[name] = changed.get(name, 0) + repair.vouch(connection, sorted(others, key=repr))
        if mirror.moves:  # or under the old key, where a trigger took the new value back
            repointed += quarantine.standing(connection, mirror, above=int(newest))
        if any_orphan(context, connection, facts, repointed):
            child = facts.reference.child
            raise StepFailed(
                f"{child}: rows given a parent still have none; the batch was undone and nothing is lost.",
                hint=f"Look for a trigger on {child} that takes a new value back. If that parent was deleted "
                "just now, run the same command again.",
            )
        numbers = appeared(context, connection, mirror, above=int(newest))
        if numbers and any(repair.pulls_along for found in repairs.values() for repair in found):
            raise _ParentAppeared  # what was pulled along would have to come back too
        healed = heal(context, connection, mirror, numbers)
        worklist.take_off(connection, [number for number, key in entries if not skip_locked or key in there])
        after = {
            **detail,
            "changed": detail.get("changed", 0) + sum(changed.values()),
            "healed": detail.get("healed", 0) + healed,
            **{name: detail.get(name, 0) + count for name, count in changed.items()},
        }
        journal.set_step_detail(connection, context.run, step, after)
        journal.record(connection, context.run, counts=after)
    return after
