"""How far a run is, as its operator sees it: bars on a terminal, lines elsewhere, JSON if asked for."""

from __future__ import annotations

import io
import json
import logging
import os
import pty
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from rich.console import Console

from migrator import status
from migrator.progress import BarProgress, LogProgress, telling
from tests.conftest import Database
from tests.crash.running import ROOT, blog, command, environment

ONE_BY_ONE = ("batch_size=1", "batch_floor=1", "batch_ceiling=1", "pause_ms=0")


def upgrade(database: Database, *x: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """With stderr in a file, as in a log."""
    return subprocess.run(
        command(database, *ONE_BY_ONE, *x),
        cwd=ROOT,
        env=environment() | variables,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.engines("sqlite")
def test_a_terminal_shows_bars(database: Database) -> None:
    """One for the scan and one for the sweep, with rows of rows, to the last one; steps stand above them."""
    blog(database)
    ours, theirs = pty.openpty()
    seen = b""
    with subprocess.Popen(
        command(database, *ONE_BY_ONE),
        cwd=ROOT,
        env=environment() | {"TERM": "xterm", "COLUMNS": "160"},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=theirs,
    ) as process:
        os.close(theirs)
        while True:
            try:
                seen += os.read(ours, 65536)
            except OSError:  # Linux says so when the other end is closed
                break
        assert process.wait() == 0, seen.decode()
    os.close(ours)
    shown = seen.decode()
    assert "\x1b[" in shown
    assert "scan post.user_id -> user.id" in shown
    assert "9 of 9 rows" in shown
    assert "━" in shown
    assert "INFO    sweep:" not in shown


@pytest.mark.engines("sqlite")
def test_a_log_has_lines(database: Database) -> None:
    """No bar and no colour, even where colours are forced: a line for each step, and rows, rate and time."""
    blog(database)
    ended = upgrade(database, FORCE_COLOR="1")
    assert ended.returncode == 0, ended.stderr
    assert "\x1b" not in ended.stderr
    lines = ended.stderr.splitlines()
    assert any(line.startswith("INFO    sweep: ") for line in lines)
    (last,) = [line for line in lines if "sweep post.user_id -> user.id: 9 of 9 rows" in line]
    assert last.endswith("/s")


@pytest.mark.engines("sqlite")
@pytest.mark.parametrize("by", ["argument", "environment"])
def test_a_log_may_be_json(database: Database, by: str) -> None:
    """Each line is an object, Alembic's own among them, and the one that tells of an error."""
    blog(database)
    said, variables = (("log=json",), {}) if by == "argument" else ((), {"MIGRATOR_LOG": "json"})
    refused = upgrade(database, "on_null=refuse", *said, **variables)
    assert refused.returncode != 0
    (error,) = [line for line in read(refused.stderr) if line["level"] == "error"]
    assert "the policy is to refuse" in error["message"]
    ended = upgrade(database, *said, **variables)
    assert ended.returncode == 0, ended.stderr
    lines = read(ended.stderr)
    assert {"migrator", "alembic.runtime.migration"} <= {line["logger"] for line in lines}
    assert "settle" in {line.get("step") for line in lines} or "sweep" in {line.get("step") for line in lines}
    (last,) = [line for line in lines if line.get("rows") == 9]
    assert last["total"] == 9
    assert last["what"] == "sweep post.user_id -> user.id"
    assert last["eta_seconds"] == 0


def read(text: str) -> list[dict[str, Any]]:
    """Lines of JSON, each with what all of them have."""
    lines = [json.loads(line) for line in text.splitlines()]
    for line in lines:
        assert {"time", "level", "logger", "message"} <= set(line)
    return lines


@contextmanager
def nobody_logs() -> Iterator[None]:
    """The logger `migrator` where nobody has set up anything, not even pytest."""
    logger, root = logging.getLogger("migrator"), logging.getLogger()
    kept = (logger.handlers[:], logger.level, root.handlers[:])
    logger.handlers, root.handlers = [], []
    try:
        yield
    finally:
        logger.handlers, root.handlers = kept[0], kept[2]
        logger.setLevel(kept[1])


def test_json_needs_no_logging_of_its_host(capsys: pytest.CaptureFixture[str]) -> None:
    """In an environment that never set up logging the lines go to stderr."""
    with nobody_logs(), telling("json") as progress:
        progress.note("something")
        progress.step("sweep", "settle the orphans")
    first, second = read(capsys.readouterr().err)
    assert (first["level"], first["message"]) == ("warning", "something")
    assert second["step"] == "sweep"


def test_without_a_terminal_there_are_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever is asked for but bars."""
    monkeypatch.setattr("sys.stderr", io.StringIO())
    for form in ("auto", "plain"):
        with telling(form) as progress:
            assert isinstance(progress, LogProgress)


def test_a_loop_that_begins_anew_gets_a_bar_of_its_own() -> None:
    """A sweep that sweeps again, and a name that looks like markup."""
    out = io.StringIO()
    bars = BarProgress(Console(file=out, force_terminal=True, width=120, color_system=None))
    bars.rows("scan a[b].c -> d.e", 500, None)
    for done in (3, 7, 2):
        bars.rows("sweep a[b].c -> d.e", done, 7)
    bars.note("waiting: replica lag 12 s [for now]")
    bars.stop()
    shown = out.getvalue()
    assert "500 rows" in shown
    assert "sweep a[b].c -> d.e" in shown
    assert "7 of 7 rows" in shown
    assert "2 of 7 rows" in shown
    assert "waiting: replica lag 12 s [for now]" in shown


@pytest.mark.engines("sqlite")
def test_status_knows_that_nothing_waits(database: Database) -> None:
    """A run that is over waits for nothing, whatever its message is."""
    blog(database)
    assert upgrade(database, "max_orphan_share=0.01").returncode != 0
    assert upgrade(database).returncode == 0
    with database.engine.connect() as connection:
        runs = status.read(connection)
    assert [run.waiting for run in runs] == [None] * len(runs)
    assert all("waiting" in run.to_json() for run in runs)
