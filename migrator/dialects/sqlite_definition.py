"""The parts of a CREATE TABLE text, each with the place where it stands.

What https://sqlite.org/lang_createtable.html says of one column or constraint is one `Clause`;
expressions are kept as text, never understood.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from migrator.dialects.sqlite_tokens import DDLError, Token, same_name

ClauseKind = Literal[
    "primary key", "unique", "check", "foreign key", "not null", "null", "default", "collate",
    "generated", "defer",
]  # fmt: skip


@dataclass(frozen=True)
class Target:
    """What a REFERENCES clause says, as written; None where it says nothing."""

    parent: str
    columns: tuple[str, ...] = ()
    on_delete: str | None = None
    on_update: str | None = None


@dataclass(frozen=True)
class Clause:
    """One constraint of a column or of the table.

    Args:
        kind: which; `defer` is `[NOT] DEFERRABLE ...`.
        text: the value of a default or collation, `stored` or `virtual`, or the defer clause.
        columns: of a table-level foreign key.
        target: of a foreign key, inline or not.
        name: the constraint's name.
        start, end: where it stands, its `CONSTRAINT name` included.
    """

    kind: ClauseKind
    text: str | None = None
    columns: tuple[str, ...] = ()
    target: Target | None = None
    name: str | None = None
    start: int = 0
    end: int = 0


@dataclass(frozen=True)
class Column:
    """One column: its name, its type as written ("" where there is none), its clauses, its place."""

    name: str
    type: str
    clauses: tuple[Clause, ...]
    start: int
    end: int


@dataclass(frozen=True)
class Definition:
    """A CREATE TABLE text, read.

    Args:
        sql: the text.
        tokens: its tokens, blanks included.
        name: the table's name, and `name_token` where it stands.
        columns, constraints: in the order written.
        close: offset of the parenthesis that ends the list.
        options: the words after it (`STRICT`, `WITHOUT`, `ROWID`).
    """

    sql: str
    tokens: tuple[Token, ...]
    name: str
    name_token: Token
    columns: tuple[Column, ...]
    constraints: tuple[Clause, ...]
    close: int
    options: tuple[str, ...]

    def column(self, name: str) -> Column:
        """The column of this name, whatever its case.

        Raises:
            DDLError: there is none.
        """
        for column in self.columns:
            if same_name(column.name, name):
                return column
        names = ", ".join(column.name for column in self.columns)
        raise DDLError(f"Table {self.name} has no column {name!r}; it has {names}.")

    @property
    def without_rowid(self) -> bool:
        """Whether the table is declared WITHOUT ROWID."""
        return "WITHOUT" in self.options

    @property
    def autoincrement(self) -> bool:
        """Whether a key is AUTOINCREMENT. The word is reserved: unquoted, it is nothing else."""
        return any(token.keyword == "AUTOINCREMENT" for token in self.tokens)
