"""What SQLAlchemy does not reflect: constraints that are there and not validated, indexes not valid.

A NOT VALID foreign key reflects like any other, so that a comparison of models and database finds no
difference while old rows may still be wrong (phoenix_kit 733: such constraints stay so for ever).
"""

from __future__ import annotations

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from migrator.dialects.pg_partition_indexes import partitions_indexed
from migrator.dialects.pg_words import quote
from migrator.dialects.telling import Unproved
from migrator.reference import TableName

# The top-level row only: below 18 a partition's row stays unvalidated for ever (conparentid <> 0).
_QUERY = sa.text("""
    SELECT 'constraint', conname, contype::text, pg_get_constraintdef(oid), 0,
           CASE contype WHEN 'n' THEN (SELECT attname::text FROM pg_attribute
                                        WHERE attrelid = conrelid AND attnum = conkey[1]) ELSE '' END
      FROM pg_constraint
     WHERE conrelid = to_regclass(:name)::oid AND NOT convalidated AND conparentid = 0
       AND contype IN ('f', 'c', 'n')
    UNION ALL
    SELECT 'index', c.relname, '', '', CASE c.relkind WHEN 'I' THEN c.oid ELSE 0 END, ''
      FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid
     WHERE i.indrelid = to_regclass(:name)::oid AND NOT i.indisvalid
     ORDER BY 1, 2
""")
_NOT_ENFORCED = " NOT ENFORCED"  # 18 and later
_WHAT = {"f": "foreign key", "c": "check", "n": "not-null constraint", "": "index"}


def unproved(connection: Connection, table: TableName, quoted: str) -> list[Unproved]:
    """The constraints and indexes of a table that are there and not proved.

    Args:
        quoted: the table's name as SQL.
    """
    rows = connection.execute(_QUERY, {"name": quoted}).all()
    return [
        Unproved(
            table,
            kind,
            str(name),
            _WHAT[contype],
            partitions_indexed(connection, index) if index else _enforced(quoted, str(name), definition),
            column,
        )
        for kind, name, contype, definition, index, column in rows
    ]


def _enforced(table: str, name: str, definition: str) -> tuple[str, ...]:
    """What has a constraint that checks nothing check new rows: VALIDATE will not have it (55000), and ALTER
    CONSTRAINT .. ENFORCED would read the table with everybody locked out. It remains to be validated."""
    if not definition.endswith(_NOT_ENFORCED):
        return ()
    named = f"CONSTRAINT {quote(name)}"
    there = definition.removesuffix(_NOT_ENFORCED)
    return (f"ALTER TABLE {table} DROP {named}, ADD {named} {there} NOT VALID",)
