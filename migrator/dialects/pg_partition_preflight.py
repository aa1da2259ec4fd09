"""What the partitions of a child have by themselves and would get in the way: what is merged with ours when
it is attached is dropped with ours on the way back.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from migrator.catalog import Facts, ForeignKey
from migrator.dialects.pg_facts import Partition, extras, own_foreign_key
from migrator.dialects.pg_index import build_step, partition_index
from migrator.dialects.pg_null import is_native
from migrator.dialects.pg_words import quote, slug, table_sql
from migrator.dialects.telling import Problem
from migrator.reference import TableName

_RELATIONS: Final = """
SELECT w.place, i.indrelid = (SELECT p.oid FROM pg_class p JOIN pg_namespace pn ON pn.oid = p.relnamespace
                              WHERE p.relname = w.partition AND pn.nspname = w.schema) AS on_it,
       i.indisvalid AND i.indislive AS valid, i.indexrelid IS NOT NULL AS is_index
FROM unnest(CAST(:names AS text[]), CAST(:schemas AS text[]), CAST(:partitions AS text[]))
     WITH ORDINALITY w(name, schema, partition, place)
JOIN pg_namespace n ON n.nspname = w.schema
JOIN pg_class c ON c.relname = w.name AND c.relnamespace = n.oid
LEFT JOIN pg_index i ON i.indexrelid = c.oid
ORDER BY w.place
"""

_NOT_NULL: Final = """
SELECT n.nspname AS schema, c.relname AS name, a.attname AS column
FROM pg_partition_tree(to_regclass(:child)) t
JOIN pg_class c ON c.oid = t.relid JOIN pg_namespace n ON n.oid = c.relnamespace
JOIN pg_attribute a ON a.attrelid = c.oid
WHERE t.level > 0 AND a.attnotnull AND a.attname = ANY(CAST(:columns AS text[]))
ORDER BY t.level, n.nspname, c.relname, a.attnum
"""


def own_keys(facts: Facts) -> Iterator[Problem]:
    """A foreign key of a partition's own: an equal one the server attaches to the child's, whoever made it.

    Those that the journal knows as ours are left out: a run that was killed goes on with them.
    """
    if own_foreign_key(facts):
        return
    for partition in extras(facts.child).partitions:
        for key in partition.own_keys:
            if key.name == facts.reference.name and _made_by_us(facts, partition):
                continue
            if key.name == facts.reference.name:
                yield _named_like_ours(partition, key)
            elif key.answers(facts.reference) and key.parent == facts.parent.name:
                yield Problem(
                    "refuse",
                    "partition-key",
                    f"Partition {partition.name} of {facts.child.name} has the equal foreign key {key.name} "
                    "of its own: it would be taken for a part of ours, and dropped with it on the way back.",
                    f"ALTER TABLE {table_sql(partition.name)} DROP CONSTRAINT {_quoted(key)};",
                )


def problems(connection: Connection, facts: Facts) -> Iterator[Problem]:
    """What else the partitions have: relations called like the indexes to be built, NOT NULL.

    Args:
        connection: inside a snapshot.
    """
    if facts.child.kind != "partitioned":
        return
    yield from _index_names(connection, facts)
    yield from _not_null(connection, facts)


def _made_by_us(facts: Facts, partition: Partition) -> bool:
    return bool(facts.ours & {"add-foreign-key", f"add-foreign-key-{slug(partition.name)}"})


def _quoted(key: ForeignKey) -> str:
    return quote(key.name or "")


def _named_like_ours(partition: Partition, key: ForeignKey) -> Problem:
    return Problem(
        "refuse",
        "name-taken",
        f"Partition {partition.name} has a foreign key of its own called {key.name}, the name of ours.",
        f"ALTER TABLE {table_sql(partition.name)} DROP CONSTRAINT {_quoted(key)}; or give the reference "
        "another name.",
    )


def _index_names(connection: Connection, facts: Facts) -> Iterator[Problem]:
    """The names of the partitions' indexes may be taken; an index of the partition itself by that name would
    be attached, and dropped with ours on the way back."""
    reference = facts.reference
    if not reference.index or facts.index is not None:
        return
    partitions = extras(facts.child).partitions
    names = [partition_index(facts, partition.name) for partition in partitions]
    used = {TableName(reference.index_name, facts.child.name.schema)}
    for partition, name in zip(partitions, names, strict=True):
        if name in used:
            yield Problem(
                "refuse",
                "name-taken",
                f"{name} would be the name of two indexes of {facts.child.name}, that of partition "
                f"{partition.name} among them.",
                "Give the reference's index another name (index_name).",
            )
        used.add(name)
    values = {
        "names": [name.name for name in names],
        "schemas": [name.schema for name in names],
        "partitions": [partition.name.name for partition in partitions],
    }
    for row in connection.execute(sa.text(_RELATIONS), values).mappings():
        partition, name = partitions[row["place"] - 1], names[row["place"] - 1]
        if partition.leaf and row["on_it"] and build_step(partition.name) in facts.ours:
            continue
        if partition.leaf and row["on_it"] and not row["valid"]:
            yield Problem(
                "warn",
                "invalid-index",
                f"Partition {partition.name} has an INVALID index {name.name}, left by a failed CREATE INDEX "
                "CONCURRENTLY: it is dropped and built again.",
                f"Nothing to do; by hand: REINDEX INDEX CONCURRENTLY {table_sql(name)};",
            )
            continue
        what = "another index of it" if row["on_it"] else "something else"
        yield Problem(
            "refuse",
            "name-taken",
            f"{name}, the name of the index for partition {partition.name}, belongs to {what}.",
            f"ALTER {'INDEX' if row['is_index'] else 'TABLE'} {table_sql(name)} RENAME TO ...;",
        )


def _not_null(connection: Connection, facts: Facts) -> Iterator[Problem]:
    """Before 18 the server keeps no account of where a NOT NULL came from."""
    reference, child = facts.reference, facts.child
    open_columns = [column for column in reference.columns if child.column(column).nullable]
    if reference.nullable or is_native(facts) or not open_columns:
        return
    values = {"child": table_sql(child.name), "columns": open_columns}
    for row in connection.execute(sa.text(_NOT_NULL), values).mappings():
        partition, column = TableName(row["name"], row["schema"]), row["column"]
        yield Problem(
            "warn",
            "partition-not-null",
            f"{column} is NOT NULL in partition {partition} and may be NULL in {child.name}: the way back, "
            "which lets it be NULL again, does so in every partition.",
            f"After a downgrade: ALTER TABLE {table_sql(partition)} ALTER COLUMN {quote(column)} "
            "SET NOT NULL;",
        )
