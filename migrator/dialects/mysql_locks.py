"""Who holds what: metadata locks, open transactions, our own leftovers, the run lock.

Never a query's text in an answer: it may hold values.

Source: https://dev.mysql.com/doc/refman/8.4/en/performance-schema-metadata-locks-table.html,
https://mariadb.com/kb/en/metadata-lock-info-plugin/.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from migrator.dialects.telling import Blocker
from migrator.naming import MARKER
from migrator.reference import TableName

_NAMED = "(l.object_schema = :{0}_database AND l.object_name = :{0}_name)"
_PERFORMANCE_SCHEMA = """
    SELECT t.processlist_id, CONCAT(t.processlist_user, '@', t.processlist_host),
           COALESCE(TIMESTAMPDIFF(SECOND, x.trx_started, NOW()), t.processlist_time, 0),
           CONCAT(GROUP_CONCAT(DISTINCT l.lock_type ORDER BY l.lock_type), ' on ',
                  GROUP_CONCAT(DISTINCT l.object_name ORDER BY l.object_name))
      FROM performance_schema.metadata_locks l
      JOIN performance_schema.threads t ON t.thread_id = l.owner_thread_id
      LEFT JOIN {transactions} x ON x.trx_mysql_thread_id = t.processlist_id
     WHERE l.object_type = 'TABLE' AND l.lock_status = 'GRANTED' AND ({tables})
       AND t.processlist_id <> CONNECTION_ID()
     GROUP BY 1, 2, 3"""
_NO_TRANSACTIONS = "(SELECT NULL AS trx_started, NULL AS trx_mysql_thread_id)"
_PLUGIN = """
    SELECT l.thread_id, CONCAT(p.user, '@', p.host),
           COALESCE(TIMESTAMPDIFF(SECOND, x.trx_started, NOW()), p.time, 0),
           CONCAT(GROUP_CONCAT(DISTINCT l.lock_mode ORDER BY l.lock_mode), ' on ',
                  GROUP_CONCAT(DISTINCT l.object_name ORDER BY l.object_name))
      FROM (SELECT thread_id, lock_mode, table_schema AS object_schema, table_name AS object_name
              FROM information_schema.metadata_lock_info WHERE lock_type = 'Table metadata lock') l
      JOIN information_schema.processlist p ON p.id = l.thread_id
      LEFT JOIN {transactions} x ON x.trx_mysql_thread_id = l.thread_id
     WHERE ({tables}) AND l.thread_id <> CONNECTION_ID()
     GROUP BY 1, 2, 3"""
_TRANSACTIONS = """
    SELECT x.trx_mysql_thread_id, CONCAT(p.user, '@', p.host),
           TIMESTAMPDIFF(SECOND, x.trx_started, NOW()), 'an open transaction, on which tables is not known'
      FROM information_schema.innodb_trx x
      JOIN information_schema.processlist p ON p.id = x.trx_mysql_thread_id
     WHERE x.trx_mysql_thread_id <> CONNECTION_ID() AND p.db = :database"""
_UNCHECKED = """
    SELECT t.processlist_id, CONCAT(t.processlist_user, '@', t.processlist_host),
           COALESCE(t.processlist_time, 0), 'foreign_key_checks is off'
      FROM performance_schema.variables_by_thread v
      JOIN performance_schema.threads t ON t.thread_id = v.thread_id
     WHERE v.variable_name = 'foreign_key_checks' AND v.variable_value = 'OFF'
       AND t.processlist_id <> CONNECTION_ID()"""
_MDL_INSTRUMENT = """
    SELECT enabled FROM performance_schema.setup_instruments WHERE name = 'wait/lock/metadata/sql/mdl'"""
_PLUGIN_ACTIVE = """
    SELECT plugin_status = 'ACTIVE' FROM information_schema.plugins
     WHERE plugin_name = 'METADATA_LOCK_INFO'"""


def holders(
    connection: Connection, database: str | None, tables: Sequence[TableName]
) -> list[Blocker] | None:
    """The sessions with metadata locks on the tables, oldest first; None where neither the performance
    schema nor MariaDB's plugin can be asked."""
    values: dict[str, Any] = {}
    for at, table in enumerate(tables):
        values |= {f"t{at}_database": table.schema or database, f"t{at}_name": table.name}
    named = " OR ".join(_NAMED.format(f"t{at}") for at in range(len(tables)))
    transactions = "information_schema.innodb_trx"
    if _first(connection, _MDL_INSTRUMENT) == "YES":
        queries = [
            _PERFORMANCE_SCHEMA.format(transactions=source, tables=named)
            for source in (transactions, _NO_TRANSACTIONS)
        ]
    elif _first(connection, _PLUGIN_ACTIVE):
        queries = [_PLUGIN.format(transactions=transactions, tables=named)]
    else:
        queries = []
    for query in queries:
        rows = _rows(connection, query, values)
        if rows is not None:
            return _told(rows)
    return None


def open_transactions(connection: Connection, database: str | None) -> list[Blocker]:
    """Every open transaction of sessions in this database, oldest first; whether they are in the way is
    a guess. Without the PROCESS privilege there are none to be seen."""
    rows = _rows(connection, _TRANSACTIONS, {"database": database})
    return _told(rows or ())


def unchecked(connection: Connection) -> list[Blocker]:
    """The sessions that write with foreign_key_checks off, as far as the performance schema says (MySQL):
    whatever stands declared, they can still write an orphan."""
    return _told(_rows(connection, _UNCHECKED, {}) or ())


def leftovers(connection: Connection) -> list[int]:
    """The other sessions in this database that run a statement of ours: an ALTER goes on when its client
    dies. SHOW PROCESSLIST shows the sessions of our own account without any privilege."""
    me, database = connection.exec_driver_sql("SELECT CONNECTION_ID(), DATABASE()").one()
    rows = connection.exec_driver_sql("SHOW FULL PROCESSLIST").all()
    return [
        int(row[0])
        for row in rows
        if row[0] != me and row[3] == database and str(row[7] or "").startswith(MARKER)
    ]


def lock_name(database: str | None, name: str) -> str:
    """GET_LOCK's names are of the whole server and at most 64 characters long."""
    digest = hashlib.sha256(f"{database or ''}\0{name}".encode()).hexdigest()[:40]
    return f"migrator:{digest}"


def try_lock(connection: Connection, name: str) -> bool | None:
    """GET_LOCK with its answer looked at: 1 taken, 0 held by another, NULL or an error (as behind some
    proxies) no lock at all. It outlives the commits that DDL implies and dies with the connection, which
    therefore must not be cut for being idle."""
    try:
        connection.exec_driver_sql("SET SESSION wait_timeout = 31536000")
        database = connection.scalar(sa.text("SELECT DATABASE()"))
        answer = connection.scalar(sa.text("SELECT GET_LOCK(:name, 0)"), {"name": lock_name(database, name)})
        # A proxy may answer 1 on one server connection and send the next query to another.
        held = connection.scalar(
            sa.text("SELECT IS_USED_LOCK(:name) = CONNECTION_ID()"), {"name": lock_name(database, name)}
        )
    except sa.exc.DBAPIError:
        return None
    if answer == 1:
        return True if held else None
    return False if answer == 0 else None


def unlock(connection: Connection, name: str) -> None:
    """Give it back."""
    database = connection.scalar(sa.text("SELECT DATABASE()"))
    connection.execute(sa.text("SELECT RELEASE_LOCK(:name)"), {"name": lock_name(database, name)})


def _first(connection: Connection, query: str) -> Any:
    rows = _rows(connection, query, {})
    return rows[0][0] if rows else None


def _rows(connection: Connection, query: str, values: dict[str, Any]) -> Sequence[Sequence[Any]] | None:
    """The rows, or None where the account may not ask (1142, 1227) or the table is not there."""
    try:
        return connection.execute(sa.text(query), values).all()
    except sa.exc.DBAPIError as error:
        if error.connection_invalidated:
            raise
        return None


def _told(rows: Iterable[Sequence[Any]]) -> list[Blocker]:
    found = [
        Blocker(
            str(row[0]), str(row[1] or ""), float(row[2] or 0), str(row[3] or ""), end=f"KILL {int(row[0])};"
        )
        for row in rows
    ]
    return sorted(found, key=lambda blocker: -blocker.age_seconds)
