"""The sweep as a DO block: scan, gate, and batches that commit one by one."""

from __future__ import annotations

from functools import partial
from textwrap import indent
from typing import Any

import sqlalchemy as sa

from migrator.catalog import Facts
from migrator.dialects.pg_words import literal, quote, table_sql
from migrator.healing import parent_came
from migrator.mirror import HEALED, ID, KEPT
from migrator.offline.gates import Gate, cannot_be_computed, dependants, gates
from migrator.offline.job import Job
from migrator.offline.postgresql_blocks import BATCH_VARIABLES, batches, block, refusal
from migrator.offline.postgresql_checks import drop_journal_if_idle
from migrator.offline.postgresql_restore import PUT_BACK_VARIABLES, put_back
from migrator.offline.restoring import how_many
from migrator.offline.sweeping import Sweeping, Target
from migrator.offline.turns import Turn, turns
from migrator.plan import Step, Sweep
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
        _gate(job, sweeping, step),
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
    numbers = ["rows", "found", "healed", "rounds", "batch", "after", "mark", "since", "captured", "moved"]
    numbers += ["made"] if sweeping.creates else []
    numbers += [f"{word}_{kind}" for kind in sweeping.kinds for word in ("found", "all", "now")]
    parent = table_sql(facts.parent.name)
    keys = [
        f"{variable} {parent}.{quote(column)}%TYPE;"
        for name in sweeping.backfills
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


def _gate(job: Job, sweeping: Sweeping, step: Step) -> str:
    """On a no nothing of ours stays behind but the refused run, and that only beside other runs. Once rows
    were changed only a delete is asked about, and the run stays to be taken back."""
    found = list(gates(sweeping))
    if not found:
        return ""
    counts = " || ".join(f"' {name}: ' || mgr_found_{name} || ';'" for name in sweeping.kinds)
    hint = (
        "Nothing was changed. Choose with -x on_null=, -x on_dangling=, -x backfill_to=, "
        "-x max_orphan_share= or -x max_orphans= and write the script again."
    )
    leave = "\n".join(
        [
            f"DROP TABLE {table_sql(sweeping.worklist.name)};",
            *(f"DROP TABLE {table_sql(file.name)};" for file in sweeping.files.values()),
            f"{job.records.finish(job.refused(step), 'mgr_refusal')};",
            drop_journal_if_idle(job),
            "COMMIT;",
            f"RAISE EXCEPTION USING MESSAGE = 'migrator: ' || mgr_refusal, HINT = {literal(hint)},",
            f"  DETAIL = 'Orphans:' || {counts} || ' rows: ' || mgr_rows;",
        ]
    )
    first = (
        f"{_asked(_cases(found), sweeping)}\nIF mgr_refusal IS NOT NULL THEN\n{indent(leave, '  ')}\nEND IF;"
    )
    lines = [f"IF {job.records.untouched} THEN", indent(first, "  ")]
    again = list(dependants(sweeping))
    if again:
        stop = "IF mgr_refusal IS NOT NULL THEN\n  RAISE EXCEPTION '%', 'migrator: ' || mgr_refusal;\nEND IF;"
        lines += ["ELSE", indent(f"{_cases(again)}\n{stop}", "  ")]
    return "\n".join([*lines, "END IF;"])


def _cases(found: list[Gate]) -> str:
    cases = "\n".join(f"  WHEN {gate.condition} THEN {literal(gate.message)}" for gate in found)
    return f"mgr_refusal := CASE\n{cases}\nEND;"


def _asked(question: str, sweeping: Sweeping) -> str:
    """A policy's own SQL may fail: that is a no, before the first change, unless it is a lock's doing."""
    chains = [name for name in sweeping.kinds if sweeping.questions(name) is not None]
    if not chains:
        return question
    message = literal(f"{cannot_be_computed(sweeping)}: ")
    return (
        f"BEGIN\n{indent(question, '  ')}\nEXCEPTION\n"
        "  WHEN lock_not_available OR deadlock_detected OR serialization_failure THEN RAISE;\n"
        f"  WHEN OTHERS THEN mgr_refusal := {message} || SQLERRM;\nEND;"
    )


def _targets(job: Job, sweeping: Sweeping) -> list[str]:
    """Find the parent of each backfill, or make it; that it is ours is journaled in the same transaction."""
    lines: list[str] = []
    for name, policy in sweeping.backfills.items():
        found = _found(job, sweeping, sweeping.target(policy), _key(name, job.facts))
        lines += [f"IF mgr_found_{name} > 0 THEN", indent("\n".join(found), "  "), "  COMMIT;", "END IF;"]
    return lines


def _found(job: Job, sweeping: Sweeping, target: Target, keys: list[str]) -> list[str]:
    into, words = ", ".join(keys), job.words
    if target.insert is None:
        return [_into(target.lookup, into)]
    returned = ", ".join(quote(column) for column in target.columns)
    facts = words.json_with("facts", "sentinel", words.key_text(keys))
    taken = f"IF {sweeping.claimed(keys)} THEN\n{refusal(sweeping.claim)}\nEND IF;"
    made = f"{target.insert} RETURNING {returned} INTO {into};"
    if target.above is not None:
        above = indent(f"{target.above} RETURNING {returned} INTO {into};", "  ")
        made = (
            f"BEGIN\n{indent(made, '  ')}\nEXCEPTION WHEN unique_violation THEN\n"
            "  -- The sequence is behind its table. It stays: where it stands is the application's affair.\n"
            f"{above}\nEND;"
        )
    make = f"{made}\n{taken}\n{job.records.record(facts=facts)};"
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
    marks = {"begun": "mgr_mark", "since": "mgr_since"}
    for turn in turns(sweeping, partial(_key, facts=job.facts), **marks, stretch=("mgr_after", "mgr_upto")):
        lines += [f"IF mgr_found_{turn.kind} > 0 THEN", indent("\n".join(_turn(job, turn)), "  "), "END IF;"]
    if not sweeping.creates:  # a parent of ours is no reason to look again
        kept = sweeping.mirror.clause.alias("m")
        came = parent_came(job.facts.reference, kept, "mgr_mark")
        lines += [
            "-- A parent that came meanwhile: undo this batch and look again.",
            f"IF {how_many(job.words, kept, came)} > 0 THEN",
            _again("parents appear as orphans are swept"),
            "END IF;",
        ]
    lines += [
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


def _turn(job: Job, turn: Turn) -> list[str]:
    child, mirror = job.facts.child.name, table_sql(turn.sweeping.mirror.name)
    lines = [
        f"mgr_since := (SELECT coalesce(max({quote(ID)}), 0) FROM {mirror});",
        f"{turn.capture()};",
        "GET DIAGNOSTICS mgr_captured = ROW_COUNT;",
    ]
    if turn.action == KEPT:
        lines += [
            f"{turn.make()};",
            "GET DIAGNOSTICS mgr_moved = ROW_COUNT;",
            f"{turn.made()};",
            "GET DIAGNOSTICS mgr_made = ROW_COUNT;",
            "-- A parent that somebody else made meanwhile is not ours: undo this batch and look again.",
            "IF mgr_made <> mgr_moved THEN",
            _again("parents appear as they are created"),
            "END IF;",
        ]
    else:
        lines += [f"{turn.change()};", "GET DIAGNOSTICS mgr_moved = ROW_COUNT;"]
        differ = f"not as many rows of {child} changed as were copied to quarantine: a trigger or rule on it?"
        lines += ["IF mgr_captured <> mgr_moved THEN", refusal(differ), "END IF;"]
    if turn.repoints:
        taken = f"rows of {child} given a parent still have none: a trigger on it takes the value back?"
        lines += [f"IF {turn.still_orphans()} > 0 THEN", refusal(taken), "END IF;"]
    return [*lines, f"mgr_now_{turn.kind} := mgr_now_{turn.kind} + mgr_captured;"]


def _again(message: str) -> str:
    return f"  RAISE serialization_failure USING MESSAGE = {literal('migrator: ' + message)};"


def _heal(job: Job, sweeping: Sweeping) -> str:
    """Put back what was set aside although its parent is there by now, over the whole quarantine."""
    kept = sweeping.mirror.clause.alias("m")
    moved = "mgr_healed := mgr_healed + mgr_back;"
    came = parent_came(job.facts.reference, kept, "0")
    return put_back(job, sweeping.mirror, kept, came, HEALED, moved)


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
