"""The restore step: every mirror of a reference back, then what we had made for it goes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy.engine import Connection

from migrator import journal, quarantine
from migrator.batches import BatchSize
from migrator.catalog import Facts
from migrator.codec import load_key
from migrator.context import Context
from migrator.decisions import drop_all as drop_decisions
from migrator.knots import untie
from migrator.mirror import CHANGED, CONFLICT, CREATED, DELETED, KEPT, RESTORED, Mirror
from migrator.parents import remove_created
from migrator.restore import Condition, Restored, every_row, in_batches, mark, restore_mirror
from migrator.sentinel import remove_if_unused
from migrator.worklist import Worklist


def restore(context: Context, facts: Facts) -> dict[str, Any]:
    """Put every quarantined row of a reference back, in the order in which its mirrors were made (the
    child before its dependants), then remove the sentinel row if it is ours and unused.

    Args:
        context: the run.
        facts: the catalog, read just now.

    Returns:
        Counts: `restored`, `conflicts`, `kept` (mirrors that still hold conflicts), `sentinels` kept.
    """
    with context.sessions.work() as connection:
        size = context.sessions.first_batch(connection)
        # An upgrade that died in its sweep leaves its list.
        Worklist.of(context.dialect, context.reference, facts.child).drop(connection)
        mirrors = quarantine.mirrors(connection, context.reference)
    restored = removed_back(context, mirrors, size)
    for mirror in mirrors:
        restored += restore_mirror(context, mirror, size, CHANGED).restored
    remove_parents(context, facts, mirrors, size)
    kept: list[str] = []
    conflicts = 0
    for mirror in mirrors:
        with context.sessions.open() as connection:
            left = quarantine.held(connection, mirror)
            if left:
                kept.append(mirror.name.name)
                conflicts += left
            else:
                quarantine.drop(connection, context.dialect, mirror)
    if not kept:
        with context.sessions.open() as connection:
            drop_decisions(context.dialect, connection)
    if conflicts:
        context.progress.note(
            f"{conflicts} row(s) of {context.reference.child} were not restored: the key is taken "
            "again, the application changed the row, or the table does not take it any more (a column, a "
            f"constraint). They stay in {', '.join(kept)}; `migrator quarantine list` names them, "
            "`migrator quarantine show` says why."
        )
    sentinels = remove_sentinels(context, facts)
    return {"restored": restored, "conflicts": conflicts, "kept": kept, "sentinels": sentinels}


def removed_back(
    context: Context,
    mirrors: Sequence[Mirror],
    size: BatchSize,
    *,
    only: Condition = every_row,
    leave_out: frozenset[str] = frozenset(),
) -> int:
    """Removed rows, table after table; again while that still brings some back: tables that refer to
    each other in a circle have no first one. Returns how many came back. Arguments as `restore_mirror` has
    them."""
    total = 0
    while True:
        done = [
            restore_mirror(context, mirror, size, DELETED, only=only, leave_out=leave_out)
            for mirror in mirrors
        ]
        restored, conflicts = sum(one.restored for one in done), sum(one.conflicts for one in done)
        total += restored
        if not conflicts and not restored:
            return total
        if not restored:
            break
    untied = untie(context, mirrors, only=only, leave_out=leave_out)
    if not untied:
        return total
    return total + untied + removed_back(context, mirrors, size, only=only, leave_out=leave_out)


def remove_parents(context: Context, facts: Facts, mirrors: Sequence[Mirror], size: BatchSize) -> int:
    """Parents that we made go, where nothing refers to them but the orphans that named them. Returns how
    many are gone."""
    child = next((mirror for mirror in mirrors if mirror.source.name == facts.reference.child.name), None)
    if child is None:
        return 0

    def gone(parents: Mirror) -> Restored:
        def batch(connection: Connection, ids: Sequence[int]) -> Restored:
            free = remove_created(context, connection, facts, parents, child, ids)
            kept = sorted(set(ids) - set(free))
            mark(connection, parents, free, RESTORED)
            mark(connection, parents, kept, CONFLICT)
            return Restored(len(free), len(kept))

        return in_batches(context, parents, size, CREATED, batch)

    def served(connection: Connection, ids: Sequence[int]) -> Restored:
        mark(connection, child, ids, RESTORED)
        return Restored(len(ids))

    done = sum((gone(mirror) for mirror in mirrors), Restored())
    if not done.conflicts:
        # The evidence of who named them has served, unless one of them stays.
        in_batches(context, child, size, KEPT, served)
    return done.restored


def remove_sentinels(context: Context, facts: Facts, *, undone: bool = False) -> int:
    """Sentinel rows of ours go, unless something refers to them.

    Args:
        undone: those too that a downgrade had to leave.

    Returns:
        How many stay.
    """
    kept = 0
    with context.sessions.work() as connection:
        for run in journal.runs(connection, context.reference):
            key = run.facts.get("sentinel")
            if key is None or (run.state == "undone" and not undone):
                continue
            if remove_if_unused(context, connection, facts, load_key(key)):
                left = {name: value for name, value in run.facts.items() if name != "sentinel"}
                with context.dialect.transaction(connection):
                    journal.record(connection, run, facts=left)
            else:
                kept += 1
                context.progress.note(
                    f"the sentinel row of {facts.reference.parent} stays: rows refer to it by now"
                )
    return kept
