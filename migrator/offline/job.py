"""What a script is to do, as one value, and the frame that every server's script has."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from migrator.catalog import Facts
from migrator.decisions import DecisionsFile
from migrator.journal import FORWARD
from migrator.mirror import CHANGED, DELETED, Mirror
from migrator.offline.records import Records
from migrator.offline.sweeping import Sweeping
from migrator.offline.words import Words, comment
from migrator.plan import INVERSE, Operation, Plan, Proof, Restore, Sql, Step, Sweep
from migrator.reference import Reference
from migrator.settings import Settings


@dataclass(frozen=True)
class Job:
    """One operation on one reference, to be printed.

    Args:
        words: the database's.
        plan: its steps, planned from `facts` as they will be when the script runs.
        settings: the settings in force.
        policy: the policies as the journal keeps them; empty for an inverse.
        ours: for an inverse: the steps of the upgrade that are ours to take back.
        forward_steps: for an inverse: every step of SQL that the upgrade has; those that are not ours
            were found done.
        mirrors: for a restore: the quarantine tables to empty.
        idle_after: whether the journal has nothing left to take back when this is done, as far as it is
            known beforehand; a server's script asks the journal itself.
        has_journal: whether this script has seen to it before.
        advance: the facts after a step.
        source: where the facts are from, in words.
        files: the decisions files that the policies name, by their paths.
        loads: those of them that no earlier part of the script has loaded.
        decided: the tables of decisions files that are there, as far as that is known beforehand; a server's
            script asks the catalog itself.
        more: what else the journal is to keep of the run, from its beginning.
        together: for the first restore of a set: those of all its references, in the order of the sweeps,
            whose rows come back before anything else.
        none_left: the references of which no orphan may be left at the end.
    """

    words: Words
    plan: Plan
    settings: Settings
    policy: Mapping[str, Any]
    ours: frozenset[str]
    forward_steps: frozenset[str]
    mirrors: tuple[Mirror, ...]
    idle_after: bool
    has_journal: bool
    advance: Callable[[Facts, Step], Facts]
    source: str
    files: Mapping[str, DecisionsFile] = field(default_factory=dict)
    loads: tuple[DecisionsFile, ...] = ()
    decided: tuple[str, ...] = ()
    more: Mapping[str, Any] = field(default_factory=dict)
    together: tuple[Job, ...] = ()
    none_left: tuple[Reference, ...] = ()

    @property
    def facts(self) -> Facts:
        """The catalog as it will be when the script runs."""
        return self.plan.facts

    @property
    def operation(self) -> Operation:
        """What is to be done."""
        return self.plan.operation

    @property
    def inverse(self) -> Operation | None:
        """The operation that this one takes back; None for one that goes forward."""
        return None if self.operation in FORWARD else INVERSE[self.operation]

    @property
    def records(self) -> Records:
        """The journal of this operation."""
        return Records(self.words, self.facts.reference, self.operation)

    def sweeping(self, work: Sweep) -> Sweeping:
        """The statements of a sweep."""
        bounds = (self.settings.max_orphan_share, self.settings.max_orphans)
        return Sweeping(self.words, self.records, self.facts, work, *bounds, self.files)

    def refused(self, step: Step) -> str:
        """How the run ends where a step says no and no row has been changed: what was built before stays ours
        to take back."""
        before = self.plan.steps[: self.plan.steps.index(step)]
        return "failed" if any(isinstance(each.work, Sql) for each in before) else "refused"

    def heading(self) -> str:
        """What this part of the script is, and what it takes for granted."""
        server = f"{self.facts.server.family} {'.'.join(map(str, self.facts.server.version[:2]))}"
        return comment(
            f"migrator: {self.operation} {self.facts.reference} ({server}).\n"
            f"Written for the tables {self.source}; where they differ it stops before the first change.\n"
            "If it stops, nothing that follows was done; what was committed stands and is journaled. Write\n"
            "the script again from the revision in alembic_version, with the database in reach; where that\n"
            "table is there and empty, take the CREATE TABLE alembic_version out of it, if it has one."
        )


def passes(job: Job) -> Iterator[tuple[Job, Mirror, *tuple[str, ...]]]:
    """In what order the rows of a restore come back: whose, from which mirror, what had been done to them.
    Those of a set come back together, all that was removed before what was changed: a row that one sweep
    removed may be the parent of what another did, and a row that one changed may have been removed since."""
    for each in job.together:
        yield from ((each, mirror, DELETED) for mirror in each.mirrors)
    for each in reversed(job.together):
        yield from ((each, mirror, CHANGED) for mirror in each.mirrors if mirror.reference_columns)
    yield from ((job, mirror, DELETED, CHANGED) for mirror in job.mirrors)


class ServerScript:
    """A script for a server: every step commits by itself.

    Args:
        job: what to print.
    """

    def __init__(self, job: Job) -> None:
        self.job = job

    def parts(self) -> Iterator[str]:
        """The script, part by part, each ending its last statement."""
        job, records = self.job, self.job.records
        yield job.heading()
        yield from self.opening()
        yield from self.checks()
        if job.inverse is None and not job.has_journal:
            yield self.statements(*records.ensure())
        for file in job.loads:
            yield comment(f"what {file.path} decides")
            yield from self.decisions(file)
        yield self.together(*records.start(job.policy, job.more))
        facts = job.facts
        for step in job.plan.steps:
            yield from self._step(step, facts)
            facts = job.advance(facts, step)
        yield self.together(*self._last())
        for reference in job.none_left:
            yield from self.none_left(reference)
        if job.inverse is not None:
            yield from self.drop_journal_if_idle()
        yield from self.closing()

    def _last(self) -> list[str]:
        inverse = self.job.inverse
        undone = [self.job.records.undone(inverse)] if inverse is not None else []
        return [self.job.records.finish(), *undone]

    def _step(self, step: Step, facts: Facts) -> Iterator[str]:
        records, work = self.job.records, step.work
        done = isinstance(work, Sql) and step.done(facts)
        words = f"{step.name}: {step.title}"
        if isinstance(work, Sql):
            words += f"\nlocks: {step.lock}; blocks: {step.blocks}"
        yield comment(words + ("\nthere already" if done else ""))
        started = records.step_started(step.name, ours=not done)
        if isinstance(work, Sweep) and work.scan_only:
            # The scan's counts are kept with the sweep, as they are online.
            started += records.step_started("sweep", ours=True)
        yield self.together(*started)
        detail: str | None = None
        if isinstance(work, Sweep):
            yield from self.sweep(step, work)
        elif isinstance(work, Restore):
            yield from self.restore(step)
        elif isinstance(work, Proof):
            yield from self.proof()
            detail = self.job.words.json({"orphans": "0", "proved_at": self.job.words.now})
        elif not done:
            yield from self.sql(step, work)
        yield self.together(records.step_done(step.name, detail))

    def statements(self, *statements: str) -> str:
        """Statements, each by itself."""
        return ";\n".join(statements) + ";"

    def together(self, *statements: str) -> str:
        """Statements in one transaction."""
        raise NotImplementedError

    def opening(self) -> Iterator[str]:
        """The run lock and the session's settings."""
        raise NotImplementedError

    def closing(self) -> Iterator[str]:
        """Both put back."""
        raise NotImplementedError

    def checks(self) -> Iterator[str]:
        """Stop where the database is not as it was taken to be."""
        raise NotImplementedError

    def decisions(self, file: DecisionsFile) -> Iterator[str]:
        """The table of a decisions file, loaded."""
        raise NotImplementedError

    def sql(self, step: Step, work: Sql) -> Iterator[str]:
        """A step's own statements."""
        raise NotImplementedError

    def sweep(self, step: Step, work: Sweep) -> Iterator[str]:
        """The loop of a sweep, or its scan alone."""
        raise NotImplementedError

    def restore(self, step: Step) -> Iterator[str]:
        """The loop that puts rows back."""
        raise NotImplementedError

    def proof(self) -> Iterator[str]:
        """Stop where an orphan is left although the reference is enforced."""
        raise NotImplementedError

    def none_left(self, reference: Reference) -> Iterator[str]:
        """Stop where the rounds of a set were too few."""
        raise NotImplementedError

    def drop_journal_if_idle(self) -> Iterator[str]:
        """Drop the journal when nothing is left to take back."""
        raise NotImplementedError
