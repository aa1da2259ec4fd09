"""What happens inside an Alembic run: its log records kept instead of printed, its statements counted."""

from __future__ import annotations

import logging
import logging.config
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass, field
from io import StringIO
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Engine

from migrator.drill.model import Part

_LOGGERS = ("", "migrator", "alembic")


@dataclass
class Heard:
    """What was said and done. Filled while the run lasts."""

    began: float = field(default_factory=time.monotonic)
    ended: float = 0.0
    statements: int = 0
    steps: list[tuple[str, str, float]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    @property
    def seconds(self) -> float:
        """How long it took."""
        return self.ended - self.began

    @property
    def parts(self) -> tuple[Part, ...]:
        """The steps, each until the next began."""
        ends = [*(began for _, _, began in self.steps[1:]), self.ended]
        # One end too many where there were no steps at all.
        return tuple(
            Part(name, title, end - began)
            for (name, title, began), end in zip(self.steps, ends, strict=False)
        )


class _Ear(logging.Handler):
    def __init__(self, heard: Heard) -> None:
        super().__init__()
        self.heard = heard

    def emit(self, record: logging.LogRecord) -> None:
        step = getattr(record, "step", None)
        if step is not None:
            self.heard.steps.append((str(step), str(getattr(record, "title", "")), time.monotonic()))
        elif record.levelno >= logging.WARNING:
            self.heard.notes.append(record.getMessage())


@contextmanager
def listening(on_statement: Callable[[int], None] = lambda _: None) -> Iterator[Heard]:
    """Run Alembic inside: nothing reaches the terminal, what is worth knowing is kept.

    Args:
        on_statement: is called before each SQL statement with its number, from 1.
    """
    heard = Heard()

    def count(*_: Any) -> None:
        heard.statements += 1
        on_statement(heard.statements)

    loggers = [logging.getLogger(name) for name in _LOGGERS]
    kept = [(logger, logger.handlers[:], logger.level, logger.disabled) for logger in loggers]
    configure = logging.config.fileConfig
    # An env.py sets up logging from its alembic.ini, anew on every run: to stderr, and switching off
    # every logger it does not name. While we listen, it may not.
    logging.config.fileConfig = lambda *_, **__: None
    for logger in loggers:
        logger.handlers, logger.disabled = [], False
    loggers[0].handlers = [_Ear(heard)]
    for logger in loggers[1:]:
        logger.setLevel(logging.INFO)
    sa.event.listen(Engine, "before_cursor_execute", count)
    try:
        with redirect_stdout(StringIO()), redirect_stderr(StringIO()):
            yield heard
    finally:
        heard.ended = time.monotonic()
        sa.event.remove(Engine, "before_cursor_execute", count)
        logging.config.fileConfig = configure
        for logger, handlers, level, disabled in kept:
            logger.handlers, logger.disabled = handlers, disabled
            logger.setLevel(level)
