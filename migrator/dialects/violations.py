"""Which rule of the table an error speaks of: by error number, never by text."""

from __future__ import annotations

from typing import Any, Literal

from migrator.dialects.base import Dialect

Rule = Literal["foreign-key", "not-null", "unique", "check", "trigger"]

_SQLSTATES: dict[str, Rule] = {
    "23503": "foreign-key",
    "23502": "not-null",
    "23505": "unique",
    "23514": "check",
    "P0001": "trigger",
}

# MySQL and MariaDB.
_NUMBERS: dict[int, Rule] = {
    1216: "foreign-key",
    1217: "foreign-key",
    1451: "foreign-key",
    1452: "foreign-key",
    1048: "not-null",
    1364: "not-null",
    1062: "unique",
    1169: "unique",
    3819: "check",
    4025: "check",
    1644: "trigger",
}

# SQLite's extended result codes, https://sqlite.org/rescode.html
_SQLITE: dict[int, Rule] = {
    787: "foreign-key",
    1299: "not-null",
    1555: "unique",
    2067: "unique",
    2579: "unique",
    275: "check",
    1811: "trigger",
}


def violated(error: BaseException) -> Rule | None:
    """The rule that refused a statement; None where it failed for another reason.

    Args:
        error: SQLAlchemy's exception or the driver's.
    """
    original: Any = getattr(error, "orig", None) or error
    state = getattr(original, "sqlstate", None)
    if isinstance(state, str) and state in _SQLSTATES:
        return _SQLSTATES[state]
    code = getattr(original, "sqlite_errorcode", None)
    if isinstance(code, int):
        return _SQLITE.get(code)
    number = original.args[0] if original.args else None
    return _NUMBERS.get(number) if isinstance(number, int) else None


def only_where(dialect: Dialect) -> str:
    """Where foreign keys are checked, if that is not everywhere; for a person to read."""
    if dialect.family == "sqlite":
        return "on connections that say PRAGMA foreign_keys=ON, and on no others"
    return ""
