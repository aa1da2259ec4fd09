"""What a script for mysql asks before it changes anything, and after."""

from __future__ import annotations

import json
from collections.abc import Iterator
from textwrap import indent

import sqlalchemy as sa

from migrator.catalog import Column, Facts, Table
from migrator.dialects.mysql_definition import literal
from migrator.journal import MIRROR, RUN, reference_key
from migrator.mirror import manifest
from migrator.offline.job import Job
from migrator.offline.mysql_blocks import procedure, read, statement, unless
from migrator.offline.records import Records
from migrator.offline.sweeping import how_many_left, too_few_rounds
from migrator.plan import Operation
from migrator.reference import Reference

_AGAIN = "write the script again with the database in reach"
_COLUMNS = """\
SELECT GROUP_CONCAT(CONCAT(column_name, ' ', REPLACE(column_type, 'int(11)', 'int'))
  ORDER BY ordinal_position SEPARATOR ', ')
FROM information_schema.columns WHERE {of}"""
_REFERENCE = """\
SELECT GROUP_CONCAT(CONCAT(column_name, ' ', is_nullable,
  IF(IFNULL(column_default, 'NULL') = 'NULL', '', ' default'),
  IF(column_comment = '', '', ' comment')) ORDER BY ordinal_position SEPARATOR ', ')
FROM information_schema.columns WHERE {of} AND column_name IN ({names})"""
_KEYS = """\
SELECT IFNULL(GROUP_CONCAT(constraint_name ORDER BY CAST(constraint_name AS BINARY) SEPARATOR ', '), '')
FROM information_schema.referential_constraints WHERE {of}"""
_INBOUND = """\
SELECT IFNULL(GROUP_CONCAT(DISTINCT constraint_name
  ORDER BY CAST(constraint_name AS BINARY) SEPARATOR ', '), '')
FROM information_schema.referential_constraints
WHERE unique_constraint_schema = {schema} AND referenced_table_name = {name}"""
_INDEXES = """\
SELECT IFNULL(GROUP_CONCAT(index_name ORDER BY CAST(index_name AS BINARY) SEPARATOR ', '), '') FROM (
  SELECT index_name FROM information_schema.statistics WHERE {of} GROUP BY index_name
  HAVING index_name = {name} OR SUM(column_name IN ({names}) AND sub_part IS NULL AND seq_in_index <= {count}
    AND index_type IN ('BTREE', 'HASH')) = {count}) AS i"""


def tables(job: Job, facts: Facts) -> Iterator[str]:
    """Both tables' columns, and of the child what the plan depends on."""
    for name, table in {facts.child.name: facts.child, facts.parent.name: facts.parent}.items():
        columns = ", ".join(f"{column.name} {_type(column)}" for column in table.columns)
        found = _COLUMNS.format(of=_of(table))
        yield _same(found, columns, f"the columns of {name} are not as this was written for")
        # A delete would pull their rows along; what refers to the parent may refer to a sentinel row.
        inbound = ", ".join(sorted({str(key.name) for key in table.inbound}))
        found = _INBOUND.format(schema=_schema(table), name=literal(_stored(table)))
        yield _same(found, inbound, f"the foreign keys that refer to {name} are not as this was written for")
    yield from standing(job, facts)


def standing(job: Job, facts: Facts) -> Iterator[str]:
    """The reference's columns, the child's foreign keys, the indexes that serve it."""
    child, reference = facts.child, facts.reference
    names = ", ".join(map(literal, reference.columns))
    ours = [column for column in child.columns if column.name in reference.columns]
    yield _same(
        _REFERENCE.format(of=_of(child), names=names),
        ", ".join(map(_described, ours)),
        f"{reference.child} ({', '.join(reference.columns)}) is not as this was written for",
    )
    keys = ", ".join(sorted(str(key.name) for key in child.foreign_keys))
    found = _KEYS.format(of=_of(child, "constraint_schema"))
    yield _same(found, keys, f"the foreign keys of {child.name} are not as this was written for")
    serving = sorted(
        index.name
        for index in child.indexes
        if index.name == reference.index_name or index.leads_with(reference.columns)
    )
    found = _INDEXES.format(
        of=_of(child), name=literal(reference.index_name), names=names, count=len(reference.columns)
    )
    yield _same(found, ", ".join(serving), f"the indexes of {child.name} are not as this was written for")


def journal(job: Job, inverse: Operation) -> Iterator[str]:
    """There is something to take back, it is of the same reference, and the same steps of it are ours."""
    records, reference = job.records, job.facts.reference
    in_force = records.in_force(inverse)
    other = RUN.c.definition != records.words.value(json.dumps(reference.to_json()))
    expected, foreign = sorted(job.forward_steps & job.ours), sorted(job.forward_steps - job.ours)
    yield unless(f"{_tables_named(RUN.name)} = 1", f"no journal here, so no {inverse} to take back")
    yield unless(
        f"{records.count(*in_force)} > 0", f"the journal knows of no {inverse} of {reference} in force"
    )
    yield unless(f"{records.count(*in_force, other)} = 0", f"the {inverse} had another definition; {_AGAIN}")
    yield unless(
        f"{records.ours(expected)} = {len(expected)} AND {records.ours(foreign)} = 0",
        f"other steps of {inverse} are ours; {_AGAIN}",
    )
    if job.operation == "restore":
        yield unless(_mirrors(job), f"the quarantine is not as this was written for; {_AGAIN}")


def _mirrors(job: Job) -> str:
    value, reference = job.words.value, job.facts.reference
    texts = [value(manifest(reference, mirror)["definition"]) for mirror in job.mirrors]
    of = MIRROR.c.reference_key == value(reference_key(reference))
    every = sa.select(sa.func.count()).select_from(MIRROR).where(of)
    names = [value(mirror.name.name) for mirror in job.mirrors]
    known = every.where(MIRROR.c.name.in_(names), MIRROR.c.definition.in_(texts))
    count = len(job.mirrors)
    return f"({job.words.sql(every)}) = {count} AND ({job.words.sql(known)}) = {count}"


def proof(job: Job) -> str:
    """No orphan is left."""
    reference = job.facts.reference
    return _none(job, reference, f"orphans of {reference} are there although it is enforced")


def none_left(job: Job, reference: Reference) -> str:
    """No orphan is left after the last round of a set."""
    return _none(job, reference, too_few_rounds(reference))


def _none(job: Job, reference: Reference, message: str) -> str:
    left = read(how_many_left(job.words, reference), "@migrator_orphans")
    return f"{statement(left.removesuffix(';'))}\n{unless('@migrator_orphans = 0', message)}"


def drop_journal_if_idle(records: Records) -> str:
    """See `journal.drop_if_idle`."""
    return procedure("migrator_idle", [], idle_lines(records))


def idle_lines(records: Records) -> str:
    """The same, inside a procedure."""
    drops = ";\n".join(records.dropped()) + ";"
    return f"IF {records.left} = 0 THEN\n{indent(drops, '  ')}\nEND IF;"


def _tables_named(name: str) -> str:
    return (
        "(SELECT COUNT(*) FROM information_schema.tables "
        f"WHERE table_schema = DATABASE() AND table_name = {literal(name)})"
    )


def _of(table: Table, schema: str = "table_schema") -> str:
    return f"{schema} = {_schema(table)} AND table_name = {literal(_stored(table))}"


def _schema(table: Table) -> str:
    return literal(table.name.schema) if table.name.schema else "DATABASE()"


def _stored(table: Table) -> str:
    return str(table.extra.get("stored_name") or table.name.name)


def _same(found: str, expected: str, message: str) -> str:
    return unless(f"({found}) <=> {literal(expected)}", f"{message}; {_AGAIN}")


def _type(column: Column) -> str:
    return column.type.partition(" CHARACTER SET ")[0].replace("int(11)", "int")


def _described(column: Column) -> str:
    words = f" {column.definition.upper()} "
    return (
        f"{column.name} {'YES' if column.nullable else 'NO'}"
        + (" default" if column.default is not None else "")
        + (" comment" if " COMMENT " in words else "")
    )
