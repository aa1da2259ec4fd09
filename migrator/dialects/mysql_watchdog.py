"""Gives a statement less than a second to get its metadata locks.

`lock_wait_timeout` counts in whole seconds, and for that long every reader and writer of the table queues
behind a waiting ALTER. A second connection ends the statement sooner, if it is still waiting: KILL QUERY
takes it out of the queue within a millisecond, and rolls a rebuild back that waits at its end. An account
may kill its own statements without any privilege; where it cannot, the server's seconds are the bound.

Source: our measurements on MySQL 8.0 to 9.7 and MariaDB 10.11 to 11.8.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field

import sqlalchemy as sa
from sqlalchemy.engine import Connection, Engine

_WAITING = """
    SELECT COUNT(*) FROM information_schema.processlist
     WHERE id = :id AND state LIKE 'Waiting for table%' AND info LIKE :marker"""
_LOOK_EVERY = 0.02
# Over a rebuild of hours, each look at the processlist costs the server something.
_LOOK_LATER = 0.1


@dataclass(frozen=True)
class Patience:
    """How long the statements of a step may wait for metadata locks, in seconds.

    Args:
        first: from the moment they are sent.
        last: for work that takes its time, at most this at its end; 0 for all others.
        share: of the time it has worked, so long may it wait at its end; but never less than `first`.
    """

    first: float
    last: float = 0.0
    share: float = 0.0

    def after(self, worked: float) -> float:
        """How long a wait may be that begins after so many seconds of work."""
        return max(self.first, min(self.last, self.share * worked))


@dataclass
class Watchdog:
    """Ends one session's statement when it waits too long.

    Args:
        engine: opens the connection that kills; only once the first bound is passed.
        session: the connection id to watch.
        marker: what a statement of ours begins with; no other is ended.
        patience: its bounds.
        told: what was done about it, empty while nothing was.
    """

    engine: Engine
    session: int
    marker: str
    patience: Patience
    told: str = ""
    _over: threading.Event = field(default_factory=threading.Event)

    def watch(self) -> None:
        """Runs in a thread of its own until `stop`."""
        began = time.monotonic()
        if self._over.wait(self.patience.first):
            return
        # What fails here (too many connections, a proxy) costs only the finer bound.
        with suppress(sa.exc.SQLAlchemyError), self.engine.connect() as connection:
            connection.detach()
            if self._is_waiting(connection):
                self._end(connection, f"gave way after {self.patience.first * 1000:.0f} ms")
                return
            every = _LOOK_LATER if self.patience.last else _LOOK_EVERY
            while not self._over.wait(every):
                if self._is_waiting(connection):
                    worked = time.monotonic() - began
                    limit = self.patience.after(worked) if self.patience.last else 0.0
                    if self._over.wait(limit):
                        return
                    if self._is_waiting(connection):
                        what = f"{worked:.1f} s of work are lost, " if self.patience.last else ""
                        bound = max(limit, self.patience.first)
                        self._end(connection, f"{what}gave way after {bound * 1000:.0f} ms")
                        return

    def _is_waiting(self, connection: Connection) -> bool:
        values = {"id": self.session, "marker": self.marker + "%"}
        found = bool(connection.scalar(sa.text(_WAITING), values))
        connection.rollback()
        return found

    def _end(self, connection: Connection, told: str) -> None:
        if not self._over.is_set():
            self.told = told
            connection.exec_driver_sql(f"KILL QUERY {self.session}")

    def stop(self) -> None:
        """The statements are done; nothing is killed from here on."""
        self._over.set()


@contextmanager
def bounded(connection: Connection, marker: str, patience: Patience) -> Iterator[Watchdog]:
    """Watch the statements sent on this connection meanwhile.

    Args:
        connection: in autocommit mode.
        marker: what our statements begin with.
        patience: how long they may wait.
    """
    session = int(connection.exec_driver_sql("SELECT CONNECTION_ID()").scalar_one())
    dog = Watchdog(connection.engine, session, marker, patience)
    thread = threading.Thread(target=dog.watch, name="migrator-watchdog", daemon=True)
    thread.start()
    try:
        yield dog
    finally:
        dog.stop()
        # A KILL still on its way would hit whatever is sent next.
        thread.join()
