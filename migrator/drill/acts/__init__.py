"""The acts of a drill, each a module with an `ACT`. To add one: the module, and its name below."""

from __future__ import annotations

import importlib

from migrator.drill.acts.base import Act, Outcome

__all__ = ["Act", "Outcome", "acts"]

#: In the order they are played. What writes rows that stay comes after everything that compares.
_ORDER = (
    "start",
    "upgrade",
    "verify",
    "old_release",
    "downgrade",
    "compare",
    "again",
    "chaos",
    "application",
    "leave",
    "load",
)


def acts() -> tuple[Act, ...]:
    """All of them, in their order."""
    return tuple(importlib.import_module(f"{__name__}.{name}").ACT for name in _ORDER)
