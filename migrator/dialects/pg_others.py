"""Whether others are at work on a PostgreSQL server, beside whom we had better take one core and not all.

With parallel workers all cores of a server read for us, and who wants one waits: beside four writers on two
cores the worst of them waited 50 to 200 ms while a table of 2,000,000 rows was counted so, and 16 ms while
one process counted it, in a fifth more time.

Told by what changes: a pool that idles, or the connection from which Alembic has called us, is not at work.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Final

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from migrator.dialects.pg_words import literal

#: What every working session of ours is called, which tells it from others.
APPLICATION: Final = "migrator"

# So long, in seconds, it is watched whether anything changes when nobody has looked before.
_BETWEEN: Final = 0.03
# So long ago, in seconds, is another matter.
_RECENT: Final = 2.0

# Of the sessions of other roles an ordinary one sees that they are there, and neither their kind nor their
# state: at work, for all that is known, where they use this database. Workers of the server's have no role.
_OTHERS: Final = f"""
SELECT extract(epoch FROM max(state_change)) AS changed, extract(epoch FROM clock_timestamp()) AS now,
       coalesce(bool_or(state = 'active' OR state IS NULL AND datname = current_database()), false) AS active
FROM pg_stat_activity
WHERE (backend_type = 'client backend'
       OR backend_type IS NULL AND usesysid IS NOT NULL AND datname = current_database())
  AND pid <> pg_backend_pid()
  AND application_name <> {literal(APPLICATION)} AND pid <> ALL(CAST(:ours AS integer[]))
"""
_MAY: Final = "SELECT has_table_privilege('pg_catalog.pg_stat_activity', 'SELECT')"


@dataclass
class Others:
    """The other sessions as last seen.

    Args:
        changed: when the newest change of any of them was, in seconds by the server's clock.
        looked: when that was seen, by ours; None before the first look.
        may: whether the view may be read. Where it may not, they are taken to be at work.
        working: what was concluded.
        ours: the process numbers of sessions of ours that have not said so. Behind a pooler they are not the
            server's: those sessions are taken for others.
    """

    changed: float = 0.0
    looked: float | None = None
    may: bool = True
    working: bool = False
    ours: set[int] = field(default_factory=set)

    def first_look(self, connection: Connection) -> None:
        """See who is there, so that the next look tells who was at work meanwhile. Sets nothing: a pooler may
        give the session to somebody else."""
        number = getattr(getattr(connection.connection.dbapi_connection, "info", None), "backend_pid", None)
        self.ours |= {number} if isinstance(number, int) else set()
        if self.looked is None:
            self.may = bool(connection.execute(sa.text(_MAY)).scalar_one())
            self._look(connection)

    def at_work(self, connection: Connection) -> bool:
        """Whether one is, or was since the last look, at work. Where nobody has looked before, a moment
        passes between two looks."""
        self.first_look(connection)
        assert self.looked is not None
        rest = self.looked + _BETWEEN - time.monotonic()
        still = rest > 0 and self.working
        if rest > 0 and not still:
            time.sleep(rest)
        # Inside a transaction it stays as it was first read.
        connection.execute(sa.text("SELECT pg_stat_clear_snapshot()"))
        self._look(connection)
        self.working = self.working or still
        return self.working

    def _look(self, connection: Connection) -> None:
        if not self.may:
            self.looked, self.working = time.monotonic(), True
            return
        row = connection.execute(sa.text(_OTHERS), {"ours": sorted(self.ours)}).one()
        changed = float(row.changed or 0)
        moved = self.looked is not None and changed > self.changed and float(row.now) - changed < _RECENT
        self.changed, self.looked, self.working = changed, time.monotonic(), bool(row.active) or moved
