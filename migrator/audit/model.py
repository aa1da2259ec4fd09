"""What an audit says, as frozen values."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from migrator import __version__
from migrator.report.model import DatabaseInfo

SCHEMA = "migrator.audit/1"

Severity = Literal["critical", "high", "medium"]
SEVERITIES: tuple[Severity, ...] = ("critical", "high", "medium")

#: What an audit looks for: in the models, then in the database.
SLUGS = (
    "frozen-default",
    "missing-foreign-key",
    "missing-back-reference",
    "null-reference",
    "dangling-reference",
    "partial-reference",
    "not-validated",
    "missing-index",
    "type-mismatch",
    "frozen-timestamp",
)


@dataclass(frozen=True)
class Finding:
    """One fact worth acting on.

    Args:
        slug: its name, kebab-case; one page of the documentation each.
        severity: critical: wrong data is being written or lost; high: nothing prevents it, or it is there;
            medium: it will hurt.
        where: `table.column`, or a model's attribute.
        message: what is the matter, in the user's own names.
        fix: the exact text to paste: Python into the model, SQL or a command.
        evidence: what was seen, by name.
    """

    slug: str
    severity: Severity
    where: str
    message: str
    fix: str
    evidence: Mapping[str, Any] = field(default_factory=dict)

    @property
    def page(self) -> str:
        """Its page in the documentation."""
        return f"docs/findings/{self.slug}.md"


@dataclass(frozen=True)
class Audit:
    """All of it.

    Args:
        generated_at: UTC, ISO 8601, ending in Z.
        models: `package.module:Base`; None where only the database was looked at.
        database: None where only the models were.
        findings: gravest first.
        notes: what could not be looked at, and why.
    """

    generated_at: str
    models: str | None
    database: DatabaseInfo | None
    findings: tuple[Finding, ...]
    notes: tuple[str, ...] = ()

    def count(self, severity: Severity) -> int:
        """How many findings are that grave."""
        return sum(finding.severity == severity for finding in self.findings)

    def to_json(self) -> dict[str, Any]:
        """The object of schema `migrator.audit/1`."""
        return {
            "schema": SCHEMA,
            "generated_at": self.generated_at,
            "tool": {"name": "migrator", "version": __version__},
            "models": self.models,
            "database": asdict(self.database) if self.database else None,
            "findings": [{**asdict(finding), "page": finding.page} for finding in self.findings],
            "notes": list(self.notes),
            "summary": {
                "findings": len(self.findings),
                **{severity: self.count(severity) for severity in SEVERITIES},
            },
        }


def in_order(found: Iterable[Finding]) -> tuple[Finding, ...]:
    """Gravest first; the same thing at the same place is said once, by whoever said it first."""
    once: dict[tuple[str, str], Finding] = {}
    for finding in found:
        once.setdefault((finding.slug, finding.where), finding)
    return tuple(sorted(once.values(), key=lambda finding: SEVERITIES.index(finding.severity)))
