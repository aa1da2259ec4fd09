"""With `--chaos`: the way down and up once more, each revision disturbed, to the same ends as before."""

from __future__ import annotations

import random

from migrator.drill.acts.again import same_as_first_upgrade
from migrator.drill.acts.base import Act, Outcome, plural
from migrator.drill.acts.compare import back_at_the_start
from migrator.drill.mischief import MISCHIEFS, Mischief
from migrator.drill.stage import Stage


def play(stage: Stage) -> Outcome:
    """Every kind of mischief in turn, to every revision, both ways."""
    drawn = random.Random(stage.wishes.seed)
    notes: list[str] = []
    times = 0
    for mischief in MISCHIEFS:
        if not mischief.possible(stage):
            continue
        stage.tell(f"chaos: {mischief.name}")
        happened, ends = _once(stage, mischief, drawn)
        times += len(happened)
        notes += happened
        for where, end in ends:
            if end.status != "passed":
                return Outcome(
                    "differs",
                    f"Not the same {where}, after this: {mischief.name}. {end.summary} "
                    f"(--seed {stage.wishes.seed} does it again.)",
                    tuple(notes),
                    end.differences,
                    end.expected,
                )
    return Outcome(
        "passed",
        f"Disturbed {plural(times, 'time')}, and each time it ended in the same place.",
        tuple(notes),
    )


def _once(
    stage: Stage, mischief: Mischief, drawn: random.Random
) -> tuple[list[str], list[tuple[str, Outcome]]]:
    """Down and up; what was done to each revision, and how the two ends compared."""
    happened: list[str] = []
    ends: list[tuple[str, Outcome]] = []
    for revision in reversed(stage.path):
        if said := mischief.do(stage, "down", revision, drawn):
            happened.append(f"↓ {revision.id}: {said}")
    ends.append(("as at the start", back_at_the_start(stage)))
    for revision in stage.path:
        if said := mischief.do(stage, "up", revision, drawn):
            happened.append(f"↑ {revision.id}: {said}")
    ends.append(("as after the first upgrade", same_as_first_upgrade(stage)))
    return happened, ends


ACT = Act("chaos", "Chaos", play, needs=("again",), wanted=lambda stage: stage.wishes.chaos)
