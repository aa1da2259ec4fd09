"""One operation in a process of its own that asks before each step: it prints the step's name and reads a
line. So whoever started it can see to it that the server is at work on a step when the process dies."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import cast

import sqlalchemy as sa

from migrator.plan import Operation
from migrator.policy import Backfill, Delete
from migrator.reference import Reference
from tests.operations.lifecycle import FAST, run

ROOT = Path(__file__).parents[2]
#: So patient that the server itself waits on when we are dead, and no watchdog is needed.
PATIENT = replace(FAST, lock_timeout_ms=60_000, long_lock_timeout_ms=60_000)
POLICIES = (Backfill(to=1), Delete())


class Asks:
    """A `Progress` that asks before each step."""

    def step(self, name: str, title: str) -> None:
        """A step begins, once we are answered."""
        print(name, flush=True)
        sys.stdin.readline()

    def rows(self, what: str, done: int, total: int | None) -> None:
        """Nothing."""

    def note(self, message: str) -> None:
        """Nothing."""


@contextmanager
def waiting_before(
    url: str, operation: Operation, reference: Reference, step: str
) -> Iterator[subprocess.Popen[str]]:
    """The process, about to begin the step; a line sent to it lets it. Killed at the end of the `with`."""
    command = [sys.executable, "-m", "tests.crash.one_operation", operation, str(reference)]
    with subprocess.Popen(
        command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        try:
            assert process.stdin is not None
            assert process.stdout is not None
            answer(process, url)
            for line in process.stdout:
                if line.strip() == step:
                    break
                answer(process)
            else:
                raise AssertionError(f"{operation} ended without step {step}")
            yield process
        finally:
            process.kill()


def answer(process: subprocess.Popen[str], line: str = "") -> None:
    """A line for it to read."""
    assert process.stdin is not None
    process.stdin.write(line + "\n")
    process.stdin.flush()


if __name__ == "__main__":
    # The URL holds a password, so it is no argument.
    engine = sa.create_engine(sys.stdin.readline().strip(), poolclass=sa.NullPool)
    operations = (cast(Operation, sys.argv[1]),)
    run(engine, operations, Reference.parse(sys.argv[2]), *POLICIES, settings=PATIENT, progress=Asks())
