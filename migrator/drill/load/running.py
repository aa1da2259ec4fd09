"""The application's processes, from the drill's side: started, stopped, and heard out."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any, Final

from sqlalchemy.engine import URL

from migrator.codec import load_key
from migrator.drill.load.watch import Operation
from migrator.errors import StepFailed
from migrator.reference import Reference

#: How many processes of our own are at work.
WRITERS: Final = 2
#: Seconds for a process to end in, after it was asked to.
_GRACE: Final = 90.0
_COMMAND_GRACE: Final = 10.0


@dataclass(frozen=True)
class Written:
    """A row the application wrote and committed: of which reference, in its child or its parent, its key."""

    reference: Reference
    child: bool
    columns: tuple[str, ...]
    key: tuple[Any, ...]


@dataclass(frozen=True)
class Command:
    """How the user's command ended: its exit code, None where we ended it; its last line."""

    code: int | None
    said: str


@dataclass(frozen=True)
class Log:
    """What the application did, in the order it began."""

    operations: tuple[Operation, ...]
    written: tuple[Written, ...]
    command: Command | None = None


@dataclass
class Load:
    """The application at work; `stop` ends it and hands over what it did."""

    references: Sequence[Reference]
    writers: Sequence[subprocess.Popen[str]]
    command: subprocess.Popen[bytes] | None = None
    output: Any = None
    _log: Log | None = field(default=None, repr=False)

    def stop(self) -> Log:
        """End it.

        Raises:
            StepFailed: one of its processes died.
        """
        if self._log is None:
            ended = self._end_command()
            found = [_heard_out(writer) for writer in self.writers]
            operations = [Operation(**one) for each in found for one in each["operations"]]
            written = [
                Written(
                    self.references[one["reference"]],
                    one["child"],
                    tuple(one["columns"]),
                    load_key(one["key"]),
                )
                for each in found
                for one in each["written"]
            ]
            self._log = Log(tuple(sorted(operations, key=lambda one: one.began)), tuple(written), ended)
        return self._log

    def _end_command(self) -> Command | None:
        if self.command is None:
            return None
        code = self.command.poll()
        # Its children too: a shell that is ended leaves them at work.
        for number in (signal.SIGTERM, signal.SIGKILL):
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(self.command.pid, number)
            with suppress(subprocess.TimeoutExpired):
                self.command.wait(_COMMAND_GRACE)
                break
        self.output.seek(0, os.SEEK_END)
        self.output.seek(max(0, self.output.tell() - 4096))
        lines = self.output.read().decode("utf-8", "replace").strip().splitlines()
        return Command(code, lines[-1] if lines else "")


@contextmanager
def load(url: URL, references: Sequence[Reference], command: str | None = None) -> Iterator[Load]:
    """The application at work on a database; it has begun when this is entered, and is ended at the end.

    Args:
        url: the database.
        references: whose tables it writes to.
        command: a command of the user's that does the writing, with the URL in MIGRATOR_URL and
            DATABASE_URL; our own processes change nothing then and only feel what it is like.

    Raises:
        StepFailed: it could not be started.
    """
    text = url.render_as_string(hide_password=False)
    order = {
        "url": text,
        "references": [one.to_json() for one in references],
        "harmless": command is not None,
    }
    writers: list[subprocess.Popen[str]] = []
    with tempfile.TemporaryFile() as output:
        running = Load(references, writers, output=output)
        try:
            for number in range(WRITERS):
                writers.append(_started({**order, "number": number}))
            for writer in writers:
                _ready(writer)
            if command is not None:
                running.command = subprocess.Popen(
                    command,
                    shell=True,
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=subprocess.STDOUT,
                    env={**os.environ, "MIGRATOR_URL": text, "DATABASE_URL": text},
                    start_new_session=True,
                )
            yield running
        finally:
            running._end_command()
            for writer in writers:
                _put_down(writer)


def _started(order: dict[str, Any]) -> subprocess.Popen[str]:
    process = subprocess.Popen(
        [sys.executable, "-m", "migrator.drill.load.writer"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdin is not None
    process.stdin.write(json.dumps(order) + "\n")
    process.stdin.flush()
    return process


def _ready(process: subprocess.Popen[str]) -> None:
    assert process.stdout is not None
    if process.stdout.readline().strip() != "ready":
        raise _died(process)


def _heard_out(process: subprocess.Popen[str]) -> dict[str, Any]:
    try:
        # Closes its standard input, which is what it waits for.
        said, _ = process.communicate(timeout=_GRACE)
    except subprocess.TimeoutExpired:
        process.kill()
        raise StepFailed(
            f"An operation of the load's did not come back within {_GRACE:.0f} s of the migration's end."
        ) from None
    except BrokenPipeError:
        raise _died(process) from None
    if process.returncode or not said.strip():
        raise _died(process)
    found: dict[str, Any] = json.loads(said.strip().splitlines()[-1])
    return found


def _died(process: subprocess.Popen[str]) -> StepFailed:
    process.kill()
    said = process.stderr.read().strip().splitlines() if process.stderr and not process.stderr.closed else []
    _put_down(process)
    return StepFailed(f"A process of the load's died: {said[-1] if said else process.returncode}")


def _put_down(process: subprocess.Popen[str]) -> None:
    if process.poll() is None:
        process.kill()
    process.wait()
    for stream in (process.stdin, process.stdout, process.stderr):
        if stream is not None:
            with suppress(BrokenPipeError):
                stream.close()
