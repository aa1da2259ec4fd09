"""What was done, when, by whom: runs, steps and cursors, in the same database as the rows.

A batch writes its cursor here in the same transaction as the rows it describes, so the journal never
says more, or less, than what happened. The downgrade reads only this and the quarantine.
"""

from __future__ import annotations

import getpass
import hashlib
import json
import os
import socket
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from migrator.errors import PolicyChanged
from migrator.journal_tables import LEASE, METADATA, MIRROR, RUN, STEP
from migrator.reference import Reference

# The tables are the journal's: others ask for them here.
__all__ = ["LEASE", "METADATA", "MIRROR", "RUN", "STEP"]

#: The operations whose effects are in force until they are taken back.
FORWARD = ("adopt", "sweep", "enforce", "validate")
#: Where a run's facts say to which set of references, and to which round of it, the run belongs.
SET = "set"


@dataclass(frozen=True)
class Run:
    """One operation on one reference, as the journal has it."""

    id: str
    reference: Reference
    operation: str
    state: str
    policy: Mapping[str, Any]
    facts: Mapping[str, Any]
    counts: Mapping[str, Any]
    actor: str
    started_at: str
    heartbeat_at: str = ""
    finished_at: str | None = None
    requested: str | None = None
    message: str | None = None
    resumed: bool = False


def now() -> str:
    """The current time as the journal writes it: UTC, ISO 8601, microseconds."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def actor() -> str:
    """Who runs this: user@host and process, never a password."""
    try:
        user = getpass.getuser()
    except (KeyError, OSError):  # a container without a passwd entry
        user = str(os.getuid())
    return f"{user}@{socket.gethostname()} pid {os.getpid()}"[:255]


def reference_key(reference: Reference) -> str:
    """A short, stable key of a reference: the same for the same columns, whatever its options."""
    return hashlib.sha256(str(reference).encode()).hexdigest()[:16]


def exists(connection: Connection) -> bool:
    """Whether the journal is there. The catalog is read; nothing is locked."""
    return sa.inspect(connection).has_table(RUN.name)


def ensure(connection: Connection) -> None:
    """Create the journal's tables where they are missing. Run under the run lock. The table of runs
    stands for all of them: it is made last and dropped first, so that it is never there alone."""
    for table in (STEP, MIRROR, RUN):
        table.create(connection, checkfirst=True)


def start(connection: Connection, reference: Reference, operation: str, policy: Mapping[str, Any]) -> Run:
    """Open a run, or take up the unfinished one of the same operation and reference.

    Raises:
        PolicyChanged: the unfinished run was begun with another policy.
    """
    key = reference_key(reference)
    row = connection.execute(
        sa.select(RUN)
        .where(
            RUN.c.reference_key == key,
            RUN.c.operation == operation,
            RUN.c.state.in_(("running", "interrupted", "failed")),
        )
        .order_by(RUN.c.started_at.desc())
    ).first()
    if row is not None:
        run = _run(row, resumed=True)
        touched = int(run.counts.get("changed", 0))
        if dict(run.policy) != json.loads(_policy_text(policy)) and touched:
            raise PolicyChanged(
                f"The {operation} of {reference} was begun {run.started_at} with policy "
                f"{json.dumps(run.policy)} and has changed {touched} row(s); "
                f"it cannot go on with {_policy_text(policy)}.",
                hint="Go on with the first policy, or downgrade first to put those rows back.",
            )
        connection.execute(
            sa.update(RUN)
            .where(RUN.c.id == run.id)
            .values(
                state="running",
                heartbeat_at=now(),
                finished_at=None,
                policy=_policy_text(policy),
                actor=actor(),
                requested=None,
                message=None,
            )
        )
        return run
    stamp = now()
    run_id = f"{stamp[:19].replace('-', '').replace(':', '')}-{uuid.uuid4().hex[:8]}"
    connection.execute(
        sa.insert(RUN).values(
            id=run_id,
            reference_key=key,
            reference=str(reference),
            operation=operation,
            state="running",
            definition=json.dumps(reference.to_json()),
            policy=_policy_text(policy),
            facts="{}",
            counts="{}",
            actor=actor(),
            started_at=stamp,
            heartbeat_at=stamp,
        )
    )
    return Run(run_id, reference, operation, "running", policy, {}, {}, actor(), stamp)


def finish(connection: Connection, run: Run, state: str, message: str | None = None) -> None:
    """Close a run as `done`, `interrupted`, `failed` or `refused`."""
    connection.execute(
        sa.update(RUN)
        .where(RUN.c.id == run.id)
        .values(state=state, finished_at=now(), heartbeat_at=now(), message=message)
    )


def forget(connection: Connection, operation: str) -> None:
    """Remove the lines of all runs of an operation that leaves nothing to take back."""
    old = sa.select(RUN.c.id).where(RUN.c.operation == operation)
    ids = list(connection.scalars(old))
    if ids:  # MySQL takes no subquery on the table it deletes from
        connection.execute(sa.delete(STEP).where(STEP.c.run_id.in_(ids)))
        connection.execute(sa.delete(RUN).where(RUN.c.id.in_(ids)))


def heartbeat(connection: Connection, run: Run) -> str | None:
    """Say that the run lives; returns what another process has asked of it (`pause`)."""
    connection.execute(sa.update(RUN).where(RUN.c.id == run.id).values(heartbeat_at=now()))
    requested: str | None = connection.scalar(sa.select(RUN.c.requested).where(RUN.c.id == run.id))
    return requested


def waits(connection: Connection, run: Run, reason: str | None) -> None:
    """Say why the run waits between two batches; None when it goes on."""
    connection.execute(sa.update(RUN).where(RUN.c.id == run.id).values(message=reason, heartbeat_at=now()))


def request(connection: Connection, what: str | None) -> list[Run]:
    """Ask every running run for something (`pause`), or for nothing any more; returns those asked."""
    asked = [run for run in runs(connection) if run.state == "running"]
    connection.execute(sa.update(RUN).where(RUN.c.state == "running").values(requested=what))
    return asked


def steps(connection: Connection, run: Run) -> list[dict[str, Any]]:
    """The steps of a run in the order they began: name, state, ours, attempts, times, detail."""
    query = sa.select(STEP).where(STEP.c.run_id == run.id).order_by(STEP.c.started_at)
    return [
        {**row._mapping, "detail": json.loads(row.detail), "ours": bool(row.ours)}
        for row in connection.execute(query)
    ]


def undone(connection: Connection, reference: Reference, operation: str) -> None:
    """Mark every run of an operation as taken back, so that its steps are nobody's any more."""
    connection.execute(
        sa.update(RUN)
        .where(RUN.c.reference_key == reference_key(reference), RUN.c.operation == operation)
        .values(state="undone")
    )


def reload(connection: Connection, run: Run) -> Run:
    """The run as it is now: another process may have asked it to pause."""
    row = connection.execute(sa.select(RUN).where(RUN.c.id == run.id)).one()
    return _run(row, resumed=run.resumed)


def runs(connection: Connection, reference: Reference | None = None) -> list[Run]:
    """All runs, oldest first; of one reference or of all."""
    query = sa.select(RUN).order_by(RUN.c.started_at, RUN.c.id)
    if reference is not None:
        query = query.where(RUN.c.reference_key == reference_key(reference))
    return [_run(row) for row in connection.execute(query)]


def runs_if_any(connection: Connection, reference: Reference | None = None) -> list[Run]:
    """The same, where there may be no journal."""
    return runs(connection, reference) if exists(connection) else []


def record(connection: Connection, run: Run, **values: Mapping[str, Any]) -> None:
    """Write `facts` or `counts` of a run, with a heartbeat; part of the caller's transaction."""
    connection.execute(
        sa.update(RUN)
        .where(RUN.c.id == run.id)
        .values(heartbeat_at=now(), **{name: json.dumps(value) for name, value in values.items()})
    )


def step_started(connection: Connection, run: Run, name: str, *, ours: bool) -> bool:
    """Say that a step begins, before it does. `ours` is False where the catalog shows that its
    effect was there before we came; a step begun once stays ours, whatever the next start finds. Returns
    whether it was begun before."""
    updated = connection.execute(
        sa.update(STEP)
        .where(STEP.c.run_id == run.id, STEP.c.name == name)
        .values(state="running", attempts=STEP.c.attempts + 1)
    )
    if updated.rowcount == 0:
        connection.execute(
            sa.insert(STEP).values(
                run_id=run.id,
                name=name,
                state="running",
                ours=int(ours),
                attempts=1,
                started_at=now(),
                detail="{}",
            )
        )
    return bool(updated.rowcount)


def step_done(connection: Connection, run: Run, name: str, detail: Mapping[str, Any] | None = None) -> None:
    """Say that a step is done and the catalog agrees."""
    values: dict[str, Any] = {"state": "done", "finished_at": now()}
    if detail is not None:
        values["detail"] = json.dumps(detail)
    connection.execute(sa.update(STEP).where(STEP.c.run_id == run.id, STEP.c.name == name).values(**values))


def step_detail(connection: Connection, run: Run, name: str) -> dict[str, Any]:
    """A step's detail: cursors, counts."""
    text = connection.scalar(sa.select(STEP.c.detail).where(STEP.c.run_id == run.id, STEP.c.name == name))
    return dict(json.loads(text)) if text else {}


def set_step_detail(connection: Connection, run: Run, name: str, detail: Mapping[str, Any]) -> None:
    """Write a step's detail; part of the caller's transaction."""
    connection.execute(
        sa.update(STEP).where(STEP.c.run_id == run.id, STEP.c.name == name).values(detail=json.dumps(detail))
    )


def ours(connection: Connection, reference: Reference) -> frozenset[str]:
    """The steps whose effect is ours to take back: begun by us in a run not yet undone."""
    rows = connection.execute(
        sa.select(STEP.c.name)
        .join(RUN, RUN.c.id == STEP.c.run_id)
        .where(
            RUN.c.reference_key == reference_key(reference),
            RUN.c.state != "undone",
            RUN.c.operation.in_(FORWARD),
            STEP.c.ours == 1,
        )
    )
    return frozenset(rows.scalars())


def proved_at(connection: Connection, reference: Reference) -> str | None:
    """When the last proof of this reference was made; None where there is none in force."""
    found: str | None = connection.scalar(
        sa.select(sa.func.max(STEP.c.finished_at))
        .join(RUN, RUN.c.id == STEP.c.run_id)
        .where(
            RUN.c.reference_key == reference_key(reference),
            RUN.c.operation == "validate",
            RUN.c.state != "undone",
            STEP.c.name == "prove",
            STEP.c.state == "done",
        )
    )
    return found


def drop_if_idle(connection: Connection) -> bool:
    """Drop the journal when nothing is left to take back: no run in force, no mirror table.
    Returns whether it is gone."""
    if exists(connection):
        active = connection.scalar(
            sa.select(sa.func.count())
            .select_from(RUN)
            .where(RUN.c.operation.in_(FORWARD), RUN.c.state.not_in(("undone", "refused")))
        )
        # A line is written before its table and outlives it for a moment: only a table can hold rows.
        inspector = sa.inspect(connection)
        mirrors = [name for name in connection.scalars(sa.select(MIRROR.c.name)) if inspector.has_table(name)]
        if active or mirrors:
            return False
    for table in (RUN, STEP, MIRROR):
        table.drop(connection, checkfirst=True)
    return True


def _policy_text(policy: Mapping[str, Any]) -> str:
    # A key may be a UUID or a date: written as text, it is compared as text.
    return json.dumps(policy, default=str)


def _run(row: Any, *, resumed: bool = False) -> Run:
    return Run(
        row.id,
        Reference.from_json(json.loads(row.definition)),
        row.operation,
        row.state,
        json.loads(row.policy),
        json.loads(row.facts),
        json.loads(row.counts),
        row.actor,
        row.started_at,
        row.heartbeat_at,
        row.finished_at,
        row.requested,
        row.message,
        resumed,
    )
