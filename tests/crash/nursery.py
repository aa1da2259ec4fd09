"""A process with everything imported that forks a child for each request: one run of Alembic, or of
`migrator`, that kills itself, without any clean-up, at a stated SQL statement.

    python -m tests.crash.nursery

It reads requests as lines of JSON and answers each with one: how the child ended, what it said, and the
statements it sent. A commit counts as a statement, so that a kill can fall on either side of it.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from argparse import Namespace
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from alembic import command
from alembic.config import Config
from sqlalchemy.engine import Engine

# Imported here once, so that no child has to.
import migrator.alembic.environment
import migrator.cli.quarantine
import migrator.quarantined.restoring
import migrator.verify  # noqa: F401
from migrator.cli import main
from migrator.cli.boundary import Failure
from migrator.errors import MigratorError
from tests.crash.dying import DRIVER_COMMIT, is_write

ROOT = Path(__file__).parents[2]


class Doom:
    """Counts statements, or only those that write, and kills the process at the stated one."""

    def __init__(self, request: dict[str, Any], log: int) -> None:
        self.at, self.moment, self.log = request["at"], request["moment"], log
        self.only_writes = request["only_writes"]
        self.count = -1
        self.committing = False

    def before(self, text: str) -> None:
        """A statement is about to be sent."""
        if self.committing:  # the driver's commit does not say when it is over
            self.committing = False
            self._die("after")
        if self.only_writes and not is_write(text):
            return
        self.count += 1
        self.committing = text == DRIVER_COMMIT
        if self.at is None:
            os.write(self.log, (json.dumps(text[:100]) + "\n").encode())
        self._die("before")

    def after(self, *_: Any) -> None:
        """A statement was answered."""
        self._die("after")

    def _die(self, moment: str) -> None:
        if self.at == self.count and self.moment == moment:
            os.kill(os.getpid(), signal.SIGKILL)


def listen(doom: Doom) -> None:
    """Watch every statement of every engine of this process."""

    def execute(_conn: Any, _cursor: Any, statement: str, *_: Any) -> None:
        doom.before(" ".join(statement.split()))

    sa.event.listen(Engine, "before_cursor_execute", execute)
    sa.event.listen(Engine, "after_cursor_execute", doom.after)
    sa.event.listen(Engine, "handle_error", doom.after)  # an error is an answer too
    sa.event.listen(Engine, "commit", lambda _conn: doom.before(DRIVER_COMMIT))


def hurry(connection: Any, _record: Any) -> None:
    """A killed process loses nothing that the operating system was given: no need to wait for a disk."""
    if type(connection).__module__.startswith("sqlite3"):
        connection.execute("PRAGMA synchronous=OFF")


def child(request: dict[str, Any], log: int) -> None:
    """Run Alembic or `migrator` as asked, and leave without any clean-up."""
    sa.event.listen(Engine, "connect", hurry)
    listen(Doom(request, log))
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    if request["words"]:
        try:
            os._exit(main(request["words"], standalone_mode=False) or 0)
        except Failure as error:
            os.write(log, (json.dumps({"error": error.message, "code": error.exit_code}) + "\n").encode())
            os._exit(error.exit_code)
    config = Config(str(ROOT / "alembic.ini"), cmd_opts=Namespace(x=request["x"]))
    config.attributes["configure_logger"] = False
    if request["versions"]:
        config.set_main_option("version_locations", request["versions"])
    try:
        getattr(command, request["verb"])(config, request["revision"])
    except MigratorError as error:
        os.write(log, (json.dumps({"error": str(error), "code": error.exit_code}) + "\n").encode())
        os._exit(1)
    except BaseException as error:
        os.write(log, (json.dumps({"error": f"{type(error).__name__}: {error}"}) + "\n").encode())
        os._exit(1)
    os._exit(0)


def serve() -> None:
    """Answer requests until there are none."""
    for line in sys.stdin:
        request = json.loads(line)
        reader, writer = os.pipe()
        pid = os.fork()
        if pid == 0:
            os.close(reader)
            child(request, writer)
        os.close(writer)
        with os.fdopen(reader) as said:
            lines = [json.loads(each) for each in said]
        _, status = os.waitpid(pid, 0)
        errors = [each for each in lines if isinstance(each, dict)]
        answer = {
            "killed": os.WIFSIGNALED(status),
            "exit": os.WEXITSTATUS(status) if os.WIFEXITED(status) else None,
            "error": errors[0] if errors else None,
            "statements": [each for each in lines if isinstance(each, str)],
        }
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    serve()
