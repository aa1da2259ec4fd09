"""Runs a plan: done-check, blockers, lock timeout, retry, catalog read again, journal.

Each step reads the catalog before it acts and after. A step whose effect is there is skipped; a
statement that succeeded without its effect is an error (MyISAM accepts a foreign key and drops it).
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import sqlalchemy as sa

from migrator import journal
from migrator.catalog import Facts
from migrator.context import Context
from migrator.detect import count_orphans
from migrator.errors import Interrupted, LockNotObtained, PreflightRefused, Refused, StepFailed, UsageError
from migrator.leftovers import wait_for_leftovers
from migrator.plan import Plan, Proof, Restore, Sql, Step, Sweep
from migrator.restore_all import restore
from migrator.saying import driver_says
from migrator.sweep import sweep

# How often a violated constraint sends us back to the delta sweep before we give up.
_SWEEP_AGAIN = 10
# What a refusal says, and what is not so once steps are done.
_NOTHING = " Nothing was changed."


@dataclass(frozen=True)
class Runner:
    """Runs the steps of one plan, one after the other.

    Args:
        context: the run.
        sleep: how to wait between two attempts.
    """

    context: Context
    sleep: Callable[[float], None] = time.sleep

    def facts(self) -> Facts:
        """The catalog, read now, with the journal's proof."""
        with self.context.sessions.open() as connection:
            facts = self.context.dialect.facts(connection, self.context.reference)
            if journal.exists(connection):
                facts = replace(facts, proved_at=journal.proved_at(connection, self.context.reference))
        return facts

    def run(self, plan: Plan) -> None:
        """Run every step that is not done yet.

        Raises:
            LockNotObtained, Interrupted: stopped; the same command goes on from here.
            StepFailed: a statement failed for good, or had no effect.
            Refused: a safety check said no before the first change.
        """
        for step in plan.steps:
            self.context.check()
            self._step(plan, step)

    def _step(self, plan: Plan, step: Step) -> None:
        context = self.context
        facts = self.facts()
        done = step.done(facts)
        with context.sessions.open() as connection:
            again = journal.step_started(connection, context.run, step.name, ours=not done)
        detail: dict[str, Any] | None = None
        if not done:
            context.progress.step(step.name, step.title)
            detail = self._work(plan, step, facts)
            if isinstance(step.work, Sql) and not step.done(self.facts()):
                self._had_no_effect(step)
        elif again and isinstance(step.work, Sql) and step.work.courtesy:
            self._settle(step, step.work)
        with context.sessions.open() as connection:
            journal.step_done(connection, context.run, step.name, detail)

    def _settle(self, step: Step, work: Sql) -> None:
        """An earlier start died between the effect and what it had put up around it."""
        left = replace(step, work=replace(work, statements=(), courtesy=(), otherwise=()))
        with self.context.sessions.fresh() as connection:
            self.context.dialect.run_sql(connection, left, self.context.sessions.settings)

    def _had_no_effect(self, step: Step) -> None:
        if step.optional:
            return
        raise StepFailed(
            f"Step {step.name} of {self.context.reference} succeeded, but the catalog does not show its "
            "effect.",
            hint="Look at the storage engine and at event triggers; nothing later was run.",
        )

    def _work(self, plan: Plan, step: Step, facts: Facts) -> dict[str, Any] | None:
        context = self.context
        if isinstance(step.work, Sweep):
            home = "sweep" if step.work.scan_only else step.name
            with context.sessions.open() as connection:
                journal.step_started(connection, context.run, home, ours=True)
            found = sweep(context, facts, home, step.work)
            return None if step.work.scan_only else found
        if isinstance(step.work, Restore):
            counts = restore(replace(context, step=step.name), facts)
            with context.sessions.open() as connection:
                journal.record(connection, context.run, counts=counts)
            return counts
        if isinstance(step.work, Proof):
            return self._prove(plan, step)
        self._statements(plan, step)
        return None

    # -- SQL -----------------------------------------------------------------------------------
    def _statements(self, plan: Plan, step: Step) -> None:
        settings = self.context.sessions.settings
        began = time.monotonic()
        sweeps = 0
        attempt = 0
        while True:
            attempt += 1
            if self._ended_without_us(step):
                return
            patient = self._look_for_blockers(plan, step)
            try:
                with self.context.sessions.fresh() as connection:
                    self.context.dialect.run_sql(connection, step, settings, patient=patient)
                return
            except sa.exc.DBAPIError as error:
                verdict = self.context.dialect.verdict(error)
                if verdict in step.optional:
                    self.context.progress.note(f"{step.name}: left out ({driver_says(error)})")
                    return
                if step.done(self.facts()):
                    return  # the server did it, though the client heard an error
                if verdict == "violation" and step.violation == "sweep" and sweeps < _SWEEP_AGAIN:
                    sweeps += 1
                    self._sweep_again(plan)
                    continue
                if verdict not in ("lock-timeout", "deadlock", "retry") or not step.retryable:
                    raise self._failed(step, verdict, error) from error
                waited = time.monotonic() - began
                if attempt >= settings.lock_attempts or waited > settings.lock_deadline:
                    raise self._not_obtained(plan, step, attempt, waited) from error
                self.context.progress.note(f"{step.name}: attempt {attempt}: {driver_says(error)}; once more")
            # Full jitter, from 0.1 s up to 30 s: two runs that collide do not collide again in step.
            self.sleep(random.uniform(0.05, min(30.0, 0.1 * 2**attempt)))

    def _ended_without_us(self, step: Step) -> bool:
        """Wait for a statement of ours that is still at work on the server. Returns whether it did what this
        step was going to do."""
        context = self.context
        waited = wait_for_leftovers(context.sessions, context.progress, context.check)
        return waited and step.done(self.facts())

    def _look_for_blockers(self, plan: Plan, step: Step) -> bool:
        """Name who is in the way before we queue up behind them; who would outlast every attempt ends the run
        here, also where nobody would queue behind us: an index would be built for nothing. Returns whether
        this attempt may be patient: only an autovacuum is in the way, which gives way after
        deadlock_timeout."""
        context = self.context
        with context.sessions.open() as connection:
            blockers = context.dialect.obstacles(connection, plan.facts, step)
        for blocker in blockers:
            context.progress.note(f"{step.name}: in the way is {blocker}")
        limit = context.sessions.settings.long_transaction
        stubborn = [b for b in blockers if b.kind == "wraparound" or b.age_seconds > limit]
        if stubborn:
            raise LockNotObtained(
                f"Step {step.name} of {context.reference} was not tried: {stubborn[0]} would not give way.",
                hint=f"Wait for it (long_transaction is {limit:.0f} s)"
                + (f", or: {stubborn[0].end}" if stubborn[0].end else ".")
                + " Then run the same command again: it goes on.",
            )
        patience = bool(blockers) and context.dialect.holds_up_others(step)
        return patience and all(blocker.kind == "autovacuum" for blocker in blockers)

    def _sweep_again(self, plan: Plan) -> None:
        found = next((step for step in plan.steps if isinstance(step.work, Sweep)), None)
        if found is None or not isinstance(found.work, Sweep):
            raise StepFailed(
                f"Rows of {self.context.reference.child} break the constraint, and this plan has no sweep.",
                hint="Run `migrator report` to see them.",
            )
        self.context.progress.note("something slipped in: sweeping again")
        try:
            sweep(self.context, self.facts(), found.name, replace(found.work, looked_at_later=False))
        except (Refused, UsageError) as error:
            # By now something was changed: the steps before this one stand.
            raise StepFailed(
                f"Orphans slipped in after the first sweep and stay: {error.message.replace(_NOTHING, '')}",
                hint=f"{error.hint or 'Settle them.'} The same command goes on from here.",
            ) from error

    def _failed(self, step: Step, verdict: str, error: sa.exc.DBAPIError) -> Exception:
        reference = self.context.reference
        if verdict == "denied":
            return PreflightRefused(
                f"Step {step.name} of {reference} is not permitted to this role: {driver_says(error)}",
                hint="Grant it, or run as the table's owner; the same command goes on from here.",
            )
        if verdict == "lost":
            return Interrupted(
                f"The connection was lost in step {step.name} of {reference}.",
                hint="Run the same command again: it goes on from here.",
            )
        return StepFailed(
            f"Step {step.name} of {reference} failed: {driver_says(error)}",
            hint="What was done before it stands and is journaled; run the same command again once mended.",
        )

    def _not_obtained(self, plan: Plan, step: Step, attempts: int, waited: float) -> LockNotObtained:
        dialect, facts = self.context.dialect, plan.facts
        with self.context.sessions.open() as connection:
            surely = dialect.obstacles(connection, facts, step)
            tables = list(dict.fromkeys((facts.child.name, facts.parent.name)))
            perhaps = [] if surely else dialect.blockers(connection, tables)
        who = "; ".join(map(str, surely)) or "nobody who could be seen"
        if perhaps:
            who = f"nobody for sure, perhaps {'; '.join(map(str, perhaps))}"
        return LockNotObtained(
            f"Step {step.name} of {self.context.reference} got no lock in {attempts} attempt(s) and "
            f"{waited:.0f} s; in the way: {who}.",
            hint="Run the same command again when it is quieter: it goes on from here."
            + (f" What ends the first of them: {surely[0].end}" if surely and surely[0].end else ""),
        )

    # -- proof ---------------------------------------------------------------------------------
    def _prove(self, plan: Plan, step: Step) -> dict[str, Any]:
        """Count in a fresh snapshot. Orphans there are swept and counted again, a few times."""
        context = self.context
        for _ in range(_SWEEP_AGAIN):
            with context.sessions.read() as connection:
                hint = context.dialect.whole_table_hint(plan.facts.child)
                orphans = count_orphans(connection, context.reference, hint)
            if orphans == 0:
                return {"orphans": 0, "proved_at": journal.now(), "checks_off": self._unchecked()}
            self._sweep_again(plan)
        raise StepFailed(
            f"{orphans} orphan(s) of {context.reference} keep coming back after it was enforced.",
            hint="A session writes with its checks off; `migrator verify` lists such sessions.",
        )

    def _unchecked(self) -> list[str]:
        """The sessions against which the proof does not hold, told and for the journal: looked for after the
        count, so that one which wrote before it is in the count and one which writes later is named."""
        with self.context.sessions.open() as connection:
            found = [str(each) for each in self.context.dialect.unchecked_sessions(connection)]
        for each in found:
            self.context.progress.note(f"prove: it can still write orphans: {each}")
        return found
