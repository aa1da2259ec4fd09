"""Which family a column's type belongs to, from its SQL text: can two columns be compared, what value
can be made up for one. Coarse on purpose; what exactly must agree for a foreign key is the preflight's."""

from __future__ import annotations

import re
from typing import Literal

from migrator.catalog import Column, Facts

Family = Literal["integer", "number", "text", "binary", "uuid", "moment", "boolean", "other", "untyped"]

# In this order: `bigint` before `bit`, `tinyint(1)` is an integer, `char(36)` is text.
_FAMILIES: tuple[tuple[str, Family], ...] = (
    (r"\b(?:(?:tiny|small|medium|big)?int(?:eger)?(?:[248])?|(?:small|big)?serial|year)\b", "integer"),
    (r"\b(?:numeric|decimal|number|real|double|float[48]?|money)\b", "number"),
    (r"\b(?:uuid|uniqueidentifier)\b", "uuid"),
    (
        r"\b(?:character|n?varchar2?|n?char|bpchar|(?:tiny|medium|long)?text|n?clob|citext|string|name)\b",
        "text",
    ),
    (r"\b(?:(?:var)?binary|(?:tiny|medium|long)?blob|bytea|raw|bytes)\b", "binary"),
    (r"\b(?:date|datetime2?|timestamp(?:tz)?|time)\b", "moment"),
    (r"\bbool(?:ean)?\b", "boolean"),
)


def family(column: Column) -> Family:
    """The family of a column's type; `untyped` for SQLite's columns without a declared type."""
    text = column.type.lower()
    if not text.strip():
        return "untyped"
    if "[]" in text or text.startswith(("enum", "set(")):
        return "other"
    return next((found for words, found in _FAMILIES if re.search(words, text)), "other")


def length(column: Column) -> int | None:
    """How many characters or bytes it holds at most; None where the type does not say."""
    match = re.search(r"\(\s*(\d+)\s*\)", column.type)
    return int(match.group(1)) if match else None


def pairs(facts: Facts) -> list[tuple[Column, Column]]:
    """The child's columns with the parent's that they refer to."""
    reference = facts.reference
    return [
        (facts.child.column(ours), facts.parent.column(theirs))
        for ours, theirs in zip(reference.columns, reference.parent_columns, strict=True)
    ]


def differ(facts: Facts) -> bool:
    """Whether some pair of columns belongs to two families, so that comparing them may be refused."""
    return any(
        family(ours) != family(theirs) and "untyped" not in (family(ours), family(theirs))
        for ours, theirs in pairs(facts)
    )
