"""Turning round half-way: an upgrade that died is followed by a downgrade, or the other way about.

Alembic moves its version only after an operation has returned, so a run that died, or died between the two,
leaves a database that is further than Alembic believes. A downgrade takes back first what stands on what it
is to take back. An upgrade does not build on a downgrade that was cut short: that is to be finished first.
"""

from __future__ import annotations

from collections.abc import Sequence

from migrator.errors import Refused
from migrator.journal import Run
from migrator.plan import INVERSE, Operation

FORWARD: tuple[Operation, ...] = ("sweep", "enforce", "validate")
_BACK = [INVERSE[operation] for operation in FORWARD]
_UNFINISHED = ("running", "interrupted", "failed")


def in_force(runs: Sequence[Run], forward: Operation) -> bool:
    """Whether some run of the operation was begun and not taken back."""
    return any(run.operation == forward and run.state != "undone" for run in runs)


def standing_on(runs: Sequence[Run], forward: Operation) -> list[Operation]:
    """The later operations in force, the last one first."""
    later = FORWARD[FORWARD.index(forward) + 1 :]
    return [operation for operation in reversed(later) if in_force(runs, operation)]


def check_finished(runs: Sequence[Run], heads: Sequence[str] | None) -> None:
    """Whether every downgrade among these runs came to its end, and to Alembic's knowledge.

    Args:
        runs: of one reference or of all, oldest first.
        heads: where Alembic believes the database to be; None outside Alembic. A downgrade that ended
            while Alembic was where it is now ended without Alembic's word.

    Raises:
        Refused: naming the downgrade, and how to finish it.
    """
    for run in _cut_short(runs, heads):
        raise Refused(
            f"The {run.operation} of {run.reference}, begun {run.started_at}, was cut short; nothing was "
            "changed now.",
            hint="Finish it first with the downgrade that began it (`alembic downgrade -1`), then upgrade.",
        )


def _cut_short(runs: Sequence[Run], heads: Sequence[str] | None) -> list[Run]:
    found: dict[tuple[str, str], Run] = {}
    for run in runs:
        reference = str(run.reference)
        if run.operation in FORWARD and run.state == "done":
            found.pop((reference, INVERSE[run.operation]), None)
        elif run.operation in _BACK and (
            run.state in _UNFINISHED or (heads and run.facts.get("heads") == sorted(heads))
        ):
            found[reference, run.operation] = run
    return list(found.values())
