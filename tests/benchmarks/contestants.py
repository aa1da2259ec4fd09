"""Who migrates: nobody, we, plain Alembic as autogenerate writes it, and peers."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

_RUNS_OF_PLAIN = 5
ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Outcome:
    """What a migration came to.

    Args:
        seconds: how long it took.
        phases: name and start (epoch seconds) of each of its phases.
        refusal: why it did not do the job, in its own words; "" when it did.
        memory: peak resident memory of its process, in megabytes; 0 where unknown.
    """

    seconds: float
    phases: tuple[tuple[str, float], ...] = ()
    refusal: str = ""
    memory: float = 0.0


@dataclass(frozen=True)
class Contestant:
    """A way to add the two constraints.

    Args:
        name: as the table shows it.
        run: migrates the database of a URL.
        migrates: whether the constraints are to be there afterwards.
    """

    name: str
    run: Callable[[str], Outcome] = field(repr=False)
    migrates: bool = True


def nobody(seconds: float) -> Contestant:
    """(a) No migration: what the writers do by themselves."""

    def run(url: str) -> Outcome:
        time.sleep(seconds)
        return Outcome(seconds)

    return Contestant("no migration", run, migrates=False)


def ours() -> Contestant:
    """(b) `alembic upgrade head` of this checkout, orphans deleted (as the others do)."""

    def run(url: str) -> Outcome:
        command = [sys.executable, "-m", "alembic", "-x", "on_null=delete", "-x", "on_dangling=delete"]
        return _process([*command, "upgrade", "head"], {"MIGRATOR_URL": url}, phase=_our_phase)

    return Contestant("migrator", run)


def _our_phase(line: str) -> str | None:
    level, _, rest = line.partition(" ")
    name, sep, _ = rest.strip().partition(": ")
    return name if level == "INFO" and sep and " " not in name else None


def _told_phase(line: str) -> str | None:
    return line.removeprefix("phase: ").strip() if line.startswith("phase: ") else None


def plain() -> Contestant:
    """(c) What autogenerate writes: DELETE, create_foreign_key, alter_column, in one transaction."""

    def run(url: str) -> Outcome:
        command = [sys.executable, "-W", "ignore", "-m", "tests.benchmarks.plain_alembic", url]
        outcome = _process(command, {}, phase=_told_phase)
        for _ in range(_RUNS_OF_PLAIN - 1):
            if not outcome.refusal:
                break
            # Chosen as the victim of a deadlock with the writers; its user runs it again.
            more = _process(command, {}, phase=_told_phase)
            phases = (*outcome.phases, ("again after an error", more.phases[0][1]), *more.phases[1:])
            outcome = replace(more, seconds=outcome.seconds + more.seconds, phases=phases)
        return outcome

    return Contestant("plain Alembic", run)


def django() -> Contestant:
    """(d) django-pg-zero-downtime-migrations doing the same two constraints."""

    def run(url: str) -> Outcome:
        command = [sys.executable, "-W", "ignore", "-m", "tests.benchmarks.django_zero_downtime", url]
        return _process(command, {}, phase=_told_phase)

    return Contestant("django-pg-zero-downtime", run)


def online_schema_change() -> Contestant:
    """(d) Percona's pt-online-schema-change, after the orphans were deleted in one statement."""

    def run(url: str) -> Outcome:
        command = [sys.executable, "-W", "ignore", "-m", "tests.benchmarks.percona", url]
        return _process(command, {}, phase=_told_phase)

    return Contestant("pt-online-schema-change", run)


def _process(
    command: list[str], environ: Mapping[str, str], *, phase: Callable[[str], str | None]
) -> Outcome:
    """Run it, reading the beginnings of its phases from its standard error."""
    began, clock = time.time(), time.perf_counter()
    child = subprocess.Popen(
        command, cwd=ROOT, env={**os.environ, **environ}, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL,
        text=True,
    )  # fmt: skip
    phases: list[tuple[str, float]] = [("start", began)]
    lines: list[str] = []
    assert child.stderr is not None
    for line in child.stderr:
        lines.append(line.rstrip())
        name = phase(line)
        if name is not None and name != phases[-1][0]:
            phases.append((name, time.time()))
    _, status, usage = os.wait4(child.pid, 0)  # of this child alone: the writers are children as well
    code = child.returncode = os.waitstatus_to_exitcode(status)
    return Outcome(
        time.perf_counter() - clock,
        tuple(phases),
        refusal=_reason(lines, code),
        memory=usage.ru_maxrss / 1024,
    )


def _reason(lines: list[str], code: int) -> str:
    """Why it did not get through: the line that names an error, else its last."""
    if not code:
        return ""
    named = [line for line in lines if "rror" in line and not line.startswith(("(Background", "[SQL"))]
    return (named or lines or [f"exit {code}"])[-1][:200]
