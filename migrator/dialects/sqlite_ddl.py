"""Edits a CREATE TABLE text and leaves every byte it does not mean to change.

SQLite keeps a table's definition as the text its author wrote (`sqlite_schema.sql`). Reflecting it
and writing it anew would lose whatever the reflection does not know: AUTOINCREMENT, COLLATE, CHECKs
without a name, generated columns, conflict clauses, comments, STRICT. So the text is edited.

Each edit has its exact inverse, which needs nothing but the edited text:

    drop_foreign_key(add_foreign_key(sql, ...)) == sql
    drop_not_null(set_not_null(sql, column), column) == sql
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal, cast

from migrator.dialects.sqlite_definition import Clause, Column, Definition
from migrator.dialects.sqlite_grammar import parse
from migrator.dialects.sqlite_tokens import DDLError, Token, quote_name, same_name
from migrator.reference import ACTIONS

__all__ = [
    "ColumnDefinition",
    "DDLError",
    "ForeignKey",
    "add_foreign_key",
    "column_definitions",
    "drop_foreign_key",
    "drop_not_null",
    "foreign_keys",
    "rename_table",
    "set_not_null",
]


@dataclass(frozen=True)
class ForeignKey:
    """A foreign key as declared; `PRAGMA foreign_key_list` knows neither its name nor its deferral.

    Args:
        name: of the constraint; None where it has none.
        columns, parent: whose columns refer to what, as written.
        parent_columns: the key; empty where the parent's primary key is meant without naming it.
        on_delete, on_update: in capitals; None where nothing is said (NO ACTION).
        deferrable: `DEFERRABLE INITIALLY DEFERRED` and the like in capitals; None where nothing is said.
    """

    name: str | None
    columns: tuple[str, ...]
    parent: str
    parent_columns: tuple[str, ...] = ()
    on_delete: str | None = None
    on_update: str | None = None
    deferrable: str | None = None


@dataclass(frozen=True)
class ColumnDefinition:
    """A column as declared.

    Args:
        name: without quotes.
        type: as written, "" where there is none.
        not_null: whether NOT NULL is written; a key may imply it without.
        generated: the kind of a generated column, else None.
        collation: the name after COLLATE, else None.
        default: the text after DEFAULT as written, its parentheses included, else None.
    """

    name: str
    type: str
    not_null: bool = False
    generated: Literal["stored", "virtual"] | None = None
    collation: str | None = None
    default: str | None = None


def column_definitions(sql: str) -> tuple[ColumnDefinition, ...]:
    """The columns that `sql` declares, in their order.

    Raises:
        DDLError: `sql` is no CREATE TABLE with a list of columns.
    """
    return tuple(
        ColumnDefinition(
            column.name,
            column.type,
            any(clause.kind == "not null" for clause in column.clauses),
            cast('Literal["stored", "virtual"] | None', _last_text(column, "generated")),
            _last_text(column, "collate"),
            _last_text(column, "default"),
        )
        for column in parse(sql).columns
    )


def foreign_keys(sql: str) -> tuple[ForeignKey, ...]:
    """The foreign keys that `sql` declares, in the order written.

    `PRAGMA foreign_key_list` numbers the same keys from the last one back: key `i` of `n` here has
    the id `n - 1 - i` there (`sqlite3CreateForeignKey` in `src/build.c` prepends to its list).

    Raises:
        DDLError: `sql` is no CREATE TABLE with a list of columns.
    """
    return tuple(key for key, _ in _declared_keys(parse(sql)))


def add_foreign_key(
    sql: str,
    *,
    name: str,
    columns: tuple[str, ...],
    parent: str,
    parent_columns: tuple[str, ...],
    on_delete: str | None = None,
    on_update: str | None = None,
    deferrable: bool = False,
    initially_deferred: bool = False,
) -> str:
    """Add a named foreign key as the table's last constraint.

    Args:
        sql: the CREATE TABLE text.
        name: of the constraint; no other constraint of the table may have it.
        columns, parent, parent_columns: `columns` of this table refer to this key of `parent`; no
            `parent_columns` means its primary key.
        on_delete, on_update: referential actions; None says nothing, which means NO ACTION.
        deferrable, initially_deferred: when the key is checked; the second needs the first.

    Returns:
        The text with the constraint; `drop_foreign_key` gives back `sql`.

    Raises:
        DDLError: a column is not there, the name is taken, or the key makes no sense.
    """
    table = parse(sql)
    where = f"Foreign key {name} of table {table.name}"
    known = [table.column(column).name for column in columns]
    if not known or (parent_columns and len(parent_columns) != len(known)):
        raise DDLError(f"{where}: {len(known)} column(s) cannot refer to {len(parent_columns)} of {parent}.")
    if any(same_name(name, taken) for taken in _constraint_names(table)):
        raise DDLError(f"{where}: the table has a constraint of this name already.")
    if initially_deferred and not deferrable:
        raise DDLError(f"{where}: INITIALLY DEFERRED needs DEFERRABLE.")
    words = [f"CONSTRAINT {quote_name(name)} FOREIGN KEY ({_names(known)}) REFERENCES {quote_name(parent)}"]
    if parent_columns:
        words.append(f"({_names(parent_columns)})")
    for event, action in (("DELETE", on_delete), ("UPDATE", on_update)):
        if action is not None:
            if action not in ACTIONS:
                raise DDLError(f"{where}: {action!r} is no referential action.")
            words.append(f"ON {event} {action}")
    if deferrable:
        words.append("DEFERRABLE" + " INITIALLY DEFERRED" * initially_deferred)
    return _append(table, " ".join(words))


def drop_foreign_key(sql: str, *, columns: tuple[str, ...], name: str | None = None) -> str:
    """Take a foreign key away, wherever it is declared: at the table's end or at its column.

    Args:
        sql: the CREATE TABLE text.
        columns: the columns that refer, in the order declared.
        name: of the constraint; needed where several keys have the same columns.

    Returns:
        The text without it. Comments near it stay.

    Raises:
        DDLError: there is no such key, or more than one.
    """
    table = parse(sql)
    found = [
        clauses
        for key, clauses in _declared_keys(table)
        if len(key.columns) == len(columns)
        and all(map(same_name, key.columns, columns))
        and (name is None or (key.name is not None and same_name(key.name, name)))
    ]
    if len(found) != 1:
        which = f"{len(found)} foreign keys" if found else "no foreign key"
        named = f" named {name}" if name else ""
        raise DDLError(f"Table {table.name} has {which}{named} on column(s) {', '.join(columns)}.")
    for clause in reversed(found[0]):
        sql = _cut(table, clause, sql)
        if clause in table.constraints:
            sql = _close_ranks(table, clause, sql)
    return sql


def set_not_null(sql: str, column: str) -> str:
    """Declare a column NOT NULL.

    The words go after everything else said of the column. An explicit `NULL`, which SQLite reads
    and forgets, stays before them: it is what tells `drop_not_null` to leave it there.

    Args:
        sql: the CREATE TABLE text.
        column: its name, in any case.

    Raises:
        DDLError: there is no such column, or it is NOT NULL already.
    """
    table = parse(sql)
    found = table.column(column)
    if any(clause.kind == "not null" for clause in found.clauses):
        raise DDLError(f"Column {table.name}.{found.name} is NOT NULL already.")
    return sql[: found.end] + " NOT NULL" + sql[found.end :]


def drop_not_null(sql: str, column: str) -> str:
    """Take NOT NULL from a column, with its constraint name and its conflict clause.

    Args:
        sql: the CREATE TABLE text.
        column: its name, in any case.

    Raises:
        DDLError: there is no such column, or NOT NULL is not written there.
    """
    table = parse(sql)
    found = table.column(column)
    clauses = [clause for clause in found.clauses if clause.kind == "not null"]
    if not clauses:
        raise DDLError(f"Column {table.name}.{found.name} is not declared NOT NULL.")
    for clause in reversed(clauses):
        sql = _cut(table, clause, sql)
    return sql


def rename_table(sql: str, new_name: str) -> str:
    """Give the table another name in its own CREATE TABLE text, in the quotes the old one had.

    Only the name after CREATE TABLE changes, as with `PRAGMA legacy_alter_table=ON`: references to
    the table, in this text or elsewhere, are the caller's matter.

    Args:
        sql: the CREATE TABLE text.
        new_name: the name, unquoted.
    """
    token = parse(sql).name_token
    opening = token.text[0]
    quoted = quote_name(new_name)
    if opening == "[" and "]" not in new_name:
        quoted = f"[{new_name}]"
    elif opening in ("`", "'"):
        quoted = opening + new_name.replace(opening, opening * 2) + opening
    return sql[: token.start] + quoted + sql[token.end :]


def _names(names: tuple[str, ...] | list[str]) -> str:
    return ", ".join(map(quote_name, names))


def _last_text(column: Column, kind: str) -> str | None:
    # Of two, SQLite keeps the last.
    return next((clause.text for clause in reversed(column.clauses) if clause.kind == kind), None)


def _constraint_names(table: Definition) -> list[str]:
    clauses = [*table.constraints, *(clause for column in table.columns for clause in column.clauses)]
    return [clause.name for clause in clauses if clause.name is not None]


def _declared_keys(table: Definition) -> list[tuple[ForeignKey, list[Clause]]]:
    """Each foreign key with the clauses that make it up."""
    found: list[tuple[ForeignKey, list[Clause]]] = []
    for column in table.columns:
        for clause in column.clauses:
            if clause.kind == "foreign key":
                found.append((_key(replace(clause, columns=(column.name,))), [clause]))
            elif clause.kind == "defer" and found:
                # It belongs to the key declared last, whatever stands between them.
                key, clauses = found[-1]
                found[-1] = replace(key, deferrable=clause.text), [*clauses, clause]
    found += [(_key(clause), [clause]) for clause in table.constraints if clause.kind == "foreign key"]
    return found


def _key(clause: Clause) -> ForeignKey:
    target = clause.target
    assert target is not None
    return ForeignKey(
        clause.name, clause.columns, target.parent, target.columns, target.on_delete, target.on_update,
        clause.text,
    )  # fmt: skip


def _append(table: Definition, constraint: str) -> str:
    """Put a table constraint last, after a comma; in a line of its own where the others have theirs.

    The comma goes right behind the last word and the constraint behind the comments that follow it,
    so that a comment stays with the line it was written for. `_cut` and `_close_ranks` undo just this.
    """
    sql = table.sql
    inner = [token for token in table.tokens if token.end <= table.close]
    trailing: list[Token] = []
    while inner[-1].is_blank:
        trailing.insert(0, inner.pop())
    last = inner[-1].end
    comments = [token for token in trailing if token.kind == "comment"]
    after = comments[-1].end if comments else last
    item = (table.constraints or table.columns)[-1]
    before = sql[: item.start]
    indent = before[len(before.rstrip(" \t")) :]
    own_line = before.rstrip(" \t").endswith("\n")
    indent = indent if own_line else "    "
    if comments and comments[-1].is_line_comment:
        # Never "\r\n" here: the comment would take the "\r" for its own, and keep it.
        gap = "\n" + indent
    elif own_line:
        gap = ("\r\n" if "\r\n" in sql else "\n") + indent
    else:
        gap = " "
    return sql[:last] + "," + sql[last:after] + gap + constraint + sql[after:]


def _cut(table: Definition, clause: Clause, sql: str) -> str:
    """`sql` without the clause and without the blanks before it.

    `sql` may have been cut already behind the clause; before it, it must be the table's text.
    """
    blanks = [token for token in table.tokens if token.end <= clause.start]
    start = clause.start
    if blanks[-1].kind == "space":
        start = blanks.pop().start
    before, after = sql[:start], sql[clause.end :]
    if blanks[-1].is_line_comment and not after.startswith("\n"):
        # The line's end closes the comment: without it, what follows would be commented out.
        return sql[: clause.start] + after
    apart = after.startswith((",", ")", " ", "\t", "\n", "\r", "\f", "--", "/*"))
    return before + ("" if apart else " ") + after


def _close_ranks(table: Definition, clause: Clause, sql: str) -> str:
    """Take away the comma before a table constraint that has been cut.

    It stays where another constraint follows without a comma of its own: without one, that would
    become a constraint of the last column.
    """
    words = [token for token in table.tokens if not token.is_blank]
    before = next(token for token in reversed(words) if token.end <= clause.start)
    behind = next(token for token in words if token.start >= clause.end)
    if before.text != "," or behind.text not in (",", ")"):
        return sql
    return sql[: before.start] + sql[before.end :]
