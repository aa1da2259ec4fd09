"""What must be true before a row is touched, from the facts alone. Each refusal says how to mend it.

With foreign_key_checks off the server itself looks at little: a missing or a MyISAM parent is accepted, and
a MyISAM child drops the key without a word. So it is all looked at here.
"""

from __future__ import annotations

from collections.abc import Iterator

from migrator.catalog import Facts, Table
from migrator.dialects.mysql_definition import quote
from migrator.dialects.mysql_rebuild import rebuild_clause, rebuild_obstacles
from migrator.dialects.mysql_types import change_type, conflicts, is_keyable
from migrator.dialects.mysql_words import columns_sql, same_action, supporting_index, table_sql
from migrator.dialects.telling import Problem

_OLDEST = {"mysql": (8, 0), "mariadb": (10, 6)}
_NAME_LIMIT = 64


def preflight(facts: Facts) -> Iterator[Problem]:
    """Everything that stands against the reference."""
    oldest = _OLDEST[facts.server.family]
    if facts.server.version < oldest:
        yield Problem(
            "refuse",
            "server-too-old",
            f"{facts.server.family} {facts.server.text} is too old for {facts.reference}.",
            f"Upgrade the server to {'.'.join(map(str, oldest))} or later.",
        )
    found = [*_kind(facts.child, "child"), *_kind(facts.parent, "parent")]
    yield from found
    if found:
        return
    yield from _keys(facts)
    yield from _columns(facts)
    yield from _sequences(facts)
    yield from _actions(facts)
    yield from _standing_key(facts)
    yield from _names(facts)
    if rebuilds(facts):
        yield from _rebuild(facts)


def rebuilds(facts: Facts) -> bool:
    """Whether NOT NULL is still to be set, which rebuilds the table."""
    return not facts.reference.nullable and not facts.not_null


def _kind(table: Table, side: str) -> Iterator[Problem]:
    name = table_sql(table.name)
    if table.kind == "view" or str(table.extra["type"]).upper() == "SEQUENCE":
        yield Problem(
            "refuse",
            "not-a-table",
            f"{table.name}, the {side}, is a {table.extra['type'].lower()}; a foreign key wants a table.",
            "Name the table behind it.",
        )
    elif table.kind == "partitioned":  # 1506
        yield Problem(
            "refuse",
            "partitioned",
            f"{table.name}, the {side}, is partitioned: no foreign key is possible on either side (1506).",
            f"ALTER TABLE {name} REMOVE PARTITIONING; (it copies the table), or leave this reference out.",
        )
    elif str(table.extra["type"]).upper() == "SYSTEM VERSIONED":
        yield Problem(
            "refuse",
            "system-versioned",
            f"{table.name}, the {side}, is system-versioned: a sweep would be written into its history, and "
            "no way back takes it out.",
            f"ALTER TABLE {name} DROP SYSTEM VERSIONING; or leave this reference out.",
        )
    elif (table.engine or "").lower() != "innodb":
        yield Problem(
            "refuse",
            "engine",
            f"{table.name}, the {side}, is stored in {table.engine}: the server would say OK and there "
            "would be no foreign key.",
            f"ALTER TABLE {name} ENGINE=InnoDB; (it copies the table under a lock)",
        )


def _keys(facts: Facts) -> Iterator[Problem]:
    child, parent, reference = facts.child, facts.parent, facts.reference
    if not child.key and child.rounded_key:
        name = child.rounded_key[0]
        yield Problem(
            "refuse",
            "no-key",
            f"{child.name}: {name}, of its primary key, is FLOAT, of which the server tells six digits: its "
            "rows cannot be named, and it has no other NULL-free unique key.",
            f"ALTER TABLE {table_sql(child.name)} MODIFY {quote(name)} DOUBLE NOT NULL; (it copies the "
            "table); or give it a unique key of other columns.",
        )
    elif not child.key:
        yield Problem(
            "refuse",
            "no-key",
            f"{child.name} has no primary key and no NULL-free unique key: its rows cannot be named.",
            f"Give it one: ALTER TABLE {table_sql(child.name)} ADD PRIMARY KEY (...);",
        )
    if not parent.is_unique(reference.parent_columns):  # 6125; 8.0 and MariaDB accept any index
        yield Problem(
            "refuse",
            "parent-key-not-unique",
            f"{parent.name}({', '.join(reference.parent_columns)}) has no unique key on whole columns.",
            f"ALTER TABLE {table_sql(parent.name)} ADD UNIQUE ({columns_sql(reference.parent_columns)}), "
            "ALGORITHM=INPLACE, LOCK=NONE;",
        )


def _columns(facts: Facts) -> Iterator[Problem]:
    child, parent = facts.child, facts.parent
    for name in facts.reference.columns:
        column = child.column(name)
        if column.generated:  # 3733 where it is virtual
            yield Problem(
                "refuse",
                "generated-column",
                f"{child.name}.{name} is generated: no orphan in it can be mended.",
                "Refer from the column it is generated from.",
            )
        if column.rounded:
            yield Problem(
                "refuse",
                "type-cannot-be-a-key",
                f"{child.name}.{name} is FLOAT, of which the server tells six digits: which parent a row "
                "names could not be said again, and not be given back.",
                f"Make both sides DOUBLE: ALTER TABLE {table_sql(child.name)} MODIFY {quote(name)} DOUBLE; "
                "(it copies the table)",
            )
        if not is_keyable(column):  # 1170
            yield Problem(
                "refuse",
                "type-cannot-be-a-key",
                f"{child.name}.{name} is {column.type}, which cannot be part of a foreign key.",
                "Use a type that can be indexed whole, such as VARCHAR.",
            )
    for ours, theirs in conflicts(facts):  # 3780; MariaDB 1005 or 1825
        if is_keyable(ours):
            yield Problem(
                "refuse",
                "type-mismatch",
                f"{child.name}.{ours.name} is {ours.type} and {parent.name}.{theirs.name} is {theirs.type}: "
                "type, sign, character set and collation must be the same.",
                change_type(facts, ours, theirs),
            )


def _sequences(facts: Facts) -> Iterator[Problem]:
    """MariaDB's: behind LOCK TABLES no table is altered whose default asks a sequence (1100)."""
    child = facts.child
    for column in child.columns:
        if facts.server.family == "mariadb" and "nextval(" in (column.default or "").lower():
            yield Problem(
                "refuse",
                "sequence-default",
                f"{child.name}.{column.name} takes its default from a sequence: the foreign key cannot be "
                "added behind the fence (1100).",
                f"ALTER TABLE {table_sql(child.name)} ALTER {quote(column.name)} DROP DEFAULT; for the time "
                "(and set it again afterwards), or make it AUTO_INCREMENT.",
            )


def _actions(facts: Facts) -> Iterator[Problem]:
    reference, child = facts.reference, facts.child
    standing = facts.foreign_key
    actions: set[str | None] = {reference.on_delete, reference.on_update}
    if standing is not None:
        actions |= {standing.on_delete, standing.on_update}
    hard = [name for name in reference.columns if not child.column(name).nullable]
    if "SET NULL" in actions and (hard or not reference.nullable):  # 1830
        yield Problem(
            "refuse",
            "set-null-not-null",
            f"{reference} is SET NULL and NOT NULL at once: the server refuses it (1830).",
            "Declare the reference nullable, or use another action."
            if reference.nullable is False
            else f"Use another action, or let {child.name}.{hard[0]} be NULL.",
        )
    elif not reference.nullable:
        yield from _set_null_by_another(facts)
    if "SET DEFAULT" in actions:
        yield Problem(
            "refuse",
            "set-default",
            f"{reference} is SET DEFAULT, which InnoDB does not have.",
            "Use RESTRICT, CASCADE or SET NULL.",
        )
    for said, what in ((reference.match == "full", "MATCH FULL"), (reference.deferrable, "DEFERRABLE")):
        if said:
            yield Problem(
                "refuse",
                "not-supported",
                f"{reference} is {what}, which this server accepts and ignores, or does not know.",
                f"Leave {what} out of the reference.",
            )


def _set_null_by_another(facts: Facts) -> Iterator[Problem]:
    """A key to some other table, on a column that is to be NOT NULL: the rebuild would be refused (1830)."""
    reference, child = facts.reference, facts.child
    for key in child.foreign_keys:
        shared = [name for name in reference.columns if name in key.columns and child.column(name).nullable]
        if shared and "SET NULL" in (key.on_delete, key.on_update):
            yield Problem(
                "refuse",
                "set-null-not-null",
                f"{child.name}.{shared[0]} cannot be NOT NULL while {key.name} sets it to NULL (1830).",
                f"Declare {reference} nullable, or give {key.name} another action.",
            )


def _standing_key(facts: Facts) -> Iterator[Problem]:
    """An equal key is adopted whatever its name; one that differs where it matters is not."""
    reference, child, key = facts.reference, facts.child, facts.foreign_key
    drop = f"ALTER TABLE {table_sql(child.name)} DROP FOREIGN KEY "
    if key is None:
        for other in child.foreign_keys:
            if other.name == reference.name:
                yield Problem(
                    "refuse",
                    "name-taken",
                    f"{child.name} has another foreign key called {reference.name}.",
                    f"Give the reference another name, or: {drop}{quote(other.name or '')};",
                )
        return
    if key.parent.schema != reference.parent.schema:
        yield Problem(
            "refuse",
            "foreign-key-elsewhere",
            f"{child.name}({', '.join(key.columns)}) refers to {key.parent} by {key.name}, "
            f"not to {reference.parent}.",
            f"Write the reference with its database, {key.parent}, or: {drop}{quote(key.name or '')};",
        )
        return
    differing = [
        f"ON {event} {stored} instead of {wanted}"
        for event, stored, wanted in (
            ("DELETE", key.on_delete, reference.on_delete),
            ("UPDATE", key.on_update, reference.on_update),
        )
        if wanted is not None and not same_action(stored, wanted)
    ]
    if differing:
        yield Problem(
            "refuse",
            "foreign-key-differs",
            f"{child.name} has {key.name} for {reference} already, with {', '.join(differing)}.",
            f"State the reference as the constraint is, or: {drop}{quote(key.name or '')};",
        )
    elif key.name != reference.name:
        yield Problem(
            "warn",
            "foreign-key-adopted",
            f"{child.name} has an equal foreign key called {key.name}: it is taken as {reference.name} "
            "and will not be dropped on the way back.",
            "Nothing to do.",
        )


def _names(facts: Facts) -> Iterator[Problem]:
    reference, child = facts.reference, facts.child
    for what, name in (("foreign key", reference.name), ("index", reference.index_name)):
        if len(name) > _NAME_LIMIT:  # 1059
            yield Problem(
                "refuse",
                "name-too-long",
                f"The {what}'s name {name} is longer than {_NAME_LIMIT} characters.",
                "Give the reference a shorter one.",
            )
    taken = [index for index in child.indexes if index.name.lower() == reference.index_name.lower()]
    if taken and supporting_index(facts) is None:  # 1061
        yield Problem(
            "refuse",
            "name-taken",
            f"{child.name} has an index {taken[0].name} that does not serve {', '.join(reference.columns)}.",
            "Give the reference's index another name (index_name), or: "
            f"ALTER TABLE {table_sql(child.name)} RENAME INDEX {quote(taken[0].name)} TO ...;",
        )


def _rebuild(facts: Facts) -> Iterator[Problem]:
    child = facts.child
    obstacles = rebuild_obstacles(facts)
    if rebuild_clause(facts) is None:  # 1845, 1846
        yield Problem(
            "refuse",
            "rebuild-not-online",
            f"{child.name} has {', '.join(obstacles)}: NOT NULL on {', '.join(facts.reference.columns)} "
            "would rebuild it with its writers blocked.",
            "Drop it for the time (and add it again afterwards), or declare the reference nullable.",
        )
    if facts.server.family == "mariadb":
        yield from _not_null_on_mariadb(facts)
    for name in facts.reference.columns:
        if child.column(name).nullable and name in child.extra["no_default"]:
            yield Problem(
                "warn",
                "default-will-be-null",
                f"{child.name}.{name} may be NULL and has no default at all; after a downgrade it has "
                "DEFAULT NULL, which this server's MODIFY implies.",
                f"After a downgrade: ALTER TABLE {table_sql(child.name)} ALTER {quote(name)} DROP DEFAULT;",
            )


def _not_null_on_mariadb(facts: Facts) -> Iterator[Problem]:
    """What its MODIFY refuses at the very end, or makes something else of that no way back can know."""
    child = facts.child
    for name in facts.reference.columns:
        column, default = child.column(name), f"ALTER {quote(name)} SET DEFAULT ..."
        if not column.nullable:
            continue
        if column.invisible and column.default is None:  # 4108
            why, fix = "it is invisible and has no default (4108)", default
        elif column.type.lower().startswith("timestamp"):  # 1846
            why, fix = (
                "NULL in a TIMESTAMP would become the time of the rebuild (1846)",
                "MODIFY it to DATETIME",
            )
        elif column.on_update_now and column.default is None:
            why, fix = "with ON UPDATE and no default it would be left a zero date for one", default
        else:
            continue
        yield Problem(
            "refuse",
            "rebuild-refused",
            f"{child.name}.{name} cannot be made NOT NULL in place: {why}.",
            f"ALTER TABLE {table_sql(child.name)} {fix}, or declare the reference nullable.",
        )
