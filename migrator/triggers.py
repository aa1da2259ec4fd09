"""Keeping the user's triggers from changing what we put back.

PostgreSQL's owner of a table may switch its triggers off, inside the batch's transaction: nobody else sees
it, because the lock that it takes (SHARE ROW EXCLUSIVE) keeps other writers out until the batch is over. So
it is done only for a batch in which a trigger was seen to change a row. The triggers of foreign keys are the
server's own and stay on. MySQL, MariaDB and SQLite have no such switch for us.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from migrator.dialects import Dialect
from migrator.plainsql import run_plain
from migrator.reference import TableName

#: Where there is such a switch: the triggers that are on and that we may switch.
_ENABLED = {
    "postgresql": sa.text("""
    SELECT t.tgname, t.tgenabled = 'A' AS always
    FROM pg_trigger t JOIN pg_class c ON c.oid = t.tgrelid
    WHERE t.tgrelid = CAST(:name AS regclass) AND NOT t.tgisinternal AND t.tgenabled IN ('O', 'A')
      AND pg_has_role(c.relowner, 'USAGE')
    ORDER BY t.tgname""")
}


@contextmanager
def silenced(connection: Connection, dialect: Dialect, table: TableName) -> Iterator[bool]:
    """Switch the user's triggers of a table off within the transaction that runs, and on again as they were.

    Yields:
        Whether that was done; False where the server or our rights do not allow it.
    """
    query = _ENABLED.get(dialect.family)
    if query is None:
        yield False
        return
    name = dialect.table_sql(table)
    found = connection.execute(query, {"name": name}).all()
    for row in found:
        run_plain(connection, f"ALTER TABLE {name} DISABLE TRIGGER {dialect.quote(row.tgname)}")
    yield bool(found)
    # Not in a `finally`: after an error the savepoint around us takes it all back.
    for row in found:
        always = "ALWAYS " if row.always else ""
        run_plain(connection, f"ALTER TABLE {name} ENABLE {always}TRIGGER {dialect.quote(row.tgname)}")
