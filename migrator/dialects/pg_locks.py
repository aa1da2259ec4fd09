"""Who stands in the way: the sessions whose locks conflict with the ones a step is going to ask for.

Sources: https://www.postgresql.org/docs/current/view-pg-locks.html and `pg_stat_activity`. A role
without `pg_read_all_stats` sees other users' process ids and nothing of their state; an autovacuum
worker then shows as a process without a user.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, Literal

import sqlalchemy as sa
from sqlalchemy.engine import Connection, RowMapping

from migrator.dialects.pg_words import Mode, conflicting, literal, table_sql
from migrator.dialects.telling import Blocker
from migrator.reference import TableName

# Partitions count as their table: a lock on the whole is taken on each of them. A prepared
# transaction's locks have no process; they are found through its lock on itself. The server spells
# out in the query's text that a vacuum is against wraparound; where we may not read that, the
# table's age tells.
_HOLDERS: Final = """
WITH RECURSIVE wanted AS (
  SELECT to_regclass(:table)::oid AS oid
  UNION SELECT i.inhrelid FROM pg_inherits i JOIN wanted w ON i.inhparent = w.oid
), held AS (
  SELECT l.pid, l.virtualtransaction, l.mode, c.relname, c.relfrozenxid
  FROM pg_locks l JOIN wanted w ON w.oid = l.relation JOIN pg_class c ON c.oid = l.relation
  WHERE l.locktype = 'relation' AND l.granted AND l.mode = ANY(:modes)
    AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
    AND l.pid IS DISTINCT FROM pg_backend_pid()
)
SELECT h.pid, h.mode, h.relname AS table, coalesce(a.application_name, '') AS application,
       a.state, a.backend_type = 'autovacuum worker' OR (a.pid IS NOT NULL AND a.usesysid IS NULL) AS vacuum,
       CASE WHEN a.backend_type = 'autovacuum worker'
            THEN a.query LIKE '%(to prevent wraparound)'
            ELSE age(h.relfrozenxid) > current_setting('autovacuum_freeze_max_age')::bigint END AS wraparound,
       NULL AS gid, to_char(a.query_start, 'HH24:MI:SS') AS asked,
       extract(epoch FROM clock_timestamp() - coalesce(a.xact_start, a.query_start)) AS age
FROM held h JOIN pg_stat_activity a ON a.pid = h.pid
UNION ALL
SELECT NULL, h.mode, h.relname, 'prepared transaction', 'prepared', false, false, p.gid, NULL,
       extract(epoch FROM clock_timestamp() - p.prepared)
FROM held h
JOIN pg_locks t ON t.virtualtransaction = h.virtualtransaction AND t.locktype = 'transactionid'
  AND t.pid IS NULL
JOIN pg_prepared_xacts p ON p.transaction = t.transactionid
WHERE h.pid IS NULL
"""

# CREATE and DROP INDEX CONCURRENTLY also wait for every older snapshot in the database.
_SNAPSHOTS: Final = """
SELECT a.pid, 'a snapshot' AS mode, NULL AS table, coalesce(a.application_name, '') AS application,
       a.state, false AS vacuum, false AS wraparound, NULL AS gid,
       to_char(a.query_start, 'HH24:MI:SS') AS asked,
       extract(epoch FROM clock_timestamp() - a.xact_start) AS age
FROM pg_stat_activity a
WHERE a.datname = current_database() AND a.pid <> pg_backend_pid() AND a.backend_xmin IS NOT NULL
  AND a.backend_type = 'client backend' AND a.xact_start < clock_timestamp() - interval '1 second'
"""

_EVERY_MODE: Final[Mode] = "ACCESS EXCLUSIVE"


def holders(connection: Connection, locks: Iterable[tuple[TableName, Mode]]) -> list[Blocker]:
    """The sessions whose granted locks conflict with these, oldest first, each once.

    Args:
        connection: any connection to the database; it is told apart from the others by its process.
        locks: each table with the lock that is wanted on it.
    """
    rows: list[RowMapping] = []
    for table, mode in locks:
        values = {"table": table_sql(table), "modes": list(conflicting(mode))}
        rows += connection.execute(sa.text(_HOLDERS), values).mappings().all()
    return _blockers(rows)


def snapshot_holders(connection: Connection) -> list[Blocker]:
    """The sessions whose snapshots a CONCURRENTLY has to wait out, oldest first."""
    return _blockers(connection.execute(sa.text(_SNAPSHOTS)).mappings().all())


def any_lock(tables: Iterable[TableName]) -> list[tuple[TableName, Mode]]:
    """Every lock on these tables, as what conflicts with the strongest one."""
    return [(table, _EVERY_MODE) for table in tables]


def _blockers(rows: Iterable[RowMapping]) -> list[Blocker]:
    found: dict[str, Blocker] = {}
    for row in rows:
        pid = str(row["pid"] if row["gid"] is None else row["gid"])
        held = row["mode"] + (f" on {row['table']}" if row["table"] else "")
        before = found.get(pid)
        if before is not None and held in before.what:
            continue
        asked = f"query begun at {row['asked']}" if row["asked"] else None
        what = f"{before.what}, {held}" if before else ", ".join(filter(None, (row["state"], asked, held)))
        kind, age = _kind(row), max(float(row["age"] or 0), 0.0)
        found[pid] = Blocker(pid, row["application"], age, what, kind, _end(pid, kind))
    return sorted(found.values(), key=lambda blocker: -blocker.age_seconds)


def _end(pid: str, kind: str) -> str:
    if kind == "prepared":
        return f"COMMIT PREPARED {literal(pid)}; or ROLLBACK PREPARED {literal(pid)};"
    return f"SELECT pg_terminate_backend({pid});" if kind == "session" else ""


def _kind(row: RowMapping) -> Literal["session", "autovacuum", "wraparound", "prepared"]:
    if row["gid"] is not None:
        return "prepared"
    if row["vacuum"]:
        return "wraparound" if row["wraparound"] else "autovacuum"
    return "session"
