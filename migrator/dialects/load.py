"""How busy a server and its replicas are, as far as its kind tells. What is here refuses: a throttle that
cannot be read protects nobody, so it is said before the first change."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy.engine import Connection

from migrator.errors import PreflightRefused
from migrator.reference import TableName


@dataclass(frozen=True)
class Replica:
    """One server that follows another.

    Args:
        name: what it goes by.
        seconds: how far behind it is by the server's word; None where that says nothing.
        position: how far it has come in the stream of changes, in bytes; None where that is not known.
        stopped: it does not apply what it gets.
    """

    name: str
    seconds: float | None = None
    position: int | None = None
    stopped: bool = False


class Load:
    """The base: nothing can be read."""

    def replicas(self, connection: Connection) -> list[Replica]:
        """Those that follow the server we are connected to, by its word.

        Raises:
            PreflightRefused: it does not know, or does not tell us.
        """
        raise PreflightRefused(
            "max_replica_lag is set, and this server does not know how far behind its replicas are.",
            hint="Name them with -x replica_url=, or leave max_replica_lag out.",
        )

    def position(self, connection: Connection) -> int | None:
        """How far the stream of changes goes here, in bytes; None where there is no such number."""
        return None

    def as_replica(self, connection: Connection, name: str) -> list[Replica]:
        """How the server we are connected to follows: once for each server it follows.

        Raises:
            PreflightRefused: it follows none, or does not tell us.
        """
        raise PreflightRefused(
            f"replica_url names {name}, which is no replica that can be asked.",
            hint="Name a PostgreSQL, MySQL or MariaDB replica, or leave replica_url out.",
        )

    def active_sessions(self, connection: Connection) -> int:
        """How many other sessions are at work on the server.

        Raises:
            PreflightRefused: it does not tell us.
        """
        raise _no("max_active_sessions")

    def lock_waiters(self, connection: Connection) -> int:
        """How many sessions wait for a lock.

        Raises:
            PreflightRefused: the server does not tell us.
        """
        raise _no("max_lock_waiters")

    def vacuumed(self, connection: Connection, table: TableName) -> str | None:
        """Which session of the server's own tidies this table up now; None where none does.

        Raises:
            PreflightRefused: the server has no such thing.
        """
        raise _no("wait_for_autovacuum")


def _no(setting: str) -> PreflightRefused:
    return PreflightRefused(f"{setting} cannot be read on this database.", hint=f"Leave {setting} out.")
