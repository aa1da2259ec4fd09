"""The scan: list every orphan, then ask whether the run may go on. Nothing of the user's changes here.

The scan reads the child once, in windows of its key that follow a target time, set-based, resumable by
a cursor that is journaled with each window. The row total falls out of it: nothing is counted twice.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from sqlalchemy.engine import Connection

from migrator import decisions, journal
from migrator.answers import cannot_be_null, check_answers
from migrator.batches import BatchSize
from migrator.catalog import Facts
from migrator.closure import closure_of
from migrator.codec import dump_key, load_key
from migrator.collisions import check_collisions
from migrator.context import Context
from migrator.dependants import refuse_dependants
from migrator.detect import breaking_kinds
from migrator.errors import Refused, TooManyOrphans, UsageError
from migrator.parents import check_parents, check_unique
from migrator.plan import Sweep
from migrator.policy import Backfill, CreateParents, Decisions, Delete, Keep, Policy, Refuse, SetNull, heard
from migrator.sentinel import check_sentinel, find_target
from migrator.settings import Settings
from migrator.worklist import Key, Worklist

# Rows of the first window. What it takes says how large the second may be, which is why that may be so much
# larger at once: every window reads the parent anew.
_FIRST = 20_000


def policies_of(work: Sweep) -> dict[str, Policy]:
    """The policy of each kind: what NULL deserves, a partly NULL key deserves too."""
    return {"null": work.on_null, "partial": work.on_null, "dangling": work.on_dangling}


def scan(context: Context, connection: Connection, worklist: Worklist, step: str) -> dict[str, Any]:
    """List every orphan, window by window, unless that was done before the last stop.

    Args:
        step: the step whose detail in the journal keeps the cursor.

    Returns:
        The detail: `rows` scanned, orphans `found`, and what earlier rounds had counted.
    """
    detail = journal.step_detail(connection, context.run, step)
    if detail.get("scanned") and worklist.exists(connection):
        return detail
    after: Key | None = None
    rows = 0
    stated = context.sessions.settings.scan_rows
    at_once = not stated and context.dialect.reads_at_once(worklist.child)
    if detail.get("after") and worklist.exists(connection):
        after, rows, at_once = load_key(detail["after"]), int(detail.get("rows", 0)), False
    else:
        detail["found"] = 0
        if not at_once:
            worklist.create(connection)
    size = BatchSize(stated or _FIRST, 1000, 1_000_000, target=1.0, growth=16.0)
    while True:
        context.check()
        began = time.monotonic()
        with context.dialect.transaction(connection):
            upto = None if at_once else worklist.window_end(connection, after, size.rows)
            rows += size.rows if upto is not None else worklist.count_rows(connection, after)
            listed = worklist.fill(connection) if at_once else worklist.scan(connection, after, upto)
            detail["found"] = detail.get("found", 0) + listed
            detail |= {
                "rows": rows,
                "scanned": upto is None,
                "after": dump_key(upto) if upto is not None else None,
            }
            journal.set_step_detail(connection, context.run, step, detail)
        context.progress.rows(f"scan {context.reference}", rows, None)
        if upto is None:
            return detail
        after, size = upto, size.after(size.rows, time.monotonic() - began)


def gate(
    context: Context,
    connection: Connection,
    facts: Facts,
    worklist: Worklist,
    counts: Mapping[str, int],
    work: Sweep,
    detail: Mapping[str, Any],
) -> None:
    """Everything that may still say no, before the first change. The list is dropped on a no: the
    next start is to look afresh.

    Args:
        counts: the list's entries by kind.
    """
    policies = policies_of(work)
    try:
        touched = sum(count for name, count in counts.items() if not isinstance(policies[name], Keep))
        _bound(context.sessions.settings, facts, touched, int(detail["rows"]))
        for name, count in counts.items():
            chain = heard(policies[name], name)
            for policy in chain:
                # At the end of a chain these speak of what is left, if anything is: see check_answers.
                if len(chain) == 1 or not isinstance(policy, (Refuse, Keep)):
                    _allow(connection, facts, name, policy, count)
                if len(chain) == 1 and isinstance(policy, Backfill):
                    check_collisions(
                        connection, facts, worklist, name, find_target(connection, facts, policy)
                    )
            check_answers(context, connection, facts, worklist, policies[name], name)
        gate_dependants(context, connection, facts, worklist, counts, work)
    except (Refused, UsageError):
        worklist.drop(connection)
        decisions.drop_all(context.dialect, connection)
        raise


def _bound(settings: Settings, facts: Facts, touched: int, total: int) -> None:
    """That there are no more orphans than the operator expects, in number and as a share of all rows."""
    exceeded: dict[str, str] = {}
    if touched > settings.max_orphan_share * total:
        # Rounded up: what is to be said must let them through.
        exceeded[f"max_orphan_share={settings.max_orphan_share:g}"] = (
            f"-x max_orphan_share={-(-100 * touched // max(total, 1)) / 100:.2f}"
        )
    if 0 < settings.max_orphans < touched:
        exceeded[f"max_orphans={settings.max_orphans}"] = f"-x max_orphans={touched}"
    if exceeded:
        raise TooManyOrphans(
            f"{touched} of {total} rows of {facts.reference.child} are orphans of {facts.reference}: "
            f"more than {' and '.join(exceeded)}. Nothing was changed.",
            hint="Look at `migrator report` whether the reference is the right one; "
            f"if it is, allow it with {' '.join(exceeded.values())}.",
        )


def gate_dependants(
    context: Context,
    connection: Connection,
    facts: Facts,
    worklist: Worklist,
    counts: Mapping[str, int],
    work: Sweep,
) -> None:
    """Whether every listed row that is to be deleted may go. Asked again of what a later round has listed:
    rows that the round before has made orphans of."""
    dialect, policies = context.dialect, policies_of(work)
    for name in counts:
        for policy in heard(policies[name], name):
            if isinstance(policy, Delete):
                closure = closure_of(connection, dialect, facts, policy.dependants, make=False)
                refuse_dependants(connection, dialect, facts, worklist, closure, name)


def _allow(connection: Connection, facts: Facts, name: str, policy: Policy, count: int) -> None:
    reference = facts.reference
    if isinstance(policy, (CreateParents, Decisions)) and not facts.child.key:
        raise Refused(
            f"{policy.name} wants rows that are found again by a key, and {reference.child} has none.",
            hint="Give it a primary key first, or use another policy. Nothing was changed.",
        )
    if isinstance(policy, Refuse):
        raise Refused(
            f"{count} {name} orphan(s) of {reference}, and the policy is to refuse. Nothing was changed.",
            hint="List them with `migrator report`, or choose -x on_null= and -x on_dangling= "
            "(backfill or delete).",
        )
    if isinstance(policy, SetNull) and (refusal := cannot_be_null(facts)):
        raise refusal
    if isinstance(policy, Keep) and name in breaking_kinds(reference):
        full = name == "partial" and reference.match == "full"
        raise Refused(
            f"{count} {name} orphan(s) of {reference} cannot be kept: the constraint would not validate.",
            hint="MATCH FULL refuses a key that is NULL in part: use -x on_null=set-null, backfill or delete."
            if full and reference.nullable
            else "Use backfill or delete; NULL can be kept where the reference is declared nullable.",
        )
    if isinstance(policy, CreateParents):
        check_unique(connection, facts, check_parents(facts, policy.values))
    if isinstance(policy, Backfill) and find_target(connection, facts, policy) is None:
        check_sentinel(facts, policy)
