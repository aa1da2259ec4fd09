"""The foreign key's own statements. Pure."""

from __future__ import annotations

from migrator.catalog import Facts
from migrator.dialects.pg_facts import extras
from migrator.dialects.pg_words import Mode, columns_sql, quote, table_sql
from migrator.reference import TableName


def key_name(facts: Facts) -> str:
    """The constraint's name: an equal key under another name is adopted, not added again."""
    fk = facts.foreign_key
    return fk.name if fk is not None and fk.name else facts.reference.name


def key_definition(facts: Facts) -> str:
    """`FOREIGN KEY (...) REFERENCES ...`: an adopted key's as the catalog has it (actions that a
    reference cannot express included), else what the reference asks for."""
    reference = facts.reference
    name = key_name(facts)
    if name != reference.name:
        for constraint, definition in extras(facts.child).constraints:
            if constraint == name:
                return definition.removesuffix(" NOT VALID")
    words = [
        f"FOREIGN KEY ({columns_sql(reference.columns)})",
        f"REFERENCES {table_sql(facts.parent.name)} ({columns_sql(reference.parent_columns)})",
    ]
    if reference.match == "full":
        words.append("MATCH FULL")
    if reference.on_delete:
        words.append(f"ON DELETE {reference.on_delete}")
    if reference.on_update:
        words.append(f"ON UPDATE {reference.on_update}")
    if reference.deferrable or reference.initially_deferred:
        words.append("DEFERRABLE")
    if reference.initially_deferred:
        words.append("INITIALLY DEFERRED")
    return " ".join(words)


def add_key(facts: Facts, table: TableName) -> str:
    """Adds the key to the child, or to one of its partitions, without looking at a row."""
    return (
        f"ALTER TABLE {table_sql(table)} ADD CONSTRAINT {quote(key_name(facts))} "
        f"{key_definition(facts)} NOT VALID"
    )


def drop_key(facts: Facts, table: TableName) -> str:
    """Takes it away again."""
    return f"ALTER TABLE {table_sql(table)} DROP CONSTRAINT IF EXISTS {quote(key_name(facts))}"


def lock_tables(facts: Facts, mode: Mode, *, parent_first: bool) -> tuple[str, ...]:
    """LOCK TABLE for both, in the application's order.

    ADD and DROP of a foreign key lock the child first, whatever we write, and so deadlock with an
    application that writes parent and then child in one transaction. Taking both locks beforehand
    in its order cannot. Where LOCK TABLE is not permitted on both (REFERENCES on the parent is not
    enough) there is no such statement, and a deadlock is retried.
    """
    tables = dict.fromkeys((facts.parent.name, facts.child.name))
    if not (extras(facts.parent).lockable and extras(facts.child).lockable):
        return ()
    ordered = list(tables) if parent_first else list(reversed(tables))
    return (f"LOCK TABLE {', '.join(table_sql(table) for table in ordered)} IN {mode} MODE",)


def both(facts: Facts, mode: Mode) -> tuple[tuple[TableName, Mode], ...]:
    """The same lock on parent and child."""
    return ((facts.parent.name, mode), (facts.child.name, mode))
