"""The last act in a staging copy: as it was found, so it is left."""

from __future__ import annotations

from migrator.drill.acts.base import Act, Outcome
from migrator.drill.acts.compare import back_at_the_start
from migrator.drill.stage import Stage


def play(stage: Stage) -> Outcome:
    """Downgrade once more, from wherever the drill stopped, and compare with the start."""
    at = stage.environment.current()
    names = [revision.id for revision in stage.path]
    if at in names:
        for revision in reversed(stage.path[: names.index(at) + 1]):
            stage.go("down", revision)
    return back_at_the_start(stage)


ACT = Act(
    "leave",
    "Leave the database as it was found",
    play,
    needs=("start",),
    wanted=lambda stage: stage.wishes.in_place,
)
