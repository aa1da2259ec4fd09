"""Act 6: the question the drill is held for. Is everything as it was before?"""

from __future__ import annotations

from migrator.drill.acts.base import Act, Outcome, plural
from migrator.drill.rows import own_tables
from migrator.drill.stage import Stage
from migrator.fingerprint import compare


def play(stage: Stage) -> Outcome:
    """Compare with the fingerprint of the start; nothing of ours may be left behind either."""
    return back_at_the_start(stage)


def back_at_the_start(stage: Stage) -> Outcome:
    """What differs between the start and now."""
    assert stage.first is not None
    stage.tell("fingerprint again")
    now = stage.fingerprint()
    differences = stage.compared(stage.first, now)
    with stage.connected() as connection:
        ours = sorted(own_tables(connection) - stage.own)
    if differences:
        return Outcome("differs", f"{plural(len(differences), 'difference')}.", differences=differences)
    if ours:
        return Outcome("differs", f"Tables of ours were left behind: {', '.join(ours)}.")
    moved = [one for one in compare(stage.first, now, counters=True) if one.kind == "counter"]
    rows = sum(digest.rows for digest in now.tables.values())
    return Outcome(
        "passed",
        f"Identical: {plural(len(now.tables), 'table')}, {plural(rows, 'row')}, the schema; nothing of ours "
        "is left.",
        # As they do after any insert that is taken back: a number once given is not given again.
        tuple(f"Moved on, and not held against it: {one.object}, {one.detail}." for one in moved),
    )


ACT = Act("compare", "Compare with the start", play, needs=("downgrade",))
