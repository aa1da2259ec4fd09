"""Values as text that is the same in every run, whatever driver read them."""

from __future__ import annotations

import datetime as dt
import math
from collections.abc import Mapping
from decimal import Decimal
from typing import Any
from uuid import UUID


def plain(value: Any) -> Any:
    """`value` as JSON can hold it: itself where it can, else as text.

    Decimals, UUIDs, dates and times become their usual text, bytes `0x` and hexadecimal digits; a
    float that JSON has no word for (NaN, infinity) becomes that word as text.
    """
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else str(value)
    if isinstance(value, bytes | bytearray | memoryview):
        return "0x" + bytes(value).hex()
    if isinstance(value, Decimal):
        return format(value, "f") if value.is_finite() else str(value)
    if isinstance(value, UUID):
        return str(value)
    if isinstance(value, dt.date | dt.time):
        return value.isoformat()
    if isinstance(value, dt.timedelta):
        return str(value)
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    return str(value)


def shown(value: Any) -> str:
    """`value` as a person reads it in a table cell; NULL stands for None, and characters that
    would move a terminal's cursor are shown as escapes."""
    if value is None:
        return "NULL"
    text = str(plain(value))
    return "".join(char if char.isprintable() else repr(char)[1:-1] for char in text)


def pairs(values: Mapping[str, Any]) -> str:
    """`a = 1, b = x`."""
    return ", ".join(f"{name} = {shown(value)}" for name, value in values.items())
