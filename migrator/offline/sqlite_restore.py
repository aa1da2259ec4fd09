"""Putting quarantined rows back in the sqlite3 shell.

A temporary trigger does for each row what the online loop does: newest first, never overwriting. A row that
cannot come back would have to stay in a table of its own, which needs a condition that the shell does not
have; so the script refuses as a whole then, and the online downgrade does it.
"""

from __future__ import annotations

from collections.abc import Iterator
from textwrap import indent
from typing import Any

import sqlalchemy as sa
from sqlalchemy.sql.elements import ColumnElement
from sqlalchemy.sql.expression import FromClause

from migrator.decisions import DECISIONS
from migrator.dialects.sqlite_tokens import quote_name, quote_text
from migrator.journal import RUN
from migrator.mirror import ACTION, CHANGED, CONFLICT, CREATED, DELETED, ID, NEW, RESTORED, STATE, Mirror
from migrator.offline.job import Job, passes
from migrator.offline.restoring import MadeParents, held, how_many, used
from migrator.offline.sqlite_blocks import printed, refuse_if
from migrator.offline.sweeping import row_in
from migrator.plan import Step
from migrator.predicate import table_clause

PUT_BACK = "migrator_back"


def moved_back() -> str:
    """An expression: how many rows the last `put_back` moved."""
    return f"(SELECT coalesce(sum(moved), 0) FROM temp.{PUT_BACK})"


def put_back(
    job: Job, mirror: Mirror, kept: FromClause, condition: ColumnElement[bool], state: str
) -> Iterator[str]:
    """Put rows of a mirror back; the table `PUT_BACK` has their numbers and what came of them.

    Args:
        kept: the mirror, under an alias.
        condition: which rows of it.
        state: what to mark those with that are back.
    """
    name, source, number = quote_name(mirror.name.name), quote_name(mirror.source.name), quote_name(ID)

    def row(column: str, action: str = "") -> str:
        only = f" AND m.{quote_name(ACTION)} = {quote_text(action)}" if action else ""
        return f"(SELECT m.{quote_name(column)} FROM {name} AS m WHERE m.{number} = NEW.id{only})"

    sets = ", ".join(f"{quote_name(column)} = {row(column)}" for column in mirror.reference_columns)
    same = [f"{quote_name(column)} = {row(place, CHANGED)}" for column, place in mirror.places.items()]
    same += [
        f"{quote_name(column)} IS {row(f'{NEW}{at}')}" for at, column in enumerate(mirror.reference_columns)
    ]
    stored = ", ".join(map(quote_name, mirror.stored))
    columns = ", ".join(f"m.{quote_name(column)}" for column in mirror.stored)
    body: list[str] = []
    if mirror.reference_columns:
        body += [
            f"UPDATE OR IGNORE {source} SET {sets} WHERE {' AND '.join(same)};",
            f"UPDATE {PUT_BACK} SET moved = changes() WHERE id = NEW.id;",
        ]
    body += [
        f"INSERT OR IGNORE INTO {source} ({stored}) SELECT {columns} FROM {name} AS m "
        f"WHERE m.{number} = NEW.id AND m.{quote_name(ACTION)} = {quote_text(DELETED)};",
        f"UPDATE {PUT_BACK} SET moved = moved + changes() WHERE id = NEW.id;",
        f"UPDATE {name} SET {quote_name(STATE)} = CASE (SELECT moved FROM {PUT_BACK} WHERE id = NEW.id) "
        f"WHEN 1 THEN {quote_text(state)} ELSE {quote_text(CONFLICT)} END WHERE {number} = NEW.id;",
    ]
    query = sa.select(kept.c[ID]).where(condition).order_by(kept.c[ID].desc())
    yield printed(
        f"DROP TABLE IF EXISTS temp.{PUT_BACK}",
        f"CREATE TEMP TABLE {PUT_BACK} (id INTEGER PRIMARY KEY, moved INTEGER NOT NULL DEFAULT 0)",
        f"CREATE TEMP TRIGGER migrator_put_back AFTER INSERT ON {PUT_BACK} BEGIN\n"
        + indent("\n".join(body), "  ")
        + "\nEND",
        f"INSERT INTO temp.{PUT_BACK} (id) {job.words.sql(query)}",
        "DROP TRIGGER temp.migrator_put_back",
    )


def restored(job: Job, step: Step) -> Iterator[str]:
    """Every row back, the mirrors dropped, and our sentinel rows with them."""
    words, records = job.words, job.records
    yield printed("DROP TABLE IF EXISTS temp.migrator_count", "CREATE TEMP TABLE migrator_count (moved)")
    for each, mirror, *actions in passes(job):
        kept = mirror.clause.alias("m")
        yield from put_back(each, mirror, kept, held(words, kept, *actions), RESTORED)
        yield printed(f"INSERT INTO temp.migrator_count SELECT {moved_back()}", f"DROP TABLE temp.{PUT_BACK}")
    made = MadeParents.of(words, job.facts, job.mirrors)
    if made is not None:
        yield printed(*_unmade(job, made))
    for mirror in job.mirrors:
        kept = mirror.clause.alias("m")
        yield refuse_if(
            f"{how_many(words, kept, held(words, kept))} > 0",
            f"rows of {mirror.source} cannot be restored (a key is taken again, or the application changed "
            "the row): run alembic downgrade without --sql, which sets them apart",
        )
        yield printed(f"DROP TABLE {quote_name(mirror.name.name)}", records.forgotten(mirror))
    yield refuse_if(
        "(SELECT count(*) FROM main.sqlite_master WHERE type = 'table' "
        f"AND substr(name, 1, {len(DECISIONS)}) = {quote_text(DECISIONS)} "
        f"AND name NOT IN ({', '.join(map(quote_text, job.decided))})) > 0",
        "there are tables of decisions files: write the script again with the database in reach",
    )
    yield printed(*(f"DROP TABLE IF EXISTS {quote_name(name)}" for name in job.decided))
    yield printed(*_sentinels(job))
    detail = words.json(
        {
            "restored": "(SELECT coalesce(sum(moved), 0) FROM temp.migrator_count)",
            "conflicts": "0",
            "kept": "json('[]')",
            "sentinels": records.count(*records.in_force(job.inverse or ""), _made(job).is_not(None)),
        }
    )
    yield printed(records.step_detail(step.name, detail), "DROP TABLE temp.migrator_count")


def _unmade(job: Job, made: MadeParents) -> list[str]:
    """Parents we created go, where nothing refers to them but the orphans that named them; the others are
    left for the question that follows."""
    words, mirror = job.words, made.parents
    name, kept = mirror.clause, mirror.clause.alias("k")
    free: ColumnElement[bool] = sa.literal_column(made.free(words.sql(name.c[ID])))
    mark = sa.update(name).values({name.c[STATE]: words.value(RESTORED)})
    target = mirror.source_clause
    keys = sa.select(*(kept.c[column] for column in mirror.key)).where(
        kept.c[ACTION] == words.value(CREATED), kept.c[STATE] == words.value(RESTORED)
    )
    gone = sa.delete(target).where(row_in([target.c[column] for column in mirror.key], keys))
    return [
        words.sql(mark.where(made.there(name), free)),
        words.sql(gone),
        f"{made.served} AND {made.stay} = 0",
    ]


def _made(job: Job) -> ColumnElement[str]:
    return sa.literal_column(job.words.json_text("facts", "sentinel"))


def _sentinels(job: Job) -> list[str]:
    """The sentinel rows that the journal says we made go, unless something refers to them by now."""
    words, reference = job.words, job.facts.reference
    parent = table_clause(reference.parent, *reference.parent_columns)
    columns: list[ColumnElement[Any]] = [parent.c[name] for name in reference.parent_columns]
    parts: list[Any] = [
        sa.literal_column(words.key_part(words.json_text("facts", "sentinel"), at))
        for at in range(len(columns))
    ]
    ours = [*job.records.in_force(job.inverse or ""), _made(job).is_not(None)]
    uses = used(words, job.facts, [words.sql(column) for column in columns])
    gone = (
        sa.delete(parent)
        .where(row_in(columns, sa.select(*parts).select_from(RUN).where(*ours)))
        .where(sa.literal_column(f"({uses})") == sa.literal_column("0"))
    )
    still = table_clause(reference.parent, *reference.parent_columns).alias("p")
    there = (
        sa.select(sa.func.count())
        .select_from(still)
        .where(*(still.c[name] == part for name, part in zip(reference.parent_columns, parts, strict=True)))
    )
    forget = (
        sa.update(RUN)
        .where(*ours, there.scalar_subquery() == sa.literal_column("0"))
        .values(facts=sa.literal_column(words.json_without("facts", "sentinel")))
    )
    return [words.sql(gone), words.sql(forget)]
