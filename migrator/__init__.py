"""The database migration toolkit: finds orphans, sweeps them aside, enforces, proves, restores.

The names below are imported on first use: Alembic loads our plugin while it is itself half
imported, and a project that merely has us installed should not pay for all of us at start-up.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

# Before anything of ours: Alembic's import loads our plugin, which must find our modules unbegun.
import alembic as _alembic  # noqa: F401

__version__ = "0.1.0"

if TYPE_CHECKING:
    from migrator.api import (
        enforce_reference,
        release_reference,
        restore_orphans,
        restore_set,
        sweep_orphans,
        sweep_set,
        unvalidate_reference,
        validate_reference,
    )
    from migrator.errors import MigratorError
    from migrator.operate import Policies
    from migrator.policy import (
        Backfill,
        Chain,
        CreateParents,
        Decisions,
        Delete,
        Expression,
        Keep,
        Lookup,
        Policy,
        Refuse,
        SetNull,
    )
    from migrator.reference import Reference

__all__ = [
    "Backfill",
    "Chain",
    "CreateParents",
    "Decisions",
    "Delete",
    "Expression",
    "Keep",
    "Lookup",
    "MigratorError",
    "Policies",
    "Policy",
    "Reference",
    "Refuse",
    "SetNull",
    "enforce_reference",
    "release_reference",
    "restore_orphans",
    "restore_set",
    "sweep_orphans",
    "sweep_set",
    "unvalidate_reference",
    "validate_reference",
]

_POLICIES = (
    "Backfill", "Chain", "CreateParents", "Decisions", "Delete", "Expression", "Keep", "Lookup", "Policy",
    "Refuse", "SetNull",
)  # fmt: skip
_HOME = {
    **dict.fromkeys(_POLICIES, "policy"),
    "MigratorError": "errors",
    "Policies": "operate",
    "Reference": "reference",
}


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module 'migrator' has no attribute {name!r}")
    return getattr(importlib.import_module(f"migrator.{_HOME.get(name, 'api')}"), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
