"""What a script for psql asks before it changes anything, and after."""

from __future__ import annotations

import json
from textwrap import indent

import sqlalchemy as sa

from migrator.catalog import Facts, ForeignKey, Table
from migrator.dialects.pg_facts import Partition, by_partition, extras
from migrator.dialects.pg_words import literal, table_sql
from migrator.journal import MIRROR, RUN, reference_key
from migrator.mirror import manifest
from migrator.offline.job import Job
from migrator.offline.postgresql_blocks import refusal, unless
from migrator.offline.sweeping import how_many_left, too_few_rounds
from migrator.plan import Operation
from migrator.reference import Reference

_AGAIN = "Write the script again with the database in reach, or run it without --sql."


def tables(job: Job) -> str:
    """Both tables' columns, and of the child what the plan depends on: NULL, foreign keys, index."""
    facts = job.facts
    both = {table.name: table for table in (facts.child, facts.parent)}
    lines = [
        _same(_COLUMNS, table, _columns(table), f"the columns of {name}") for name, table in both.items()
    ]
    kind = "partitioned" if facts.child.kind == "partitioned" else "whole"
    lines.append(_same(_KIND, facts.child, kind, f"the partitions of {facts.child.name}"))
    for name, table in both.items():
        # A delete would pull their rows along; what refers to the parent may refer to a sentinel row.
        inbound = ", ".join(sorted({str(fk.name) for fk in table.inbound}))
        lines.append(_same(_INBOUND, table, inbound, f"the foreign keys that refer to {name}"))
    child, reference = facts.child, facts.reference
    names = ", ".join(map(literal, reference.columns))
    nullable = sorted(name for name in reference.columns if child.column(name).nullable)
    question = f"{_NULLABLE} AND attname IN ({names})"
    lines.append(_same(question, child, ", ".join(nullable), f"the columns of {child.name} that may be NULL"))
    keys = sorted(map(_key, (*_declared(facts), *extras(child).not_enforced)))
    lines.append(_same(_KEYS, child, ", ".join(keys), f"the foreign keys of {child.name}"))
    if child.kind == "partitioned":
        known = "; ".join(sorted(_partition(facts, leaf) for leaf in extras(child).leaves))
        question = _PARTITIONS.format(keys=_PARTITIONS_KEYS if by_partition(facts) else "''", table="{table}")
        lines.append(_same(question, child, known, f"the partitions of {child.name}"))
    serving = sorted(
        index.name
        for index in child.indexes
        if index.name == reference.index_name or index.leads_with(reference.columns)
    )
    columns = ", ".join(map(literal, sorted(reference.columns)))
    question = _INDEXES.format(
        name=literal(reference.index_name), last=len(reference.columns) - 1, columns=columns
    )
    lines.append(
        _same(
            question,
            child,
            ", ".join(serving),
            f"the indexes on {child.name} ({', '.join(reference.columns)})",
        )
    )
    return "\n".join(lines)


_COLUMNS = """\
SELECT string_agg(attname || ' ' || format_type(atttypid, atttypmod), ', ' ORDER BY attnum)
FROM pg_attribute WHERE attrelid = {table} AND attnum > 0 AND NOT attisdropped"""
_KIND = """\
SELECT CASE relkind WHEN 'p' THEN 'partitioned' ELSE 'whole' END FROM pg_class WHERE oid = {table}"""
_NULLABLE = """\
SELECT coalesce(string_agg(attname, ', ' ORDER BY attname COLLATE "C"), '')
FROM pg_attribute WHERE attrelid = {table} AND NOT attnotnull"""
# As the catalog reader has them: a key to a partitioned parent has rows for each of its partitions besides.
_OWN = """\
contype = 'f'
  AND NOT coalesce((to_jsonb(k) ->> 'conperiod')::boolean, false)
  AND NOT EXISTS (SELECT FROM pg_constraint up WHERE up.oid = k.conparentid AND up.{side} = k.{side})"""
_ENFORCED = "coalesce((to_jsonb(k) ->> 'conenforced')::boolean, true)"
_KEYS = """\
SELECT coalesce(string_agg(conname || CASE WHEN convalidated THEN '' ELSE ' (not valid)' END, ', '
                           ORDER BY conname COLLATE "C"), '')
FROM pg_constraint k WHERE conrelid = {table} AND """ + _OWN.format(side="conrelid")
_PARTITIONS = """\
SELECT coalesce(string_agg(p.line, '; ' ORDER BY p.line COLLATE "C"), '')
FROM (SELECT n.nspname || '.' || c.relname || {keys} AS line
      FROM pg_partition_tree({table}) t JOIN pg_class c ON c.oid = t.relid
      JOIN pg_namespace n ON n.oid = c.relnamespace WHERE t.isleaf AND t.level > 0) p"""
_PARTITIONS_KEYS = (
    """\
coalesce((
        SELECT ' (' || string_agg(conname || CASE WHEN convalidated THEN '' ELSE ' (not valid)' END, ', '
                                  ORDER BY conname COLLATE "C") || ')'
        FROM pg_constraint k WHERE conrelid = t.relid AND """
    + _OWN.format(side="conrelid")
    + "), '')"
)
_INBOUND = (
    """\
SELECT coalesce(string_agg(DISTINCT conname::text COLLATE "C", ', ' ORDER BY conname::text COLLATE "C"), '')
FROM pg_constraint k WHERE confrelid = {table} AND """
    + _OWN.format(side="confrelid")
    + f" AND {_ENFORCED}"
)
_INDEXES = """\
SELECT coalesce(string_agg(x.relname, ', ' ORDER BY x.relname COLLATE "C"), '')
FROM pg_index i JOIN pg_class x ON x.oid = i.indexrelid
WHERE i.indrelid = {{table}} AND (x.relname = {name} OR (i.indisvalid AND i.indpred IS NULL AND
  ARRAY(SELECT a.attname::text FROM pg_attribute a WHERE a.attrelid = i.indrelid
        AND a.attnum = ANY ((i.indkey::int2[])[0:{last}])
        ORDER BY a.attname COLLATE "C") = ARRAY[{columns}]))"""


def journal(job: Job, inverse: Operation) -> str:
    """There is something to take back, it is of the same reference, and the same steps of it are ours."""
    records, reference = job.records, job.facts.reference
    in_force = records.in_force(inverse)
    other = RUN.c.definition != records.words.value(json.dumps(reference.to_json()))
    expected, foreign = sorted(job.forward_steps & job.ours), sorted(job.forward_steps - job.ours)
    ours = f"{records.ours(expected)} = {len(expected)} AND {records.ours(foreign)} = 0"
    lines = [
        unless(
            f"to_regclass({literal(RUN.name)}) IS NOT NULL", f"no journal here, so no {inverse} to take back"
        ),
        unless(
            f"{records.count(*in_force)} > 0", f"the journal knows of no {inverse} of {reference} in force"
        ),
        unless(
            f"{records.count(*in_force, other)} = 0",
            f"the {inverse} of {reference} had another definition",
            _AGAIN,
        ),
        unless(ours, f"the steps of {inverse} that are ours are not those this was written for", _AGAIN),
    ]
    if job.operation == "restore":
        lines.append(
            unless(_mirrors(job), f"the quarantine of {reference} is not as this was written for", _AGAIN)
        )
    return "\n".join(lines)


def _mirrors(job: Job) -> str:
    """The manifest has exactly the mirrors that this script empties, with the columns it knows."""
    value, reference = job.words.value, job.facts.reference
    texts = [value(manifest(reference, mirror)["definition"]) for mirror in job.mirrors]
    of = MIRROR.c.reference_key == value(reference_key(reference))
    every = sa.select(sa.func.count()).select_from(MIRROR).where(of)
    known = every.where(
        MIRROR.c.name.in_([value(mirror.name.name) for mirror in job.mirrors]), MIRROR.c.definition.in_(texts)
    )
    count = len(job.mirrors)
    return f"({job.words.sql(every)}) = {count} AND ({job.words.sql(known)}) = {count}"


def index_is_valid(name: str) -> str:
    """A failed CREATE INDEX CONCURRENTLY leaves an index that IF NOT EXISTS takes for the wanted one."""
    return unless(
        f"SELECT indisvalid FROM pg_index WHERE indexrelid = to_regclass({literal(name)})",
        f"the index {name} is INVALID",
        f"DROP INDEX CONCURRENTLY {name}; then write the script again.",
    )


def proof(job: Job) -> str:
    """No orphan is left."""
    return unless(
        f"{how_many_left(job.words, job.facts.reference)} = 0",
        f"orphans of {job.facts.reference} are there although it is enforced",
        "Write the script again: it sweeps them. Some session writes with its checks off.",
    )


def none_left(job: Job, reference: Reference) -> str:
    """No orphan is left after the last round of a set."""
    return unless(f"{how_many_left(job.words, reference)} = 0", too_few_rounds(reference))


def drop_journal_if_idle(job: Job) -> str:
    """See `journal.drop_if_idle`."""
    drops = ";\n".join(job.records.dropped()) + ";"
    return f"IF {job.records.left} = 0 THEN\n{indent(drops, '  ')}\nEND IF;"


def _same(question: str, table: Table, expected: str, what: str) -> str:
    found = question.format(table=f"to_regclass({literal(table_sql(table.name))})")
    told = f"format('found: %s; expected: %s', mgr_found, {literal(expected)})"
    different = refusal(f"{what} are not those this was written for", _AGAIN, told)
    return (
        f"mgr_found := (\n{indent(found, '  ')});\nIF mgr_found IS DISTINCT FROM {literal(expected)} THEN\n"
        f"{different}\nEND IF;"
    )


def _columns(table: Table) -> str:
    return ", ".join(f"{column.name} {column.type}" for column in table.columns)


def _declared(facts: Facts) -> tuple[ForeignKey, ...]:
    """The keys that stand on the child itself, where each partition may have its own."""
    if not by_partition(facts):
        return facts.child.foreign_keys
    declared = {name for name, _ in extras(facts.child).constraints}
    return tuple(key for key in facts.child.foreign_keys if key.name in declared)


def _partition(facts: Facts, leaf: Partition) -> str:
    """A partition, and its keys where those are its own."""
    keys = ", ".join(sorted(map(_key, leaf.foreign_keys))) if by_partition(facts) else ""
    return f"{leaf.name.schema}.{leaf.name.name}" + (f" ({keys})" if keys else "")


def _key(key: ForeignKey) -> str:
    return (key.name or "") + ("" if key.validated else " (not valid)")
