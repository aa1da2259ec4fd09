"""Key values as JSON text and back, type and all: the journal keeps cursors this way."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

_WRITE: dict[type, tuple[str, Callable[[Any], str]]] = {
    Decimal: ("decimal", str),
    UUID: ("uuid", str),
    datetime: ("datetime", datetime.isoformat),
    date: ("date", date.isoformat),
    time: ("time", time.isoformat),
    timedelta: ("seconds", lambda value: repr(value.total_seconds())),
    bytes: ("bytes", bytes.hex),
    memoryview: ("bytes", lambda value: bytes(value).hex()),
}
_READ: dict[str, Callable[[str], Any]] = {
    "decimal": Decimal,
    "uuid": UUID,
    "datetime": datetime.fromisoformat,
    "date": date.fromisoformat,
    "time": time.fromisoformat,
    "seconds": lambda text: timedelta(seconds=float(text)),
    "bytes": bytes.fromhex,
}


def dump_key(key: Sequence[Any]) -> str:
    """A key as JSON; a value JSON has no form for becomes `{"<type>": "<text>"}`."""
    return json.dumps([_written(value) for value in key])


def load_key(text: str) -> tuple[Any, ...]:
    """The inverse of `dump_key`."""
    return tuple(_read(value) for value in json.loads(text))


def _written(value: Any) -> Any:
    found = _WRITE.get(type(value))
    if found is None:
        return value if value is None or isinstance(value, (bool, int, float, str)) else {"text": str(value)}
    name, write = found
    return {name: write(value)}


def _read(value: Any) -> Any:
    if isinstance(value, dict):
        ((name, text),) = value.items()
        return _READ.get(name, str)(text)
    return value
