"""The restore step: every mirror of a reference back, then what we had made for it goes."""

from __future__ import annotations

from typing import Any

from migrator import journal, quarantine
from migrator.batches import BatchSize
from migrator.catalog import Facts
from migrator.codec import load_key
from migrator.context import Context
from migrator.restore import Restored, restore_mirror
from migrator.sentinel import remove_if_unused


def restore(context: Context, facts: Facts) -> dict[str, Any]:
    """Put every quarantined row of a reference back, in the order in which its mirrors were made (the
    child before its dependants), then remove the sentinel row if it is ours and unused.

    Args:
        context: the run.
        facts: the catalog, read just now.

    Returns:
        Counts: `restored`, `conflicts`, `kept` (mirrors that still hold conflicts), `sentinels` kept.
    """
    settings = context.sessions.settings
    size = BatchSize(
        settings.batch_size, settings.batch_floor, settings.batch_ceiling, settings.batch_target_ms / 1000
    )
    with context.sessions.work() as connection:
        mirrors = quarantine.mirrors(connection, context.reference)
    total = Restored()
    kept: list[str] = []
    for mirror in mirrors:
        total += restore_mirror(context, mirror, size)
        with context.sessions.open() as connection:
            if quarantine.held(connection, mirror):
                kept.append(mirror.name.name)
            else:
                quarantine.drop(connection, context.dialect, mirror)
    sentinels = _remove_sentinels(context, facts)
    if total.conflicts:
        context.progress.note(
            f"{total.conflicts} row(s) of {context.reference.child} were not restored: the key is taken "
            f"again, or the application changed the row. They stay in {', '.join(kept)}; "
            "see `migrator quarantine list`."
        )
    return {
        "restored": total.restored,
        "conflicts": total.conflicts,
        "kept": kept,
        "sentinels": sentinels,
    }


def _remove_sentinels(context: Context, facts: Facts) -> int:
    """Returns how many sentinel rows of ours stay because something refers to them."""
    kept = 0
    with context.sessions.work() as connection:
        for run in journal.runs(connection, context.reference):
            key = run.facts.get("sentinel")
            if key is None or run.state == "undone":
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
