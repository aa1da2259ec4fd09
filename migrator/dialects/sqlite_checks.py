"""The queries with which a rebuild proves that it changed what it was asked to, and nothing else."""

from __future__ import annotations

from collections.abc import Iterable

from migrator.dialects.sqlite_tokens import quote_text

_COLUMNS = "type, name, tbl_name, sql"


def schema_rows(table: str) -> str:
    """Every row of the schema but the table's own, with its text."""
    # sqlite_master is sqlite_schema under the name that releases before 3.33 know, too.
    return (
        f"SELECT {_COLUMNS} FROM main.sqlite_master "
        f"WHERE NOT (type = 'table' AND name = {quote_text(table)} COLLATE NOCASE)"
    )


def unexpected_schema(table: str, expected: Iterable[tuple[str, str, str]]) -> str:
    """What differs between the table's definition, indexes and triggers and what is `expected`.

    Args:
        table: its name.
        expected: type, name and text of each. Indexes without a text belong to constraints.
    """
    values = ", ".join(f"({', '.join(map(quote_text, row))})" for row in expected)
    actual = (
        "SELECT type, name, sql FROM main.sqlite_master "
        f"WHERE tbl_name = {quote_text(table)} COLLATE NOCASE AND sql IS NOT NULL"
    )
    return (
        f"SELECT * FROM ({actual} EXCEPT VALUES {values}) "
        f"UNION ALL SELECT * FROM (SELECT * FROM (VALUES {values}) EXCEPT {actual})"
    )


def foreign_key_faults(table: str) -> str:
    """How many rows break each foreign key of the table, and of those that refer to it.

    Keys are told apart by child, parent and columns: the ids of `foreign_key_check` shift when a key
    is added. Counts before and after are enough, because a rebuild copies every row.
    """
    name = quote_text(table)
    keys_of = "pragma_foreign_key_list({}, 'main')"
    involved = (
        "SELECT name FROM main.sqlite_master AS m WHERE type = 'table' AND "
        f"(name = {name} COLLATE NOCASE OR EXISTS (SELECT 1 FROM {keys_of.format('m.name')} AS k "
        f'WHERE k."table" = {name} COLLATE NOCASE))'
    )
    broken = (
        'SELECT c."table" AS child, c.parent AS parent, c.fkid AS fkid, count(*) AS faults '
        f"FROM ({involved}) AS t, pragma_foreign_key_check(t.name, 'main') AS c GROUP BY 1, 2, 3"
    )
    columns = (
        "SELECT group_concat(quote(\"from\"), ', ') FROM "
        f'(SELECT k."from" FROM {keys_of.format("b.child")} AS k WHERE k.id = b.fkid ORDER BY k.seq)'
    )
    # Two keys on the same columns, an unnamed one and ours, are one fault, not two.
    return (
        f"SELECT child, parent, columns, max(faults) AS faults FROM "
        f"(SELECT child, parent, ({columns}) AS columns, faults FROM ({broken}) AS b) GROUP BY 1, 2, 3"
    )
