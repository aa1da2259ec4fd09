"""The drill as one JSON object, of the schema that `migrator/schemas/drill.json` describes."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from migrator.drill.model import SCHEMA, ActResult, Cost, Drill, Felt, Part, Sampled
from migrator.fingerprint import Difference
from migrator.report.json import head


def drill_to_json(drill: Drill) -> dict[str, Any]:
    """The whole drill."""
    return {
        **head(SCHEMA, drill.generated_at, drill.database),
        "verdict": {
            "sentence": drill.verdict,
            "identical": drill.identical,
            "exit_code": drill.exit_code,
        },
        "place": {
            **asdict(drill.place),
            "seconds": round(drill.place.seconds, 3),
            "sample": None if drill.place.sample is None else _sample(drill.place.sample),
        },
        "start": drill.start,
        "target": drill.target,
        "acts": [_act(act) for act in drill.acts],
        "references": [{**asdict(one), "set_aside": one.total} for one in drill.references],
        "checklist": [asdict(item) for item in drill.checklist],
        "cost": None if drill.cost is None else _cost(drill.cost),
        "summary": {
            "seconds": round(drill.seconds, 3),
            "acts": len(drill.acts),
            "differences": len(drill.differences),
            **{
                status: sum(act.status == status for act in drill.acts)
                for status in ("passed", "differs", "failed", "skipped")
            },
        },
    }


def _sample(sample: Sampled) -> dict[str, Any]:
    return {
        "share": round(sample.share, 6),
        "rows": sample.rows,
        "of": sample.of,
        "tables": [{"table": name, "rows": kept, "of": rows} for name, (kept, rows) in sample.tables.items()],
    }


def _act(act: ActResult) -> dict[str, Any]:
    return {
        "slug": act.slug,
        "title": act.title,
        "status": act.status,
        "summary": act.summary,
        "seconds": round(act.seconds, 3),
        "steps": [
            {
                **asdict(step),
                "seconds": round(step.seconds, 3),
                "felt": _felt(step.felt),
                "parts": [_part(part) for part in step.parts],
            }
            for step in act.steps
        ],
        "notes": list(act.notes),
        "differences": [_difference(one) for one in act.differences],
        "expected": list(act.expected),
    }


def _part(part: Part) -> dict[str, Any]:
    return {**asdict(part), "seconds": round(part.seconds, 3), "felt": _felt(part.felt)}


def _felt(felt: Felt | None) -> dict[str, Any] | None:
    if felt is None:
        return None
    return {**asdict(felt), "worst": round(felt.worst, 4), "p99": round(felt.p99, 4)}


def _cost(cost: Cost) -> dict[str, Any]:
    longest = None if cost.longest is None else _part(cost.longest)
    return {**asdict(cost), "seconds": round(cost.seconds, 3), "longest": longest}


def _difference(one: Difference) -> dict[str, Any]:
    return {
        "kind": one.kind,
        "object": one.object,
        "column": one.column,
        "keys": [dict(key) for key in one.keys],
        "detail": one.detail,
    }
