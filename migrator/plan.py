"""Step and Plan: what will be done, as plain values. Nothing here touches a database.

The runner executes these steps, `--sql` prints them, `migrator plan` shows them and the report
embeds them: there is no second copy of a protocol. What a step's SQL looks like is the dialect's
matter (`dialects/*.py`); the order of the steps of an operation is written here.

`ours` in the inverses: the names of the upgrade's steps that we really took, from the journal. What
was there before we came (an index, an equal foreign key, NOT NULL) is not ours and is left alone.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from migrator.catalog import Facts
from migrator.policy import Policy

if TYPE_CHECKING:
    from migrator.dialects.base import Dialect

Operation = Literal["sweep", "enforce", "validate", "restore", "release", "unvalidate"]

#: Each operation and its exact inverse.
INVERSE: dict[Operation, Operation] = {
    "sweep": "restore",
    "enforce": "release",
    "validate": "unvalidate",
    "restore": "sweep",
    "release": "enforce",
    "unvalidate": "validate",
}


@dataclass(frozen=True)
class Sql:
    """Statements of one step, run on a connection of their own that is closed afterwards.

    Args:
        statements: run in order.
        mode: "transaction" (BEGIN, bounded by the short lock timeout, COMMIT) or "autocommit"
            (each statement by itself: CONCURRENTLY, MySQL's DDL, SQLite's rebuild with its own BEGIN).
        patience: "short" bounds the wait for locks by the lock timeout; "long" is for statements
            that block nobody while they wait or work (VALIDATE, CONCURRENTLY, an online rebuild).
        settle: statements run on the same connection whatever happened (UNLOCK TABLES, checks on).
        courtesy: sent before the statements to spare others a deadlock; the statements do without where the
            account may not.
        otherwise: what stands in for the courtesy then.
    """

    statements: tuple[str, ...]
    mode: Literal["transaction", "autocommit"] = "transaction"
    patience: Literal["short", "long"] = "short"
    settle: tuple[str, ...] = ()
    courtesy: tuple[str, ...] = ()
    otherwise: tuple[str, ...] = ()

    @property
    def sent(self) -> tuple[str, ...]:
        """The courtesy and the statements, as they are sent where everything is permitted."""
        return (*self.courtesy, *self.statements)


@dataclass(frozen=True)
class Sweep:
    """The batch loop that finds orphans, sets them aside and applies the policy.

    Args:
        on_null, on_dangling: the policies.
        delta: sweep what slipped in after the first sweep, until a scan finds nothing.
        scan_only: list them and ask whether the run may go on; change nothing.
        looked_at_later: a later step looks at every row for dangling ones and comes back here when it meets
            one, so a delta without a NULL needs no scan of its own.
    """

    on_null: Policy
    on_dangling: Policy
    delta: bool = False
    scan_only: bool = False
    looked_at_later: bool = False


@dataclass(frozen=True)
class Restore:
    """The batch loop that puts quarantined rows back."""


@dataclass(frozen=True)
class Proof:
    """Counts orphans and NULLs in a fresh snapshot; journals the result; any is an error."""


Work = Sql | Sweep | Restore | Proof


def never(_: Facts) -> bool:
    """The done-check of a loop: running it again finds nothing to do."""
    return False


@dataclass(frozen=True)
class Step:
    """One statement, or one batch loop.

    Args:
        name: kebab-case, unique within its plan; the journal's key.
        title: what it does, in one line.
        work: the SQL or the loop.
        lock: the locks it takes, in the server's words.
        blocks: what other sessions cannot do meanwhile, and for how long.
        retryable: whether a lock timeout or deadlock is worth another try.
        done: whether the catalog shows it done already; read before and after.
        violation: what to do when the rows turn out to break the constraint: sweep again, or fail.
        optional: verdicts (`dialects.base.Verdict`) after which the run says so and goes on without
            this step, e.g. a NULL guard on an account that may create no trigger.
    """

    name: str
    title: str
    work: Work
    lock: str = "none"
    blocks: str = "nothing"
    retryable: bool = True
    done: Callable[[Facts], bool] = never
    violation: Literal["sweep", "fail"] = "fail"
    optional: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Plan:
    """The steps of one operation on one reference."""

    operation: Operation
    facts: Facts
    steps: tuple[Step, ...] = field(default=())


def sweep_plan(facts: Facts, dialect: Dialect, on_null: Policy, on_dangling: Policy) -> Plan:
    """Scan first, so that a refusal comes before any change, be it only an index; then the index (the
    batches, a rollback of them and the foreign key want it), then the sweep over what the scan listed."""
    scan = Step(
        "scan",
        f"list the orphans of {facts.reference}; refuse here what must be refused",
        Sweep(on_null, on_dangling, scan_only=True),
    )
    index = dialect.index_steps(facts) if facts.reference.index else ()
    loop = Step(
        "sweep",
        f"find orphans of {facts.reference}, copy them to quarantine, apply the policy",
        Sweep(on_null, on_dangling),
        lock="row locks on the batch",
        blocks="writers of the same rows, for one batch",
    )
    return Plan("sweep", facts, (scan, *index, loop))


def enforce_plan(facts: Facts, dialect: Dialect) -> Plan:
    """New rows are checked from here on; old ones may still be wrong."""
    return Plan("enforce", facts, dialect.enforce_steps(facts))


def validate_plan(facts: Facts, dialect: Dialect, on_null: Policy, on_dangling: Policy) -> Plan:
    """Sweep what slipped in, let the server (or our proof) look at every row, NOT NULL, prove."""
    delta = Step(
        "sweep-delta",
        f"sweep the orphans of {facts.reference} that slipped in since the first sweep",
        Sweep(on_null, on_dangling, delta=True, looked_at_later=dialect.looks_later),
        lock="row locks on the batch",
        blocks="writers of the same rows, for one batch",
    )
    proof = Step(
        "prove",
        f"count orphans of {facts.reference} in a fresh snapshot; there must be none",
        Proof(),
    )
    return Plan("validate", facts, (delta, *dialect.validate_steps(facts), proof))


def unvalidate_plan(facts: Facts, dialect: Dialect, ours: frozenset[str]) -> Plan:
    """Back to enforced: NULL is allowed for old rows, the constraint claims no proof."""
    return Plan("unvalidate", facts, dialect.unvalidate_steps(facts, ours))


def release_plan(facts: Facts, dialect: Dialect, ours: frozenset[str]) -> Plan:
    """Back to a plain column: an orphan cannot be put back while the foreign key stands."""
    return Plan("release", facts, dialect.release_steps(facts, ours))


def restore_plan(facts: Facts, dialect: Dialect, ours: frozenset[str]) -> Plan:
    """Every quarantined row back, then the index we built goes."""
    loop = Step(
        "restore",
        f"put the quarantined rows of {facts.reference} back; never overwrite",
        Restore(),
        lock="row locks on the batch",
        blocks="writers of the same rows, for one batch",
    )
    index = dialect.drop_index_steps(facts, ours) if facts.reference.index else ()
    return Plan("restore", facts, (loop, *index))
