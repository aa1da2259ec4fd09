"""The sweep in one transaction: list the orphans, ask whether it may go on, settle all of them."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any

import sqlalchemy as sa

from migrator.dialects.sqlite_tokens import quote_name, quote_text
from migrator.errors import UsageError
from migrator.healing import parent_came
from migrator.mirror import CHANGED, HEALED, ID, KEPT, NEW, creation
from migrator.offline.decided import if_not_exists
from migrator.offline.gates import gates
from migrator.offline.job import Job
from migrator.offline.sqlite_blocks import printed, refuse_if
from migrator.offline.sqlite_restore import PUT_BACK, moved_back, put_back
from migrator.offline.sweeping import Sweeping, how_many_left, row_in
from migrator.offline.turns import Turn, turns
from migrator.plan import Step
from migrator.policy import Backfill, Delete, Keep, Refuse
from migrator.predicate import child_alias, table_clause
from migrator.sentinel import stated_values
from migrator.worklist import KIND

_TEMPORARY = ("migrator_list", "migrator_rows", "migrator_mark", "migrator_target")
_MARK = "(SELECT id FROM temp.migrator_mark)"
_SINCE = "(SELECT since FROM temp.migrator_mark)"


def scanned(sweeping: Sweeping) -> Iterator[str]:
    """List every orphan; stop where something says no."""
    yield printed(
        "DROP TABLE IF EXISTS temp.migrator_list",
        sweeping.worklist.creation,
        sweeping.scan(),
        *_followers(sweeping),
        "DROP TABLE IF EXISTS temp.migrator_rows",
        f"CREATE TEMP TABLE migrator_rows AS SELECT {sweeping.total} AS rows",
    )
    for gate in gates(sweeping):
        yield refuse_if(gate.condition, gate.message)


def _followers(sweeping: Sweeping) -> list[str]:
    """In a table that refers to itself, a row that is to go may be another's parent, which is an orphan
    then: online that is another round, here those that follow are listed beforehand."""
    reference, key = sweeping.facts.reference, sweeping.facts.child.key
    # Whom the end of a longer chain removes is known only when its beginning has had its turn; the script
    # stops where that made orphans.
    doomed = [name for name, policy in sweeping.policies.items() if isinstance(policy, Delete)]
    if not reference.is_self_reference or not doomed:
        return []
    words, listed = sweeping.words, sweeping.worklist.clause
    going = sa.select(*(listed.c[name] for name in key)).where(
        listed.c[KIND].in_([words.value(name) for name in doomed])
    )
    child = child_alias(reference, *key)
    parent = table_clause(reference.parent, *reference.parent_columns, *key).alias("p")
    same = [
        parent.c[theirs] == child.c[ours]
        for ours, theirs in zip(reference.columns, reference.parent_columns, strict=True)
    ]
    gone = going.cte("gone", recursive="dangling" in doomed)
    following = sa.select(*(child.c[name] for name in key)).where(
        *same, *(gone.c[name] == parent.c[name] for name in key)
    )
    rows = gone.union(following) if "dangling" in doomed else following.subquery("gone")
    there = sa.select(*(listed.c[name] for name in key))
    query = sa.select(words.value("dangling").label(KIND), *(rows.c[name] for name in key)).where(
        ~row_in([rows.c[name] for name in key], there)
    )
    return [words.sql(sa.insert(listed).from_select([KIND, *key], query))]


def settled(job: Job, sweeping: Sweeping, step: Step) -> Iterator[str]:
    """Capture and change what is listed, then put back what has found its parent since an earlier sweep."""
    mirror, words, reference = sweeping.mirror, job.words, job.facts.reference
    for home, table in sweeping.homes.items():
        made = creation(words.dialect, home, table)
        yield printed(*map(if_not_exists, made), *job.records.mirrored(home))
    number = f"SELECT coalesce(max({quote_name(ID)}), 0) FROM {quote_name(mirror.name.name)}"
    yield printed(
        "DROP TABLE IF EXISTS temp.migrator_mark",
        f"CREATE TEMP TABLE migrator_mark AS SELECT ({number}) AS id, ({number}) AS since",
        "DROP TABLE IF EXISTS temp.migrator_target",
        f"CREATE TEMP TABLE migrator_target (kind, {', '.join(_keys(job))})",
    )
    for name, policy in sweeping.backfills.items():
        yield from _target(job, sweeping, name, policy)
    for turn in turns(sweeping, partial(_key, job), begun=_MARK, since=_SINCE):
        yield from _taken(job, turn, f"UPDATE temp.migrator_mark SET since = ({number})")
    for name, chain in sweeping.chains.items():
        if chain and not (len(chain) == 1 and isinstance(chain[0], (Keep, Refuse))):
            yield refuse_if(
                f"{sweeping.listed(name)} <> {sweeping.captured(name, _MARK)}",
                f"not every {name} orphan of {reference} was settled: a trigger interferes",
            )
    kept = mirror.clause.alias("m")
    yield from put_back(job, mirror, kept, parent_came(reference, kept, "0"), HEALED)
    if reference.is_self_reference:
        yield refuse_if(
            f"{how_many_left(words, reference)} > 0",
            f"removing orphans of {reference} made others: run this without --sql",
        )
    each = {name: sweeping.captured(name, _MARK) for name in sweeping.kinds}
    detail = words.json(
        {
            "found": sweeping.listed(),
            "rows": "(SELECT rows FROM temp.migrator_rows)",
            "scanned": words.false,
            "after": "NULL",
            "changed": " + ".join(each.values()),
            "healed": moved_back(),
            **each,
            "rounds": "1",
        }
    )
    yield printed(job.records.step_detail(step.name, detail), job.records.record(counts=detail))
    yield printed(*(f"DROP TABLE temp.{name}" for name in (*_TEMPORARY, PUT_BACK)))


def _taken(job: Job, turn: Turn, begin: str) -> Iterator[str]:
    """One policy's turn."""
    if turn.action == KEPT:
        yield printed(begin, turn.capture(), turn.make(), turn.made())
        return
    yield printed(begin, turn.capture(), turn.change())
    yield refuse_if(
        f"{_unchanged(job, turn)} > 0",
        f"not every {turn.kind} orphan of {job.facts.reference} was changed as it was copied: "
        "a trigger interferes",
    )


def _keys(job: Job) -> list[str]:
    return [f"key_{at}" for at in range(len(job.facts.reference.parent_columns))]


def _key(job: Job, name: str) -> list[str]:
    kind = quote_text(name)
    return [f"(SELECT {key} FROM temp.migrator_target WHERE kind = {kind})" for key in _keys(job)]


def _target(job: Job, sweeping: Sweeping, name: str, policy: Backfill) -> Iterator[str]:
    """Find the parent of a backfill, or make it; that it is ours is journaled."""
    words, records, reference = job.words, job.records, job.facts.reference
    target, keys = sweeping.target(policy), _keys(job)
    into = f"INSERT INTO temp.migrator_target SELECT {quote_text(name)}, t.* FROM"
    find = f"{into} ({target.lookup}) AS t"
    if target.insert is None:
        yield printed(find)
        return
    missing = (
        f"(SELECT count(*) FROM temp.migrator_target WHERE kind = {quote_text(name)}) = 0 "
        f"AND {sweeping.listed(name)} > 0"
    )
    first = find
    if target.newest:
        known = words.json_text("facts", "sentinel")
        parts: list[Any] = [sa.literal_column(words.key_part(known, at)) for at in range(len(keys))]
        there = sa.literal_column(known).is_not(None)
        first = f"{into} ({words.sql(sa.select(*parts).where(*records.under_way, there))}) AS t"
    stated = {
        column: words.value(value)
        for column, value in stated_values(job.facts.parent, policy.sentinel).items()
    } or {_rowid_alias(job): sa.null()}
    clause = table_clause(reference.parent, *stated)
    make = sa.insert(clause).from_select(list(stated), words.select(stated).where(sa.literal_column(missing)))
    found = [f"(SELECT {quote_name(column)} FROM ({target.lookup}))" for column in target.columns]
    facts = words.json_with("facts", "sentinel", words.key_text(found))
    note = records.record(facts=facts)
    yield printed(first, words.sql(make), f"{note} AND {missing}")
    yield refuse_if(f"{missing} AND {sweeping.claimed(found)}", sweeping.claim)
    yield printed(f"{find} WHERE {missing}")


def _rowid_alias(job: Job) -> str:
    """The column that numbers itself: a row of nothing but defaults can only be made conditionally by it."""
    for column in job.facts.parent.columns:
        if column.identity is not None:
            return column.name
    raise UsageError(
        f"A script cannot make a sentinel row of {job.facts.parent.name} without a stated value.",
        hint="State one with -x sentinel.<column>=<value>, or name a row with -x backfill_to=<key>.",
    )


def _unchanged(job: Job, turn: Turn) -> str:
    """An expression: how many captured rows are not as they should be now."""
    mirror, words = turn.sweeping.mirror, job.words
    kept = mirror.clause.alias("m")
    live = mirror.source_clause.alias("t")
    places = mirror.places if turn.action == CHANGED else {column: column for column in mirror.key}
    same = [live.c[column] == kept.c[place] for column, place in places.items()]
    if turn.action == CHANGED:
        same += [
            live.c[column].is_not_distinct_from(kept.c[f"{NEW}{at}"])
            for at, column in enumerate(mirror.reference_columns)
        ]
    there = sa.select(sa.func.count()).select_from(live).where(*same).correlate(kept).scalar_subquery()
    wanted = 1 if turn.action == CHANGED else 0
    query = sa.select(sa.func.count()).select_from(kept).where(*turn.ours(kept), there != words.value(wanted))
    return f"({words.sql(query)})"
