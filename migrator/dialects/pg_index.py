"""The supporting index, built while everybody goes on working, and its inverse. Pure.

A CREATE INDEX CONCURRENTLY that fails leaves an INVALID index, which costs writers and serves no
reader, and which `IF NOT EXISTS` takes for the index that was wanted. So an INVALID one of our name
is dropped first, and only `pg_index.indisvalid` counts as done.

A partitioned table takes no CONCURRENTLY (0A000, 13 to 18): each partition gets its index that way,
then indexes ON ONLY the partitioned tables are declared, INVALID until every partition's is attached.
"""

from __future__ import annotations

import re

from migrator.catalog import Facts, Index
from migrator.dialects.pg_facts import extras
from migrator.dialects.pg_words import columns_sql, quote, slug, step, table_sql
from migrator.plan import Step
from migrator.reference import TableName, short_name

_NOBODY = "no reader or writer; VACUUM and other DDL on the table wait for the build"


def index_steps(facts: Facts) -> tuple[Step, ...]:
    """Drop what a failed attempt left, then build."""
    reference, child = facts.reference, facts.child
    name = TableName(reference.index_name, child.name.schema)
    if child.kind != "partitioned":
        return (*_leftover(facts, child.name, name), _build(facts, "create-index", child.name, name))
    steps: list[Step] = []
    for leaf in extras(child).leaves:
        leaf_index = partition_index(facts, leaf.name)
        steps += _leftover(facts, leaf.name, leaf_index)
        steps.append(_build(facts, build_step(leaf.name), leaf.name, leaf_index))
    return (*steps, _declare(facts, name))


def drop_index_steps(facts: Facts, ours: frozenset[str]) -> tuple[Step, ...]:
    """Drop the index if we built it."""
    name = TableName(facts.reference.index_name, facts.child.name.schema)
    if facts.child.kind == "partitioned":
        return _drop_partitioned(facts, ours, name)
    return (_drop(facts, "drop-index", facts.child.name, name),) if "create-index" in ours else ()


def partition_index(facts: Facts, partition: TableName) -> TableName:
    """What the index of a partition is called. Where the partition's own name has marks that are left out of
    it, another partition may have the rest of that name: there it ends in a digest."""
    odd = (slug(partition).rpartition("-")[2],) if re.search(r"\W", partition.name) else ()
    return TableName(short_name("ix", partition.name, *facts.reference.columns, *odd), partition.schema)


def build_step(leaf: TableName) -> str:
    """The name of the step that builds the index of a partition."""
    return f"create-index-{slug(leaf)}"


def _indexes(facts: Facts, table: TableName) -> tuple[Index, ...]:
    """The indexes of the child or of one of its partitions."""
    if table == facts.child.name:
        return facts.child.indexes
    return next((p.indexes for p in extras(facts.child).partitions if p.name == table), ())


def _named(facts: Facts, table: TableName, index: TableName) -> Index | None:
    return next((found for found in _indexes(facts, table) if found.name == index.name), None)


def _leftover(facts: Facts, table: TableName, index: TableName) -> tuple[Step, ...]:
    found = _named(facts, table, index)
    if found is None or found.valid:
        return ()

    def done(facts: Facts) -> bool:
        found = _named(facts, table, index)
        return found is None or found.valid

    drop = step(
        "drop-invalid-index" + ("" if table == facts.child.name else f"-{slug(table)}"),
        f"drop {index.name}, which a failed CREATE INDEX CONCURRENTLY left INVALID",
        (f"DROP INDEX CONCURRENTLY IF EXISTS {table_sql(index)}",),
        mode="autocommit",
        patience="long",
        locks=((table, "SHARE UPDATE EXCLUSIVE"),),
        blocks=_NOBODY,
        done=done,
        leftover=index,
    )
    return (drop,)


def _build(facts: Facts, name: str, table: TableName, index: TableName) -> Step:
    columns = facts.reference.columns
    root = table == facts.child.name

    def done(facts: Facts) -> bool:
        if root:
            return facts.index is not None
        found = _named(facts, table, index)
        # A valid index on the partitioned table has one on each partition, whatever it is called.
        return facts.index is not None or (found is not None and found.valid)

    return step(
        name,
        f"build {index.name} on {table} while readers and writers go on",
        (
            f"CREATE INDEX CONCURRENTLY IF NOT EXISTS {quote(index.name)} "
            f"ON {table_sql(table)} ({columns_sql(columns)})",
        ),
        mode="autocommit",
        patience="long",
        locks=((table, "SHARE UPDATE EXCLUSIVE"),),
        blocks=_NOBODY,
        done=done,
        index=index,
    )


def _declare(facts: Facts, name: TableName) -> Step:
    child, reference = facts.child, facts.reference
    on = columns_sql(reference.columns)
    names = {child.name: name}
    statements = [f"CREATE INDEX IF NOT EXISTS {quote(name.name)} ON ONLY {table_sql(child.name)} ({on})"]
    attach: list[str] = []
    for partition in extras(child).partitions:  # parents before children
        index = names[partition.name] = partition_index(facts, partition.name)
        if not partition.leaf:
            statements.append(
                f"CREATE INDEX IF NOT EXISTS {quote(index.name)} ON ONLY {table_sql(partition.name)} ({on})"
            )
        upper = table_sql(names[partition.parent])
        attach.append(f"ALTER INDEX {upper} ATTACH PARTITION {table_sql(index)}")
    return step(
        "create-index",
        f"declare {name.name} on {child.name} and attach the partitions' indexes, without a scan",
        (*statements, *reversed(attach)),
        locks=((child.name, "SHARE"),),
        blocks="writers of the child, for the queue and a few milliseconds",
        done=lambda facts: facts.index is not None,
    )


def _drop(facts: Facts, name: str, table: TableName, index: TableName) -> Step:
    return step(
        name,
        f"drop {index.name}, which the sweep had built",
        (f"DROP INDEX CONCURRENTLY IF EXISTS {table_sql(index)}",),
        mode="autocommit",
        patience="long",
        locks=((table, "SHARE UPDATE EXCLUSIVE"),),
        blocks=_NOBODY,
        done=lambda facts: _named(facts, table, index) is None,
    )


def _drop_partitioned(facts: Facts, ours: frozenset[str], name: TableName) -> tuple[Step, ...]:
    steps: list[Step] = []
    if "create-index" in ours:
        # CONCURRENTLY is refused here as well; the partitions' indexes go with it.
        whole = step(
            "drop-index",
            f"drop {name.name} and the partitions' indexes attached to it",
            (f"DROP INDEX IF EXISTS {table_sql(name)}",),
            locks=((facts.child.name, "ACCESS EXCLUSIVE"),),
            blocks="readers and writers of the child, for the queue and a few milliseconds",
            done=lambda facts: _named(facts, facts.child.name, name) is None,
        )
        steps.append(whole)
    # Those of a build that never came to be attached.
    for leaf in extras(facts.child).leaves:
        if build_step(leaf.name) in ours:
            index = partition_index(facts, leaf.name)
            steps.append(_drop(facts, f"drop-index-{slug(leaf.name)}", leaf.name, index))
    return tuple(steps)
