"""The two commands as a shell runs them, and what an error of theirs must look like."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from sqlalchemy.engine import make_url

ROOT = Path(__file__).parents[2]
_BIN = Path(sys.executable).parent
_SETTINGS = ("MIGRATOR_", "DATABASE_URL")


def alembic_process(
    url: str,
    *words: str,
    x: tuple[str, ...] = (),
    config: Path | None = None,
    environment: Mapping[str, str] | None = None,
) -> subprocess.CompletedProcess[str]:
    """`alembic -x url=... <words>` in the checkout, with nothing of ours in its environment but this."""
    said = [part for each in (f"url={url}", *x) for part in ("-x", each)]
    where = ["-c", str(config)] if config else []
    return _run("alembic", *where, *said, *words, environment=environment or {})


def migrator_process(*words: str) -> subprocess.CompletedProcess[str]:
    """`migrator <words>`, the same way."""
    return _run("migrator", *words, environment={})


def _run(program: str, *words: str, environment: Mapping[str, str]) -> subprocess.CompletedProcess[str]:
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(_SETTINGS)}
    return subprocess.run(
        [str(_BIN / program), *words],
        cwd=ROOT,
        env={**inherited, **environment},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )


def assert_refused(
    ended: subprocess.CompletedProcess[str], code: int, pattern: str, *, url: str = "sqlite://"
) -> None:
    """It ended with this code and one line of error on stderr that matches, holding a way out; there is no
    traceback, and no password anywhere.

    Args:
        code: of `migrator`; `alembic` ends with 255 whatever the error.
        pattern: what the line says.
        url: whose password must not be shown.
    """
    said = ended.stdout + ended.stderr
    errors = [line for line in ended.stderr.splitlines() if re.match(r"error|ERROR|FAILED|Error", line)]
    assert len(errors) == 1, said
    assert re.search(pattern, errors[0]), errors[0]
    assert "Traceback" not in said
    password = make_url(url).password
    assert not password or str(password) not in said
    is_alembic = Path(ended.args[0]).name == "alembic"
    assert ended.returncode == (255 if is_alembic else code), said
