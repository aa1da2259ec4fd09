"""The sweep as a DO block: scan, gate, and batches that commit one by one."""

from __future__ import annotations

from textwrap import indent
from typing import Any

import sqlalchemy as sa

from migrator.catalog import Facts
from migrator.dialects.pg_words import literal, quote, table_sql
from migrator.offline.gates import gates
from migrator.offline.job import Job
from migrator.offline.postgresql_blocks import BATCH_VARIABLES, batches, block, refusal
from migrator.offline.postgresql_checks import drop_journal_if_idle
from migrator.offline.postgresql_restore import PUT_BACK_VARIABLES, put_back
from migrator.offline.restoring import how_many
from migrator.offline.sweeping import Sweeping, Target
from migrator.plan import Step, Sweep
from migrator.policy import Backfill, Keep, Policy, Refuse, SetNull
from migrator.quarantine import HEALED, ID
from migrator.worklist import SEQ

# Rounds after which a sweep gives up: someone writes orphans as fast as they are swept.
_ROUNDS = 50
# How often the planner is told how far the mirror has grown, in batches.
_ANALYZE = 50


def sweep_block(job: Job, sweeping: Sweeping, step: Step, work: Sweep) -> str:
    """The whole of it, or the scan and the gate alone. Any row of the list that is left from before is a
    row of an earlier attempt: the scan begins afresh, and finds no row that was settled."""
    home = "sweep" if work.scan_only else step.name
    listed = table_sql(sweeping.worklist.name)
    scan = [
        f"DELETE FROM {listed};",
        f"{sweeping.scan()};",
        f"mgr_rows := {sweeping.total};",
        *(f"mgr_found_{name} := {sweeping.listed(name)};" for name in sweeping.kinds),
        f"mgr_found := {sweeping.listed()};",
        _gate(job, sweeping),
        f"{job.records.step_detail(home, _detail(job, sweeping, work))};",
        "COMMIT;",
        f"ANALYZE {listed};",
    ]
    if work.scan_only:
        return block(_variables(job.facts, sweeping), *scan)
    settle = [*_targets(job, sweeping), _batches(job, sweeping, step, work), _heal(job, sweeping)]
    done = ["mgr_rounds := mgr_rounds + 1;", *_remember(job, sweeping, step, work), "COMMIT;"]
    again = (
        f"EXIT WHEN mgr_found = 0;\nIF mgr_rounds >= {_ROUNDS} THEN\n"
        f"{refusal(f'orphans of {job.facts.reference} appear as fast as they are swept')}\nEND IF;"
    )
    if not (work.delta or job.facts.reference.is_self_reference):
        again = "EXIT;"
    loop = "LOOP\n" + indent("\n".join([*scan, *settle, *done, again]), "  ") + "\nEND LOOP;"
    return block(_variables(job.facts, sweeping), loop, f"DROP TABLE {listed};")


def _variables(facts: Facts, sweeping: Sweeping) -> list[str]:
    numbers = ["rows", "found", "healed", "rounds", "batch", "after", "mark", "captured", "moved"]
    numbers += [f"{word}_{kind}" for kind in sweeping.kinds for word in ("found", "all", "now")]
    parent = table_sql(facts.parent.name)
    keys = [
        f"{variable} {parent}.{quote(column)}%TYPE;"
        for name, policy in sweeping.policies.items()
        if isinstance(policy, Backfill)
        for variable, column in zip(_key(name, facts), facts.reference.parent_columns, strict=True)
    ]
    return [
        *(f"mgr_{name} bigint := 0;" for name in numbers),
        "mgr_upto bigint;",
        "mgr_refusal text;",
        *keys,
        *BATCH_VARIABLES,
        *PUT_BACK_VARIABLES,
    ]


def _key(name: str, facts: Facts) -> list[str]:
    return [f"mgr_{name}_key_{at}" for at in range(len(facts.reference.parent_columns))]


def _gate(job: Job, sweeping: Sweeping) -> str:
    """On a no nothing of ours stays behind but the refused run, and that only beside other runs."""
    found = list(gates(sweeping))
    if not found:
        return ""
    cases = "\n".join(f"  WHEN {gate.condition} THEN {literal(gate.message)}" for gate in found)
    counts = " || ".join(f"' {name}: ' || mgr_found_{name} || ';'" for name in sweeping.kinds)
    hint = (
        "Nothing was changed. Choose with -x on_null=, -x on_dangling=, -x backfill_to=, "
        "-x max_orphan_share= or -x max_orphans= and write the script again."
    )
    leave = "\n".join(
        [
            f"DROP TABLE {table_sql(sweeping.worklist.name)};",
            f"{job.records.finish('refused', 'mgr_refusal')};",
            drop_journal_if_idle(job),
            "COMMIT;",
            f"RAISE EXCEPTION USING MESSAGE = 'migrator: ' || mgr_refusal, HINT = {literal(hint)},",
            f"  DETAIL = 'Orphans:' || {counts} || ' rows: ' || mgr_rows;",
        ]
    )
    return (
        f"mgr_refusal := CASE\n{cases}\nEND;\nIF mgr_refusal IS NOT NULL THEN\n{indent(leave, '  ')}\nEND IF;"
    )


def _targets(job: Job, sweeping: Sweeping) -> list[str]:
    """Find the parent of each backfill, or make it; that it is ours is journaled in the same transaction."""
    lines: list[str] = []
    for name, policy in sweeping.policies.items():
        if isinstance(policy, Backfill):
            target, keys = sweeping.target(policy), _key(name, job.facts)
            found = _found(job, target, keys)
            lines += [f"IF mgr_found_{name} > 0 THEN", indent("\n".join(found), "  "), "  COMMIT;", "END IF;"]
    return lines


def _found(job: Job, target: Target, keys: list[str]) -> list[str]:
    into, words = ", ".join(keys), job.words
    if target.insert is None:
        return [_into(target.lookup, into)]
    returned = ", ".join(quote(column) for column in target.columns)
    facts = words.json_with("facts", "sentinel", words.key_text(keys))
    make = f"{target.insert} RETURNING {returned} INTO {into};\n{job.records.record(facts=facts)};"
    if target.newest:
        # Nothing tells this row from others but the journal: one made by an attempt before is used again.
        known = words.json_text("facts", "sentinel")
        parts = [words.key_part(known, at) for at in range(len(keys))]
        query: Any = sa.select(*(sa.literal_column(part) for part in parts)).where(*job.records.under_way)
        look = _into(words.sql(query), into)
        return [look, f"IF {keys[0]} IS NULL THEN", indent(make, "  "), "END IF;"]
    return [_into(target.lookup, into), "IF NOT FOUND THEN", indent(make, "  "), "END IF;"]


def _into(query: str, into: str) -> str:
    head, _, tail = query.partition("\nFROM")
    return f"{head} INTO {into}\nFROM{tail};"


def _new(name: str, policy: Policy, facts: Facts) -> list[str]:
    if isinstance(policy, Backfill):
        return _key(name, facts)
    return ["NULL" for _ in facts.reference.columns] if isinstance(policy, SetNull) else []


def _batches(job: Job, sweeping: Sweeping, step: Step, work: Sweep) -> str:
    listed, mirror = table_sql(sweeping.worklist.name), table_sql(sweeping.mirror.name)
    seq, number = quote(SEQ), quote(ID)
    page = (
        f"mgr_upto := (SELECT max({seq}) FROM (SELECT {seq} FROM {listed} WHERE {seq} > mgr_after "
        f"ORDER BY {seq} LIMIT {job.settings.batch_size}) AS page);\nEXIT WHEN mgr_upto IS NULL;"
    )
    locked = job.words.sql(sweeping.lock("mgr_after", "mgr_upto")).removeprefix("SELECT")
    lines = [
        f"mgr_mark := (SELECT coalesce(max({number}), 0) FROM {mirror});",
        f"PERFORM{locked};",
        *(f"mgr_now_{name} := 0;" for name in sweeping.kinds),
    ]
    for name, policy in sweeping.policies.items():
        if isinstance(policy, (Keep, Refuse)):
            continue
        new = _new(name, policy, job.facts)
        lines += [
            f"IF mgr_found_{name} > 0 THEN",
            f"  {sweeping.capture(name, policy, new, 'mgr_after', 'mgr_upto')};",
            "  GET DIAGNOSTICS mgr_captured = ROW_COUNT;",
            f"  {sweeping.change(name, policy, new, 'mgr_mark')};",
            "  GET DIAGNOSTICS mgr_moved = ROW_COUNT;",
            "  IF mgr_captured <> mgr_moved THEN",
            indent(refusal(_mismatch(job)), "  "),
            "  END IF;",
            f"  mgr_now_{name} := mgr_moved;",
            "END IF;",
        ]
    kept = sweeping.mirror.clause.alias("m")
    lines += [
        "-- A parent that came meanwhile: undo this batch and look again.",
        f"IF {how_many(job.words, kept, sweeping.healed(kept, 'mgr_mark'))} > 0 THEN",
        "  RAISE serialization_failure USING MESSAGE = 'migrator: parents appear as orphans are swept';",
        "END IF;",
        f"DELETE FROM {listed} WHERE {seq} > mgr_after AND {seq} <= mgr_upto;",
        *_remember(job, sweeping, step, work, now=True),
    ]
    after = [
        "mgr_after := mgr_upto;",
        *(f"mgr_all_{name} := mgr_all_{name} + mgr_now_{name};" for name in sweeping.kinds),
        *(f"mgr_now_{name} := 0;" for name in sweeping.kinds),
        f"IF mgr_batch % {_ANALYZE} = 0 THEN",
        f"  ANALYZE {mirror};",
        "END IF;",
        "mgr_batch := mgr_batch + 1;",
    ]
    loop = batches(page, "\n".join(lines), "\n".join(after), job.settings.pause_ms)
    return f"mgr_after := 0;\n{loop}"


def _mismatch(job: Job) -> str:
    child = job.facts.child.name
    return f"not as many rows of {child} changed as were copied to quarantine: a trigger or rule on it?"


def _heal(job: Job, sweeping: Sweeping) -> str:
    """Put back what was set aside although its parent is there by now, over the whole quarantine."""
    kept = sweeping.mirror.clause.alias("m")
    moved = "mgr_healed := mgr_healed + mgr_back;"
    return put_back(job, sweeping.mirror, kept, sweeping.healed(kept, "0"), HEALED, moved)


def _remember(job: Job, sweeping: Sweeping, step: Step, work: Sweep, *, now: bool = False) -> list[str]:
    detail = _detail(job, sweeping, work, now=now)
    return [f"{job.records.step_detail(step.name, detail)};", f"{job.records.record(counts=detail)};"]


def _detail(job: Job, sweeping: Sweeping, work: Sweep, *, now: bool = False) -> str:
    """The counts as an online sweep keeps them."""
    words = job.words
    pairs = {"found": "mgr_found", "rows": "mgr_rows", "scanned": words.false, "after": "NULL"}
    if not work.scan_only:
        each = {name: f"mgr_all_{name}" + (f" + mgr_now_{name}" if now else "") for name in sweeping.kinds}
        pairs |= {
            "changed": " + ".join(each.values()),
            "healed": "mgr_healed",
            **each,
            "rounds": "mgr_rounds",
        }
    return words.json(pairs)
