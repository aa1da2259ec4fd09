"""How busy a PostgreSQL server and its standbys are.

`replay_lag` is NULL once a standby has caught up and nothing happens, stays at its last value for a while
after that, and is NULL again on servers whose tracker has lost the thread while replay is paused. So the
position is read as well; who has come as far as we is not behind, whatever the column says.

Source: https://www.postgresql.org/docs/current/monitoring-stats.html (pg_stat_replication).
"""

from __future__ import annotations

from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from migrator.dialects.load import Load, Replica
from migrator.dialects.pg_locks import holders
from migrator.dialects.pg_sessions import snapshot
from migrator.errors import PreflightRefused
from migrator.reference import TableName

# Without replay_lsn it only keeps the log: pg_receivewal, a base backup on its way.
_REPLICAS: Final = """
SELECT coalesce(nullif(application_name, ''), 'replica') || coalesce(' at ' || client_addr, '') AS name,
       extract(epoch FROM replay_lag) AS seconds,
       pg_wal_lsn_diff(replay_lsn, '0/0') AS position,
       replay_lsn >= pg_current_wal_lsn() AS level
FROM pg_stat_replication WHERE replay_lsn IS NOT NULL"""
_POSITION: Final = "SELECT pg_wal_lsn_diff(pg_current_wal_lsn(), '0/0')"
_AS_REPLICA: Final = """
SELECT pg_is_in_recovery(), pg_wal_lsn_diff(pg_last_wal_replay_lsn(), '0/0')"""
_ACTIVE: Final = """
SELECT count(*) FROM pg_stat_activity
WHERE state = 'active' AND backend_type = 'client backend' AND pid <> pg_backend_pid()"""
_WAITING: Final = """
SELECT count(*) FROM pg_stat_activity
WHERE wait_event_type = 'Lock' AND state = 'active' AND backend_type = 'client backend'
  AND datname = current_database()"""
_SEES_OTHERS: Final = "SELECT pg_has_role(current_user, 'pg_read_all_stats', 'USAGE'), current_user"


class PostgreSQLLoad(Load):
    """By the statistics views, which tell a role without pg_read_all_stats nothing of others."""

    def replicas(self, connection: Connection) -> list[Replica]:
        """The standbys and subscribers of `pg_stat_replication`."""
        self._check(connection, "max_replica_lag")
        with snapshot(connection):
            rows = connection.execute(sa.text(_REPLICAS)).all()
        return [
            Replica(row.name, 0.0 if row.level else _number(row.seconds), int(row.position)) for row in rows
        ]

    def position(self, connection: Connection) -> int | None:
        """Of the write-ahead log."""
        with snapshot(connection):
            return int(connection.execute(sa.text(_POSITION)).scalar_one())

    def as_replica(self, connection: Connection, name: str) -> list[Replica]:
        """How far a standby has replayed. Its clock says nothing: it stands while nobody writes."""
        with snapshot(connection):
            following, position = connection.execute(sa.text(_AS_REPLICA)).one()
        if not following or position is None:
            raise PreflightRefused(
                f"replica_url names {name}, which is no standby.", hint="Name a standby of this server."
            )
        return [Replica(name, None, int(position))]

    def active_sessions(self, connection: Connection) -> int:
        """Clients of any database in the middle of a statement, without this one."""
        self._check(connection, "max_active_sessions")
        return self._count(connection, _ACTIVE)

    def lock_waiters(self, connection: Connection) -> int:
        """Clients of this database that wait for a lock of the lock manager's: a row, a table."""
        self._check(connection, "max_lock_waiters")
        return self._count(connection, _WAITING)

    def vacuumed(self, connection: Connection, table: TableName) -> str | None:
        """An autovacuum or autoanalyze holds SHARE UPDATE EXCLUSIVE on what it works on."""
        with snapshot(connection):
            found = holders(connection, [(table, "SHARE UPDATE EXCLUSIVE")])
        workers = [each for each in found if each.kind in ("autovacuum", "wraparound")]
        return f"process {workers[0].pid}, {workers[0].age_seconds:.0f} s" if workers else None

    def _count(self, connection: Connection, query: str) -> int:
        with snapshot(connection):
            return int(connection.execute(sa.text(query)).scalar_one())

    def _check(self, connection: Connection, setting: str) -> None:
        with snapshot(connection):
            sees, role = connection.execute(sa.text(_SEES_OTHERS)).one()
        if not sees:
            raise PreflightRefused(
                f"{setting} is set, and role {role} sees nothing of other sessions and replicas.",
                hint=f"GRANT pg_read_all_stats TO {role}; or leave {setting} out.",
            )


def _number(value: Any) -> float | None:
    return None if value is None else float(value)
