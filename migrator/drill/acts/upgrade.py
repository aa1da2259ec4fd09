"""Act 2: up, one revision after the other."""

from __future__ import annotations

from migrator.drill.acts.base import Act, Outcome, plural
from migrator.drill.cost import cost, extrapolated, with_locks
from migrator.drill.room import size
from migrator.drill.rows import sentinels, set_aside
from migrator.drill.stage import Stage
from migrator.known import from_journal


def play(stage: Stage) -> Outcome:
    """Upgrade, and remember what each revision left."""
    for revision in stage.path:
        stage.go("up", revision)
        if stage.wishes.each or revision is stage.path[-1]:
            stage.prints[revision.id] = stage.fingerprint()
    with stage.connected() as connection:
        stage.found = from_journal(connection)
        references = [one.reference for one in stage.found]
        stage.aside = set_aside(connection, references, stage.first)
        stage.sentinels = sentinels(connection, references)
        grown = size(connection)
    stage.steps[:] = with_locks(stage, tuple(stage.steps))
    if grown is not None and stage.size is not None:
        grown -= stage.size
    stage.cost = cost(tuple(stage.steps), stage.aside, grown)
    if stage.sample is not None:
        stage.cost = extrapolated(stage.cost, stage.sample)
    rows = sum(one.total for one in stage.aside)
    return Outcome(
        "passed", f"{plural(len(stage.path), 'revision')} applied, {plural(rows, 'row')} set aside."
    )


ACT = Act("upgrade", "Upgrade", play, needs=("start",))
