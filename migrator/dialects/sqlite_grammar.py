"""Reads a CREATE TABLE text into its parts.

This follows the grammar of SQLite itself (`src/parse.y`, rules `columndef`, `ccons`, `tcons`,
`refargs`, `defer_subclause`), where it is wider than its documentation: the comma between table
constraints is optional, and a DEFERRABLE clause may stand apart from the REFERENCES it belongs to.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

from migrator.dialects.sqlite_definition import Clause, Column, Definition, Target
from migrator.dialects.sqlite_tokens import Cursor, DDLError, Token, unquote

_STARTS_TABLE_CONSTRAINT = frozenset({"CONSTRAINT", "PRIMARY", "UNIQUE", "CHECK", "FOREIGN"})
_ENDS_TYPE = frozenset({
    "CONSTRAINT", "PRIMARY", "NOT", "NULL", "UNIQUE", "CHECK", "DEFAULT", "COLLATE", "REFERENCES", "AS",
    "DEFERRABLE",
})  # fmt: skip


def parse(sql: str) -> Definition:
    """Read a CREATE TABLE text.

    Args:
        sql: the text, as `sqlite_schema.sql` has it or as an author would write it.

    Raises:
        DDLError: it is something else (a view, a virtual table, CREATE TABLE ... AS SELECT), or
            SQLite would not read it either.
    """
    at = Cursor(sql)
    name = _head(at)
    at.want("(")
    columns = [_column(at)]
    constraints: list[Clause] = []
    while at.skip(","):
        if constraints or at.keyword() in _STARTS_TABLE_CONSTRAINT:
            constraints.extend(_clauses(at, _table_clause))
        else:
            columns.append(_column(at))
    close = at.want(")")
    options = []
    while at.keyword():
        options.append(at.take().keyword)
        at.skip(",")
    at.skip(";")
    if at.peek():
        raise at.surprise()
    return Definition(
        sql, at.tokens, at.subject, name, tuple(columns), tuple(constraints), close, tuple(options)
    )


def _head(at: Cursor) -> Token:
    at.want("CREATE")
    at.skip("TEMP", "TEMPORARY")
    if at.keyword() == "VIRTUAL":
        raise DDLError("A virtual table is its module's own: it has no definition to edit.")
    at.want("TABLE")
    if at.skip("IF"):
        at.want("NOT", "EXISTS")
    name = at.name()
    if at.skip("."):
        name = at.name()
    at.subject = unquote(name.text)
    if at.keyword() == "AS":
        raise DDLError(f"Table {at.subject}: CREATE TABLE ... AS SELECT lists no columns to edit.")
    return name


def _column(at: Cursor) -> Column:
    name = at.name()
    before = at.end
    first = at.peek()
    while _in_type(at):
        at.take()
    if at.end > before and (token := at.peek()) and token.text == "(":
        at.group()
    written = at.sql[first.start : at.end] if first and at.end > before else ""
    clauses = tuple(_clauses(at, _column_clause))
    return Column(unquote(name.text), written, clauses, name.start, at.end)


def _in_type(at: Cursor) -> bool:
    token = at.peek()
    if token is None or token.kind not in ("word", "quoted", "string") or token.keyword in _ENDS_TYPE:
        return False
    # GENERATED may be part of a type, but not before ALWAYS.
    return not (token.keyword == "GENERATED" and at.keyword(1) == "ALWAYS")


def _clauses(at: Cursor, read: Callable[[Cursor], Clause | None]) -> Iterator[Clause]:
    """As many as follow one another; each with its name and its place."""
    while first := at.peek():
        name = unquote(at.name().text) if at.skip("CONSTRAINT") else None
        clause = read(at)
        if clause is not None:
            yield replace(clause, name=name, start=first.start, end=at.end)
        elif name is not None:
            # SQLite lets a name stand before nothing. What would follow an edit might take it for its own.
            raise at.surprise(f"the constraint name {name!r} stands before no constraint")
        else:
            return


def _column_clause(at: Cursor) -> Clause | None:
    """`ccons` of the grammar; None where none begins."""
    if at.skip("PRIMARY"):
        at.want("KEY")
        at.skip("ASC", "DESC")
        clause = _conflict(at, Clause("primary key"))
        at.skip("AUTOINCREMENT")
        return clause
    if at.keyword() == "NOT" and at.keyword(1) == "NULL":
        at.want("NOT", "NULL")
        return _conflict(at, Clause("not null"))
    if at.skip("NULL"):
        return _conflict(at, Clause("null"))
    if at.skip("UNIQUE"):
        return _conflict(at, Clause("unique"))
    if at.skip("CHECK"):
        at.group()
        return _conflict(at, Clause("check"))
    if at.skip("DEFAULT"):
        return Clause("default", _default(at))
    if at.skip("COLLATE"):
        return Clause("collate", unquote(at.name().text))
    if at.keyword() in ("GENERATED", "AS"):
        return Clause("generated", _generated(at))
    if at.skip("REFERENCES"):
        return Clause("foreign key", target=_target(at))
    deferral = _deferral(at)
    return Clause("defer", deferral) if deferral else None


def _table_clause(at: Cursor) -> Clause | None:
    """`tcons` of the grammar; None where none begins."""
    if at.skip("FOREIGN"):
        at.want("KEY")
        columns = at.names()
        at.want("REFERENCES")
        target = _target(at)
        return Clause("foreign key", _deferral(at), columns, target)
    if at.skip("PRIMARY"):
        at.want("KEY")
        clause = Clause("primary key")
    elif at.skip("UNIQUE"):
        clause = Clause("unique")
    elif at.skip("CHECK"):
        clause = Clause("check")
    else:
        return None
    at.group()
    return _conflict(at, clause)


def _conflict(at: Cursor, clause: Clause) -> Clause:
    if at.skip("ON"):
        at.want("CONFLICT")
        at.take()
    return clause


def _default(at: Cursor) -> str:
    first = at.peek()
    if first and first.text == "(":
        at.group()
    else:
        at.skip("+", "-")
        at.take()
    return at.sql[first.start if first else 0 : at.end]


def _generated(at: Cursor) -> str:
    if at.skip("GENERATED"):
        at.want("ALWAYS")
    at.want("AS")
    at.group()
    at.skip("VIRTUAL")
    return "stored" if at.skip("STORED") else "virtual"


def _target(at: Cursor) -> Target:
    parent = unquote(at.name().text)
    token = at.peek()
    columns = at.names() if token and token.text == "(" else ()
    actions: dict[str, str] = {}
    while at.keyword() in ("ON", "MATCH"):
        if at.skip("MATCH"):
            at.name()
            continue
        at.want("ON")
        event = at.take().keyword
        words = [at.take().keyword]
        if words[0] in ("SET", "NO"):
            words.append(at.take().keyword)
        actions[event] = " ".join(words)
    return Target(parent, columns, actions.get("DELETE"), actions.get("UPDATE"))


def _deferral(at: Cursor) -> str | None:
    negated = at.keyword() == "NOT" and at.keyword(1) == "DEFERRABLE"
    if not negated and at.keyword() != "DEFERRABLE":
        return None
    words = ["NOT", "DEFERRABLE"] if negated else ["DEFERRABLE"]
    at.want(*words)
    if at.skip("INITIALLY"):
        words += ["INITIALLY", at.take().keyword]
    return " ".join(words)
