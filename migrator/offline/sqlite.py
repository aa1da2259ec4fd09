"""The script for the sqlite3 shell: one transaction, in which nobody else writes."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace

import sqlalchemy as sa

from migrator.catalog import Facts
from migrator.dialects.sqlite_checks import unexpected_schema
from migrator.dialects.sqlite_rebuild import TableText
from migrator.dialects.sqlite_statement import Rebuild
from migrator.dialects.sqlite_steps import RebuildSql
from migrator.dialects.sqlite_tokens import quote_text
from migrator.journal import MIRROR, RUN, reference_key
from migrator.lock import LEASE_EXPIRES
from migrator.mirror import manifest
from migrator.offline.decided import inserts, made_anew
from migrator.offline.job import Job
from migrator.offline.sqlite_blocks import printed, purposeful, refuse_if, refuse_unless_table
from migrator.offline.sqlite_restore import restored
from migrator.offline.sqlite_sweep import scanned, settled
from migrator.offline.sweeping import Sweeping, how_many_left, too_few_rounds
from migrator.offline.words import comment
from migrator.plan import Proof, Restore, Sql, Step, Sweep
from migrator.reference import TableName

_AGAIN = "write the script again with the database in reach"
_LIST = TableName("migrator_list", "temp")


class SQLiteScript:
    """SQLite 3.35 and later.

    Args:
        job: what to print.
    """

    def __init__(self, job: Job) -> None:
        self.job = job

    def parts(self) -> Iterator[str]:
        """The script, part by part."""
        job, records = self.job, self.job.records
        rebuild = self._rebuild()
        yield job.heading() + "\n.bail on"
        if rebuild is not None:
            yield from purposeful(rebuild.prepare)
        yield printed("BEGIN IMMEDIATE")
        if job.inverse is None:
            yield printed(*records.ensure())
        yield from self._checks()
        for file in job.loads:
            yield comment(f"what {file.path} decides")
            yield printed(*made_anew(job.words, file))
            for statement in inserts(job.words, file, file.name):
                yield printed(statement)
        yield printed(*records.start(job.policy, job.more))
        facts = job.facts
        for step in job.plan.steps:
            yield from self._step(step, facts)
            facts = job.advance(facts, step)
        yield printed(records.finish())
        if job.inverse is not None:
            yield printed(records.undone(job.inverse))
        if job.idle_after:
            yield refuse_if(f"{records.left} > 0", f"the journal has other runs in force: {_AGAIN}")
            yield printed(*records.dropped())
        yield printed("COMMIT")
        for reference in job.none_left:
            yield printed("BEGIN IMMEDIATE")
            yield refuse_if(f"{how_many_left(job.words, reference)} > 0", too_few_rounds(reference))
            yield printed("COMMIT")
        if rebuild is not None:
            yield from purposeful(rebuild.restore)

    def _rebuild(self) -> Rebuild | None:
        """The rebuild among the steps: its settings are made before the transaction. A plan has one."""
        for step in self.job.plan.steps:
            if isinstance(step.work, RebuildSql) and not step.done(self.job.facts):
                return step.work.rebuild
        return None

    def _checks(self) -> Iterator[str]:
        job, records, reference = self.job, self.job.records, self.job.facts.reference
        child = job.facts.child
        if job.inverse is not None:
            yield refuse_unless_table(RUN.name, f"there is no journal, so no {job.inverse} to take back")
        alive = f"strftime('%Y-%m-%dT%H:%M:%fZ', 'now', '-{LEASE_EXPIRES:g} seconds')"
        running = [
            RUN.c.state == records.words.value("running"),
            RUN.c.heartbeat_at > sa.literal_column(alive),
        ]
        yield refuse_if(f"{records.count(*running)} > 0", "another run is at work in this database")
        text: TableText = child.extra["text"]
        own = [("table", text.name, text.sql)]
        own += [("index", *row) for row in text.indexes] + [("trigger", *row) for row in text.triggers]
        differs = f"(SELECT count(*) FROM ({unexpected_schema(text.name, own)})) > 0"
        yield refuse_if(
            differs, f"the definition of {child.name} is not the one this was written for: {_AGAIN}"
        )
        for table in (child, job.facts.parent):
            # A delete would pull their rows along; what refers to the parent may refer to a sentinel row.
            known = ", ".join(quote_text(fk.child.name) for fk in table.inbound) or "''"
            yield refuse_if(
                "(SELECT count(*) FROM main.sqlite_master AS m, pragma_foreign_key_list(m.name) AS k "
                f"WHERE m.type = 'table' AND k.\"table\" = {quote_text(table.name.name)} COLLATE NOCASE "
                f"AND m.name NOT IN ({known})) > 0",
                f"other tables refer to {table.name} than this was written for: {_AGAIN}",
            )
        if job.inverse is None:
            return
        in_force = records.in_force(job.inverse)
        other = RUN.c.definition != records.words.value(json.dumps(reference.to_json()))
        expected, foreign = sorted(job.forward_steps & job.ours), sorted(job.forward_steps - job.ours)
        yield refuse_if(
            f"{records.count(*in_force)} = 0",
            f"the journal knows of no {job.inverse} of {reference} in force",
        )
        yield refuse_if(
            f"{records.count(*in_force, other)} > 0",
            f"the {job.inverse} of {reference} had another definition: {_AGAIN}",
        )
        yield refuse_if(
            f"{records.ours(expected)} <> {len(expected)} OR {records.ours(foreign)} > 0",
            f"the steps of {job.inverse} that are ours are not those this was written for: {_AGAIN}",
        )
        if job.operation == "restore":
            yield refuse_if(
                self._other_mirrors(),
                f"the quarantine of {reference} is not as this was written for: {_AGAIN}",
            )

    def _other_mirrors(self) -> str:
        value, reference = self.job.words.value, self.job.facts.reference
        texts = [value(manifest(reference, mirror)["definition"]) for mirror in self.job.mirrors]
        names = [value(mirror.name.name) for mirror in self.job.mirrors]
        query = (
            sa.select(sa.func.count())
            .select_from(MIRROR)
            .where(
                MIRROR.c.reference_key == value(reference_key(reference)),
                MIRROR.c.name.in_(names),
                MIRROR.c.definition.in_(texts),
            )
        )
        return f"({self.job.words.sql(query)}) <> {len(names)}"

    def _step(self, step: Step, facts: Facts) -> Iterator[str]:
        records, work = self.job.records, step.work
        done = isinstance(work, Sql) and step.done(facts)
        yield comment(f"{step.name}: {step.title}" + ("\nthere already" if done else ""))
        started = records.step_started(step.name, ours=not done)
        if isinstance(work, Sweep) and work.scan_only:
            started += records.step_started("sweep", ours=True)
        yield printed(*started)
        detail: str | None = None
        if isinstance(work, Sweep):
            sweeping = replace(self._sweeping(work), list_name=_LIST)
            if work.scan_only or work.delta:
                yield from scanned(sweeping)
            if not work.scan_only:
                yield from settled(self.job, sweeping, step)
        elif isinstance(work, Restore):
            yield from restored(self.job, step)
        elif isinstance(work, Proof):
            yield refuse_if(
                f"{how_many_left(self.job.words, facts.reference)} > 0",
                f"orphans of {facts.reference} are there although enforced",
            )
            detail = self.job.words.json({"orphans": "0", "proved_at": self.job.words.now})
        elif not done and isinstance(work, RebuildSql) and work.rebuild is not None:
            # Within our own transaction: from BEGIN to COMMIT, both left out.
            yield from purposeful(work.rebuild.transaction[1:-1])
        elif not done:
            yield printed(*work.statements)
        yield printed(records.step_done(step.name, detail))

    def _sweeping(self, work: Sweep) -> Sweeping:
        return self.job.sweeping(work)
