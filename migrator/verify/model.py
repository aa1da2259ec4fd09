"""What a verification says, as frozen values."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from migrator.reference import Reference
from migrator.references import Origin
from migrator.report.json import head, side
from migrator.report.model import DatabaseInfo

SCHEMA = "migrator.verify/1"

#: `skipped`: it could not be looked at, and the message says why. That is not `passed`.
Status = Literal["passed", "failed", "skipped"]


@dataclass(frozen=True)
class Check:
    """One thing looked at.

    Args:
        slug: its name, kebab-case.
        status: how it went.
        message: what was seen.
        fix: the exact statement or command that mends it; None when there is nothing to mend.
    """

    slug: str
    status: Status
    message: str
    fix: str | None = None


@dataclass(frozen=True)
class ReferenceChecks:
    """One reference and its checks, in the order they were made."""

    reference: Reference
    origin: Origin
    checks: tuple[Check, ...]


@dataclass(frozen=True)
class Verification:
    """All of it. `generated_at` is UTC, ISO 8601, ending in Z."""

    generated_at: str
    database: DatabaseInfo
    references: tuple[ReferenceChecks, ...]

    def count(self, status: Status) -> int:
        """How many checks went that way."""
        return sum(check.status == status for one in self.references for check in one.checks)

    def to_json(self) -> dict[str, Any]:
        """The object of schema `migrator.verify/1`."""
        return {
            **head(SCHEMA, self.generated_at, self.database),
            "references": [
                {
                    "reference": str(one.reference),
                    "name": one.reference.name,
                    "origin": one.origin,
                    "child": side(one.reference.child, one.reference.columns),
                    "parent": side(one.reference.parent, one.reference.parent_columns),
                    "checks": [
                        {
                            "slug": check.slug,
                            "status": check.status,
                            "message": check.message,
                            **({"fix": check.fix} if check.fix else {}),
                        }
                        for check in one.checks
                    ],
                }
                for one in self.references
            ],
            "summary": {
                "references": len(self.references),
                "checks": sum(len(one.checks) for one in self.references),
                "passed": self.count("passed"),
                "failed": self.count("failed"),
                "skipped": self.count("skipped"),
            },
        }
