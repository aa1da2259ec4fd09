"""The report as one JSON object, of the schema that `migrator/schemas/orphan-report.json` describes."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from migrator import __version__
from migrator.detect import OrphanRow
from migrator.estimate import Estimate
from migrator.reference import TableName
from migrator.report.model import SCHEMA, DatabaseInfo, ReferenceReport, Report
from migrator.report.values import plain


def dumps(value: Mapping[str, Any]) -> str:
    """JSON as all commands print it: indented, names and text as they are."""
    return json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def head(schema: str, generated_at: str, database: DatabaseInfo) -> dict[str, Any]:
    """What every object of ours begins with."""
    return {
        "schema": schema,
        "generated_at": generated_at,
        "tool": {"name": "migrator", "version": __version__},
        "database": asdict(database),
    }


def side(table: TableName, columns: tuple[str, ...]) -> dict[str, Any]:
    """One end of a reference."""
    return {"schema": table.schema, "table": table.name, "columns": list(columns)}


def report_to_json(report: Report) -> dict[str, Any]:
    """The whole report."""
    return {
        **head(SCHEMA, report.generated_at, report.database),
        "references": [_reference(one) for one in report.references],
        "summary": {
            "references": len(report.references),
            "orphans": report.orphans,
            "findings": report.findings,
        },
    }


def _reference(one: ReferenceReport) -> dict[str, Any]:
    reference = one.reference
    return {
        "reference": str(reference),
        "name": reference.name,
        "origin": one.origin,
        "child": side(reference.child, reference.columns),
        "parent": side(reference.parent, reference.parent_columns),
        "state": one.state,
        "nullable": reference.nullable,
        "match": reference.match,
        "orphans": one.orphans,
        "counts": asdict(one.counts) if one.counts else None,
        "estimate": _estimate(one.estimate) if one.estimate else None,
        "samples": {kind: [_row(row) for row in rows] for kind, rows in one.samples.items()},
        "top_missing_parents": [
            {"value": plain(missing.value), "rows": missing.rows} for missing in one.top_missing_parents
        ],
        "findings": [
            {name: value for name, value in asdict(finding).items() if value is not None}
            for finding in one.findings
        ],
    }


def _row(row: OrphanRow) -> dict[str, Any]:
    if row.kind == "null":  # its value is NULL: that is what the kind says
        return {"key": plain(row.key)}
    return {"key": plain(row.key), "value": plain(row.value)}


def _estimate(estimate: Estimate) -> dict[str, Any]:
    values = asdict(estimate)
    del values["counts"]
    return values
