"""The sweep as a stored procedure: scan, gate, and batches that commit one by one."""

from __future__ import annotations

from functools import partial
from textwrap import indent
from typing import Any

import sqlalchemy as sa

from migrator.catalog import Facts
from migrator.dialects.mysql_definition import literal, quote
from migrator.dialects.mysql_words import table_sql
from migrator.healing import parent_came
from migrator.mirror import HEALED, ID, KEPT
from migrator.offline.gates import Gate, cannot_be_computed, dependants, gates
from migrator.offline.job import Job
from migrator.offline.mysql_blocks import (
    BATCH_VARIABLES,
    REFUSAL,
    batches,
    into,
    procedure,
    read,
    signal,
    statement,
    unless_refused,
)
from migrator.offline.mysql_checks import idle_lines
from migrator.offline.mysql_restore import PUT_BACK_VARIABLES, put_back
from migrator.offline.restoring import how_many
from migrator.offline.sweeping import Sweeping, Target
from migrator.offline.turns import Turn, turns
from migrator.plan import Step, Sweep
from migrator.typefamily import family
from migrator.worklist import SEQ

_NAME = "migrator_sweep"
# Rounds after which a sweep gives up: someone writes orphans as fast as they are swept.
_ROUNDS = 50


def sweep_procedure(job: Job, sweeping: Sweeping, step: Step, work: Sweep) -> str:
    """The whole of it, or the scan and the gate alone."""
    home = "sweep" if work.scan_only else step.name
    listed = table_sql(sweeping.worklist.name)
    scan = [
        f"DELETE FROM {listed};",
        f"{sweeping.scan()};",
        read(sweeping.total, "mgr_rows"),
        *(f"SET mgr_found_{name} = {sweeping.listed(name)};" for name in sweeping.kinds),
        f"SET mgr_found = {sweeping.listed()};",
        _gate(job, sweeping, step),
        f"{job.records.step_detail(home, _detail(job, sweeping, work))};",
    ]
    if work.scan_only:
        lines = ["whole: BEGIN", indent("\n".join(scan), "  "), "END whole;"]
    else:
        settle = [*_targets(job, sweeping), _batches(job, sweeping, step, work), _heal(job, sweeping)]
        done = ["SET mgr_rounds = mgr_rounds + 1;", *_remember(job, sweeping, step, work)]
        again = (
            f"IF mgr_found = 0 THEN\n  LEAVE whole;\nEND IF;\nIF mgr_rounds >= {_ROUNDS} THEN\n"
            f"  {signal('orphans appear as fast as they are swept')}\nEND IF;"
        )
        if not (work.delta or job.facts.reference.is_self_reference):
            again = "LEAVE whole;"
        body = indent("\n".join([*scan, *settle, *done, again]), "  ")
        lines = ["whole: LOOP", body, "END LOOP whole;", f"DROP TABLE IF EXISTS {listed};"]
    variables = _variables(job.facts, sweeping)
    return "\n".join(
        [statement(f"SET {REFUSAL} = NULL"), procedure(_NAME, variables, *lines), unless_refused()]
    )


def _variables(facts: Facts, sweeping: Sweeping) -> list[str]:
    numbers = [
        "rows",
        "found",
        "healed",
        "rounds",
        "after",
        "mark",
        "since",
        "captured",
        "made",
        "orphaned",
        "claimed",
        "moved",
        "locked",
        "appeared",
    ]
    numbers += [f"{word}_{kind}" for kind in sweeping.kinds for word in ("found", "all", "now")]
    keys = [
        f"{variable} {facts.parent.column(column).type} DEFAULT NULL"
        for name in sweeping.backfills
        for variable, column in zip(_key(name, facts), facts.reference.parent_columns, strict=True)
    ]
    return [
        *(f"mgr_{name} BIGINT DEFAULT 0" for name in numbers),
        "mgr_upto BIGINT DEFAULT NULL",
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
    lines = [
        f"DROP TABLE {table_sql(sweeping.worklist.name)};",
        *(f"DROP TABLE {table_sql(file.name)};" for file in sweeping.files.values()),
        f"{job.records.finish(job.refused(step), REFUSAL)};",
        idle_lines(job.records),
    ]
    leave = indent("\n".join(lines), "  ")
    first = f"{_asked(_cases(found), sweeping)}\nIF {REFUSAL} IS NOT NULL THEN\n{leave}\nEND IF;"
    lines = [f"IF {job.records.untouched} THEN", indent(first, "  ")]
    again = list(dependants(sweeping))
    if again:
        lines += ["ELSE", indent(_cases(again), "  ")]
    return "\n".join([*lines, "END IF;", f"IF {REFUSAL} IS NOT NULL THEN", "  LEAVE whole;", "END IF;"])


def _cases(found: list[Gate]) -> str:
    cases = "\n".join(f"  WHEN {gate.condition} THEN {literal(gate.message)}" for gate in found)
    return read(f"CASE\n{cases}\nEND", REFUSAL)


def _asked(question: str, sweeping: Sweeping) -> str:
    """A policy's own SQL may fail: that is a no, before the first change, unless it is a lock's doing."""
    if not any(sweeping.questions(name) for name in sweeping.kinds):
        return question
    message = literal(f"{cannot_be_computed(sweeping)}: ")
    return f"""\
BEGIN
  DECLARE EXIT HANDLER FOR 1205, 1213 RESIGNAL;
  DECLARE EXIT HANDLER FOR SQLEXCEPTION
  BEGIN
    GET DIAGNOSTICS CONDITION 1 {REFUSAL} = MESSAGE_TEXT;
    SET {REFUSAL} = CONCAT({message}, {REFUSAL});
  END;
{indent(question, "  ")}
END;"""


def _targets(job: Job, sweeping: Sweeping) -> list[str]:
    """Find the parent of each backfill, or make it; that it is ours is journaled in the same transaction."""
    lines: list[str] = []
    for name, policy in sweeping.backfills.items():
        found = _found(job, sweeping, sweeping.target(policy), _key(name, job.facts))
        lines += [f"IF mgr_found_{name} > 0 THEN", indent("\n".join(found), "  "), "END IF;"]
    return lines


def _found(job: Job, sweeping: Sweeping, target: Target, keys: list[str]) -> list[str]:
    names, words = ", ".join(keys), job.words
    look = into(target.lookup, names)
    if target.insert is None:
        return [look]
    parent = job.facts.parent
    numbers = [family(parent.column(column)) == "integer" for column in target.columns]
    values = [f"{key} + 0" if number else key for key, number in zip(keys, numbers, strict=True)]
    facts = words.json_with("facts", "sentinel", words.key_text(values))
    make = [
        f"IF {keys[0]} IS NULL THEN",
        "  START TRANSACTION;",
        f"  {target.insert};",
        indent(look, "  "),
        indent(read(sweeping.claimed(keys), "mgr_claimed"), "  "),
        f"  IF mgr_claimed THEN\n    {signal(sweeping.claim)}\n  END IF;",
        f"  {job.records.record(facts=facts)};",
        "  COMMIT;",
        "END IF;",
    ]
    if not target.newest:
        return [look, *make]
    # Nothing tells this row from others but the journal: one made by an attempt before is used again.
    known = words.json_text("facts", "sentinel")
    parts: list[Any] = [sa.literal_column(words.key_part(known, at)) for at in range(len(keys))]
    return [into(words.sql(sa.select(*parts).where(*job.records.under_way)), names), *make]


def _batches(job: Job, sweeping: Sweeping, step: Step, work: Sweep) -> str:
    listed, mirror = table_sql(sweeping.worklist.name), table_sql(sweeping.mirror.name)
    seq, number = quote(SEQ), quote(ID)
    page = (
        f"SET mgr_upto = (SELECT MAX({seq}) FROM (SELECT {seq} FROM {listed} WHERE {seq} > mgr_after "
        f"ORDER BY {seq} LIMIT {job.settings.batch_size}) AS page);\n"
        "IF mgr_upto IS NULL THEN\n  LEAVE rounds;\nEND IF;"
    )
    locking = sweeping.lock("mgr_after", "mgr_upto").order_by(None)
    count: Any = sa.func.count()
    locked = job.words.sql(locking.with_only_columns(count, maintain_column_froms=True))
    lines = [
        f"SET mgr_mark = (SELECT IFNULL(MAX({number}), 0) FROM {mirror});",
        into(locked, "mgr_locked"),
        *(f"SET mgr_now_{name} = 0;" for name in sweeping.kinds),
    ]
    marks = {"begun": "mgr_mark", "since": "mgr_since"}
    for turn in turns(sweeping, partial(_key, facts=job.facts), **marks, stretch=("mgr_after", "mgr_upto")):
        lines += [f"IF mgr_found_{turn.kind} > 0 THEN", indent("\n".join(_turn(turn)), "  "), "END IF;"]
    if not sweeping.creates:  # a parent of ours is no reason to look again
        kept = sweeping.mirror.clause.alias("m")
        came = parent_came(job.facts.reference, kept, "mgr_mark")
        lines += [
            "-- A parent that came meanwhile: undo this batch and look again.",
            read(how_many(job.words, kept, came), "mgr_appeared"),
            *_again("mgr_appeared > 0"),
        ]
    lines += [
        f"DELETE FROM {listed} WHERE {seq} > mgr_after AND {seq} <= mgr_upto;",
        *_remember(job, sweeping, step, work, now=True),
    ]
    after = [
        "SET mgr_after = mgr_upto;",
        *(f"SET mgr_all_{name} = mgr_all_{name} + mgr_now_{name};" for name in sweeping.kinds),
    ]
    loop = batches(page, "\n".join(lines), "\n".join(after), job.settings.pause_ms)
    return f"SET mgr_after = 0;\n{loop}"


def _turn(turn: Turn) -> list[str]:
    mirror = table_sql(turn.sweeping.mirror.name)
    lines = [
        f"SET mgr_since = (SELECT IFNULL(MAX({quote(ID)}), 0) FROM {mirror});",
        f"{turn.capture()};",
        "SET mgr_captured = ROW_COUNT();",
    ]
    if turn.action == KEPT:
        lines += [
            f"{turn.make()};",
            "SET mgr_moved = ROW_COUNT();",
            f"{turn.made()};",
            "SET mgr_made = ROW_COUNT();",
            "-- A parent that somebody else made meanwhile is not ours: undo this batch and look again.",
            *_again("mgr_made <> mgr_moved"),
        ]
    else:
        differ = signal("not as many rows changed as were copied to quarantine: a trigger?")
        lines += [f"{turn.change()};", "SET mgr_moved = ROW_COUNT();"]
        lines += ["IF mgr_captured <> mgr_moved THEN", f"  {differ}", "END IF;"]
    if turn.repoints:
        taken = signal("rows given a parent still have none: a trigger takes the value back?")
        lines += [
            read(turn.still_orphans(), "mgr_orphaned"),
            "IF mgr_orphaned > 0 THEN",
            f"  {taken}",
            "END IF;",
        ]
    return [*lines, f"SET mgr_now_{turn.kind} = mgr_now_{turn.kind} + mgr_captured;"]


def _again(condition: str) -> list[str]:
    return [f"IF {condition} THEN", "  ROLLBACK;", "  LEAVE round;", "END IF;"]


def _heal(job: Job, sweeping: Sweeping) -> str:
    """Put back what was set aside although its parent is there by now, over the whole quarantine."""
    kept = sweeping.mirror.clause.alias("m")
    moved = "SET mgr_healed = mgr_healed + mgr_back;"
    came = parent_came(job.facts.reference, kept, "0")
    return put_back(job, sweeping.mirror, kept, came, HEALED, moved)


def _remember(job: Job, sweeping: Sweeping, step: Step, work: Sweep, *, now: bool = False) -> list[str]:
    detail = _detail(job, sweeping, work, now=now)
    return [f"{job.records.step_detail(step.name, detail)};", f"{job.records.record(counts=detail)};"]


def _detail(job: Job, sweeping: Sweeping, work: Sweep, *, now: bool = False) -> str:
    """The counts as an online sweep keeps them."""
    words = job.words
    # MariaDB writes a variable as a text, and a sum as a number.
    pairs = {"found": "mgr_found + 0", "rows": "mgr_rows + 0", "scanned": words.false, "after": "NULL"}
    if not work.scan_only:
        each = {name: f"mgr_all_{name} + {f'mgr_now_{name}' if now else '0'}" for name in sweeping.kinds}
        pairs |= {"changed": " + ".join(each.values()), "healed": "mgr_healed + 0", **each}
        pairs["rounds"] = "mgr_rounds + 0"
    return words.json(pairs)
