"""Act 1: what the database is before anything happens to it."""

from __future__ import annotations

from migrator.drill.acts.base import Act, Outcome, plural
from migrator.drill.room import size
from migrator.drill.rows import own_tables
from migrator.drill.stage import Stage


def play(stage: Stage) -> Outcome:
    """Fingerprint schema and rows, unless copying has done so."""
    stage.tell("fingerprint of the start")
    first = stage.first = stage.first or stage.fingerprint()
    with stage.connected() as connection:
        stage.own = own_tables(connection)
        stage.size = size(connection)
    rows = sum(digest.rows for digest in first.tables.values())
    return Outcome(
        "passed",
        f"{plural(len(first.tables), 'table')} with {plural(rows, 'row')} and "
        f"{plural(len(first.schema), 'object')} of the schema, at revision {stage.start}.",
    )


ACT = Act("start", "Fingerprint the start", play)
