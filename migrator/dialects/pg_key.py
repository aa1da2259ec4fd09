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


def whole_key(facts: Facts) -> str:
    """Adds the key to the child, every row proved: where it has none, or its partitions' keys are valid."""
    name = quote(key_name(facts))
    return f"ALTER TABLE {table_sql(facts.child.name)} ADD CONSTRAINT {name} {key_definition(facts)}"


def drop_key(facts: Facts, table: TableName) -> str:
    """Takes it away again."""
    return f"ALTER TABLE {table_sql(table)} DROP CONSTRAINT IF EXISTS {quote(key_name(facts))}"


def lock_writers_out(facts: Facts, *, parent_first: bool) -> tuple[str, ...]:
    """LOCK TABLE against writers of both, before a foreign key is added.

    ADD of a foreign key locks the child first, whatever we write, and so deadlocks with an
    application that writes parent and then child in one transaction. Taking both locks beforehand
    in its order cannot: what else such a transaction does (a foreign key's own look at the parent
    is ROW SHARE) passes SHARE ROW EXCLUSIVE.
    """
    tables = list(dict.fromkeys((facts.parent.name, facts.child.name)))
    mode: Mode = "SHARE ROW EXCLUSIVE"
    return _locks(facts, [(table, mode) for table in (tables if parent_first else tables[::-1])])


def lock_everybody_out(facts: Facts, *, parent_first: bool) -> tuple[str, ...]:
    """LOCK TABLE against everybody, before a foreign key is dropped.

    Not simply in the application's order. Whoever writes the child needs the parent after it, for
    the foreign key's own check: with the parent locked against everybody first, each of them waits
    for us while we wait for them. So the parent is first locked against writers alone, which lets
    those checks pass; then the child; then the parent against everybody. Measured under mixed
    writers, that is had at the first attempt where parent, child took 12 and child, parent 4.

    Args:
        facts: of the reference.
        parent_first: False for an application that writes the child before the parent: it would
            wait for the parent's lock while we wait for the child's.
    """
    child, parent = facts.child.name, facts.parent.name
    locks: list[tuple[TableName, Mode]] = [(child, "ACCESS EXCLUSIVE")]
    if child != parent:
        locks.append((parent, "ACCESS EXCLUSIVE"))
        if parent_first:
            locks.insert(0, (parent, "SHARE ROW EXCLUSIVE"))
    return _locks(facts, locks)


def _locks(facts: Facts, locks: list[tuple[TableName, Mode]]) -> tuple[str, ...]:
    """One statement for each lock, because all but the first wait briefly; none where LOCK TABLE is
    not permitted on both (REFERENCES on the parent is not enough): there a deadlock is retried."""
    if not (extras(facts.parent).lockable and extras(facts.child).lockable):
        return ()
    return tuple(f"LOCK TABLE {table_sql(table)} IN {mode} MODE" for table, mode in locks)


def second(locks: tuple[str, ...]) -> str | None:
    """The lock that is asked for while others wait for us already (`LockingSql.brief`). An
    application that writes both tables in both orders deadlocks with every order of ours; only
    giving up ends that, and the sooner the better."""
    return locks[1] if len(locks) > 1 else None


def both(facts: Facts, mode: Mode) -> tuple[tuple[TableName, Mode], ...]:
    """The same lock on parent and child."""
    return ((facts.parent.name, mode), (facts.child.name, mode))
