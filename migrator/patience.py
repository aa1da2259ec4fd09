"""How often a batch that meets a lock is tried again, and what is said when that was too often."""

from __future__ import annotations

import time
from collections.abc import Callable

import sqlalchemy as sa

from migrator.dialects import Dialect
from migrator.errors import LockNotObtained

# A batch that meets a lock is tried this often in a row, by its callers at half the size each time.
ATTEMPTS = 12


def wait_or_give_up(
    dialect: Dialect, error: sa.exc.DBAPIError, failures: int, left: Callable[[], str]
) -> None:
    """Rest before the next attempt at a batch, longer each time and 5 s at most.

    Args:
        dialect: tells a lock from everything else.
        error: what ended the attempt; its transaction is undone.
        failures: attempts in a row that failed, this one among them.
        left: whose rows stay locked and how many are left, asked for only when it is said.

    Raises:
        sqlalchemy.exc.DBAPIError: this error, where it is neither a lock timeout nor a deadlock.
        LockNotObtained: this was the last attempt.
    """
    if dialect.verdict(error) not in ("lock-timeout", "deadlock"):
        raise error
    if failures >= ATTEMPTS:
        raise LockNotObtained(
            left(), hint="Look for long transactions, then run the same command again: it goes on."
        ) from error
    time.sleep(min(0.1 * 2**failures, 5.0))
