"""An INVALID index of a partitioned table: what gives it an index on each partition, writers at work.

It is INVALID until it has one on every partition, all of them valid, and REINDEX does not change that: the
server looks only when one is attached (manual, 5.12.2.2).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from migrator.dialects.pg_words import quote
from migrator.reference import short_name

_INDEX = sa.text("""
    SELECT i.indrelid, n.nspname, c.relname, i.indisunique, pg_get_indexdef(c.oid),
           format('CREATE %sINDEX %I ON ONLY %I.%I ', CASE WHEN i.indisunique THEN 'UNIQUE ' ELSE '' END,
                  c.relname, n.nspname, t.relname)
      FROM pg_index i
      JOIN pg_class c ON c.oid = i.indexrelid
      JOIN pg_class t ON t.oid = i.indrelid
      JOIN pg_namespace n ON n.oid = c.relnamespace
     WHERE c.oid = :index
""")

# The partitions of a table that can have an index, each with the one that is attached to the table's, if any.
_PARTITIONS = sa.text("""
    SELECT t.oid, n.nspname, t.relname, t.relkind = 'p', coalesce(i.indexrelid, 0),
           coalesce(i.indisvalid, false), (SELECT relname FROM pg_class WHERE oid = i.indexrelid)
      FROM pg_inherits part
      JOIN pg_class t ON t.oid = part.inhrelid AND t.relkind <> 'f'
      JOIN pg_namespace n ON n.oid = t.relnamespace
 LEFT JOIN (pg_index i JOIN pg_inherits up ON up.inhrelid = i.indexrelid AND up.inhparent = :index)
        ON i.indrelid = t.oid
     WHERE part.inhparent = :table
     ORDER BY 2, 3
""")


@dataclass(frozen=True)
class _Definition:
    """How an index is made on a table: what stands before its name and behind the table's."""

    made: str
    rest: str

    def on(self, table: str, name: str, how: str) -> str:
        return f"{self.made} {how} {quote(name)} ON {table} {self.rest}"


def partitions_indexed(connection: Connection, index: int) -> tuple[str, ...]:
    """The statements that build what is missing and attach it, each for itself and in no transaction.

    Locks, when they are run: SHARE UPDATE EXCLUSIVE on a partition while its index is built; SHARE on one
    that is partitioned itself, and ACCESS EXCLUSIVE on an index that is attached, for a moment.

    Args:
        index: its oid.
    """
    table, schema, name, unique, whole, head = connection.execute(_INDEX, {"index": index}).one()
    rest = str(whole).removeprefix(str(head))
    definition = _Definition(f"CREATE {'UNIQUE ' if unique else ''}INDEX", rest)
    missing = tuple(_below(connection, definition, (table, index), (schema, name)))
    # Nothing to attach that could have it looked at: the partition that lacked one is gone.
    return missing or (f"DROP INDEX {quote(schema, name)}", str(whole).replace(" ON ONLY ", " ON ", 1))


def _below(
    connection: Connection, definition: _Definition, oids: tuple[int, int], named: tuple[str, str]
) -> Iterator[str]:
    """What the partitions of one table need, each partition's own before it is attached.

    Args:
        oids: of the table and of its index, 0 where that is to be made.
        named: the schema and name of the index.
    """
    partitions = connection.execute(_PARTITIONS, {"table": oids[0], "index": oids[1]}).all()
    for oid, schema, table, parted, attached, valid, called in partitions:
        if valid:
            continue
        own = (schema, called or short_name(named[1], table))
        if parted:
            if not attached:
                yield definition.on(f"ONLY {quote(schema, table)}", own[1], "IF NOT EXISTS")
            yield from _below(connection, definition, (oid, attached), own)
        elif attached:
            yield f"REINDEX INDEX CONCURRENTLY {quote(*own)}"
        else:
            yield definition.on(quote(schema, table), own[1], "CONCURRENTLY IF NOT EXISTS")
        yield f"ALTER INDEX {quote(*named)} ATTACH PARTITION {quote(*own)}"
