"""How busy a MySQL or MariaDB server and its replicas are.

A source knows nothing of how far behind its replicas are: they are asked themselves.
Source: https://dev.mysql.com/doc/refman/8.4/en/show-replica-status.html,
https://mariadb.com/kb/en/show-replica-status/.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy.engine import Connection

from migrator.dialects.load import Load, Replica
from migrator.dialects.mysql_grants import account, grants
from migrator.errors import PreflightRefused

_RUNNING: Final = "SHOW GLOBAL STATUS LIKE 'Threads\\_running'"
# Two kinds of waiting that do not meet: InnoDB's for rows, the server's for metadata.
_WAITING: Final = """
SELECT (SELECT COUNT(*) FROM information_schema.innodb_trx WHERE trx_state = 'LOCK WAIT')
     + (SELECT COUNT(*) FROM information_schema.processlist WHERE state LIKE 'Waiting for %lock')"""


@dataclass(frozen=True)
class MySQLLoad(Load):
    """By status variables and SHOW REPLICA STATUS.

    Args:
        mariadb: the server is MariaDB.
    """

    mariadb: bool = False

    def as_replica(self, connection: Connection, name: str) -> list[Replica]:
        """By its own status. NULL seconds mean that it does not apply, or that it does not get anything."""
        rows = _execute(connection, self._statement(connection)).mappings().all()
        if not rows:
            raise PreflightRefused(
                f"replica_url names {name}, which is no replica: its status is empty.",
                hint="Name a replica of this server.",
            )
        return [self._replica(row, name) for row in rows]

    def _statement(self, connection: Connection) -> str:
        if self.mariadb:
            return "SHOW ALL SLAVES STATUS"
        version = connection.dialect.server_version_info or ()
        return "SHOW REPLICA STATUS" if tuple(version) >= (8, 0, 22) else "SHOW SLAVE STATUS"

    def _replica(self, row: Mapping[Any, Any], name: str) -> Replica:
        old = "Seconds_Behind_Master"
        behind = row[old] if old in row else row["Seconds_Behind_Source"]
        return Replica(name, stopped=True) if behind is None else Replica(name, float(behind))

    def active_sessions(self, connection: Connection) -> int:
        """Threads at work, without this one; those that feed replicas count too."""
        return max(0, int(_execute(connection, _RUNNING).one()[1]) - 1)

    def lock_waiters(self, connection: Connection) -> int:
        """Sessions that wait for a row or a metadata lock."""
        may = grants(connection)
        if may is not None and not may.everywhere("PROCESS"):
            who = account(connection)
            raise PreflightRefused(
                f"max_lock_waiters is set, and account {who} lacks PROCESS: it sees no session but its own.",
                hint=f"GRANT PROCESS ON *.* TO {who}; or leave max_lock_waiters out.",
            )
        return int(_execute(connection, _WAITING).scalar_one())


def _execute(connection: Connection, statement: str) -> Any:
    return connection.exec_driver_sql(statement, execution_options={"no_parameters": True})
