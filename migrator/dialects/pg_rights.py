"""What a role may do with the parent where the policies make parents."""

from __future__ import annotations

from typing import Final

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from migrator.catalog import Facts
from migrator.dialects.pg_words import quote, table_sql
from migrator.dialects.telling import Problem, no_parents

_RIGHTS: Final = """
SELECT current_user AS role, has_table_privilege(c.oid, 'DELETE') AS delete,
       coalesce(bool_and(has_column_privilege(c.oid, a.attnum, 'SELECT'))
                FILTER (WHERE a.attname = ANY(CAST(:reads AS text[]))), true) AS select,
       coalesce(bool_and(has_column_privilege(c.oid, a.attnum, 'INSERT'))
                FILTER (WHERE a.attname = ANY(CAST(:writes AS text[]))), true) AS insert
FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
WHERE c.oid = to_regclass(:name)::oid GROUP BY c.oid
"""


def lacks_on_parent(
    connection: Connection, facts: Facts, reads: frozenset[str], writes: frozenset[str]
) -> Problem | None:
    """See `Dialect.lacks_on_parent`."""
    name = table_sql(facts.parent.name)
    values = {"name": name, "reads": sorted(reads), "writes": sorted(writes)}
    may = connection.execute(sa.text(_RIGHTS), values).mappings().one()
    asked = ("SELECT", "INSERT", "DELETE") if writes else ("SELECT",)
    lacking = [word for word in asked if not may[word.lower()]]
    if not lacking:
        return None
    return no_parents(f"Role {may['role']}", lacking, facts.parent, name, quote(may["role"]))
