"""Going on after a client that died while the server was at work for it."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from sqlalchemy.engine import Connection, Engine

from migrator.context import Progress
from migrator.errors import RunLocked
from migrator.naming import MARKER
from migrator.plan import Operation
from migrator.settings import Settings
from tests.conftest import Database
from tests.crash.one_operation import POLICIES
from tests.listening import before_each
from tests.operations.lifecycle import FAST, run
from tests.operations.mysql_desk import REFERENCE


def go(
    database: Database, operation: Operation, progress: Progress | None = None, settings: Settings = FAST
) -> None:
    """The operation, as soon as the server has noticed that the last one's client is dead."""
    deadline = time.monotonic() + 60
    while True:
        try:
            run(database.engine, (operation,), REFERENCE, *POLICIES, settings=settings, progress=progress)
            return
        except RunLocked:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.1)


@contextmanager
def alters_sent(step: str) -> Iterator[list[str]]:
    """The statements of a step that this process sends meanwhile."""
    sent: list[str] = []

    def listen(_connection: Connection, _cursor: Any, statement: str, *_: Any) -> None:
        if statement.startswith(f"{MARKER}{step} "):
            sent.append(statement)

    with before_each(Engine, listen):
        yield sent
