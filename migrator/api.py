"""The operations as plain functions, typed: type checkers cannot see custom operations on `op`.

Inside a revision they act on the migration that runs; with `bind` they act on that database.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from alembic import op
from sqlalchemy.engine import Connection, Engine

from migrator.context import Progress
from migrator.operate import Policies, operate
from migrator.operations import OPERATIONS
from migrator.plan import Operation
from migrator.policy import Policy
from migrator.reference import Reference
from migrator.set_operations import RestoreSet, SweepSet
from migrator.sets import SetSwept, restore_together, sweep_together
from migrator.settings import Settings, resolve

Bind = Engine | Connection


def sweep_orphans(
    reference: Reference | str,
    *,
    on_null: Policy | None = None,
    on_dangling: Policy | None = None,
    max_orphan_share: float | None = None,
    max_orphans: int | None = None,
    batch_size: int | None = None,
    bind: Bind | None = None,
    settings: Settings | None = None,
    progress: Progress | None = None,
) -> Mapping[str, Any]:
    """Find the orphans of a reference, copy each whole to quarantine, and apply the policy in batches.

    Args:
        reference: a `Reference`, or its text.
        on_null: what to do with rows whose column is NULL although it must not be; by default
            backfill to a sentinel row (keep, where the reference is nullable).
        on_dangling: what to do with rows whose parent is not there; by default the same backfill.
        max_orphan_share: above this share of all rows the run stops before the first change.
        max_orphans: above this many of them it stops as well; by default, any number.
        batch_size: rows per batch to begin with.
        bind: the database; without it, the migration that runs.
        settings: with `bind`: the settings in force; by default the environment's.
        progress: with `bind`: whom to tell.

    Returns:
        With `bind`: the counts of the run; else an empty mapping.

    Raises:
        Refused: a safety check said no; nothing was changed.
        LockNotObtained, Interrupted, RunLocked: stopped at a safe point; the same call goes on from there.
        MigratorError: any other; see `migrator.errors`.

    Locks: those of the supporting index while it is built, then row locks on one batch at a time.
    """
    options = {
        "on_null": on_null,
        "on_dangling": on_dangling,
        "max_orphan_share": max_orphan_share,
        "max_orphans": max_orphans,
        "batch_size": batch_size,
    }
    return _do("sweep", reference, options, bind, settings, progress)


def restore_orphans(
    reference: Reference | str,
    *,
    bind: Bind | None = None,
    settings: Settings | None = None,
    progress: Progress | None = None,
) -> Mapping[str, Any]:
    """Put every quarantined row of a reference back; never overwrite.

    Args, Returns, Raises: as `sweep_orphans` has them.

    Locks: row locks on one batch at a time; those of the supporting index while it is
        dropped, if it was ours.
    """
    return _do("restore", reference, {}, bind, settings, progress)


def enforce_reference(
    reference: Reference | str,
    *,
    bind: Bind | None = None,
    settings: Settings | None = None,
    progress: Progress | None = None,
) -> Mapping[str, Any]:
    """Have new rows checked: the foreign key without a look at old rows, a guard against new NULLs.

    Args, Returns, Raises: as `sweep_orphans` has them.

    Locks: both tables against writers for a moment, each wait for it bounded; `migrator plan` and
        docs/locks.md have them step by step, for each database.
    """
    return _do("enforce", reference, {}, bind, settings, progress)


def release_reference(
    reference: Reference | str,
    *,
    bind: Bind | None = None,
    settings: Settings | None = None,
    progress: Progress | None = None,
) -> Mapping[str, Any]:
    """Undo `enforce_reference`, as far as it was ours.

    Args, Returns, Raises: as `sweep_orphans` has them.

    Locks: both tables against readers as well on PostgreSQL (ACCESS EXCLUSIVE), for a moment, each wait
        for it bounded; docs/locks.md has the others.
    """
    return _do("release", reference, {}, bind, settings, progress)


def validate_reference(
    reference: Reference | str,
    *,
    on_null: Policy | None = None,
    on_dangling: Policy | None = None,
    max_orphan_share: float | None = None,
    max_orphans: int | None = None,
    batch_size: int | None = None,
    bind: Bind | None = None,
    settings: Settings | None = None,
    progress: Progress | None = None,
) -> Mapping[str, Any]:
    """Sweep what slipped in, have every row proved right, declare NOT NULL.

    Args, Returns, Raises: as `sweep_orphans` has them; the policies are those of what slipped in.

    Locks: on PostgreSQL none that a reader or writer notices but for moments (SHARE UPDATE EXCLUSIVE while
        every row is looked at); elsewhere those of a rebuild, online where the server can. docs/locks.md has
        them.
    """
    options = {
        "on_null": on_null,
        "on_dangling": on_dangling,
        "max_orphan_share": max_orphan_share,
        "max_orphans": max_orphans,
        "batch_size": batch_size,
    }
    return _do("validate", reference, options, bind, settings, progress)


def unvalidate_reference(
    reference: Reference | str,
    *,
    bind: Bind | None = None,
    settings: Settings | None = None,
    progress: Progress | None = None,
) -> Mapping[str, Any]:
    """Undo `validate_reference`, as far as it was ours: back to enforced.

    Args, Returns, Raises: as `sweep_orphans` has them.

    Locks: both tables against everybody for a moment on PostgreSQL; elsewhere those of a rebuild.
        docs/locks.md has them.
    """
    return _do("unvalidate", reference, {}, bind, settings, progress)


def sweep_set(
    references: Sequence[Reference | str],
    *,
    on_null: Policy | None = None,
    on_dangling: Policy | None = None,
    policies: Mapping[str, Policies] | None = None,
    max_orphan_share: float | None = None,
    max_orphans: int | None = None,
    batch_size: int | None = None,
    bind: Bind | None = None,
    settings: Settings | None = None,
    progress: Progress | None = None,
) -> SetSwept:
    """Sweep several references as one set, in the order of what refers to what, again until nothing changes:
    a post that is deleted makes orphans of its replies, through a reference that is not declared yet.
    Stopped anywhere, the same call goes on.

    Args:
        references: in any order.
        on_null, on_dangling, max_orphan_share, max_orphans, batch_size: for each, as in `sweep_orphans`.
        policies: by the text of a reference: what to do with its orphans instead.
        bind, settings, progress: as in `sweep_orphans`.

    Returns:
        With `bind`: the order, and how many orphans of each reference were settled in each round.

    Raises:
        MigratorError: see `migrator.errors`. A refusal comes before the first change of its own reference in
            its round; what was done before stands, and `restore_set` takes it back.
    """
    operation = SweepSet(
        references,
        policies,
        on_null=on_null,
        on_dangling=on_dangling,
        max_orphan_share=max_orphan_share,
        max_orphans=max_orphans,
        batch_size=batch_size,
    )
    if bind is None:
        op.invoke(operation)
        return SetSwept()
    return sweep_together(
        operation.references,
        lambda one: operation.policies.get(str(one)) or Policies.of(one, on_null, on_dangling),
        bind=bind,
        settings=settings
        or resolve(
            {"max_orphan_share": max_orphan_share, "max_orphans": max_orphans, "batch_size": batch_size}
        ),
        progress=progress,
    )


def restore_set(
    references: Sequence[Reference | str],
    *,
    bind: Bind | None = None,
    settings: Settings | None = None,
    progress: Progress | None = None,
) -> None:
    """Undo `sweep_set`: the rows of all references come back together; never overwrite."""
    operation = RestoreSet(references)
    if bind is None:
        op.invoke(operation)
        return
    restore_together(operation.references, bind=bind, settings=settings, progress=progress)


def _do(
    operation: Operation,
    reference: Reference | str,
    options: Mapping[str, Any],
    bind: Bind | None,
    settings: Settings | None,
    progress: Progress | None,
) -> Mapping[str, Any]:
    if bind is None:
        op.invoke(OPERATIONS[operation](reference, **options))
        return {}
    parsed = reference if isinstance(reference, Reference) else Reference.parse(reference)
    stated = {name: options.get(name) for name in ("max_orphan_share", "max_orphans", "batch_size")}
    return operate(
        bind,
        operation,
        parsed,
        policies=Policies.of(parsed, options.get("on_null"), options.get("on_dangling")),
        settings=settings or resolve(stated),
        progress=progress,
    )
