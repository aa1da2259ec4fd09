"""The steps that enforce, validate, unvalidate and release a reference. Pure.

Every step is one transaction of its own, so that its locks are gone before the next begins: ADD
and VALIDATE in one transaction would hold ADD's locks for the whole scan. Only VALIDATE looks at
rows, under a lock that no reader and no writer waits for. The way back takes heavier locks than
the way there: dropping a foreign key is ACCESS EXCLUSIVE on both tables.

Source of the locks: PostgreSQL's documentation of ALTER TABLE and of explicit locking, and our own
measurements on 13 to 18.
"""

from __future__ import annotations

from migrator.catalog import Facts
from migrator.dialects import pg_partitions as partitions
from migrator.dialects.pg_facts import by_partition
from migrator.dialects.pg_key import (
    add_key,
    both,
    drop_key,
    key_name,
    lock_everybody_out,
    lock_writers_out,
    second,
    whole_key,
)
from migrator.dialects.pg_null import (
    add_null_check,
    alter_not_null,
    create_guard,
    drop_guard,
    drop_null_check,
    guard_is_whole,
    is_native,
    null_columns,
    null_constraints,
    null_step_columns,
    null_step_name,
)
from migrator.dialects.pg_words import analyze, quote, step, table_sql
from migrator.plan import Step

_WRITES = "writers of both tables, for the queue and a millisecond"
_CHILD_WRITES = "writers of the child, for the queue and a millisecond"
_CHILD = "readers and writers of the child, for the queue and a millisecond"
_BOTH = "readers and writers of both tables, for the queue and a millisecond"
_NOBODY = "no reader or writer; VACUUM, CREATE INDEX and other DDL on the child wait for the scan"


def enforce_steps(facts: Facts, *, parent_first: bool) -> tuple[Step, ...]:
    """Foreign key NOT VALID, then the NULL guard. The key waits for every open writer of both
    tables; once it stands, the set of orphans can only shrink."""
    adds: tuple[str, ...]
    if not by_partition(facts):
        adds = (add_key(facts, facts.child.name),)
    elif partitions.leaves(facts):
        adds = tuple(add_key(facts, table) for table in partitions.without_key(facts))
    else:
        adds = (whole_key(facts),)  # there is no row, and no partition to bear it
    locks = lock_writers_out(facts, parent_first=parent_first)
    key = step(
        "add-foreign-key",
        f"add {key_name(facts)} without looking at old rows",
        (*locks, *adds),
        locks=both(facts, "SHARE ROW EXCLUSIVE"),
        blocks=_WRITES,
        done=lambda facts: facts.foreign_key is not None,
        brief=second(locks),
    )
    columns = null_columns(facts)
    if not columns:
        return (key,)
    guard = step(
        null_step_name("add-null-guard", facts, columns),
        f"reject new NULLs in {', '.join(columns)}; old rows may still be updated",
        create_guard(facts, columns),
        locks=((facts.child.name, "SHARE ROW EXCLUSIVE"),),
        blocks=_CHILD_WRITES,
        done=lambda facts: guard_is_whole(facts) or facts.not_null,
    )
    return (key, guard)


def release_steps(facts: Facts, ours: frozenset[str], *, parent_first: bool) -> tuple[Step, ...]:
    """Key and guard go in one transaction: the key wants ACCESS EXCLUSIVE on both tables, and with
    that held, the guard costs nothing more."""
    key = "add-foreign-key" in ours
    guard = bool(null_step_columns("add-null-guard", facts, ours))
    if not key and not guard:
        return ()
    name = facts.reference.name
    locks = lock_everybody_out(facts, parent_first=parent_first)
    statements: list[str] = []
    if key:
        tables = [facts.child.name]
        if by_partition(facts):
            tables += [leaf.name for leaf in partitions.leaves(facts)]
        statements += locks
        statements += [
            f"ALTER TABLE {table_sql(table)} DROP CONSTRAINT IF EXISTS {quote(name)}" for table in tables
        ]
    if guard:
        statements += drop_guard(facts)

    def done(facts: Facts) -> bool:
        gone = all(fk.name != name for fk in facts.child.foreign_keys) and not partitions.has_key(facts, name)
        return not (key and not gone) and not (guard and facts.guards)

    released = step(
        "release",
        f"drop {name}" + (" and the NULL guard" if guard else "") if key else "drop the NULL guard",
        statements,
        locks=both(facts, "ACCESS EXCLUSIVE") if key else ((facts.child.name, "ACCESS EXCLUSIVE"),),
        blocks=_BOTH if key else _CHILD,
        done=done,
        brief=second(locks) if key else None,
    )
    return (released,)


def validate_steps(facts: Facts, *, parent_first: bool) -> tuple[Step, ...]:
    """The null constraint, one ALTER that proves it and the foreign key, then NOT NULL (before 18)
    and away with the helpers."""
    columns = null_columns(facts)
    steps: list[Step] = []
    if columns:
        steps.append(_add_null_check(facts, columns))
    # NOT NULL before we came, as the columns of a primary key are: there is no helper CHECK to validate.
    there = facts.not_null and facts.null_check == "absent" and not is_native(facts)
    if by_partition(facts):
        steps += partitions.validate_steps(facts, () if there else columns, parent_first=parent_first)
    else:
        steps.append(_validate(facts, () if there else columns))
    if columns:
        steps.append(_drop_guard(facts) if is_native(facts) else _set_not_null(facts, columns))
    return tuple(steps)


def null_is_proved(facts: Facts) -> bool:
    """Whether the server knows that there is no NULL, by NOT NULL or by a valid CHECK."""
    return facts.reference.nullable or facts.not_null or facts.null_check == "valid"


def _add_null_check(facts: Facts, columns: tuple[str, ...]) -> Step:
    def done(facts: Facts) -> bool:
        # 18 reports a column NOT NULL as soon as the constraint is there, valid or not.
        there = not any(facts.child.column(column).nullable for column in columns)
        return there or (not is_native(facts) and facts.null_check != "absent")

    return step(
        null_step_name("add-null-check", facts, columns),
        f"declare {', '.join(columns)} NOT NULL, not yet proved; there is no NULL left",
        (add_null_check(facts, columns),),
        locks=((facts.child.name, "ACCESS EXCLUSIVE"),),
        blocks=_CHILD,
        done=done,
    )


def _validate(facts: Facts, columns: tuple[str, ...]) -> Step:
    names = (key_name(facts), *null_constraints(facts, columns))
    wanted = ", ".join(f"VALIDATE CONSTRAINT {quote(name)}" for name in names)

    def done(facts: Facts) -> bool:
        fk = facts.foreign_key
        return fk is not None and fk.validated is True and null_is_proved(facts)

    return step(
        "validate",
        f"prove {' and '.join(names)} against every row",
        (
            analyze(facts.child.name, facts.reference.columns),
            f"ALTER TABLE {table_sql(facts.child.name)} {wanted}",
        ),
        locks=((facts.child.name, "SHARE UPDATE EXCLUSIVE"), (facts.parent.name, "ROW SHARE")),
        blocks=_NOBODY,
        done=done,
        patience="long",
        violation="sweep",
    )


def _set_not_null(facts: Facts, columns: tuple[str, ...]) -> Step:
    # Separate statements: in one ALTER the CHECK is dropped first and SET NOT NULL scans the table.
    return step(
        null_step_name("set-not-null", facts, columns),
        f"set {', '.join(columns)} NOT NULL without a scan (the CHECK proves it), drop the helpers",
        (alter_not_null(facts, columns, "SET"), drop_null_check(facts), *drop_guard(facts)),
        locks=((facts.child.name, "ACCESS EXCLUSIVE"),),
        blocks=_CHILD,
        done=lambda facts: facts.not_null and facts.null_check == "absent" and not facts.guards,
    )


def _drop_guard(facts: Facts) -> Step:
    return step(
        "drop-null-guard",
        "drop the NULL guard: NOT NULL does its work now",
        drop_guard(facts),
        locks=((facts.child.name, "ACCESS EXCLUSIVE"),),
        blocks=_CHILD,
        done=lambda facts: facts.not_null and not facts.guards,
    )


def unvalidate_steps(facts: Facts, ours: frozenset[str], *, parent_first: bool) -> tuple[Step, ...]:
    """One transaction: NULL allowed again, the guard back in its place, the foreign key exchanged
    for one that claims no proof (there is no statement that takes a validation back)."""
    key = bool(ours & {"validate", "attach-foreign-key"})
    if by_partition(facts) and not partitions.leaves(facts):
        key = False  # no partition is left that could bear it without its proof
    checked = null_step_columns("add-null-check", facts, ours)
    columns = checked or null_step_columns("set-not-null", facts, ours)
    if not key and not columns:
        return ()
    locks = lock_everybody_out(facts, parent_first=parent_first)
    statements: list[str] = []
    if key:
        statements += locks
    if columns:
        statements.append(alter_not_null(facts, columns, "DROP"))
        statements += [] if is_native(facts) else [drop_null_check(facts)]
        if not guard_is_whole(facts):
            statements += create_guard(facts, columns)
    if key:
        tables = (
            [leaf.name for leaf in partitions.leaves(facts)] if by_partition(facts) else [facts.child.name]
        )
        statements += [drop_key(facts, table) for table in dict.fromkeys((facts.child.name, *tables))]
        statements += [add_key(facts, table) for table in tables]

    def done(facts: Facts) -> bool:
        fk = facts.foreign_key
        unproved = fk is not None and fk.validated is False
        open_again = all(facts.child.column(column).nullable for column in columns)
        undone = open_again and facts.null_check == "absent" and guard_is_whole(facts)
        return not (key and not unproved) and not (columns and not undone)

    undo = step(
        "unvalidate",
        f"back to enforced: {key_name(facts)} without its proof"
        + (f", NULL allowed in old rows of {', '.join(columns)}" if columns else ""),
        statements,
        locks=both(facts, "ACCESS EXCLUSIVE") if key else ((facts.child.name, "ACCESS EXCLUSIVE"),),
        blocks=_BOTH if key else _CHILD,
        done=done,
        brief=second(locks) if key else None,
    )
    return (undo,)
