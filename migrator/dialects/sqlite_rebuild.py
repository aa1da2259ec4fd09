"""Changes a table's definition on SQLite by building the table anew, as an ordered list of SQL.

This is the procedure of https://sqlite.org/lang_altertable.html#otheralter (section 7, "Making
Other Kinds Of Table Schema Changes") with one change of order. The manual builds `new_X`, drops
`X` and renames `new_X` to `X`; that leaves `CREATE TABLE "X"` in the schema whatever the author
wrote. Here the old table steps aside and the new one is created under its final name, so that
`sqlite_schema.sql` holds exactly the text that was asked for.

The manual warns of that order because a rename follows references: foreign keys of other tables,
views and triggers would all point at the table that is about to be dropped. Both halves of its
condition (section 2, "ALTER TABLE RENAME") are therefore met and read back: with
`foreign_keys=OFF` *and* `legacy_alter_table=ON`, a rename touches the table's own rows of the schema
and nothing else. Views and triggers elsewhere need not be dropped; before COMMIT every row of the
schema is compared with what it was.

A legacy rename fails on a table whose own CHECK or index qualifies a column by the table's name
(`CHECK (post.a > 0)`). Such a table is copied out to a bare one and back instead; the planner's
statistics of such a table go with it (run ANALYZE).

Locks: writers wait from BEGIN IMMEDIATE to COMMIT; readers go on (with a rollback journal, until
the changes outgrow the page cache). A crash at any point leaves the database as it was: nothing is
outside the one transaction but settings of the connection.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import islice, pairwise

from migrator.dialects.sqlite_checks import foreign_key_faults, schema_rows, unexpected_schema
from migrator.dialects.sqlite_definition import Definition
from migrator.dialects.sqlite_grammar import parse
from migrator.dialects.sqlite_statement import Rebuild, Statement
from migrator.dialects.sqlite_tokens import DDLError, quote_name, quote_text, same_name, tokenize, unquote

_ROWID_NAMES = ("rowid", "_rowid_", "oid")


@dataclass(frozen=True)
class TableText:
    """A table as `sqlite_schema` has it; `sqlite_facts.read_table` fills it in.

    Args:
        name, sql: of the table, as stored.
        columns: those that can be inserted into: `hidden = 0` in `PRAGMA table_xinfo`.
        indexes, triggers: name and text of those that belong to the table (`tbl_name`), in the order of
            `sqlite_schema.rowid`; indexes without a text belong to constraints and come by themselves.
        has_rowid_alias: whether a column is the rowid (INTEGER PRIMARY KEY).
    """

    name: str
    sql: str
    columns: tuple[str, ...]
    indexes: tuple[tuple[str, str], ...] = ()
    triggers: tuple[tuple[str, str], ...] = ()
    has_rowid_alias: bool = False


def rebuild(
    table: TableText,
    new_sql: str,
    *,
    foreign_keys: bool = False,
    legacy_alter_table: bool = False,
    unchecked: tuple[str, ...] = (),
) -> Rebuild:
    """Plan the rebuild of `table` under the definition `new_sql`.

    Args:
        table: the table as it is now; checked again inside the transaction.
        new_sql: its CREATE TABLE text to be: same name, same columns.
        foreign_keys, legacy_alter_table: what these settings of the connection are restored to.
        unchecked: columns of a foreign key whose orphans are not held against the rebuild, for a
            reference that is enforced for new rows and not validated yet.

    Returns:
        The statements, for one connection in autocommit mode with no transaction open.

    Raises:
        DDLError: the two definitions do not belong together, or the facts miss a column.
    """
    old, new = parse(table.sql), parse(new_sql)
    _require_match(table, old, new)
    aside = "migrator_old_" + table.name
    copies = _qualifies_itself(table)
    return Rebuild(
        table=table.name,
        prepare=_settings(off=True, foreign_keys=False, legacy=None if copies else True),
        transaction=(
            Statement("BEGIN IMMEDIATE", "keep other writers out before anything is read"),
            *_record(table),
            *(_copy_aside if copies else _rename_aside)(table, old, aside),
            Statement(new_sql, "create the table under its own name"),
            *_copy(table, old, aside, table.name),
            *(_restore_sequence(table.name, aside) if old.autoincrement else ()),
            Statement(f"DROP TABLE {_main(aside)}", "drop the old table with its indexes and triggers"),
            *(Statement(sql, f"put index {name} back") for name, sql in table.indexes),
            *(Statement(sql, f"put trigger {name} back") for name, sql in table.triggers),
            *_compare(table, new_sql, unchecked),
            Statement("COMMIT", "all or nothing"),
        ),
        restore=_settings(
            off=False, foreign_keys=foreign_keys, legacy=None if copies else legacy_alter_table
        ),
    )


def _main(name: str) -> str:
    # The schema is always named: a temporary table of the same name would come first.
    return "main." + quote_name(name)


def _require_match(table: TableText, old: Definition, new: Definition) -> None:
    if old.name != table.name or new.name != table.name:
        raise DDLError(f"Table {table.name} cannot be rebuilt from {old.name} to {new.name}.")
    # Generated columns cannot be inserted into. Columns are compared by name and order, so that
    # neither a stale fact nor a hole in our grammar can lose one.
    for definition in (old, new):
        declared = tuple(
            column.name
            for column in definition.columns
            if not any(clause.kind == "generated" for clause in column.clauses)
        )
        if declared != table.columns:
            raise DDLError(
                f"Table {table.name} has the columns {', '.join(table.columns)}; "
                f"a definition declares {', '.join(declared)}."
            )
    if old.without_rowid != new.without_rowid or old.autoincrement != new.autoincrement:
        raise DDLError(f"Table {table.name}: a rebuild changes neither WITHOUT ROWID nor AUTOINCREMENT.")


def _qualifies_itself(table: TableText) -> bool:
    """Whether a column is written `table.column` in the table's own definition or in an index."""
    for sql in (table.sql, *(sql for _, sql in table.indexes)):
        words = [token for token in tokenize(sql) if not token.is_blank]
        for token, following in pairwise(words):
            if following.text == "." and same_name(unquote(token.text), table.name):
                return True
    return False


def _settings(*, off: bool, foreign_keys: bool, legacy: bool | None) -> tuple[Statement, ...]:
    """Set both pragmas and read them back: inside a transaction `foreign_keys` is silently ignored."""
    wanted = [("foreign_keys", foreign_keys)] + ([] if legacy is None else [("legacy_alter_table", legacy)])
    why = {
        "foreign_keys": "no cascade when the old table is dropped",
        "legacy_alter_table": "a rename is not carried into views, triggers and foreign keys",
    }
    found: list[Statement] = []
    for pragma, on in wanted:
        word = "ON" if on else "OFF"
        found += [
            Statement(f"PRAGMA {pragma}={word}", why[pragma] if off else "as it was"),
            Statement(
                f"SELECT {pragma} FROM pragma_{pragma} WHERE {pragma} <> {int(on)}",
                "read it back",
                f"PRAGMA {pragma}={word} was ignored: a transaction is open",
            ),
        ]
    return tuple(found)


def _record(table: TableText) -> tuple[Statement, ...]:
    """Is all as it was read, and what must be the same afterwards?"""
    own = [("table", table.name, table.sql)]
    own += [("index", *row) for row in table.indexes]
    own += [("trigger", *row) for row in table.triggers]
    name = quote_text(table.name)
    return (
        Statement(
            f"SELECT name FROM sqlite_temp_master WHERE name = {name} COLLATE NOCASE "
            f"OR tbl_name = {name} COLLATE NOCASE",
            "look for temporary objects",
            f"table {table.name} is hidden by a temporary object of this connection",
        ),
        Statement(
            unexpected_schema(table.name, own),
            "compare the definition with the one this was planned from",
            f"the definition of {table.name} has changed since it was read",
        ),
        Statement(
            f"CREATE TEMP TABLE migrator_schema AS {schema_rows(table.name)}",
            "remember every other definition",
        ),
        Statement(
            f"CREATE TEMP TABLE migrator_faults AS {foreign_key_faults(table.name)}",
            "remember which foreign keys are broken already",
        ),
    )


def _rename_aside(table: TableText, old: Definition, aside: str) -> tuple[Statement, ...]:
    return (
        Statement(
            f"ALTER TABLE {_main(table.name)} RENAME TO {quote_name(aside)}", "move the old table aside"
        ),
    )


def _copy_aside(table: TableText, old: Definition, aside: str) -> tuple[Statement, ...]:
    """For a table that cannot be renamed. Columns without a type convert nothing."""
    columns = ", ".join(map(quote_name, table.columns))
    name = quote_text(table.name)
    sequence = Statement(
        f"UPDATE main.sqlite_sequence SET name = {quote_text(aside)} WHERE name = {name}",
        "keep the last AUTOINCREMENT value",
    )
    return (
        Statement(f"CREATE TABLE {_main(aside)} ({columns})", "a bare table for the rows"),
        *_copy(table, old, table.name, aside),
        *((sequence,) if old.autoincrement else ()),
        Statement(f"DROP TABLE {_main(table.name)}", "drop the table with its indexes and triggers"),
    )


def _copy(table: TableText, old: Definition, source: str, target: str) -> tuple[Statement, ...]:
    """Copy every row, and its rowid where no column holds it: others may refer to it."""
    names = [quote_name(column) for column in table.columns]
    if not old.without_rowid and not table.has_rowid_alias:
        taken = [column.name for column in old.columns]
        # A table whose columns take all three names has a rowid that nothing can ask for.
        free = (name for name in _ROWID_NAMES if not any(same_name(name, column) for column in taken))
        names = [*islice(free, 1), *names]
    # OR ROLLBACK overrules conflict clauses of the table (a UNIQUE ... ON CONFLICT IGNORE would skip
    # rows without a word) and ends the transaction even where a script goes on after an error.
    # Qualified names cannot be taken for string literals; NOT INDEXED reads in the order of the table.
    return (
        Statement(
            f"INSERT OR ROLLBACK INTO {_main(target)} ({', '.join(names)}) "
            f"SELECT {', '.join('o.' + name for name in names)} FROM {_main(source)} AS o NOT INDEXED",
            "copy every row",
        ),
        Statement(
            f"SELECT 1 WHERE (SELECT count(*) FROM {_main(source)}) "
            f"<> (SELECT count(*) FROM {_main(target)})",
            "compare the row counts",
            f"the copy of {table.name} has not as many rows as the table",
        ),
    )


def _restore_sequence(name: str, aside: str) -> tuple[Statement, ...]:
    """The old row of sqlite_sequence back under its name, instead of the one the copy made."""
    return (
        # The EXISTS keeps this harmless where a script goes on after the transaction was rolled back.
        Statement(
            f"DELETE FROM main.sqlite_sequence WHERE name = {quote_text(name)} "
            f"AND EXISTS (SELECT 1 FROM main.sqlite_master WHERE name = {quote_text(aside)})",
            "forget the AUTOINCREMENT value made by the copy",
        ),
        Statement(
            f"UPDATE main.sqlite_sequence SET name = {quote_text(name)} WHERE name = {quote_text(aside)}",
            "put the last AUTOINCREMENT value back",
        ),
    )


def _compare(table: TableText, new_sql: str, unchecked: tuple[str, ...]) -> tuple[Statement, ...]:
    name = quote_text(table.name)
    signature = quote_text(", ".join(map(quote_text, unchecked)))
    tolerated = f"child = {name} COLLATE NOCASE AND columns = {signature} COLLATE NOCASE"
    return (
        Statement(
            f"SELECT * FROM (SELECT * FROM temp.migrator_schema EXCEPT {schema_rows(table.name)}) UNION ALL "
            f"SELECT * FROM ({schema_rows(table.name)} EXCEPT SELECT * FROM temp.migrator_schema)",
            "compare every other definition with what it was",
            f"the rebuild of {table.name} would have changed another definition",
        ),
        Statement(
            f"SELECT 1 WHERE NOT EXISTS (SELECT 1 FROM main.sqlite_master WHERE type = 'table' "
            f"AND name = {name} AND sql = {quote_text(new_sql)})",
            "compare the definition with what was asked for",
            f"the definition of {table.name} is not what was asked for",
        ),
        Statement(
            f"SELECT now.* FROM ({foreign_key_faults(table.name)}) AS now "
            "LEFT JOIN temp.migrator_faults AS was USING (child, parent, columns) "
            f"WHERE now.faults > coalesce(was.faults, 0) AND NOT ({tolerated})",
            "read foreign_key_check",
            f"rows would break a foreign key of {table.name}",
        ),
        Statement("DROP TABLE temp.migrator_schema", "done with it"),
        Statement("DROP TABLE temp.migrator_faults", "done with it"),
    )
