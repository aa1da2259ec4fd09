"""A signal that comes while the migration is at work ends the drill, not only the act."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy.engine import Engine

from migrator.fingerprint import take
from tests.conftest import Database
from tests.drill.harness import RESTORE, SWEEP, blog, copies, environment, hold
from tests.listening import before_each


@pytest.mark.engines("sqlite", "postgresql-18", "mysql-9.7")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_in_the_sweep_ends_the_drill(
    database: Database, tmp_path: Path, number: signal.Signals
) -> None:
    """The run stops after its batch, no further act is played, and the copy goes."""
    blog(database)
    before = take(database.engine)
    told: list[str] = []

    def send(_conn: Any, _cursor: Any, statement: str, *_: Any) -> None:
        if "migrator_q_" in statement and statement.startswith("INSERT") and "sent" not in told:
            told.append("sent")
            os.kill(os.getpid(), number)

    with before_each(Engine, send), pytest.raises(KeyboardInterrupt):
        hold(
            database,
            told.append,
            ini=environment(tmp_path, (SWEEP, RESTORE)),
            arguments=("batch_size=1",),
        )
    assert told[-1] == "sent"
    assert not copies(database)
    assert before.identical(take(database.engine))
