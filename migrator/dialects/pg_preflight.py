"""What must be true before a row is touched, from the facts alone. Each refusal says how to mend it.

Source of the refusals: what ADD FOREIGN KEY itself refuses (SQLSTATE in the comments), and what it
allows although the protocol could not keep its word.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from migrator.catalog import Facts, ForeignKey, Table
from migrator.dialects.pg_facts import extras, type_conflicts
from migrator.dialects.pg_null import is_native, is_null_check, null_columns
from migrator.dialects.pg_partition_preflight import own_keys
from migrator.dialects.pg_words import columns_sql, null_check_name, quote, table_sql
from migrator.dialects.telling import Problem, no_key
from migrator.reference import TableName

OLDEST = (13,)


def problems(facts: Facts) -> Iterator[Problem]:
    """Everything that stands against the reference."""
    if facts.server.version < OLDEST:
        yield Problem(
            "refuse",
            "server-too-old",
            f"PostgreSQL {facts.server.text} is too old for {facts.reference}: it takes 13.",
            "Upgrade the server to 13 or later.",
        )
    kinds = [*_kind(facts.child, "child"), *_kind(facts.parent, "parent")]
    yield from kinds
    if kinds:
        return
    yield from _tables(facts)
    yield from _columns(facts)
    yield from _actions(facts)
    yield from _standing_key(facts)
    yield from _names(facts)


def _kind(table: Table, side: str) -> Iterator[Problem]:
    """A foreign key is between ordinary tables (42809)."""
    if table.kind in ("view", "foreign", "temporary"):
        what = {"view": "a view", "foreign": "a foreign table", "temporary": "a temporary table"}[table.kind]
        yield Problem(
            "refuse",
            "not-a-table",
            f"{table.name}, the {side}, is {what}; a foreign key wants an ordinary table.",
            "Name the table behind it."
            if table.kind == "view"
            else "Name a permanent table of this database.",
        )


def _tables(facts: Facts) -> Iterator[Problem]:
    child, parent, reference = facts.child, facts.parent, facts.reference
    if parent.kind == "unlogged" and child.kind != "unlogged":  # 42P16
        yield Problem(
            "refuse",
            "unlogged-parent",
            f"{parent.name} is unlogged and {child.name} is not: a crash would empty the parent.",
            f"ALTER TABLE {table_sql(parent.name)} SET LOGGED;",
        )
    for table, others, why in (
        (child, extras(child).inherited_by, "a foreign key on it does not cover the rows of"),
        (child, extras(child).inherits, "its rows are read as rows of"),
        (parent, extras(parent).inherited_by, "a foreign key to it does not see the rows of"),
    ):
        if others:
            yield Problem(
                "refuse",
                "inheritance",
                f"{table.name} takes part in table inheritance: {why} {', '.join(map(str, others))}.",
                "Turn the inheritance into declarative partitioning, or end it with "
                f"{_no_inherit(table, others)}",
            )
    for leaf in extras(child).leaves:
        if leaf.foreign:
            yield Problem(
                "refuse",
                "foreign-partition",
                f"Partition {leaf.name} of {child.name} is a foreign table and can have no foreign key.",
                f"ALTER TABLE {table_sql(leaf.parent)} DETACH PARTITION {table_sql(leaf.name)};",
            )
    if not child.key:
        yield no_key(child, f"Give it one: ALTER TABLE {table_sql(child.name)} ADD PRIMARY KEY (...);")
    if not _may_be_referred_to(parent, reference.parent_columns):  # 42830; 55000 where it is deferrable
        names = ", ".join(reference.parent_columns)
        online = " CONCURRENTLY" if parent.kind != "partitioned" else ""
        yield Problem(
            "refuse",
            "parent-key-not-unique",
            f"{parent.name}({names}) has no unique key that is full, valid and not deferrable.",
            f"CREATE UNIQUE INDEX{online} ON {table_sql(parent.name)} "
            f"({columns_sql(reference.parent_columns)});",
        )


def _may_be_referred_to(parent: Table, columns: tuple[str, ...]) -> bool:
    if extras(parent).deferrable_key:
        parent = replace(parent, primary_key=())
    return parent.is_unique(columns)


def _no_inherit(table: Table, others: tuple[TableName, ...]) -> str:
    up = others == extras(table).inherits
    child, parent = (table.name, others[0]) if up else (others[0], table.name)
    return f"ALTER TABLE {table_sql(child)} NO INHERIT {table_sql(parent)};"


def _columns(facts: Facts) -> Iterator[Problem]:
    child, parent, reference = facts.child, facts.parent, facts.reference
    for ours, theirs in type_conflicts(facts):  # 42804
        theirs_type = parent.column(theirs).type
        name = quote(ours)
        yield Problem(
            "refuse",
            "type-mismatch",
            f"{child.name}.{ours} is {child.column(ours).type} and {parent.name}.{theirs} is {theirs_type}: "
            "the server will not tie these types.",
            f"ALTER TABLE {table_sql(child.name)} ALTER COLUMN {name} TYPE {theirs_type} "
            f"USING {name}::{theirs_type}; (it rewrites the table under a lock)",
        )
    for column in reference.columns:
        if child.column(column).generated:
            yield Problem(
                "refuse",
                "generated-column",
                f"{child.name}.{column} is generated: no orphan in it can be mended.",
                "Refer from the column it is generated from.",
            )


def _actions(facts: Facts) -> Iterator[Problem]:
    reference, child = facts.reference, facts.child
    if reference.nullable:
        return
    standing = facts.foreign_key
    actions: set[str | None] = {reference.on_delete, reference.on_update}
    if standing is not None:
        actions |= {standing.on_delete, standing.on_update}
    if "SET NULL" in actions:
        yield Problem(
            "refuse",
            "set-null-not-null",
            f"{reference} is SET NULL and NOT NULL at once: every delete of a parent would fail.",
            "Declare the reference nullable, or use another action.",
        )
    bare = [column for column in reference.columns if child.column(column).default is None]
    if "SET DEFAULT" in actions and bare:
        yield Problem(
            "refuse",
            "set-default-not-null",
            f"{reference} is SET DEFAULT and NOT NULL, but {child.name}.{bare[0]} has no default: "
            "every delete of a parent would fail.",
            f"ALTER TABLE {table_sql(child.name)} ALTER COLUMN {quote(bare[0])} SET DEFAULT ...;",
        )


def _standing_key(facts: Facts) -> Iterator[Problem]:
    """An equal key is adopted whatever its name; one that differs where it matters is not."""
    reference, child, fk = facts.reference, facts.child, facts.foreign_key
    for dead in extras(child).not_enforced:
        if dead.answers(reference):
            yield Problem(
                "refuse",
                "not-enforced",
                f"{child.name} has {dead.name} for {reference}, NOT ENFORCED: it checks nothing, and "
                "ALTER CONSTRAINT .. ENFORCED scans the table under ACCESS EXCLUSIVE.",
                f"ALTER TABLE {table_sql(child.name)} DROP CONSTRAINT {quote(dead.name)};",
            )
    yield from own_keys(facts)
    if fk is None:
        return
    differing = list(_differences(facts, fk))
    if differing:
        yield Problem(
            "refuse",
            "foreign-key-differs",
            f"{child.name} has {fk.name} for {reference} already, with {', '.join(differing)}.",
            "State the reference as the constraint is, or drop it: "
            f"ALTER TABLE {table_sql(child.name)} DROP CONSTRAINT {quote(fk.name)};",
        )
    elif fk.name != reference.name:
        yield Problem(
            "warn",
            "foreign-key-adopted",
            f"{child.name} has an equal foreign key called {fk.name}: it is taken as {reference.name} "
            "and will not be dropped on the way back"
            + ("." if fk.validated else ", where it keeps orphans out: a downgrade asks for that first."),
            f"ALTER TABLE {table_sql(child.name)} RENAME CONSTRAINT {quote(fk.name)} "
            f"TO {quote(reference.name)};",
        )


def _differences(facts: Facts, fk: ForeignKey) -> Iterator[str]:
    reference = facts.reference
    if reference.on_delete and fk.on_delete != reference.on_delete:
        yield f"ON DELETE {fk.on_delete} instead of {reference.on_delete}"
    if reference.on_update and fk.on_update != reference.on_update:
        yield f"ON UPDATE {fk.on_update} instead of {reference.on_update}"
    if fk.match != reference.match:
        yield f"MATCH {fk.match.upper()} instead of {reference.match.upper()}"


def _names(facts: Facts) -> Iterator[Problem]:
    reference, child = facts.reference, facts.child
    taken = any(name == reference.name for name, _ in extras(child).constraints)
    if taken and facts.foreign_key is None:
        yield Problem(
            "refuse",
            "name-taken",
            f"{child.name} has another constraint called {reference.name}.",
            "Give the reference another name, or rename that one: "
            f"ALTER TABLE {table_sql(child.name)} RENAME CONSTRAINT {quote(reference.name)} TO ...;",
        )
    name = null_check_name(reference)
    helper = dict(extras(child).constraints).get(name)
    needed = bool(null_columns(facts)) and not is_native(facts)
    if needed and helper is not None and not is_null_check(helper, reference.columns):
        yield Problem(
            "refuse",
            "name-taken",
            f"{child.name} has a constraint called {name}, the name of a helper of ours.",
            f"ALTER TABLE {table_sql(child.name)} RENAME CONSTRAINT {quote(name)} TO ...;",
        )
    if not reference.index or facts.index is not None:
        return
    named = next((index for index in child.indexes if index.name == reference.index_name), None)
    if named is not None and named.valid:
        yield Problem(
            "refuse",
            "name-taken",
            f"{child.name} has an index {named.name} that does not serve {', '.join(reference.columns)}.",
            "Give the reference's index another name, or rename that one: "
            f"ALTER INDEX {quote(child.name.schema, named.name)} RENAME TO ...;",
        )
    elif named is not None and child.kind != "partitioned":
        yield Problem(
            "warn",
            "invalid-index",
            f"{child.name} has an INVALID index {named.name}, left by a failed CREATE INDEX CONCURRENTLY: "
            "it is dropped and built again.",
            f"Nothing to do; by hand: REINDEX INDEX CONCURRENTLY {quote(child.name.schema, named.name)};",
        )
