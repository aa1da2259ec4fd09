"""Putting quarantined rows back, as a stored procedure: newest first, row by row, never overwriting."""

from __future__ import annotations

from textwrap import indent
from typing import Any

import sqlalchemy as sa
from sqlalchemy.sql.elements import ColumnElement
from sqlalchemy.sql.expression import FromClause

from migrator.decisions import DECISIONS
from migrator.dialects.mysql_definition import literal, quote
from migrator.dialects.mysql_words import columns_sql, table_sql
from migrator.journal import RUN
from migrator.mirror import ACTION, CONFLICT, DELETED, ID, NEW, RESTORED, STATE, Mirror
from migrator.offline.job import Job, passes
from migrator.offline.mysql_blocks import BATCH_VARIABLES, batches, into, procedure
from migrator.offline.restoring import MadeParents, delete_parent, held, how_many, used
from migrator.plan import Step
from migrator.predicate import table_clause

PUT_BACK_VARIABLES = (
    "mgr_below BIGINT DEFAULT NULL",
    "mgr_from BIGINT DEFAULT NULL",
    "mgr_id BIGINT DEFAULT NULL",
    "mgr_action VARCHAR(40) DEFAULT NULL",
    "mgr_ok BIGINT DEFAULT 0",
    "mgr_seen BIGINT DEFAULT 0",
    "mgr_back BIGINT DEFAULT 0",
    "mgr_kept BIGINT DEFAULT 0",
)
_LARGEST = "9223372036854775807"


def put_back(
    job: Job, mirror: Mirror, kept: FromClause, condition: ColumnElement[bool], state: str, after: str
) -> str:
    """Rounds over a mirror, in a procedure.

    Args:
        kept: the mirror, under the alias `m`.
        condition: which rows of it.
        state: what to mark those with that are back.
        after: statements after each committed round; `mgr_back` and `mgr_kept` are its counts.
    """
    stored = columns_sql(mirror.stored)
    body = f"""\
IF mgr_action = {literal(DELETED)} THEN
  INSERT INTO {table_sql(mirror.source)} ({stored})
  SELECT {stored} FROM {table_sql(mirror.name)} WHERE {quote(ID)} = mgr_id;
ELSE
  {_update(job, mirror)};
END IF;
SET mgr_ok = ROW_COUNT();"""
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
    """The same with any work on the row `mgr_id`, which leaves in `mgr_ok` how many rows it touched."""
    name, number = table_sql(mirror.name), quote(ID)
    below: ColumnElement[int] = sa.literal_column("mgr_from")
    row: ColumnElement[Any] = kept.c[ID]
    following = (
        sa.select(row, kept.c[ACTION])
        .where(condition, kept.c[ID] < below)
        .order_by(kept.c[ID].desc())
        .limit(sa.literal_column("1"))
    )
    work = f"""\
SET mgr_from = mgr_below;
SET mgr_seen = 0;
SET mgr_back = 0;
SET mgr_kept = 0;
each_row: LOOP
  SET mgr_id = NULL;
{indent(into(job.words.sql(following), "mgr_id, mgr_action"), "  ")}
  IF mgr_id IS NULL OR mgr_seen >= {job.settings.batch_size} THEN
    LEAVE each_row;
  END IF;
  SET mgr_from = mgr_id;
  SET mgr_seen = mgr_seen + 1;
  BEGIN
    DECLARE EXIT HANDLER FOR SQLSTATE '23000', 3819, 4025 SET mgr_ok = 0;
{indent(body, "    ")}
  END;
  UPDATE {name} SET {quote(STATE)} = IF(mgr_ok = 1, {literal(state)}, {literal(CONFLICT)})
  WHERE {number} = mgr_id;
  SET mgr_back = mgr_back + (mgr_ok = 1);
  SET mgr_kept = mgr_kept + (mgr_ok <> 1);
END LOOP each_row;"""
    page = "IF mgr_below = 0 THEN\n  LEAVE rounds;\nEND IF;"
    then = f"SET mgr_below = IF(mgr_seen = 0, 0, mgr_from);\n{after}"
    return f"SET mgr_below = {_LARGEST};\n{batches(page, work, then, 0)}"


def _update(job: Job, mirror: Mirror) -> str:
    """The old reference back, where the row still has the value we gave it."""
    live = table_clause(mirror.source, *mirror.columns)
    kept = mirror.clause.alias("m")
    values: dict[Any, Any] = {live.c[column]: kept.c[column] for column in mirror.reference_columns}
    for column in job.words.dialect.change_extras(job.facts.child):
        values[live.c[column]] = live.c[column]
    same = [live.c[column] == kept.c[place] for column, place in mirror.places.items()]
    same += [
        live.c[column].is_not_distinct_from(kept.c[f"{NEW}{at}"])
        for at, column in enumerate(mirror.reference_columns)
    ]
    chosen: ColumnElement[bool] = kept.c[ID] == sa.literal_column("mgr_id")
    if not values:
        return "DO 0"
    return job.words.sql(sa.update(live).values(values).where(chosen, *same))


def restore_procedure(job: Job, step: Step) -> str:
    """Every row back; then each mirror goes unless it holds a conflict, and our sentinel rows with them."""
    detail = job.words.json(
        {
            "restored": "mgr_restored + 0",
            "conflicts": "mgr_conflicts + 0",
            "kept": "JSON_EXTRACT(mgr_mirrors, '$')",
            "sentinels": "mgr_sentinels + 0",
        }
    )
    lines = [_rows_back(each, mirror, *actions) for each, mirror, *actions in passes(job)]
    made = MadeParents.of(job.words, job.facts, job.mirrors)
    lines += [] if made is None else _unmade(job, made)
    lines += [line for mirror in job.mirrors for line in _empty(job, mirror)]
    lines += [*_drop_decisions(), _sentinels(job), f"{job.records.step_detail(step.name, detail)};"]
    numbers = ("restored", "conflicts", "held", "sentinels")
    variables = [
        *(f"mgr_{name} BIGINT DEFAULT 0" for name in numbers),
        "mgr_mirrors TEXT DEFAULT '[]'",
        "mgr_run VARCHAR(40) DEFAULT ''",
        *_keys(job),
        *PUT_BACK_VARIABLES,
        *BATCH_VARIABLES,
    ]
    return procedure("migrator_restore", variables, *lines)


def _rows_back(job: Job, mirror: Mirror, *actions: str) -> str:
    kept = mirror.clause.alias("m")
    counted = "SET mgr_restored = mgr_restored + mgr_back;"
    return put_back(job, mirror, kept, held(job.words, kept, *actions), RESTORED, counted)


def _unmade(job: Job, made: MadeParents) -> list[str]:
    """Parents we created go, where nothing refers to them but the orphans that named them. That is asked in
    an IF, as of the sentinel rows."""
    mirror = made.parents
    kept, target, row = mirror.clause.alias("m"), mirror.source_clause, mirror.clause.alias("k")
    same = [target.c[column] == row.c[column] for column in mirror.key]
    number: ColumnElement[int] = sa.literal_column("mgr_id")
    delete = job.words.sql(sa.delete(target).where(*same, row.c[ID] == number))
    body = (
        f"SET mgr_ok = 0;\nIF {made.free('mgr_id')} THEN\n  {delete};\n  SET mgr_ok = ROW_COUNT();\nEND IF;"
    )
    return [
        _one_by_one(job, mirror, kept, made.there(kept), body, RESTORED, ""),
        f"IF {made.stay} = 0 THEN\n  {made.served};\nEND IF;",
    ]


def _drop_decisions() -> list[str]:
    """The tables of decisions files, of whatever content, unless rows stay in quarantine."""
    return [
        "IF mgr_mirrors = '[]' THEN",
        "  SELECT CONCAT('DROP TABLE ', GROUP_CONCAT(CONCAT('`', table_name, '`'))) INTO @migrator_drop",
        "  FROM information_schema.tables",
        f"  WHERE table_schema = DATABASE() AND LEFT(table_name, {len(DECISIONS)}) = {literal(DECISIONS)};",
        "  IF @migrator_drop IS NOT NULL THEN",
        "    PREPARE migrator_drop FROM @migrator_drop;",
        "    EXECUTE migrator_drop;",
        "    DEALLOCATE PREPARE migrator_drop;",
        "  END IF;",
        "END IF;",
    ]


def _empty(job: Job, mirror: Mirror) -> list[str]:
    words = job.words
    kept = mirror.clause.alias("m")
    return [
        f"SET mgr_held = {how_many(words, kept, held(words, kept))};",
        "IF mgr_held = 0 THEN",
        f"  DROP TABLE {table_sql(mirror.name)};",
        f"  {job.records.forgotten(mirror)};",
        "ELSE",
        "  SET mgr_conflicts = mgr_conflicts + mgr_held;",
        f"  SET mgr_mirrors = JSON_ARRAY_APPEND(mgr_mirrors, '$', {literal(mirror.name.name)});",
        "END IF;",
    ]


def _keys(job: Job) -> list[str]:
    return [
        f"mgr_key_{at} {job.facts.parent.column(column).type} DEFAULT NULL"
        for at, column in enumerate(job.facts.reference.parent_columns)
    ]


def _sentinels(job: Job) -> str:
    """The sentinel rows that the journal says we made, unless something refers to them by now. That is asked
    in an IF, which locks what it reads: a row that is being written is waited for."""
    words, inverse = job.words, job.inverse
    keys = [f"mgr_key_{at}" for at in range(len(job.facts.reference.parent_columns))]
    text = words.json_text("facts", "sentinel")
    parts: list[Any] = [sa.literal_column(words.key_part(text, at)) for at in range(len(keys))]
    number: Any = RUN.c.id
    last: ColumnElement[str] = sa.literal_column("mgr_last")
    query = (
        sa.select(number, *parts)
        .where(
            *job.records.in_force(inverse or ""),
            sa.literal_column(text).is_not(None),
            RUN.c.id > last,
        )
        .order_by(RUN.c.id)
        .limit(sa.literal_column("1"))
    )
    run = sa.update(RUN).where(RUN.c.id == last)
    left = words.sql(run.values(facts=sa.literal_column(words.json_without("facts", "sentinel"))))
    following = into(words.sql(query), ", ".join(["mgr_run", *keys]))
    return f"""\
BEGIN
  DECLARE mgr_last VARCHAR(40) DEFAULT '';
  each_run: LOOP
    SET mgr_run = NULL;
{indent(following, "    ")}
    IF mgr_run IS NULL THEN
      LEAVE each_run;
    END IF;
    SET mgr_last = mgr_run;
    IF {used(words, job.facts, keys)} = 0 THEN
      START TRANSACTION;
      {delete_parent(words, job.facts, keys)};
      {left};
      COMMIT;
    ELSE
      SET mgr_sentinels = mgr_sentinels + 1;
    END IF;
  END LOOP each_run;
END;"""
