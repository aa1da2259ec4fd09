"""Telling the operator how far a run is, on stderr: bars on a terminal, a line every few seconds elsewhere,
lines of JSON where they are asked for."""

from __future__ import annotations

import json
import logging
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

from rich import progress as rich_progress
from rich.console import Console
from rich.markup import escape
from rich.text import Text

from migrator.context import Progress

_LOG = logging.getLogger("migrator")
#: Seconds between two lines about the rows of one loop.
_EVERY = 5.0


@contextmanager
def telling(form: str = "auto") -> Iterator[Progress]:
    """Progress as the setting `log` asks for it.

    Args:
        form: `auto`: bars where stderr is a terminal, else lines; `plain`: lines; `json`: lines of JSON.
    """
    if form == "json":
        as_json()
    if form == "auto" and sys.stderr.isatty():
        # Not whether rich takes it for one: FORCE_COLOR is about colours.
        bars = BarProgress(Console(stderr=True))
        try:
            yield bars
        finally:
            bars.stop()
        return
    yield LogProgress()


class LogProgress:
    """Progress as log lines of the logger `migrator`: at a step's begin, then every few seconds with
    rows, rate and the time that is left."""

    def __init__(self) -> None:
        self._what = ""
        self._began = self._last = 0.0
        self._first = 0

    def step(self, name: str, title: str) -> None:
        """See `context.Progress.step`."""
        _LOG.info("%s: %s", name, title, extra={"step": name, "title": title})

    def rows(self, what: str, done: int, total: int | None) -> None:
        """See `context.Progress.rows`."""
        now = time.monotonic()
        if what != self._what or done < self._first:  # a new loop, or a new round of it
            self._what, self._began, self._last, self._first = what, now, now, done
        last_one = total is not None and done >= total
        if now - self._last < _EVERY and not last_one:
            return
        self._last = now
        rate = (done - self._first) / max(now - self._began, 1e-3)
        facts: dict[str, Any] = {"what": what, "rows": done, "rate": round(rate, 1)}
        speed = f", {rate:,.0f}/s" if rate else ""
        if total is None:
            _LOG.info("%s: %s rows%s", what, f"{done:,}", speed, extra={"facts": facts})
            return
        left = (total - done) / rate if rate else None
        facts |= {"total": total, "eta_seconds": None if left is None else round(left, 1)}
        eta = f", {left:,.0f} s left" if left else ""
        text = f"{done:,} of {total:,}"
        _LOG.info("%s: %s rows%s%s", what, text, speed, eta, extra={"facts": facts})

    def note(self, message: str) -> None:
        """See `context.Progress.note`."""
        _LOG.warning("%s", message)


# -- bars ------------------------------------------------------------------------------------------
class BarProgress:
    """A bar for each loop over rows, lines above it for steps and notes.

    Args:
        console: where to draw; a terminal.
    """

    def __init__(self, console: Console) -> None:
        self._bars = rich_progress.Progress(
            rich_progress.TextColumn("{task.description}"),
            rich_progress.BarColumn(),
            _Rows(),
            rich_progress.TimeElapsedColumn(),
            rich_progress.TextColumn("left"),
            rich_progress.TimeRemainingColumn(),
            console=console,
        )
        self._tasks: dict[str, rich_progress.TaskID] = {}
        self._done: dict[str, int] = {}

    def step(self, name: str, title: str) -> None:
        """See `context.Progress.step`."""
        self._say(f"{name}: {title}")

    def rows(self, what: str, done: int, total: int | None) -> None:
        """See `context.Progress.rows`."""
        if what not in self._tasks or done < self._done[what]:
            self._settle()
            self._tasks[what] = self._bars.add_task(escape(what), total=total)
            self._bars.start()
        self._done[what] = done
        self._bars.update(self._tasks[what], completed=done, total=total)

    def note(self, message: str) -> None:
        """See `context.Progress.note`."""
        self._say(message)

    def stop(self) -> None:
        """Leave the bars as they are, and the terminal to others."""
        self._settle()
        self._bars.stop()

    def _settle(self) -> None:
        """A loop that is over is no bar that moves for ever."""
        for task in self._bars.tasks:
            if task.total is None:
                self._bars.update(task.id, total=task.completed)

    def _say(self, text: str) -> None:
        self._bars.console.print(text, markup=False, highlight=False)


class _Rows(rich_progress.ProgressColumn):
    """`1,200 of 9,000 rows, 310/s`."""

    def render(self, task: rich_progress.Task) -> Text:
        """See `ProgressColumn.render`."""
        rows = f"{int(task.completed):,}"
        if task.total is not None:
            rows += f" of {int(task.total):,}"
        speed = task.finished_speed or task.speed
        return Text(f"{rows} rows" + (f", {speed:,.0f}/s" if speed else ""))


# -- lines of JSON ---------------------------------------------------------------------------------
class JsonLines(logging.Formatter):
    """One object to a line: time, level, logger, message, and the numbers of it."""

    def format(self, record: logging.LogRecord) -> str:
        """See `logging.Formatter.format`."""
        line: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        if hasattr(record, "step"):
            line["step"] = record.step
        line |= getattr(record, "facts", {})
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        return json.dumps(line, default=str)


def as_json() -> None:
    """Have what the logger `migrator` says, and whoever shares its handlers, come out as lines of JSON; on
    stderr where nobody has set up any logging."""
    handlers = [handler for logger in _ancestors() for handler in logger.handlers]
    streams = [each for each in handlers if isinstance(each, logging.StreamHandler)]
    if not handlers:
        streams = [logging.StreamHandler(sys.stderr)]
        _LOG.addHandler(streams[0])
        _LOG.setLevel(logging.INFO)
    for stream in streams:
        stream.setFormatter(JsonLines())


def _ancestors() -> Iterator[logging.Logger]:
    logger: logging.Logger | None = _LOG
    while logger is not None:
        yield logger
        logger = logger.parent if logger.propagate else None
