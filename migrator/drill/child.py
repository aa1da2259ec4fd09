"""The migration in a process of its own, which ends itself at a given statement as a power cut would.

Started by the drill with JSON on its standard input: the URL, with its password, is on no command line.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Final

from migrator.drill.environment import Environment
from migrator.drill.model import Direction
from migrator.settings import database_url

_PATIENCE: Final = 3600.0
"""Seconds after which a child that neither ends nor dies is taken for stuck."""


def killed_at(environment: Environment, direction: Direction, goal: str, statement: int) -> bool:
    """Migrate in a child process and kill it before it sends the given statement.

    Args:
        environment: what to run, and where.
        direction, goal: as for `Environment.go`.
        statement: the number of the statement, from 1, that is never sent.

    Returns:
        Whether it was killed; False when it had ended before.

    Raises:
        RuntimeError: it failed by itself; the message says how.
    """
    order = {
        "ini": str(environment.ini),
        "url": environment.url.render_as_string(hide_password=False),
        "arguments": dict(environment.arguments),
        "direction": direction,
        "goal": goal,
        "statement": statement,
    }
    done = subprocess.run(
        [sys.executable, "-m", __name__],
        input=json.dumps(order),
        capture_output=True,
        text=True,
        check=False,
        timeout=_PATIENCE,
    )
    if done.returncode == -signal.SIGKILL:
        return True
    if done.returncode:
        lines = done.stderr.strip().splitlines()
        raise RuntimeError(lines[-1] if lines else f"the migration ended with {done.returncode}")
    return False


def main() -> None:
    """The child."""
    order = json.load(sys.stdin)
    environment = Environment(Path(order["ini"]), database_url(order["url"]), order["arguments"])

    def die(number: int) -> None:
        if number == order["statement"]:
            os.kill(os.getpid(), signal.SIGKILL)

    environment.go(order["direction"], order["goal"], die)


if __name__ == "__main__":
    main()
