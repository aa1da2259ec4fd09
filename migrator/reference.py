"""A reference: what ties child columns to a parent key."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from migrator.errors import ReferenceSyntaxError

Action = Literal["NO ACTION", "RESTRICT", "CASCADE", "SET NULL", "SET DEFAULT"]
ACTIONS: tuple[Action, ...] = ("NO ACTION", "RESTRICT", "CASCADE", "SET NULL", "SET DEFAULT")

# The shortest identifier limit of the engines we serve is PostgreSQL's 63 bytes.
MAX_IDENTIFIER_BYTES = 63

_TOKEN = re.compile(r'\s*(?:"((?:[^"]|"")*)"|`((?:[^`]|``)*)`|\[([^\]]*)\]|(->)|([.,()])|([^\s.,()"`\[\]]+))')
_PLAIN = re.compile(r"[^\s.,()\"`\[\]>-]+")
_EXAMPLE = "write it as 'post.user_id -> user.id', or 'city(country, region) -> region(country, code)'."


def short_name(*parts: str, limit: int = MAX_IDENTIFIER_BYTES) -> str:
    """Join parts with `_` into an identifier of at most `limit` bytes.

    A name that would be too long is cut and ends in a hash of the whole, so that two long names
    that begin alike stay apart, and the same parts give the same name in every run.
    """
    # Blanks, percent signs and the like are legal in an identifier and a nuisance in every tool.
    whole = re.sub(r"\W+", "_", "_".join(parts))
    if len(whole.encode()) <= limit:
        return whole
    digest = hashlib.sha256(whole.encode()).hexdigest()[:8]
    return whole.encode()[: limit - 9].decode(errors="ignore") + "_" + digest


@dataclass(frozen=True, order=True)
class TableName:
    """A table, with its schema where one was named (on MySQL: a database)."""

    name: str
    schema: str | None = None

    def __str__(self) -> str:
        return ".".join(_quoted(part) for part in (self.schema, self.name) if part is not None)


@dataclass(frozen=True)
class Reference:
    """`child(columns) -> parent(columns)`, and what the constraint is to be.

    Args:
        child: the table that holds the reference.
        columns: its columns, in the order of the parent's key.
        parent: the table referred to.
        parent_columns: the key referred to; it must be unique.
        name: the constraint's name; by default `fk_<child>_<columns>_<parent>`.
        on_delete, on_update: the referential actions; None is the server's default (NO ACTION).
        match: `simple` (a row with any NULL passes) or `full` (PostgreSQL only).
        nullable: True where NULL is right (an optional reference, such as a post's parent post);
            False makes NULL an orphan and ends in NOT NULL.
        index: whether a supporting index on the child columns is wanted.
        deferrable, initially_deferred: PostgreSQL and SQLite only.
    """

    child: TableName
    columns: tuple[str, ...]
    parent: TableName
    parent_columns: tuple[str, ...]
    name: str = ""
    on_delete: Action | None = None
    on_update: Action | None = None
    match: Literal["simple", "full"] = "simple"
    nullable: bool = False
    index: bool = True
    deferrable: bool = False
    initially_deferred: bool = False
    index_name: str = field(default="")

    def __post_init__(self) -> None:
        if not self.columns or len(self.columns) != len(self.parent_columns):
            raise ReferenceSyntaxError(
                f"{self.child}({', '.join(self.columns)}) names {len(self.columns)} column(s), "
                f"{self.parent}({', '.join(self.parent_columns)}) names {len(self.parent_columns)}.",
                hint=_EXAMPLE,
            )
        for action in (self.on_delete, self.on_update):
            if action is not None and action not in ACTIONS:
                raise ReferenceSyntaxError(
                    f"{action!r} is no referential action.", hint="One of " + ", ".join(ACTIONS) + "."
                )
        if not self.name:
            object.__setattr__(
                self, "name", short_name("fk", self.child.name, *self.columns, self.parent.name)
            )
        if not self.index_name:
            object.__setattr__(self, "index_name", short_name("ix", self.child.name, *self.columns))

    def __str__(self) -> str:
        return f"{_side(self.child, self.columns)} -> {_side(self.parent, self.parent_columns)}"

    @classmethod
    def parse(cls, text: str, **options: Any) -> Reference:
        """Read `post.user_id -> user.id`, `schema.post.user_id -> schema.user.id`, or, for
        composite keys, `city(country, region) -> region(country, code)`. A part that holds a
        blank, a dot or another special character stands in double quotes.

        Args:
            text: the reference.
            options: any further field of `Reference` (`on_delete="CASCADE"`, `nullable=True`, ...).

        Raises:
            ReferenceSyntaxError: when it cannot be read, with an example of how to write it.
        """
        if not isinstance(text, str) or not text.strip():
            raise ReferenceSyntaxError("The reference is empty.", hint=_EXAMPLE)
        tokens = _tokens(text)
        if tokens.count(("op", "->")) != 1:
            raise ReferenceSyntaxError(f"{text!r} is not a reference: it wants one '->'.", hint=_EXAMPLE)
        arrow = tokens.index(("op", "->"))
        child, columns = _parse_side(tokens[:arrow], text)
        parent, parent_columns = _parse_side(tokens[arrow + 1 :], text)
        for names in (columns, parent_columns):
            if len(set(names)) < len(names):
                raise ReferenceSyntaxError(f"{text!r} names a column twice.", hint=_EXAMPLE)
        if (child, columns) == (parent, parent_columns):
            raise ReferenceSyntaxError(
                f"{text!r} ties each row to itself, which says nothing.",
                hint="A self-reference has a column of its own: 'node.parent_id -> node.id'.",
            )
        return cls(child, columns, parent, parent_columns, **options)

    @property
    def is_self_reference(self) -> bool:
        """Whether child and parent are one table."""
        return self.child == self.parent

    def to_json(self) -> dict[str, Any]:
        """The whole value, as the journal keeps it."""
        return {
            "reference": str(self),
            "name": self.name,
            "on_delete": self.on_delete,
            "on_update": self.on_update,
            "match": self.match,
            "nullable": self.nullable,
            "index": self.index,
            "deferrable": self.deferrable,
            "initially_deferred": self.initially_deferred,
            "index_name": self.index_name,
        }

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Reference:
        """The inverse of `to_json`."""
        options = dict(value)
        return cls.parse(options.pop("reference"), **options)


def _quoted(part: str) -> str:
    return part if _PLAIN.fullmatch(part) else '"' + part.replace('"', '""') + '"'


def _side(table: TableName, columns: tuple[str, ...]) -> str:
    if len(columns) == 1:
        return f"{table}.{_quoted(columns[0])}"
    return f"{table}({', '.join(_quoted(column) for column in columns)})"


def _tokens(text: str) -> list[tuple[str, str]]:
    found: list[tuple[str, str]] = []
    position = 0
    stripped = text.rstrip()
    while position < len(stripped):
        match = _TOKEN.match(stripped, position)
        if match is None:
            raise ReferenceSyntaxError(f"{text!r} cannot be read at character {position + 1}.", hint=_EXAMPLE)
        double, back, bracket, arrow, mark, plain = match.groups()
        position = match.end()
        if arrow or mark:
            found.append(("op", arrow or mark))
        elif double is not None:
            found.append(("name", double.replace('""', '"')))
        elif back is not None:
            found.append(("name", back.replace("``", "`")))
        elif bracket is not None:
            found.append(("name", bracket))
        else:
            before, sep, after = plain.partition("->")
            found.extend([("name", before)] if before else [])
            if sep:
                found.append(("op", "->"))
                position -= len(after)
    return found


def _parse_side(tokens: list[tuple[str, str]], text: str) -> tuple[TableName, tuple[str, ...]]:
    """`[schema.]table.column` or `[schema.]table(column, ...)`."""
    problem = ReferenceSyntaxError(f"{text!r} is not a reference.", hint=_EXAMPLE)
    dotted: list[str] = []
    columns: list[str] = []
    inside = False
    expect_name = True
    for at, (kind, value) in enumerate(tokens):
        if kind == "name":
            if not expect_name or not value:
                raise problem
            (columns if inside else dotted).append(value)
            expect_name = False
        elif value == "." and not inside and not expect_name:
            expect_name = True
        elif value == "(" and not inside and not expect_name:
            inside, expect_name = True, True
        elif value == "," and inside and not expect_name:
            expect_name = True
        elif value == ")" and inside and not expect_name and at == len(tokens) - 1:
            inside = False
        else:
            raise problem
    if expect_name or inside:
        raise problem
    if not columns:
        columns = [dotted.pop()]
    if len(dotted) not in (1, 2):
        raise problem
    schema = dotted[0] if len(dotted) == 2 else None
    return TableName(dotted[-1], schema), tuple(columns)
