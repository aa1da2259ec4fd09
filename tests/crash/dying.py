"""Runs of Alembic and of `migrator` that die, asked of the nursery."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

ROOT = Path(__file__).parents[2]
#: Two rows to a batch and five to a scan window, so that a small blog takes several of each; NULLs are
#: backfilled to a sentinel that has to be made, what dangles is deleted.
ARGUMENTS = (
    "batch_size=2",
    "batch_floor=2",
    "batch_ceiling=2",
    "pause_ms=0",
    "scan_rows=5",
    "on_null=backfill",
    "on_dangling=delete",
)

#: How a commit that is no statement is counted.
DRIVER_COMMIT = "COMMIT of the driver"

Moment = Literal["before", "after"]


@dataclass(frozen=True)
class Kill:
    """Where to die: before or after the statement of this number; or of those that write, that one."""

    at: int
    moment: Moment
    only_writes: bool = False

    def __str__(self) -> str:
        return f"{self.moment} statement {self.at}"


@dataclass(frozen=True)
class Ended:
    """How a run ended."""

    killed: bool
    exit: int | None
    error: dict[str, Any] | None
    statements: list[str]

    def check(self) -> Ended:
        """It is an error not to have come to the end."""
        assert self.exit == 0, self.error
        return self


class Nursery:
    """The process that forks."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    def run(
        self,
        url: str,
        verb: str,
        revision: str,
        *x: str,
        kill: Kill | None = None,
        versions: Path | None = None,
    ) -> Ended:
        """One run of `alembic -x ... <verb> <revision>`; of the revisions in a folder, where one is named."""
        return self._ask(
            kill,
            x=[f"url={url}", *ARGUMENTS, *x],
            verb=verb,
            revision=revision,
            versions=str(versions) if versions else None,
        )

    def migrator(self, url: str, *words: str, kill: Kill | None = None) -> Ended:
        """One run of `migrator <words> --url ...`."""
        return self._ask(kill, words=[*words, "--url", url])

    def _ask(self, kill: Kill | None, words: Sequence[str] = (), **alembic: Any) -> Ended:
        request = {
            "words": words,
            "at": kill.at if kill else None,
            "moment": kill.moment if kill else "",
            "only_writes": kill.only_writes if kill else False,
            **alembic,
        }
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(request) + "\n")
        self._process.stdin.flush()
        return Ended(**json.loads(self._process.stdout.readline()))


@contextmanager
def nursery() -> Iterator[Nursery]:
    """Start the process; it ends with the `with`."""
    command = [sys.executable, "-W", "error", "-m", "tests.crash.nursery"]
    with subprocess.Popen(
        command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        try:
            yield Nursery(process)
        finally:
            assert process.stdin is not None
            process.stdin.close()


_READS = (
    "SELECT",
    "PRAGMA",
    "SHOW",
    "DESCRIBE",
    "WITH",
    "EXPLAIN",
    "BEGIN",
    "START TRANSACTION",
    "SET ",
    "ROLLBACK",
    "--",
)


def is_write(statement: str) -> bool:
    """Whether the database may be another one after it."""
    if statement.startswith("PRAGMA") and "=" in statement:
        return "writable_schema" in statement
    if "(DELETE FROM" in statement:  # in a WITH clause
        return True
    return not statement.lstrip("( ").upper().startswith(_READS)


def kills(statements: list[str], *, every: bool) -> list[Kill]:
    """Where to die.

    Args:
        statements: of a run that nothing disturbed.
        every: before and after each; else only after those that may have changed something. Before a
            statement the database is what the last one of those left, so no state is missed.
    """
    if every:
        return [Kill(at, moment) for at in range(len(statements)) for moment in ("before", "after")]
    return [Kill(at, "after") for at, text in enumerate(statements) if is_write(text)]
