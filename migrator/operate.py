"""One operation, whole: lock, preflight, plan, run, journal. What `op.*` and the functions beside it do.

Killed here? Before the journal is written nothing has changed; after it, the same command takes the
unfinished run up again. Two of us at once? The second is refused by the run lock. The application keeps
writing? Every step is planned for that.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection, Engine

from migrator import journal, lock, quarantine
from migrator.catalog import Facts
from migrator.context import Context, Progress, Silent
from migrator.errors import (
    ConnectionFailed,
    Interrupted,
    MigratorError,
    PreflightRefused,
    Refused,
    StepFailed,
)
from migrator.plan import (
    INVERSE,
    Operation,
    Plan,
    enforce_plan,
    release_plan,
    restore_plan,
    sweep_plan,
    unvalidate_plan,
    validate_plan,
)
from migrator.policy import Backfill, Keep, Policy
from migrator.reference import Reference
from migrator.runner import Runner
from migrator.sessions import Sessions
from migrator.settings import Settings
from migrator.stopping import Gate, stoppable

FORWARD: tuple[Operation, ...] = ("sweep", "enforce", "validate")


@dataclass(frozen=True)
class Policies:
    """What to do with each kind of orphan."""

    on_null: Policy
    on_dangling: Policy

    @classmethod
    def of(
        cls, reference: Reference, on_null: Policy | None = None, on_dangling: Policy | None = None
    ) -> Policies:
        """The defaults: backfill to a sentinel; NULL is kept where the reference is nullable."""
        return cls(on_null or (Keep() if reference.nullable else Backfill()), on_dangling or Backfill())

    def to_json(self) -> dict[str, Any]:
        """As the journal keeps it."""
        return {"on_null": self.on_null.to_json(), "on_dangling": self.on_dangling.to_json()}


def operate(
    bind: Engine | Connection,
    operation: Operation,
    reference: Reference,
    *,
    policies: Policies | None = None,
    settings: Settings | None = None,
    progress: Progress | None = None,
) -> Mapping[str, Any]:
    """Carry out one operation on one reference.

    Args:
        bind: an engine, or a connection whose engine is used; never inside its transaction.
        operation: `sweep`, `enforce`, `validate` or an inverse.
        reference: what it is about.
        policies: for `sweep` and `validate`.
        settings: the settings in force.
        progress: whom to tell.

    Returns:
        What the run counted.

    Raises:
        MigratorError: with its exit code; see `migrator.errors`.
    """
    progress = progress or Silent()
    try:
        sessions = Sessions.of(bind, settings)
    except sa.exc.DBAPIError as error:
        raise translate("lost", error) from error
    try:
        with lock.hold(sessions) as check:
            work = _Operation(sessions, operation, reference, policies or Policies.of(reference), progress)
            return work.forward(check) if operation in FORWARD else work.back(check)
    except sa.exc.DBAPIError as error:
        raise translate(sessions.dialect.verdict(error), error) from error
    finally:
        sessions.close()


def translate(verdict: str, error: sa.exc.DBAPIError) -> MigratorError:
    """A driver's error as one line of ours, without a password."""
    line = str(error.orig).strip().splitlines()[0] if str(error.orig).strip() else type(error.orig).__name__
    if verdict == "denied":
        return PreflightRefused(
            f"The database does not permit this: {line}", hint="Grant what is missing, then run it again."
        )
    if verdict == "lost":
        return ConnectionFailed(
            f"The connection failed: {line}", hint="Run the same command again: it goes on from where it was."
        )
    if verdict in ("lock-timeout", "deadlock", "retry"):
        return Interrupted(
            f"A lock could not be had: {line}",
            hint="Run the same command again: it goes on from where it was.",
        )
    return StepFailed(line, hint="What was done is journaled; mend the cause and run the same command again.")


@dataclass(frozen=True)
class _Operation:
    sessions: Sessions
    operation: Operation
    reference: Reference
    policies: Policies
    progress: Progress

    def forward(self, check: Callable[[], None]) -> Mapping[str, Any]:
        """Preflight, then the plan; a refusal leaves nothing of ours behind."""
        facts = self._facts()
        self._preflight(facts)
        with self.sessions.open() as connection:
            journal.ensure(connection)
            run = journal.start(connection, self.reference, self.operation, self.policies.to_json())
        return self._run(check, run, self._plan(facts, frozenset()))

    def back(self, check: Callable[[], None]) -> Mapping[str, Any]:
        """The inverse, from the journal and the quarantine alone."""
        with self.sessions.open() as connection:
            known = journal.exists(connection)
            runs = journal.runs(connection, self.reference) if known else []
            ours = journal.ours(connection, self.reference) if known else frozenset()
        forward = INVERSE[self.operation]
        if not any(run.operation == forward and run.state != "undone" for run in runs):
            self._nothing_to_undo(forward)
            with self.sessions.open() as connection:
                journal.drop_if_idle(connection)
            return {}
        facts = self._facts()
        # The reference as it was when the upgrade ran, not as the revision says today.
        definition = next(run.reference for run in reversed(runs) if run.operation == forward)
        facts = replace(facts, reference=definition)
        with self.sessions.open() as connection:
            run = journal.start(connection, definition, self.operation, {})
        counts = self._run(check, run, self._plan(facts, ours))
        with self.sessions.open() as connection:
            journal.undone(connection, self.reference, forward)
            journal.drop_if_idle(connection)
        return counts

    def _nothing_to_undo(self, forward: Operation) -> None:
        """No run of ours is in force. Fine when there is nothing to take back; else someone else's."""
        facts = self._facts()
        standing = facts.foreign_key is not None if forward == "enforce" else False
        if standing:
            name = facts.foreign_key.name if facts.foreign_key else ""
            raise Refused(
                f"The journal knows of no {forward} of {self.reference}, but {self.reference.child} has the "
                f"foreign key {name}: it is not ours to remove. Nothing was changed.",
                hint=f"If it is to go: ALTER TABLE {self.reference.child} DROP CONSTRAINT {name}; or "
                "`alembic stamp` past this revision to keep it.",
            )

    def _facts(self) -> Facts:
        with self.sessions.open() as connection:
            facts = self.sessions.dialect.facts(connection, self.reference)
            if journal.exists(connection):
                facts = replace(facts, proved_at=journal.proved_at(connection, self.reference))
        return facts

    def _preflight(self, facts: Facts) -> None:
        dialect = self.sessions.dialect
        with self.sessions.open() as connection:
            problems = [
                *dialect.preflight(facts),
                *dialect.environment_problems(connection, facts, self.sessions.settings),
            ]
        refusals = [problem for problem in problems if problem.severity == "refuse"]
        for problem in problems:
            if problem.severity == "warn":
                self.progress.note(f"{problem.message} {problem.fix}")
        if refusals:
            more = f" (and {len(refusals) - 1} more: see `migrator plan`)" if len(refusals) > 1 else ""
            raise PreflightRefused(refusals[0].message + more, hint=refusals[0].fix)

    def _plan(self, facts: Facts, ours: frozenset[str]) -> Plan:
        dialect, null, dangling = self.sessions.dialect, self.policies.on_null, self.policies.on_dangling
        plans: dict[Operation, Callable[[], Plan]] = {
            "sweep": lambda: sweep_plan(facts, dialect, null, dangling),
            "enforce": lambda: enforce_plan(facts, dialect),
            "validate": lambda: validate_plan(facts, dialect, null, dangling),
            "unvalidate": lambda: unvalidate_plan(facts, dialect, ours),
            "release": lambda: release_plan(facts, dialect, ours),
            "restore": lambda: restore_plan(facts, dialect, ours),
        }
        return plans[self.operation]()

    def _run(self, check: Callable[[], None], run: journal.Run, plan: Plan) -> Mapping[str, Any]:
        with stoppable() as stop:
            gate = Gate(self.sessions, run, stop, check, self.progress)
            context = Context(self.sessions, plan.facts.reference, run, self.progress, gate)
            try:
                Runner(context).run(plan)
            except BaseException as error:
                self._close(run, error)
                raise
        with self.sessions.open() as connection:
            journal.finish(connection, run, "done")
            return journal.reload(connection, run).counts

    def _close(self, run: journal.Run, error: BaseException) -> None:
        """Say in the journal how the run ended. The error matters more than what fails here."""
        state = "failed"
        if isinstance(error, (Interrupted, KeyboardInterrupt)):
            state = "interrupted"
        elif isinstance(error, Refused) and not isinstance(error, PreflightRefused):
            state = "refused"
        try:
            with self.sessions.open() as connection:
                journal.finish(connection, run, state, str(error) or type(error).__name__)
                if state == "refused":
                    for mirror in quarantine.mirrors(connection, run.reference):
                        if not quarantine.held(connection, mirror):
                            quarantine.drop(connection, self.sessions.dialect, mirror)
                    journal.drop_if_idle(connection)
        except (sa.exc.DBAPIError, MigratorError):
            return
