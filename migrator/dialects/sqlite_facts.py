"""Reads what `sqlite_rebuild` wants to know of a table."""

from __future__ import annotations

from migrator.dialects.sqlite_rebuild import TableText
from migrator.dialects.sqlite_statement import Execute
from migrator.dialects.sqlite_tokens import quote_text
from migrator.errors import UnknownTableError


def read_table(execute: Execute, name: str) -> TableText:
    """Read a table of the main schema.

    Args:
        execute: runs one statement and returns its rows.
        name: the table, in any case.

    Raises:
        UnknownTableError: there is no such table.
    """
    literal = quote_text(name)
    own = execute(
        "SELECT type, name, sql FROM main.sqlite_master "
        f"WHERE tbl_name = {literal} COLLATE NOCASE AND sql IS NOT NULL ORDER BY rowid"
    )
    tables = [(name, sql) for type_, name, sql in own if type_ == "table"]
    if not tables:
        raise UnknownTableError(f"There is no table {name!r}.")
    columns = execute(f"SELECT name, pk, hidden FROM pragma_table_xinfo({literal}, 'main') ORDER BY cid")
    origins = execute(f"SELECT origin FROM pragma_index_list({literal}, 'main')")
    return TableText(
        *tables[0],
        columns=tuple(column for column, _, hidden in columns if hidden == 0),
        indexes=tuple((name, sql) for type_, name, sql in own if type_ == "index"),
        triggers=tuple((name, sql) for type_, name, sql in own if type_ == "trigger"),
        # A primary key without an index of its own is the rowid; `INTEGER PRIMARY KEY DESC` and
        # WITHOUT ROWID have one (https://sqlite.org/lang_createtable.html#rowid).
        has_rowid_alias=any(pk for _, pk, _ in columns) and ("pk",) not in map(tuple, origins),
    )
