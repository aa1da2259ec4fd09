"""What a report says, as frozen values. The JSON is these values, written out: see `json.py`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from migrator.catalog import State
from migrator.detect import Counts, MissingParent, OrphanRow
from migrator.estimate import Estimate
from migrator.predicate import Kind
from migrator.reference import Reference
from migrator.references import Origin

SCHEMA = "migrator.orphan-report/1"

Severity = Literal["high", "medium", "low"]


@dataclass(frozen=True)
class Finding:
    """One fact worth acting on.

    Args:
        slug: its name, kebab-case; one page of the documentation each.
        severity: high breaks the reference or stops the upgrade, medium will, low is worth knowing.
        message: what is the matter, in the user's own names.
        fix: the exact statement or command to go on with.
        sql: the statement that shows the rows concerned, where there are any.
    """

    slug: str
    severity: Severity
    message: str
    fix: str
    sql: str | None = None


@dataclass(frozen=True)
class DatabaseInfo:
    """Which database was looked at. `url` holds no password."""

    url: str
    engine: str
    version: str


@dataclass(frozen=True)
class ReferenceReport:
    """One reference.

    Args:
        reference: what was looked at.
        origin: how it was come by.
        state: whether the database enforces it.
        counts: None where the two sides' types cannot even be compared: a finding says so.
        estimate: how sure the counts are, when they were sampled.
        samples: orphans by kind, a few of each.
        top_missing_parents: most rows first.
        findings: gravest first.
    """

    reference: Reference
    origin: Origin
    state: State
    counts: Counts | None
    estimate: Estimate | None = None
    samples: Mapping[Kind, tuple[OrphanRow, ...]] = field(default_factory=dict)
    top_missing_parents: tuple[MissingParent, ...] = ()
    findings: tuple[Finding, ...] = ()

    @property
    def orphans(self) -> int:
        """The rows that break the reference as it is declared."""
        return self.counts.orphans(self.reference) if self.counts else 0

    def share(self, rows: int) -> float:
        """`rows` as a share of all rows of the child, 0 to 1."""
        return rows / self.counts.rows if self.counts and self.counts.rows else 0.0


@dataclass(frozen=True)
class Report:
    """All of it.

    Args:
        generated_at: UTC, ISO 8601, ending in Z.
        database: where.
        references: in the order they were asked for.
    """

    generated_at: str
    database: DatabaseInfo
    references: tuple[ReferenceReport, ...]

    @property
    def orphans(self) -> int:
        """Orphans of all references together."""
        return sum(one.orphans for one in self.references)

    @property
    def findings(self) -> int:
        """Findings of all references together."""
        return sum(len(one.findings) for one in self.references)

    @property
    def is_clean(self) -> bool:
        """No orphans, and every reference could be looked at."""
        return not self.orphans and all(one.counts is not None for one in self.references)

    def to_json(self) -> dict[str, Any]:
        """The object of schema `migrator.orphan-report/1`."""
        from migrator.report.json import report_to_json

        return report_to_json(self)
