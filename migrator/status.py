"""Where the runs stand, read from the journal by another process than the one that runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from sqlalchemy.engine import Connection

from migrator import journal
from migrator.journal import SET

SCHEMA = "migrator.status/1"
#: A running run that has said nothing for this long, in seconds, is called silent: a long statement,
#: or a process that died.
SILENT_AFTER = 30.0


@dataclass(frozen=True)
class StepStatus:
    """One step: how far, how fast, how long still."""

    name: str
    state: str
    attempts: int
    seconds: float
    done: int | None = None
    total: int | None = None
    rate: float | None = None
    eta_seconds: float | None = None
    scanned: int | None = None


@dataclass(frozen=True)
class RunStatus:
    """One run with its steps; of a set of references that are swept together, also its round."""

    id: str
    reference: str
    operation: str
    state: str
    actor: str
    started_at: str
    finished_at: str | None
    silent_seconds: float
    message: str | None
    counts: Mapping[str, Any]
    steps: Sequence[StepStatus]
    round: int | None = None
    waiting: str | None = None

    @property
    def current(self) -> StepStatus | None:
        """The step that runs, else the one with rows to tell of, else the last."""
        running = [step for step in self.steps if step.state == "running"]
        counted = [step for step in self.steps if step.total]
        return next(iter((*running[-1:], *counted[-1:], *self.steps[-1:])), None)

    def to_json(self) -> dict[str, Any]:
        """As `migrator.status/1` has it."""
        return {**vars(self), "counts": dict(self.counts), "steps": [vars(step) for step in self.steps]}


def read(connection: Connection, *, everything: bool = False) -> list[RunStatus]:
    """The runs of this database, oldest first.

    Args:
        everything: those taken back, too.
    """
    if not journal.exists(connection):
        return []
    return [_run(connection, run) for run in journal.runs(connection) if everything or run.state != "undone"]


def _run(connection: Connection, run: journal.Run) -> RunStatus:
    state = run.state
    if state == "running" and run.requested == "pause":
        state = "pausing"
    silent = _since(run.heartbeat_at) if run.state == "running" else 0.0
    return RunStatus(
        run.id,
        str(run.reference),
        run.operation,
        state,
        run.actor,
        run.started_at,
        run.finished_at,
        round(silent, 1),
        run.message,
        run.counts,
        [_step(step) for step in journal.steps(connection, run)],
        run.facts.get(SET, {}).get("round"),
        waiting=run.message if run.state == "running" else None,
    )


def _step(step: Mapping[str, Any]) -> StepStatus:
    seconds = (
        _between(step["started_at"], step["finished_at"])
        if step["finished_at"]
        else _since(step["started_at"])
    )
    detail: Mapping[str, Any] = step["detail"]
    done, total = detail.get("changed"), detail.get("found")
    rate = done / seconds if done and seconds else None
    left = (total - done) / rate if rate and total and step["state"] == "running" else None
    return StepStatus(
        step["name"],
        step["state"],
        step["attempts"],
        round(seconds, 1),
        done,
        total,
        round(rate, 1) if rate else None,
        round(left, 1) if left is not None else None,
        detail.get("rows"),
    )


def _parsed(stamp: str) -> datetime:
    return datetime.strptime(stamp, "%Y-%m-%dT%H:%M:%S.%fZ").replace(tzinfo=UTC)


def _since(stamp: str) -> float:
    return max(0.0, (datetime.now(UTC) - _parsed(stamp)).total_seconds())


def _between(start: str, end: str) -> float:
    return (_parsed(end) - _parsed(start)).total_seconds()
