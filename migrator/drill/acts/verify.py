"""Act 3: does the database hold to what the upgrade promised?"""

from __future__ import annotations

from migrator import journal
from migrator.connect import connect, make_engine
from migrator.dialects import dialect_for
from migrator.drill.acts.base import Act, Outcome, plural
from migrator.drill.stage import Stage
from migrator.references import Found
from migrator.verify import Verification, verify


def play(stage: Stage) -> Outcome:
    """Check every reference that the upgrade has validated."""
    found = _validated(stage)
    if not found:
        return Outcome("skipped", "None of these revisions validates a reference.")
    result = _verified(stage, found)
    stage.checks = [check for one in result.references for check in one.checks]
    notes = tuple(
        f"{check.status}: {check.slug}: {check.message}" for check in stage.checks if check.status != "passed"
    )
    failed = result.count("failed")
    others = ((failed, "failed"), (result.count("skipped"), "skipped"))
    summary = f"{plural(result.count('passed'), 'check')} passed"
    summary += "".join(f", {number} {word}" for number, word in others if number) + "."
    return Outcome("differs" if failed else "passed", summary, notes)


def _validated(stage: Stage) -> list[Found]:
    with stage.connected() as connection:
        runs = journal.runs(connection) if journal.exists(connection) else []
    done = {run.reference for run in runs if run.operation == "validate" and run.state == "done"}
    return [one for one in stage.found if one.reference in done]


def _verified(stage: Stage, found: list[Found]) -> Verification:
    with connect(stage.url, read_only=True) as engine, engine.connect() as connection:
        dialect = dialect_for(connection)
        with dialect.read_only(connection):
            return verify(
                connection,
                dialect,
                found,
                url=stage.url,
                writer=lambda: make_engine(stage.url),
                mappers=stage.mappers,
            )


ACT = Act("verify", "Verify", play, needs=("upgrade",))
