"""`frozen-default`: a value where a callable was meant: every row of one process start gets the same."""

from __future__ import annotations

import datetime as dt
import uuid
from collections.abc import Iterator, Mapping
from typing import Any

import sqlalchemy as sa

from migrator.audit.model import Finding, Severity

_FROZEN = (dt.datetime, dt.date, dt.time, uuid.UUID)


def frozen_defaults(metadata: sa.MetaData, names: Mapping[Any, str]) -> Iterator[Finding]:
    """All of them, of `default`, `onupdate` and `server_default`; written as text as well, where the text
    is a UUID, or a moment so near that nobody can have meant it.

    Args:
        names: of columns: as their model calls them.
    """
    for table in metadata.sorted_tables:
        for column in table.columns:
            where = names.get(column, str(column))
            for word, default in (("default", column.default), ("onupdate", column.onupdate)):
                if not getattr(default, "is_scalar", False):
                    continue
                value = getattr(default, "arg", None)
                if isinstance(value, _FROZEN):
                    yield _finding(column, where, word, value, _callable(column, value))
                read = _read(value) if isinstance(value, str) else None
                if isinstance(read, uuid.UUID) or (read and not _is_a_constant(column, read)):
                    yield _finding(column, where, word, read, _text(read))
            read = _read(str(getattr(column.server_default, "arg", "")).strip("'"))
            if isinstance(read, dt.datetime) and not _is_a_constant(column, read):
                yield _finding(column, where, "server_default", read, "func.now()")


def _read(text: str) -> uuid.UUID | dt.datetime | None:
    """What a text stands for, if it is a UUID or a moment."""
    for kind in (uuid.UUID, dt.datetime.fromisoformat):
        try:
            return kind(text)
        except ValueError:
            continue
    return None


def _text(value: uuid.UUID | dt.datetime) -> str:
    if isinstance(value, uuid.UUID):
        return "lambda: str(uuid.uuid4())"
    return "lambda: datetime.now(UTC).isoformat()"


def _finding(column: sa.Column[Any], where: str, word: str, value: Any, callable_: str) -> Finding:
    kind = type(value).__name__
    meant = _is_a_constant(column, value)
    severity: Severity = "medium" if meant else "critical"
    happened = (
        f"a fixed {kind} for every row; it looks as if it were meant"
        if meant
        else f"a {kind} that was computed when the module was imported: every row that one process writes "
        "gets the same"
    )
    return Finding(
        "frozen-default",
        severity,
        where,
        f"The {word} of {where} is {happened}.",
        f"{word}={callable_}",
        {"value": str(value), "type": kind, "argument": word},
    )


def _is_a_constant(column: sa.Column[Any], value: Any) -> bool:
    """A date long gone or far off, a whole hour, a UUID that many rows share: someone may have meant it."""
    if isinstance(value, uuid.UUID):
        return not (column.primary_key or column.unique)
    if isinstance(value, dt.datetime):
        return value.microsecond == 0 and not _is_recent(value.date())
    if isinstance(value, dt.date):
        return not _is_recent(value)
    return bool(value.microsecond == 0)


def _is_recent(day: dt.date) -> bool:
    return abs((dt.datetime.now(dt.UTC).date() - day).days) <= 1


def _callable(column: sa.Column[Any], value: Any) -> str:
    if isinstance(value, uuid.UUID):
        return "uuid.uuid4"
    if isinstance(value, dt.datetime):
        naive = value.tzinfo is None and not getattr(column.type, "timezone", False)
        return "lambda: datetime.now(UTC)" + (".replace(tzinfo=None)" if naive else "")
    return "date.today" if isinstance(value, dt.date) else "lambda: datetime.now(UTC).time()"
