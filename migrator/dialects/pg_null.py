"""NULL: the guard that rejects new ones, the constraint that proves there are none, NOT NULL. Pure.

A CHECK (or 18's not-null) that is NOT VALID also rejects every UPDATE of a row that is NULL
already, whatever column it changes. So until the last of them is swept, a pair of triggers keeps
new NULLs out and lets the old rows be.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from migrator.catalog import Facts
from migrator.dialects.pg_facts import extras
from migrator.dialects.pg_words import (
    body,
    guard_of,
    literal,
    not_null_name,
    null_check_name,
    quote,
    table_sql,
)

_BARE = re.compile(r'[()"\s]')
NATIVE = (18,)  # the first version that knows NOT NULL as a constraint with NOT VALID


def is_native(facts: Facts) -> bool:
    """Whether this server can add NOT NULL itself as NOT VALID."""
    return facts.server.version >= NATIVE


def null_columns(facts: Facts) -> tuple[str, ...]:
    """The columns still to be made NOT NULL; all of them when none is, so that a plan made again
    after a crash has the same steps (and finds them done)."""
    reference = facts.reference
    if reference.nullable:
        return ()
    unproved = {constraint.column for constraint in extras(facts.child).not_nulls if not constraint.validated}
    left = tuple(
        column for column in reference.columns if facts.child.column(column).nullable or column in unproved
    )
    return left or reference.columns


def null_step_name(base: str, facts: Facts, columns: tuple[str, ...]) -> str:
    """The step's name; where it concerns only some of a composite's columns, with their positions,
    so that the inverse knows which were nullable before."""
    whole = facts.reference.columns
    if columns == whole:
        return base
    return "-".join([base, *(str(whole.index(column) + 1) for column in columns)])


def null_step_columns(base: str, facts: Facts, ours: Iterable[str]) -> tuple[str, ...]:
    """The columns that our steps called `base` concerned."""
    whole = facts.reference.columns
    found: set[str] = set()
    for name in ours:
        if name == base:
            found.update(whole)
        elif name.startswith(base + "-"):
            positions = [part for part in name.removeprefix(base + "-").split("-") if part.isdigit()]
            found.update(whole[int(at) - 1] for at in positions if 0 < int(at) <= len(whole))
    return tuple(column for column in whole if column in found)


def guard_is_whole(facts: Facts) -> bool:
    """Whether both triggers are there."""
    return set(guard_of(facts.reference, facts.child.name).triggers) <= set(facts.guards)


def create_guard(facts: Facts, columns: tuple[str, ...]) -> tuple[str, ...]:
    """A function and two triggers: INSERT of a NULL, and UPDATE that makes a NULL, fail as NOT NULL
    itself would (23502).

    AFTER, not BEFORE: an AFTER trigger sees the row as it was stored, past every BEFORE trigger
    that fills in a value, exactly like NOT NULL; its WHEN is weighed without queueing an event for
    good rows; and COPY keeps its multi-row inserts, which any BEFORE INSERT trigger would turn off.
    """
    guard = guard_of(facts.reference, facts.child.name)
    child, function = table_sql(facts.child.name), table_sql(guard.function)
    named = ", ".join(f'"{column}"' for column in columns)
    message = (
        f'null value in column {named} of relation "{facts.child.name.name}" violates not-null constraint'
    )
    raises = (
        f"\nBEGIN\n  RAISE not_null_violation USING MESSAGE = {literal(message)},\n"
        f"    COLUMN = {literal(columns[0])}, TABLE = TG_TABLE_NAME, SCHEMA = TG_TABLE_SCHEMA;\nEND\n"
    )
    is_null = " OR ".join(f"NEW.{quote(column)} IS NULL" for column in columns)
    becomes_null = " OR ".join(
        f"(NEW.{quote(column)} IS NULL AND OLD.{quote(column)} IS NOT NULL)" for column in columns
    )
    create = "CREATE TRIGGER" if facts.server.version < (14,) else "CREATE OR REPLACE TRIGGER"
    return (
        f"CREATE OR REPLACE FUNCTION {function}() RETURNS trigger LANGUAGE plpgsql AS {body(raises)}",
        f"{create} {quote(guard.insert)} AFTER INSERT ON {child} FOR EACH ROW "
        f"WHEN ({is_null}) EXECUTE FUNCTION {function}()",
        f"{create} {quote(guard.update)} AFTER UPDATE ON {child} FOR EACH ROW "
        f"WHEN ({becomes_null}) EXECUTE FUNCTION {function}()",
    )


def drop_guard(facts: Facts) -> tuple[str, ...]:
    """Triggers first, then the function they use."""
    guard = guard_of(facts.reference, facts.child.name)
    child = table_sql(facts.child.name)
    triggers = tuple(f"DROP TRIGGER IF EXISTS {quote(name)} ON {child}" for name in guard.triggers)
    return (*triggers, f"DROP FUNCTION IF EXISTS {table_sql(guard.function)}()")


def not_null_names(facts: Facts, columns: tuple[str, ...]) -> dict[str, str]:
    """18: each column with the name of its not-null constraint: the one there, or the one that
    PostgreSQL itself would choose."""
    there = {constraint.column: constraint.name for constraint in extras(facts.child).not_nulls}
    taken = {name for name, _ in extras(facts.child).constraints}
    return {
        column: there.get(column) or not_null_name(facts.child.name.name, column, taken) for column in columns
    }


def add_null_check(facts: Facts, columns: tuple[str, ...]) -> str:
    """The constraint that will prove that there is no NULL: before 18 a helper CHECK, which lets
    SET NOT NULL skip its scan; from 18 on NOT NULL itself."""
    child = table_sql(facts.child.name)
    if is_native(facts):
        names = not_null_names(facts, columns)
        adds = (
            f"ADD CONSTRAINT {quote(names[column])} NOT NULL {quote(column)} NOT VALID" for column in columns
        )
        return f"ALTER TABLE {child} {', '.join(adds)}"
    holds = " AND ".join(f"{quote(column)} IS NOT NULL" for column in columns)
    name = quote(null_check_name(facts.reference))
    return f"ALTER TABLE {child} ADD CONSTRAINT {name} CHECK ({holds}) NOT VALID"


def is_null_check(definition: str, columns: Iterable[str]) -> bool:
    """Whether a CHECK, as the catalog spells it, says of some of these columns that they are not NULL, and
    nothing else."""
    parts = definition.removesuffix(" NOT VALID").removeprefix("CHECK").split(") AND (")
    wanted = {f"{column} IS NOT NULL" for column in columns}
    return {_BARE.sub("", part) for part in parts} <= {_BARE.sub("", part) for part in wanted}


def null_constraints(facts: Facts, columns: tuple[str, ...]) -> tuple[str, ...]:
    """The names of the constraints that `add_null_check` adds."""
    if not columns:
        return ()
    if is_native(facts):
        return tuple(not_null_names(facts, columns).values())
    return (null_check_name(facts.reference),)


def drop_null_check(facts: Facts) -> str:
    """Before 18: the helper goes."""
    name = quote(null_check_name(facts.reference))
    return f"ALTER TABLE {table_sql(facts.child.name)} DROP CONSTRAINT IF EXISTS {name}"


def alter_not_null(facts: Facts, columns: tuple[str, ...], action: str) -> str:
    """`SET NOT NULL` or `DROP NOT NULL` on each column; 18 drops the constraint with it."""
    alters = ", ".join(_alter(column, action) for column in columns)
    return f"ALTER TABLE {table_sql(facts.child.name)} {alters}"


def drops_not_null(statement: str, column: str) -> bool:
    """Whether a statement is one that lets this column be NULL."""
    return statement.startswith("ALTER TABLE ") and _alter(column, "DROP") in statement


def _alter(column: str, action: str) -> str:
    return f"ALTER COLUMN {quote(column)} {action} NOT NULL"
