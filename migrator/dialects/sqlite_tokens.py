"""SQLite's tokens: text in, tokens out, nothing lost in between.

`"".join(token.text for token in tokenize(sql)) == sql` for every text, so an editor that cuts and
pastes at token boundaries leaves the rest of a definition byte for byte as its author wrote it.

Source: https://sqlite.org/lang_keywords.html (the four ways to quote a name),
https://sqlite.org/lang_comment.html, and `sqlite3GetToken` in SQLite's `src/tokenize.c`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

from migrator.errors import PreflightRefused

Kind = Literal["space", "comment", "string", "blob", "quoted", "number", "word", "mark"]

# A name may begin with any character past ASCII; `$` and digits only follow. A byte-order mark
# counts as a blank. A block comment may run to the end of the text.
_TOKEN = re.compile(
    r"""
      (?P<space>[ \t\n\f\r\ufeff]+)
    | (?P<comment>--[^\n]*|/\*.*?(?:\*/|\Z))
    | (?P<blob>[xX]'[^']*')
    | (?P<string>'(?:[^']|'')*')
    | (?P<quoted>"(?:[^"]|"")*"|`(?:[^`]|``)*`|\[[^\]]*\])
    | (?P<number>0[xX][0-9a-fA-F]+|(?:[0-9][0-9_]*(?:\.[0-9_]*)?|\.[0-9][0-9_]*)(?:[eE][+-]?[0-9]+)?)
    | (?P<word>[A-Za-z_\u0080-\U0010ffff][A-Za-z0-9_$\u0080-\U0010ffff]*)
    | (?P<mark>.)
    """,
    re.VERBOSE | re.DOTALL,
)


class DDLError(PreflightRefused, ValueError):
    """A table definition that cannot be read, or an edit that does not fit it; nothing was changed."""


@dataclass(frozen=True)
class Token:
    """One token and where it stands.

    Args:
        kind: what it is; `quoted` is a name in quotes, `word` a bare name or a keyword.
        text: exactly as written.
        start: offset of its first character.
    """

    kind: Kind
    text: str
    start: int

    @property
    def end(self) -> int:
        """Offset just past its last character."""
        return self.start + len(self.text)

    @property
    def keyword(self) -> str:
        """The word in capitals; empty for anything quoted, so that `"check"` is never CHECK."""
        return self.text.upper() if self.kind == "word" else ""

    @property
    def is_blank(self) -> bool:
        """Whether the parser skips it."""
        return self.kind in ("space", "comment")

    @property
    def is_line_comment(self) -> bool:
        """Whether it swallows whatever follows on its line."""
        return self.kind == "comment" and self.text.startswith("--")


def tokenize(sql: str) -> tuple[Token, ...]:
    """Cut `sql` into tokens that, joined, are `sql` again."""
    return tuple(
        Token(match.lastgroup, match.group(), match.start())  # type: ignore[arg-type]
        for match in _TOKEN.finditer(sql)
    )


def unquote(text: str) -> str:
    """The name or string meant by `text`, in whichever of SQLite's four quotes it stands, or in none."""
    if text[:1] == "[":
        return text[1:-1]
    if text[:1] in ("'", '"', "`"):
        quote = text[0]
        return text[1:-1].replace(quote * 2, quote)
    return text


def quote_name(name: str) -> str:
    """`name` as an identifier in double quotes, right in every statement whatever it holds."""
    return '"' + name.replace('"', '""') + '"'


def quote_text(text: str) -> str:
    """`text` as a string literal; needed where SQLite allows no bound parameter (schema statements)."""
    return "'" + text.replace("'", "''") + "'"


def same_name(one: str, other: str) -> bool:
    """Whether SQLite takes both for one name: it folds the case of ASCII letters, and of no others."""
    return _fold(one) == _fold(other)


def _fold(name: str) -> str:
    return name.translate({upper: upper + 32 for upper in range(ord("A"), ord("Z") + 1)})


class Cursor:
    """Walks the significant tokens of one text from left to right.

    Args:
        sql: the text.
    """

    def __init__(self, sql: str) -> None:
        self.sql = sql
        self.tokens = tokenize(sql)
        self._significant = tuple(token for token in self.tokens if not token.is_blank)
        self._at = 0
        self.subject = "a definition"

    def peek(self, ahead: int = 0) -> Token | None:
        """The token to be read next, or `ahead` of it; None at the end."""
        at = self._at + ahead
        return self._significant[at] if at < len(self._significant) else None

    def keyword(self, ahead: int = 0) -> str:
        """`peek`, as a keyword in capitals; empty for everything else."""
        token = self.peek(ahead)
        return token.keyword if token else ""

    @property
    def end(self) -> int:
        """Offset just past what was read last."""
        return self._significant[self._at - 1].end if self._at else 0

    def take(self) -> Token:
        """The next token, read.

        Raises:
            DDLError: there is none.
        """
        token = self.peek()
        if token is None:
            raise self.surprise()
        self._at += 1
        return token

    def skip(self, *words: str) -> bool:
        """Read one of these keywords or marks if it is next, and say whether it was."""
        token = self.peek()
        found = token is not None and (token.keyword or token.text) in words
        self._at += found
        return found

    def want(self, *words: str) -> int:
        """Read exactly these, one after another; the offset of the last.

        Raises:
            DDLError: something else is next.
        """
        for word in words:
            if not self.skip(word):
                raise self.surprise(f"{word} was expected")
        return self._significant[self._at - 1].start

    def name(self) -> Token:
        """A name, in quotes or bare; SQLite takes a string literal for one, too."""
        token = self.peek()
        if token is None or token.kind not in ("word", "quoted", "string"):
            raise self.surprise("a name was expected")
        return self.take()

    def group(self) -> None:
        """Read from an opening parenthesis to the one that closes it."""
        self.want("(")
        depth = 1
        while depth:
            token = self.take()
            if token.kind == "mark":
                depth += {"(": 1, ")": -1}.get(token.text, 0)

    def names(self) -> tuple[str, ...]:
        """A list of names in parentheses."""
        self.want("(")
        found = [unquote(self.name().text)]
        while self.skip(","):
            found.append(unquote(self.name().text))
        self.want(")")
        return tuple(found)

    def surprise(self, why: str = "") -> DDLError:
        """The error for text that SQLite would not read, either."""
        token = self.peek()
        where = f"at {token.text!r} (character {token.start + 1})" if token else "at its end"
        return DDLError(f"The definition of {self.subject} cannot be read {where}{why and ': ' + why}.")
