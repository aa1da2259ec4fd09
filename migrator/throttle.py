"""Why the batches are to wait: replicas that fall behind, a server that is busy.

Asked once a second between two batches, when nothing of ours is open. The first look decides whether the
throttles can be read at all, and refuses where they cannot; later on what cannot be read holds the batches,
because a replica that does not answer is no replica that keeps up.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import URL, Connection

from migrator.connect import connect, shown
from migrator.connect_failures import without_password
from migrator.dialects import dialect_for
from migrator.dialects.load import Replica
from migrator.dialects.loads import load_of
from migrator.errors import MigratorError, PreflightRefused
from migrator.reference import TableName
from migrator.sessions import Sessions
from migrator.settings import database_url

#: So long a replica may take to answer, in seconds.
_ANSWER_WITHIN = 10


@dataclass
class Trail:
    """When the stream of changes came past which position: what a replica has not come to yet was written
    at least so long ago. It needs no clock but ours."""

    passed: deque[tuple[float, int]] = field(default_factory=lambda: deque(maxlen=20_000))

    def mark(self, position: int) -> None:
        """The source is there now."""
        if not self.passed or position > self.passed[-1][1]:
            self.passed.append((time.monotonic(), position))

    def behind(self, position: int) -> float:
        """For how long there has been something that a replica at this position has not."""
        missing = (when for when, there in self.passed if there > position)
        first = next(missing, None)
        return 0.0 if first is None else time.monotonic() - first


@dataclass
class Throttle:
    """The throttles of one run.

    Args:
        sessions: opens connections to the database; the settings say which throttles there are.
        child: the table that is worked on.
        trail: where the server was when.
        readable: whether all of them could be read once.
    """

    sessions: Sessions
    child: TableName
    trail: Trail = field(default_factory=Trail)
    readable: bool = False

    def reason(self) -> str | None:
        """Why the batches are to wait now; None when they may go on.

        Raises:
            PreflightRefused: on the first call: a throttle that is set cannot be read.
        """
        reasons = [reason for gauge in self._gauges() if (reason := self._ask(gauge))]
        self.readable = True
        return "; ".join(reasons) or None

    def _gauges(self) -> Iterator[Callable[[], str | None]]:
        settings = self.sessions.settings
        if settings.max_replica_lag:
            yield self._replicas
        if settings.max_active_sessions:
            yield self._active_sessions
        if settings.max_lock_waiters:
            yield self._lock_waiters
        if settings.wait_for_autovacuum:
            yield self._vacuum

    def _ask(self, gauge: Callable[[], str | None]) -> str | None:
        try:
            return gauge()
        except MigratorError as error:
            if not self.readable:
                raise PreflightRefused(
                    f"A throttle cannot be read: {error.message} Nothing was changed.", hint=error.hint
                ) from error
            return f"a throttle cannot be read: {error.message}"

    # -- gauges --------------------------------------------------------------------------------
    def _active_sessions(self) -> str | None:
        limit = self.sessions.settings.max_active_sessions
        with self.sessions.open() as connection:
            count = load_of(self.sessions.dialect).active_sessions(connection)
        return f"{count} active sessions (max_active_sessions={limit})" if count > limit else None

    def _lock_waiters(self) -> str | None:
        limit = self.sessions.settings.max_lock_waiters
        with self.sessions.open() as connection:
            count = load_of(self.sessions.dialect).lock_waiters(connection)
        return f"{count} sessions wait for locks (max_lock_waiters={limit})" if count > limit else None

    def _vacuum(self) -> str | None:
        with self.sessions.open() as connection:
            who = load_of(self.sessions.dialect).vacuumed(connection, self.child)
        return f"autovacuum at work on {self.child} ({who})" if who else None

    def _replicas(self) -> str | None:
        """The worst of them; a server that nobody follows has lost its replicas, not caught up with."""
        settings = self.sessions.settings
        with self.sessions.open() as connection:
            load = load_of(self.sessions.dialect)
            position = load.position(connection)
            if position is not None:
                self.trail.mark(position)
            found = [] if settings.replica_url else load.replicas(connection)
        for url in settings.replica_url.split():
            found += self._asked(database_url(url))
        if not found:
            raise PreflightRefused(
                "max_replica_lag is set, and no replica is connected.",
                hint="Name replicas with -x replica_url=, or leave max_replica_lag out.",
            )
        worst = max(found, key=self._seconds)
        if worst.stopped:
            return f"replica {worst.name} does not apply changes"
        seconds = self._seconds(worst)
        if seconds <= settings.max_replica_lag:
            return None
        return f"replica lag {seconds:.0f} s ({worst.name}; max_replica_lag={settings.max_replica_lag:g})"

    def _seconds(self, replica: Replica) -> float:
        if replica.stopped:
            return float("inf")
        own = 0.0 if replica.position is None else self.trail.behind(replica.position)
        return max(own, replica.seconds or 0.0)

    # -- replicas that are asked themselves ----------------------------------------------------
    def _asked(self, url: URL) -> list[Replica]:
        """A connection for each look: one that was kept would be lost with the replica's restart."""
        if url.get_driver_name() == "pymysql" and "read_timeout" not in url.query:
            url = url.update_query_dict({"read_timeout": str(_ANSWER_WITHIN)})
        name = shown(url)
        try:
            with connect(url) as engine, engine.connect() as connection:
                dialect = dialect_for(connection)
                with dialect.read_only(connection):
                    query = self.sessions.settings.replica_lag_query
                    if query:
                        return [_by_query(connection, query, name)]
                    return load_of(dialect).as_replica(connection, name)
        except sa.exc.DBAPIError as error:
            said = " ".join(without_password(url, str(error.orig)).split())
            raise PreflightRefused(
                f"Replica {name} says: {said}.",
                hint="GRANT REPLICATION CLIENT ON *.* (MariaDB: REPLICA MONITOR), or say replica_lag_query.",
            ) from error


def _by_query(connection: Connection, query: str, name: str) -> Replica:
    """By a heartbeat row, say. No row, or NULL, is no heartbeat."""
    options = {"no_parameters": True}
    row: Any = connection.exec_driver_sql(query, execution_options=options).first()
    if row is None or row[0] is None:
        return Replica(name, stopped=True)
    try:
        return Replica(name, float(row[0]))
    except (TypeError, ValueError):
        raise PreflightRefused(
            f"replica_lag_query gave {row[0]!r} on {name}, which is no number of seconds.",
            hint="For a heartbeat: SELECT TIMESTAMPDIFF(SECOND, MAX(ts), UTC_TIMESTAMP()) FROM heartbeat",
        ) from None
