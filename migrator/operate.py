"""One operation, whole: lock, preflight, plan, run, journal. What `op.*` and the functions beside it do.

Killed here? Before the journal is written nothing has changed; after it, the same command takes the
unfinished run up again. Two of us at once? The second is refused by the run lock. The application keeps
writing? Every step is planned for that.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection, Engine

from migrator import journal, lock, quarantine
from migrator.catalog import Facts
from migrator.collector import only_new_garbage
from migrator.context import Context, Progress, Silent
from migrator.dialects.telling import Problem, refuses
from migrator.errors import (
    ConnectionFailed,
    Interrupted,
    MigratorError,
    PreflightRefused,
    Refused,
    StepFailed,
    UsageError,
)
from migrator.inbound import unindexed
from migrator.known import facts_with_proof
from migrator.leftovers import wait_for_leftovers
from migrator.plan import (
    INVERSE,
    Operation,
    Plan,
    Sql,
    enforce_plan,
    release_plan,
    restore_plan,
    sweep_plan,
    unvalidate_plan,
    validate_plan,
)
from migrator.policy import Backfill, Keep, Policy, flat
from migrator.policy_preflight import looked_at, policy_problems
from migrator.reference import Reference
from migrator.runner import Runner
from migrator.saying import driver_says
from migrator.sessions import Sessions
from migrator.settings import Settings
from migrator.stopping import Gate, stoppable
from migrator.turning import FORWARD, check_finished, in_force, standing_on
from migrator.wayback import no_other_name, nothing_in_the_way, same_table
from migrator.worklist import Worklist

#: What the database may say of a statement that the next run can send again.
_PASSING = ("lost", "lock-timeout", "deadlock", "retry")
_MEND = "What was done is journaled; mend the cause and run the same command again."


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

    @property
    def each(self) -> tuple[Policy, ...]:
        """All of them, those of chains one by one."""
        return (*flat(self.on_null), *flat(self.on_dangling))

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
    heads: Sequence[str] | None = None,
    facts: Mapping[str, Any] | None = None,
) -> Mapping[str, Any]:
    """Carry out one operation on one reference.

    Args:
        bind: an engine, or a connection whose engine is used; never inside its transaction.
        operation: `sweep`, `enforce`, `validate` or an inverse.
        reference: what it is about.
        policies: for `sweep` and `validate`.
        settings: the settings in force.
        progress: whom to tell.
        heads: inside Alembic: where it believes the database to be. An inverse then takes back first what
            stands on what it is to take back, because Alembic does not know of that.
        facts: for an upgrade: what else the journal is to keep of the run, from its beginning.

    Returns:
        What the run counted.

    Raises:
        MigratorError: with its exit code; see `migrator.errors`.
    """
    progress = progress or Silent()
    try:
        sessions = Sessions.of(bind, settings)
    except sa.exc.DBAPIError as error:
        raise ConnectionFailed(
            f"The connection failed: {driver_says(error)}",
            hint="Check that the server is there and lets you in.",
        ) from error
    try:
        with only_new_garbage(), lock.hold(sessions) as check:
            chosen = policies or Policies.of(reference)
            wait_for_leftovers(sessions, progress, check)
            work = _Operation(sessions, operation, reference, chosen, progress, heads, facts or {})
            return work.forward(check) if operation in FORWARD else work.back(check)
    except sa.exc.DBAPIError as error:
        raise translate(sessions.dialect.verdict(error), error) from error
    finally:
        sessions.close()


def translate(verdict: str, error: sa.exc.DBAPIError) -> MigratorError:
    """A driver's error as one line of ours, without a password."""
    line = driver_says(error)
    if verdict == "denied":
        return PreflightRefused(
            f"The database does not permit this: {line.rstrip('.')}.",
            hint="`migrator plan` names what is missing and the statement that mends it; then run it again.",
        )
    if verdict == "lost":
        return Interrupted(
            f"The connection was lost: {line}",
            hint="Run the same command again: it goes on from where it was.",
        )
    if verdict in _PASSING:
        return Interrupted(
            f"A lock could not be had: {line}",
            hint="Run the same command again: it goes on from where it was.",
        )
    if verdict == "no-room":
        return StepFailed(
            f"The server has no room left: {line}",
            hint="Make room, then run the same command again: it goes on from where it was.",
        )
    return StepFailed(line, hint=_MEND)


@dataclass(frozen=True)
class _Operation:
    sessions: Sessions
    operation: Operation
    reference: Reference
    policies: Policies
    progress: Progress
    heads: Sequence[str] | None
    more: Mapping[str, Any]

    def forward(self, check: Callable[[], None]) -> Mapping[str, Any]:
        """Preflight, then the plan; a refusal leaves nothing of ours behind."""
        with self.sessions.open() as connection:
            check_finished(journal.runs_if_any(connection, self.reference), self.heads)
        facts = self._facts()
        self._preflight(facts)
        with self.sessions.open() as connection:
            journal.ensure(connection)
            run = journal.start(connection, self.reference, self.operation, self.policies.to_json())
            if self.more:
                run = replace(run, facts={**run.facts, **self.more})
                journal.record(connection, run, facts=run.facts)
        return self._run(check, run, self._plan(facts, frozenset()))

    def back(self, check: Callable[[], None]) -> Mapping[str, Any]:
        """The inverse, from the journal and the quarantine alone."""
        forward = INVERSE[self.operation]
        with self.sessions.open() as connection:
            runs = journal.runs_if_any(connection, self.reference)
        for later in standing_on(runs, forward):
            if self.heads is None:
                raise Refused(
                    f"The {forward} of {self.reference} cannot be taken back while its {later} stands.",
                    hint=f"Call {INVERSE[later]}_reference first; `alembic downgrade` keeps the order.",
                )
            replace(self, operation=INVERSE[later]).back(check)
        if not in_force(runs, forward):
            self._nothing_to_undo(forward)
            with self.sessions.open() as connection:
                journal.drop_if_idle(connection)
            return {}
        facts = self._facts()
        # The reference as it was when the upgrade ran, not as the revision says today.
        definition = next(run.reference for run in reversed(runs) if run.operation == forward)
        facts = replace(facts, reference=definition)
        with self.sessions.open() as connection:
            mirrors = quarantine.mirrors(connection, definition)
            same_table(facts, mirrors)
            if self.operation == "release":
                no_other_name(facts, self.sessions.dialect, facts.ours)
            if self.operation == "restore":
                nothing_in_the_way(connection, facts, self.sessions.dialect, mirrors)
            run = journal.start(connection, definition, self.operation, {})
            journal.record(connection, run, facts={**run.facts, "heads": sorted(self.heads or ())})
        counts = self._run(check, run, self._plan(facts, facts.ours))
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
            return facts_with_proof(connection, self.sessions.dialect, self.reference)

    def _preflight(self, facts: Facts) -> None:
        dialect = self.sessions.dialect
        with self.sessions.open() as connection:
            problems = [
                *dialect.preflight(facts),
                *dialect.environment_problems(connection, facts, self.sessions.settings),
                *self._unindexed(connection, facts),
            ]
            if self.operation in ("sweep", "validate") and not any(map(refuses, problems)):
                problems += policy_problems(
                    connection,
                    dialect,
                    facts,
                    on_null=self.policies.on_null,
                    on_dangling=self.policies.on_dangling,
                    there=looked_at(connection, self.reference),
                )
        refusals = [problem for problem in problems if refuses(problem)]
        for problem in problems:
            if problem.severity == "warn":
                self.progress.note(f"{problem.message} {problem.fix}")
        if refusals:
            more = f" (and {len(refusals) - 1} more: see `migrator plan`)" if len(refusals) > 1 else ""
            raise PreflightRefused(refusals[0].message + more, hint=refusals[0].fix)

    def _unindexed(self, connection: Connection, facts: Facts) -> Iterator[Problem]:
        """Of an operation that sweeps: what a delete would be slow by."""
        if self.operation in ("sweep", "validate"):
            yield from unindexed(
                connection,
                self.sessions.dialect,
                facts,
                self.sessions.settings,
                on_null=self.policies.on_null,
                on_dangling=self.policies.on_dangling,
            )

    def _plan(self, facts: Facts, ours: frozenset[str]) -> Plan:
        dialect = self.sessions.dialect
        null, dangling = self.policies.on_null, self.policies.on_dangling
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
            except sa.exc.DBAPIError as error:
                said = translate(self.sessions.dialect.verdict(error), error)
                if not self._close(run, plan, said) and isinstance(said, Refused):
                    # It was permitted until now: the server has become read-only, say.
                    said = StepFailed(said.message, hint=_MEND)
                raise said from error
            except BaseException as error:
                self._close(run, plan, error)
                raise
            with self.sessions.open() as connection:
                journal.finish(connection, run, "done")
                counts = journal.reload(connection, run).counts
            # A signal during the last step stops whatever would come after this operation.
            gate.signalled()
        return counts

    def _close(self, run: journal.Run, plan: Plan, error: BaseException) -> bool:
        """Say in the journal how the run ended. The error matters more than what fails here. Returns whether
        it was a refusal before the first change."""
        state = "failed"
        if isinstance(error, (Interrupted, KeyboardInterrupt)):
            state = "interrupted"
        try:
            with self.sessions.open() as connection:
                if isinstance(error, (Refused, UsageError)) and self._changed_nothing(connection, run, plan):
                    state = "refused"
                journal.finish(connection, run, state, str(error) or type(error).__name__)
                if state == "refused":
                    self._leave_nothing(connection, plan)
        except (sa.exc.DBAPIError, MigratorError):
            pass
        return state == "refused"

    def _changed_nothing(self, connection: Connection, run: journal.Run, plan: Plan) -> bool:
        """Whether a refusal came before the first change, so that nothing of ours need stay."""
        if self.operation not in FORWARD:
            return False
        now = journal.reload(connection, run)
        statements = {step.name for step in plan.steps if isinstance(step.work, Sql)}
        done = {step["name"] for step in journal.steps(connection, run) if step["ours"]}
        return not (now.counts.get("changed") or now.facts.get("sentinel") or statements & done)

    def _leave_nothing(self, connection: Connection, plan: Plan) -> None:
        dialect = self.sessions.dialect
        Worklist.of(dialect, self.reference, plan.facts.child).drop(connection)
        for mirror in quarantine.mirrors(connection, self.reference):
            if not quarantine.held(connection, mirror):
                quarantine.drop(connection, dialect, mirror)
        journal.drop_if_idle(connection)
