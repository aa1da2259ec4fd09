"""Act 5: down, one revision after the other, each compared with what was there on the way up."""

from __future__ import annotations

from migrator.drill.acts.base import Act, Outcome, plural
from migrator.drill.rows import brought_back
from migrator.drill.stage import Stage
from migrator.fingerprint import Difference


def play(stage: Stage) -> Outcome:
    """Downgrade to the start. The comparison with the start itself is the next act."""
    notes: list[str] = []
    differences: tuple[Difference, ...] = ()
    for place, revision in reversed(list(enumerate(stage.path))):
        stage.go("down", revision)
        below = stage.path[place - 1].id if place else None
        if below in stage.prints and not differences:
            differences = stage.compared(stage.prints[str(below)], stage.fingerprint())
            if differences:
                notes.append(
                    f"Taking back {revision.id} did not lead to what {below} had left on the way up."
                )
    references = [one.reference for one in stage.found]
    with stage.connected() as connection:
        stage.aside = brought_back(connection, references, stage.aside)
    back = sum(one.brought_back or 0 for one in stage.aside)
    kept = sum(one.conflicts or 0 for one in stage.aside)
    summary = f"{plural(len(stage.path), 'revision')} taken back, {plural(back, 'row')} brought back"
    if kept:
        notes.append(f"{plural(kept, 'row')} could not be put back and stayed in quarantine.")
    summary += f", {plural(kept, 'conflict')}." if kept else "."
    return Outcome("differs" if differences or kept else "passed", summary, tuple(notes), differences)


ACT = Act("downgrade", "Downgrade", play, needs=("upgrade",))
