"""The quarantine as JSON, of the schema that `migrator/schemas/quarantine.json` describes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from migrator.quarantined.listing import Entry
from migrator.quarantined.restoring import Outcome
from migrator.report.build import now
from migrator.report.json import head
from migrator.report.model import DatabaseInfo

SCHEMA = "migrator.quarantine/1"


def entries_to_json(database: DatabaseInfo, entries: Sequence[Entry]) -> dict[str, Any]:
    """`list`."""
    return {
        **head(SCHEMA, now(), database),
        "verb": "list",
        "entries": [entry.to_json() for entry in entries],
        "summary": {"rows": sum(entry.rows for entry in entries)},
    }


def rows_to_json(database: DatabaseInfo, rows: Sequence[dict[str, Any]], total: int) -> dict[str, Any]:
    """`show`."""
    return {
        **head(SCHEMA, now(), database),
        "verb": "show",
        "rows": list(rows),
        "summary": {"rows": total, "shown": len(rows)},
    }


def outcome_to_json(database: DatabaseInfo, outcome: Outcome) -> dict[str, Any]:
    """`restore`."""
    return {
        **head(SCHEMA, now(), database),
        "verb": "restore",
        "conflicts": [dict(one.data) for one in outcome.listed],
        "dropped": list(outcome.dropped),
        "summary": {
            "restored": outcome.restored,
            "superseded": outcome.superseded,
            "blocked": outcome.blocked,
            "conflicts": outcome.conflicts,
            "parents": outcome.parents,
        },
    }
