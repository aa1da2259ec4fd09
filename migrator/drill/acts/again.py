"""Act 7: up again. The second upgrade must lead to where the first one led."""

from __future__ import annotations

from migrator.drill.acts.base import Act, Outcome, plural
from migrator.drill.expect import explained
from migrator.drill.stage import Stage


def play(stage: Stage) -> Outcome:
    """Upgrade and compare with what the first upgrade left."""
    for revision in stage.path:
        stage.go("up", revision)
    return same_as_first_upgrade(stage)


def same_as_first_upgrade(stage: Stage) -> Outcome:
    """What differs from the first upgrade, what must differ explained."""
    now = stage.fingerprint()
    differences, expected = explained(stage, stage.prints[stage.target], now)
    if differences:
        return Outcome(
            "differs",
            f"{plural(len(differences), 'difference')} from the first upgrade.",
            differences=differences,
            expected=expected,
        )
    but = ", but for what must differ" if expected else ""
    return Outcome("passed", f"The same as after the first upgrade{but}.", expected=expected)


ACT = Act("again", "Upgrade again", play, needs=("downgrade",))
