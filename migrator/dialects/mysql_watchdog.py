"""Gives a statement less than a second to get its metadata locks.

`lock_wait_timeout` counts in whole seconds, and for that long every reader and writer of the table queues
behind a waiting ALTER. A second connection ends the statement sooner, if it is still waiting: KILL QUERY
takes it out of the queue within a millisecond. An account may kill its own statements without any
privilege; where it cannot, the server's second is the bound.

Source: our measurements on MySQL 8.0 to 9.7 and MariaDB 10.11 to 11.8.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field

import sqlalchemy as sa
from sqlalchemy.engine import Connection, Engine

_WAITING = """
    SELECT COUNT(*) FROM information_schema.processlist
     WHERE id = :id AND state LIKE 'Waiting for table%' AND info LIKE :marker"""
_LOOK_EVERY = 0.02


@dataclass
class Watchdog:
    """Ends one session's statement when it waits too long.

    Args:
        engine: opens the connection that kills; only once the time is up.
        session: the connection id to watch.
        marker: what a statement of ours begins with; no other is ended.
        seconds: how long the statements of the step may take before one that waits is ended.
        once: look only once, when the time is up: a rebuild that waits then has hardly begun, so
            ending it costs little; its last wait, with all the work done, is not cut short.
    """

    engine: Engine
    session: int
    marker: str
    seconds: float
    once: bool = False
    fired: bool = False
    _over: threading.Event = field(default_factory=threading.Event)

    def watch(self) -> None:
        """Runs in a thread of its own until `stop`."""
        if self._over.wait(self.seconds):
            return
        # What fails here (too many connections, a proxy) costs only the finer bound.
        with suppress(sa.exc.SQLAlchemyError), self.engine.connect() as connection:
            connection.detach()
            while not self._over.is_set():
                if connection.scalar(sa.text(_WAITING), {"id": self.session, "marker": self.marker + "%"}):
                    self.fired = True
                    connection.exec_driver_sql(f"KILL QUERY {self.session}")
                if self.fired or self.once:
                    return
                connection.rollback()
                self._over.wait(_LOOK_EVERY)

    def stop(self) -> None:
        """The statements are done; nothing is killed from here on."""
        self._over.set()


@contextmanager
def bounded(
    connection: Connection, marker: str, milliseconds: int, *, once: bool = False
) -> Iterator[Watchdog]:
    """Watch the statements sent on this connection meanwhile.

    Args:
        connection: in autocommit mode.
        marker: what our statements begin with.
        milliseconds: how long they may take while waiting.
        once: whether only the wait at their beginning is bounded so.
    """
    session = int(connection.exec_driver_sql("SELECT CONNECTION_ID()").scalar_one())
    dog = Watchdog(connection.engine, session, marker, milliseconds / 1000, once)
    thread = threading.Thread(target=dog.watch, name="migrator-watchdog", daemon=True)
    thread.start()
    try:
        yield dog
    finally:
        dog.stop()
        # A KILL still on its way would hit whatever is sent next.
        thread.join()
