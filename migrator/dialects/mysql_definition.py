"""Reads the column clauses out of `SHOW CREATE TABLE`.

`MODIFY` restates a column whole: what it leaves out (DEFAULT, COMMENT, COLLATE, INVISIBLE, ON UPDATE, a
generated expression) is lost. `information_schema.columns` has all of it too, but in another spelling on
each server (MySQL gives a literal default without quotes, MariaDB with them); `SHOW CREATE TABLE` is
the one text that both promise to read back. Its words are used as they stand.

Source: https://dev.mysql.com/doc/refman/8.4/en/show-create-table.html.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

_TOKEN = re.compile(
    r"""
      (?P<space>\s+)
    | (?P<name>`(?:[^`]|``)*`)
    | (?P<text>'(?:[^'\\]|\\.|'')*')
    | (?P<comment>/\*.*?\*/)
    | (?P<word>[^\s`'(),/]+)
    | (?P<mark>.)
    """,
    re.VERBOSE | re.DOTALL,
)


@dataclass(frozen=True)
class _Token:
    kind: str
    text: str
    depth: int

    def says(self, word: str) -> bool:
        return self.depth == 0 and self.kind == "word" and self.text.upper() == word


@dataclass(frozen=True)
class ColumnText:
    """What the server says of one column.

    Args:
        definition: all of it but the name, `[NOT] NULL` and `DEFAULT NULL`.
        default: the default as SQL, None where there is none or NULL.
        default_null: whether it says `DEFAULT NULL`.
    """

    definition: str
    default: str | None
    default_null: bool


def quote(name: str) -> str:
    """A name in backticks, which every `sql_mode` understands, ANSI_QUOTES included."""
    return "`" + name.replace("`", "``") + "`"


def literal(text: str) -> str:
    """A string literal that means `text` whether or not backslashes escape."""
    if "\\" in text:
        return "_utf8mb4 0x" + text.encode().hex()
    return "'" + text.replace("'", "''") + "'"


def columns_of(create_table: str) -> dict[str, ColumnText]:
    """The column clauses of a `CREATE TABLE` text, by column name.

    Args:
        create_table: what `SHOW CREATE TABLE` said, with names in backticks.
    """
    found = {}
    for part in _parts(create_table):
        words = [token for token in part if token.kind != "space"]
        if words and words[0].kind == "name":
            name = words[0].text[1:-1].replace("``", "`")
            start = part.index(words[0]) + 1
            found[name] = _column(part[start:])
    return found


def actions_of(create_table: str) -> dict[str, tuple[str, str]]:
    """ON DELETE and ON UPDATE of the foreign keys in a `CREATE TABLE` text of MariaDB's, by their names.
    RESTRICT is what it leaves out."""
    found = {}
    for part in _parts(create_table):
        words = [token for token in part if token.kind != "space"]
        said = [token.text.upper() if token.kind == "word" else "" for token in words]
        if said[:1] != ["CONSTRAINT"] or said[2:4] != ["FOREIGN", "KEY"]:
            continue
        tail = " ".join(said)
        stated = dict(re.findall(r"\bON (DELETE|UPDATE) (CASCADE|SET NULL|SET DEFAULT|NO ACTION)\b", tail))
        name = words[1].text[1:-1].replace("``", "`")
        found[name] = (stated.get("DELETE", "RESTRICT"), stated.get("UPDATE", "RESTRICT"))
    return found


def with_nullness(definition: str, nullness: str) -> str:
    """The definition with `NOT NULL` or `NULL` in it.

    MariaDB wants a column's CHECK last of all; every other attribute may stand in any order.
    """
    tokens = list(_tokens(definition))
    for at, token in enumerate(tokens):
        if token.says("CHECK"):
            head = "".join(t.text for t in tokens[:at]).rstrip()
            return f"{head} {nullness} {''.join(t.text for t in tokens[at:])}"
    return f"{definition} {nullness}"


def _tokens(text: str) -> Iterator[_Token]:
    depth = 0
    for match in _TOKEN.finditer(text):
        kind = match.lastgroup or "mark"
        if kind == "mark" and match.group() == ")":
            depth -= 1
        yield _Token(kind, match.group(), depth)
        if kind == "mark" and match.group() == "(":
            depth += 1


def _parts(create_table: str) -> Iterator[list[_Token]]:
    """The items of the outermost parentheses, their depth counted from there."""
    part: list[_Token] = []
    opened = False
    for token in _tokens(create_table):
        if not opened:
            opened = token.text == "(" and token.kind == "mark"
            continue
        if token.depth == 0:
            break
        if token.depth == 1 and token.text == "," and token.kind == "mark":
            yield part
            part = []
        else:
            part.append(_Token(token.kind, token.text, token.depth - 1))
    if part:
        yield part


def _column(tokens: Sequence[_Token]) -> ColumnText:
    kept: list[str] = []
    default: str | None = None
    default_null = False
    words = [token for token in tokens if token.kind != "space"]
    following = {id(one): two for one, two in pairwise(words)}
    skip = 0
    for at, token in enumerate(tokens):
        if skip:
            skip -= token.kind != "space"
            continue
        after = following.get(id(token))
        null_follows = after is not None and after.says("NULL")
        if token.says("NULL"):
            continue
        if null_follows and token.says("NOT"):
            skip = 1
            continue
        if token.says("DEFAULT"):
            if null_follows:
                default_null, skip = True, 1
                continue
            default = _until_blank(tokens[at + 1 :])
        kept.append(" " if token.kind == "space" else token.text)
    return ColumnText(re.sub(r"^ +| +$", "", _single_blanks(kept)), default, default_null)


def _single_blanks(texts: Sequence[str]) -> str:
    out: list[str] = []
    for text in texts:
        if text == " " and (not out or out[-1] == " "):
            continue
        out.append(text)
    return "".join(out)


def _until_blank(tokens: Sequence[_Token]) -> str:
    """The first run of tokens with no blank between them outside parentheses: one default."""
    text = ""
    for token in tokens:
        if token.kind == "space" and token.depth == 0:
            if text:
                break
            continue
        text += token.text
    return text
