"""With `--load`: another copy upgraded and downgraded while the application is at work in it.

Rows come and go meanwhile, so two fingerprints cannot be compared as they are. What the application wrote is
known: it must be there after the downgrade. Then it is taken out, and what is left must be what was there
before. Of a user's command it is not known; there the act shows that the migration gets through, both ways,
and what was felt.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Final

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from migrator import quarantine
from migrator.drill.acts.base import Act, Outcome, plural
from migrator.drill.load import Log, Written, load, measured
from migrator.drill.load.watch import ERROR
from migrator.drill.model import Felt, RevisionStep
from migrator.drill.rows import label_of
from migrator.drill.stage import Stage
from migrator.drill.text import wait
from migrator.fingerprint import Difference
from migrator.predicate import table_clause
from migrator.reference import Reference, TableName
from migrator.verify.another import send
from migrator.verify.madeup import bound

#: Seconds the application is at work before the migration begins, and between up and down.
_ALONE: Final = 0.5
_SHOWN: Final = 3


def play(stage: Stage) -> Outcome:
    """Up and down under load, and see what became of the rows."""
    assert stage.spare is not None
    if not stage.found and stage.wishes.command is None:
        return Outcome(
            "skipped",
            "These revisions work on no reference, so it is not known what to write: --load-command",
        )
    stage.tell("another copy, to be worked in")
    with stage.spare() as (url, first):
        other = Stage(
            replace(stage.environment, url=url), stage.start, stage.path, stage.wishes, tell=stage.tell
        )
        other.first, other.found, other.steps = first, stage.found, stage.steps
        references = [one.reference for one in stage.found]
        with load(url, references, stage.wishes.command) as application:
            ends = _up_and_down(other)
            log = application.stop()
        stage.steps[:] = [_felt(step, end, log) for step, end in zip(stage.steps, ends, strict=True)]
        stage.felt = measured(log.operations, ends[0] - stage.steps[0].seconds, ends[-1])
        return _judged(other, stage.felt, log)


def _up_and_down(stage: Stage) -> list[float]:
    """When each revision ended, in seconds since the epoch."""
    ends: list[float] = []
    time.sleep(_ALONE)
    for revision in stage.path:
        stage.go("up", revision)
        ends.append(time.time())
    time.sleep(_ALONE)
    for revision in reversed(stage.path):
        stage.go("down", revision)
        ends.append(time.time())
    return ends


def _felt(step: RevisionStep, end: float, log: Log) -> RevisionStep:
    """The step and its parts, each with what was felt meanwhile. The parts lie end to end before the end."""
    parts = []
    at = end
    for part in reversed(step.parts):
        parts.append(replace(part, felt=measured(log.operations, at - part.seconds, at)))
        at -= part.seconds
    felt = measured(log.operations, end - step.seconds, end)
    return replace(step, parts=tuple(reversed(parts)), felt=felt)


def _judged(stage: Stage, felt: Felt | None, log: Log) -> Outcome:
    notes = list(_notes(stage, log))
    errors = [one for one in log.operations if one.outcome == ERROR]
    said = (
        f"{felt.operations:,} transactions meanwhile; worst stall {wait(felt.worst)} ({felt.name}), "
        f"99 of 100 within {wait(felt.p99)}."
        if felt
        else "No transaction of ours was under way meanwhile."
    )
    if errors:
        kinds = dict.fromkeys(f"{one.name}: {one.said}" for one in errors)
        first = "; ".join(list(kinds)[:_SHOWN])
        return Outcome(
            "differs", f"{plural(len(errors), 'transaction')} failed that should not: {first}.", tuple(notes)
        )
    if log.command and log.command.code:
        return Outcome(
            "differs",
            f"The load command ended by itself with {log.command.code}: {log.command.said}",
            (said, *notes),
        )
    with stage.connected() as connection:
        lost = [one for one in log.written if not _there(connection, one)]
        held = _held(connection, [one.reference for one in stage.found])
    if lost:
        names = ", ".join(_text(one) for one in lost[:_SHOWN])
        return Outcome(
            "differs", f"Lost in the downgrade: {plural(len(lost), 'row')}: {names}.", (said, *notes)
        )
    if log.command is not None:
        if held:
            notes.append(f"{plural(held, 'row')} could not be put back after what it had written.")
        return Outcome("passed", f"Up and down with the command at work. {said}", tuple(notes))
    if held:
        return Outcome("differs", f"{plural(held, 'row')} could not be put back.", (said, *notes))
    differences, theirs = _others_rows(stage, log)
    notes += theirs
    if differences:
        return Outcome(
            "differs", "Rows that nobody wrote to are not as they were.", (said, *notes), differences
        )
    return Outcome(
        "passed",
        f"{said} {plural(len(log.written), 'new row')} survived; without them everything is as before.",
        tuple(notes),
    )


def _notes(stage: Stage, log: Log) -> Iterator[str]:
    refused = sum(one.outcome == "refused" for one in log.operations)
    retried = sum(one.outcome == "retried" for one in log.operations)
    if refused:
        yield f"{plural(refused, 'row')} without a parent refused, as the old release will find."
    if retried:
        yield f"{plural(retried, 'transaction')} met a deadlock or a timeout; an application tries again."
    if log.command is None:
        return
    yield f"The load was: {stage.wishes.command}"
    yield "It may have written anywhere, so the rows were not compared with those before."
    if log.command.code == 0:
        yield "It ended by itself before the migration did."


# -- looking -------------------------------------------------------------------------------------
def _held(connection: Connection, references: Sequence[Reference]) -> int:
    return sum(
        quarantine.held(connection, mirror)
        for reference in references
        for mirror in quarantine.mirrors(connection, reference)
    )


def _there(connection: Connection, row: Written) -> bool:
    clause, same = _row(row)
    return bool(connection.execute(sa.select(sa.func.count()).select_from(clause).where(*same)).scalar_one())


def _others_rows(stage: Stage, log: Log) -> tuple[tuple[Difference, ...], list[str]]:
    """What differs once the application's rows are taken out again, and what its triggers may have done."""
    assert stage.first is not None
    facts = stage.facts()
    with stage.sessions() as sessions, sessions.work() as connection:
        for row in sorted(log.written, key=lambda one: not one.child):
            with sessions.dialect.transaction(connection):
                clause, same = _row(row)
                send(connection, sessions.dialect, sa.delete(clause).where(*same))
    found = stage.compared(stage.first, stage.fingerprint())
    written = {label_of(stage.first, table) for one in stage.found for table in _tables(one.reference)}
    if not any(each.child.triggers or each.parent.triggers for each in facts):
        return found, []
    theirs = [one for one in found if one.kind == "data" and one.object not in written]
    notes = [f"Left by the tables' own triggers, it seems: {one.object}: {one.detail}." for one in theirs]
    return tuple(one for one in found if one not in theirs), notes


def _tables(reference: Reference) -> tuple[TableName, TableName]:
    return reference.child, reference.parent


def _row(row: Written) -> tuple[sa.TableClause, list[sa.ColumnElement[bool]]]:
    clause = table_clause(row.reference.child if row.child else row.reference.parent, *row.columns)
    return clause, [clause.c[name] == bound(value) for name, value in zip(row.columns, row.key, strict=True)]


def _text(row: Written) -> str:
    return f"{row.reference.child if row.child else row.reference.parent} {', '.join(map(str, row.key))}"


ACT = Act(
    "load",
    "Under load",
    play,
    needs=("upgrade",),
    wanted=lambda stage: stage.wishes.load,
)
