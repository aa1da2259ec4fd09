"""Putting quarantined rows back, as a DO block: newest first, row by row, never overwriting.

A row by itself, because each may meet a conflict of its own (its key is taken again, another unique key,
a constraint), which marks that row and holds none of the others back.
"""

from __future__ import annotations

from textwrap import indent
from typing import Any

import sqlalchemy as sa
from sqlalchemy.sql.elements import ColumnElement
from sqlalchemy.sql.expression import FromClause

from migrator.decisions import DECISIONS
from migrator.dialects.pg_words import columns_sql, literal, quote, table_sql
from migrator.journal import RUN
from migrator.mirror import ACTION, CONFLICT, DELETED, ID, NEW, RESTORED, STATE, Mirror
from migrator.offline.job import Job, passes
from migrator.offline.postgresql_blocks import BATCH_VARIABLES, batches, block
from migrator.offline.restoring import MadeParents, delete_parent, held, how_many, used
from migrator.plan import Step

PUT_BACK_VARIABLES = (
    "mgr_row record;",
    "mgr_below bigint;",
    "mgr_low bigint;",
    "mgr_done boolean;",
    "mgr_ok bigint;",
    "mgr_back bigint;",
    "mgr_kept bigint;",
)


def put_back(
    job: Job, mirror: Mirror, kept: FromClause, condition: ColumnElement[bool], state: str, after: str
) -> str:
    """Rounds over the mirror.

    Args:
        kept: the mirror, under the alias `m`.
        condition: which rows of it.
        state: what to mark those with that are back.
        after: statements after each committed round; `mgr_back` and `mgr_kept` are its counts.
    """
    name, number, table = table_sql(mirror.name), quote(ID), mirror.source
    stored = columns_sql(mirror.stored)
    insert = job.words.dialect.insert_identity(
        f"INSERT INTO {table_sql(table)} ({stored})\n"
        f"SELECT {stored} FROM {name} WHERE {number} = mgr_row.{number}"
    )
    sets = ", ".join(f"{quote(column)} = mgr_row.{quote(column)}" for column in mirror.reference_columns)
    same = [f"t.{quote(column)} = mgr_row.{quote(place)}" for column, place in mirror.places.items()]
    same += [
        f"t.{quote(column)} IS NOT DISTINCT FROM mgr_row.{quote(f'{NEW}{at}')}"
        for at, column in enumerate(mirror.reference_columns)
    ]
    # A mirror of rows that only ever were removed keeps no new values.
    update = (
        f"ELSE\n  UPDATE {table_sql(table)} AS t SET {sets}\n  WHERE {' AND '.join(same)};\n" if sets else ""
    )
    body = f"""\
IF mgr_row.{quote(ACTION)} = {literal(DELETED)} THEN
{indent(insert, "  ")}
  ON CONFLICT DO NOTHING;
{update}END IF;"""
    return _one_by_one(job, mirror, kept, condition, body, state, after)


def _one_by_one(
    job: Job,
    mirror: Mirror,
    kept: FromClause,
    condition: ColumnElement[bool],
    body: str,
    state: str,
    after: str,
) -> str:
    """The same with any work on the row `mgr_row`: what touches one row has done it."""
    name, number = table_sql(mirror.name), quote(ID)
    below: ColumnElement[int] = sa.literal_column("mgr_below")
    every: ColumnElement[Any] = sa.literal_column("m.*")
    rows = (
        sa.select(every)
        .select_from(kept)
        .where(condition, sa.or_(below.is_(None), kept.c[ID] < below))
        .order_by(kept.c[ID].desc())
        .limit(sa.literal_column(str(job.settings.batch_size)))
    )
    work = f"""\
mgr_low := NULL;
mgr_back := 0;
mgr_kept := 0;
FOR mgr_row IN
{indent(job.words.sql(rows), "  ")}
LOOP
  mgr_low := mgr_row.{number};
  BEGIN
{indent(body, "    ")}
    GET DIAGNOSTICS mgr_ok = ROW_COUNT;
  EXCEPTION WHEN integrity_constraint_violation THEN
    mgr_ok := 0;
  END;
  UPDATE {name} SET {quote(STATE)} = CASE mgr_ok WHEN 1 THEN {literal(state)} ELSE {literal(CONFLICT)} END
  WHERE {number} = mgr_low;
  mgr_back := mgr_back + mgr_ok;
  mgr_kept := mgr_kept + 1 - mgr_ok;
END LOOP;"""
    then = f"mgr_done := mgr_low IS NULL;\nmgr_below := mgr_low;\n{after}"
    return f"mgr_below := NULL;\nmgr_done := false;\n{batches('EXIT WHEN mgr_done;', work, then, 0)}"


def restore_block(job: Job, step: Step) -> str:
    """Every row back; then each mirror goes unless it holds a conflict, and our sentinel rows with them."""
    names = "array_to_json(mgr_mirrors)"
    detail = job.words.json(
        {
            "restored": "mgr_restored",
            "conflicts": "mgr_conflicts",
            "kept": names,
            "sentinels": "mgr_sentinels",
        }
    )
    lines = [_rows_back(each, mirror, *actions) for each, mirror, *actions in passes(job)]
    made = MadeParents.of(job.words, job.facts, job.mirrors)
    lines += [] if made is None else _unmade(job, made)
    lines += [line for mirror in job.mirrors for line in _empty(job, mirror)]
    lines += [*_drop_decisions(), _sentinels(job), f"{job.records.step_detail(step.name, detail)};"]
    numbers = ("restored", "conflicts", "held", "sentinels")
    variables = [*(f"mgr_{name} bigint := 0;" for name in numbers), *_keys(job)]
    variables += ["mgr_mirrors text[] := '{}';", "mgr_run record;", *PUT_BACK_VARIABLES, *BATCH_VARIABLES]
    return block(variables, *lines)


def _rows_back(job: Job, mirror: Mirror, *actions: str) -> str:
    kept = mirror.clause.alias("m")
    counted = "mgr_restored := mgr_restored + mgr_back;"
    return put_back(job, mirror, kept, held(job.words, kept, *actions), RESTORED, counted)


def _unmade(job: Job, made: MadeParents) -> list[str]:
    """Parents we created go, where nothing refers to them but the orphans that named them."""
    mirror = made.parents
    kept = mirror.clause.alias("m")
    same = " AND ".join(f"t.{quote(column)} = mgr_row.{quote(column)}" for column in mirror.key)
    body = (
        f"DELETE FROM {table_sql(mirror.source)} AS t WHERE {same}\nAND {made.free(f'mgr_row.{quote(ID)}')};"
    )
    return [
        _one_by_one(job, mirror, kept, made.there(kept), body, RESTORED, ""),
        f"IF {made.stay} = 0 THEN\n  {made.served};\nEND IF;",
    ]


def _drop_decisions() -> list[str]:
    """The tables of decisions files, of whatever content, unless rows stay in quarantine."""
    names = f"left(relname, {len(DECISIONS)}) = {literal(DECISIONS)}"
    return [
        "IF mgr_mirrors = '{}' THEN",
        "  FOR mgr_run IN SELECT relname FROM pg_class",
        f"    WHERE relkind = 'r' AND {names} AND pg_table_is_visible(oid)",
        "  LOOP",
        "    EXECUTE format('DROP TABLE %I', mgr_run.relname);",
        "  END LOOP;",
        "END IF;",
    ]


def _empty(job: Job, mirror: Mirror) -> list[str]:
    words = job.words
    kept = mirror.clause.alias("m")
    note = f" rows of {mirror.source} were not restored; they stay in {mirror.name}"
    return [
        f"mgr_held := {how_many(words, kept, held(words, kept))};",
        "IF mgr_held = 0 THEN",
        f"  DROP TABLE {table_sql(mirror.name)};",
        f"  {job.records.forgotten(mirror)};",
        "ELSE",
        "  mgr_conflicts := mgr_conflicts + mgr_held;",
        f"  mgr_mirrors := array_append(mgr_mirrors, {literal(mirror.name.name)});",
        f"  RAISE WARNING '%', mgr_held || {literal(note)};",
        "END IF;",
        "COMMIT;",
    ]


def _keys(job: Job) -> list[str]:
    parent = table_sql(job.facts.parent.name)
    return [
        f"mgr_key_{at} {parent}.{quote(column)}%TYPE;"
        for at, column in enumerate(job.facts.reference.parent_columns)
    ]


def _sentinels(job: Job) -> str:
    """The sentinel rows that the journal says we made, unless something refers to them by now."""
    words, inverse = job.words, job.inverse
    keys = [f"mgr_key_{at}" for at in range(len(job.facts.reference.parent_columns))]
    text = words.json_text("facts", "sentinel")
    query = words.sql(
        sa.select(RUN.c.id, sa.literal_column(text).label("sentinel")).where(
            *job.records.in_force(inverse or ""), sa.literal_column(text).is_not(None)
        )
    )
    reads = "\n".join(f"  {key} := {words.key_part('mgr_run.sentinel', at)};" for at, key in enumerate(keys))
    run = sa.update(RUN).where(RUN.c.id == sa.literal_column("mgr_run.id"))
    left = words.sql(run.values(facts=sa.literal_column(words.json_without("facts", "sentinel"))))
    return f"""\
FOR mgr_run IN
{indent(query, "  ")}
LOOP
{reads}
  IF {used(words, job.facts, keys)} = 0 THEN
    {delete_parent(words, job.facts, keys)};
    {left};
  ELSE
    mgr_sentinels := mgr_sentinels + 1;
  END IF;
END LOOP;"""
