"""The drill: a copy or a staging database, and the acts in their order."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from alembic.util.exc import CommandError
from sqlalchemy.engine import URL
from sqlalchemy.orm import Mapper

from migrator.connect import connect
from migrator.dialects import dialect_for
from migrator.drill.acts import Act, acts
from migrator.drill.checklist import checklist
from migrator.drill.clone import cloned, fingerprint
from migrator.drill.environment import BASE, Environment, environment, reason
from migrator.drill.model import ActResult, Drill, Place
from migrator.drill.sample import Sampling
from migrator.drill.stage import Stage, Wishes
from migrator.drill.staging import check_staging
from migrator.errors import StepFailed, Stopped, Terminated, UsageError
from migrator.fingerprint import Fingerprint
from migrator.report.build import database_info, now
from migrator.report.model import DatabaseInfo


@dataclass(frozen=True)
class Request:
    """What to drill.

    Args:
        url: the database. Only read, unless `in_place`.
        ini: the alembic.ini; None for the one in the working directory or the checkout.
        arguments: `name=value` each, handed on as Alembic's `-x`.
        target: the revision to go up to.
        origin: take the copy down to this revision first, and begin there.
        in_place: work in the database itself, which must be marked as staging.
        keep: leave the copy there.
        each: compare at every revision, not only at both ends.
        chaos: kill the migration on purpose as well.
        seed: of the random numbers that say where.
        mappers: the application's models, for the checks of relationships and defaults.
        load: upgrade and downgrade another copy with the application at work.
        command: the user's command that is the application; None for writers of our own.
        sampling: copy a part of the database only.
    """

    url: URL
    ini: Path | None = None
    arguments: Sequence[str] = ()
    target: str = "head"
    origin: str | None = None
    in_place: bool = False
    keep: bool = False
    each: bool = True
    chaos: bool = False
    seed: int = 0
    mappers: Sequence[Mapper[Any]] = ()
    load: bool = False
    command: str | None = None
    sampling: Sampling | None = None


def drill(request: Request, tell: Callable[[str], None] = lambda _: None) -> Drill:
    """Hold a rollback drill.

    Args:
        request: what to drill.
        tell: is told what is being done.

    Returns:
        What happened. An act that fails does not raise: it is in the result, with its reason.

    Raises:
        Refused: not a staging copy, no copy to be had, or an environment that connects elsewhere;
            nothing was changed.
        UsageError: no alembic.ini, no way to the target, nothing to upgrade.
        ConnectionFailed: the database cannot be reached.
    """
    began = time.monotonic()
    info = _info(request.url)
    # Before a copy is made: a typing error must not cost an hour.
    asked = environment(request.ini, request.url, request.arguments)
    _path(asked, request)
    with _place(request, tell) as (url, place, first, notes):
        stage = _stage(request, Environment(asked.ini, url, asked.arguments), first, tell)
        stage.sample = place.sample
        for act in acts():
            if act.wanted(stage):
                stage.done.append(_played(act, stage, notes))
                notes = ()
    return Drill(
        generated_at=now(),
        database=info,
        place=place,
        start=stage.start,
        target=stage.target,
        acts=tuple(stage.done),
        references=tuple(stage.aside),
        checklist=checklist(stage),
        cost=stage.cost,
        seconds=time.monotonic() - began,
    )


@contextmanager
def _place(
    request: Request, tell: Callable[[str], None]
) -> Iterator[tuple[URL, Place, Fingerprint | None, tuple[str, ...]]]:
    if request.in_place:
        check_staging(request.url)
        yield request.url, Place("in-place", _name(request.url), "no copy", kept=True), None, ()
        return
    tell("copying the database")
    with cloned(request.url, keep=request.keep, sampling=request.sampling) as clone:
        notes = [f"Copied in {clone.seconds:.1f} s: {clone.method}."]
        if clone.note:
            notes.append(clone.note)
        if clone.live:
            notes.append("The source was written to meanwhile: the copy's rows could not be compared.")
        # Taken down first, it begins elsewhere than the source.
        first = None if request.origin else clone.print
        if clone.sample is not None:
            told = (f"{name} {kept:,} of {rows:,}" for name, (kept, rows) in clone.sample.tables.items())
            notes.append(f"A sample, and not all rows: {', '.join(told)}.")
        place = Place("clone", _name(clone.url), clone.method, request.keep, clone.seconds, clone.sample)
        yield clone.url, place, first, tuple(notes)


def _stage(
    request: Request, worked_on: Environment, first: Fingerprint | None, tell: Callable[[str], None]
) -> Stage:
    if request.origin:
        tell(f"down to {request.origin}, to begin there")
        try:
            worked_on.go("down", request.origin)
        except CommandError as error:
            raise StepFailed(f"The copy could not be taken down to {request.origin}: {error}") from error
    start, path = _path(worked_on, request)
    wishes = Wishes(
        request.each, request.chaos, request.seed, request.in_place, request.load, request.command
    )
    stage = Stage(worked_on, start, path, wishes, request.mappers, tell, first)
    stage.spare = lambda: _spare(request, worked_on)
    return stage


@contextmanager
def _spare(request: Request, worked_on: Environment) -> Iterator[tuple[URL, Fingerprint]]:
    """Another copy of the source, at the revision where the drill began."""
    with cloned(request.url, sampling=request.sampling) as clone:
        if request.origin is None:
            yield clone.url, clone.print
            return
        Environment(worked_on.ini, clone.url, worked_on.arguments).go("down", request.origin)
        yield clone.url, fingerprint(clone.url, still=True)


def _path(where: Environment, request: Request) -> tuple[str, Any]:
    """Where it begins, and the revisions from there."""
    start = request.origin or where.current()
    path = where.path(start, request.target)
    if not path:
        raise UsageError(
            f"Nothing to drill: the database is at {start}, and so is the target.",
            hint=f"--from {BASE} (or another revision) takes the copy down first and begins there.",
        )
    return start, path


def _played(act: Act, stage: Stage, notes: tuple[str, ...]) -> ActResult:
    """Play one act. Whatever a revision raises is its result."""
    missing = [slug for slug in act.needs if stage.status_of(slug) not in ("passed", "differs")]
    if missing:
        return ActResult(
            act.slug, act.title, "skipped", f"Not reached: {missing[0]} was not carried through."
        )
    stage.tell(act.title.lower())
    stage.steps.clear()
    began = time.monotonic()
    try:
        outcome = act.play(stage)
    except (Stopped, Terminated) as error:
        # Somebody wants the drill to end, not to hear how its next act goes.
        raise KeyboardInterrupt from error
    except Exception as error:
        if os.environ.get("MIGRATOR_DEBUG"):
            raise
        return ActResult(
            act.slug,
            act.title,
            "failed",
            reason(error),
            time.monotonic() - began,
            tuple(stage.steps),
            notes,
        )
    return ActResult(
        act.slug,
        act.title,
        outcome.status,
        outcome.summary,
        time.monotonic() - began,
        tuple(stage.steps),
        (*notes, *outcome.notes),
        outcome.differences,
        outcome.expected,
    )


def _info(url: URL) -> DatabaseInfo:
    with connect(url, read_only=True) as engine, engine.connect() as connection:
        return database_info(connection, dialect_for(connection), url)


def _name(url: URL) -> str:
    return str(url.database or "")
