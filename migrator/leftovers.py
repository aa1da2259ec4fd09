"""Statements of an earlier run that the server is still at work on.

Where DDL is not transactional it outlives the client that sent it, and nothing in the catalog shows it until
it is done. It has to be over before a run looks at anything: its locks would be taken for a stubborn
transaction's, and whoever reads the table while it waits for its own queues up behind it. It ends by itself:
its waits are bounded.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from migrator.context import Progress
from migrator.sessions import Sessions

_PAUSES = (0.1, 2.0)


def wait_for_leftovers(sessions: Sessions, progress: Progress, check: Callable[[], None]) -> bool:
    """Wait until there is none; says so once.

    Args:
        sessions: of the run that wants to begin.
        progress: whom to tell what is waited for.
        check: called between two looks.

    Returns:
        Whether there was one.
    """
    pause, most = _PAUSES
    waited = False
    while True:
        with sessions.open() as connection:
            found = sessions.dialect.leftovers(connection)
        if not found:
            return waited
        if not waited:
            who = ", ".join(map(str, found))
            progress.note(f"waiting: the server is still at work for an earlier run (session {who})")
        waited = True
        check()
        time.sleep(pause)
        pause = min(most, pause * 1.5)
