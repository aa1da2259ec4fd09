"""The steps of the protocol on MySQL, and what MariaDB shares of them. Pure.

No plain `ADD FOREIGN KEY`: with foreign_key_checks on, MySQL copies the table with its writers
blocked. With the checks off it is a change of metadata, which holds EXCLUSIVE metadata locks on child
and parent for milliseconds, so no open transaction straddles it; the rows that were there before
are proved afterwards, by an anti-join in a fresh snapshot.

ALGORITHM and LOCK are named on every ALTER: without them the server falls back to what blocks, and
outside strict mode to a copy that turns NULL into 0. There is one ALTER per step, because DDL commits
by itself and a crash must leave nothing half done that the catalog does not show.

Source: our measurements on MySQL 8.0 to 9.7 and MariaDB 10.11 to 11.8;
https://dev.mysql.com/doc/refman/8.4/en/innodb-online-ddl-operations.html.
"""

from __future__ import annotations

from migrator.catalog import Facts
from migrator.dialects.mysql_definition import literal, quote
from migrator.dialects.mysql_fence import Fence, parent_first
from migrator.dialects.mysql_rebuild import (
    ENDS,
    MOMENT,
    SET_NOT_NULL,
    alter,
    ddl,
    drop_not_null,
    set_not_null,
)
from migrator.dialects.mysql_words import (
    columns_sql,
    guard_names,
    nullable_columns,
    pairs,
    supporting_index,
    table_sql,
    trigger_sql,
)
from migrator.dialects.pg_null import null_step_columns, null_step_name
from migrator.plan import Step

_CREATE_GUARD = "add-null-guard"
_KEY_INDEX = "create-key-index"


# -- the index ---------------------------------------------------------------------------------
def create_index(facts: Facts, step_name: str = "create-index") -> Step:
    """The index that scan and foreign key both want; where a leading one is there, it serves."""
    columns, _ = pairs(facts)
    name = facts.reference.index_name
    return ddl(
        step_name,
        f"build the index {name} on {facts.reference.child} online",
        alter(facts, f"ADD INDEX {quote(name)} ({columns_sql(columns)})"),
        lock="SHARED_UPGRADABLE on the child; EXCLUSIVE for a moment at both ends",
        blocks=ENDS.format("the child"),
        done=lambda facts: supporting_index(facts) is not None,
        patience="long",
    )


def drop_index(facts: Facts, ours: frozenset[str], step_name: str = "create-index") -> tuple[Step, ...]:
    """Its inverse, if the step of this name built the index."""
    if step_name not in ours:
        return ()
    name = facts.reference.index_name
    step = ddl(
        step_name.replace("create", "drop"),
        f"drop the index {name} that we built",
        alter(facts, f"DROP INDEX {quote(name)}"),
        lock="EXCLUSIVE on the child, for a moment",
        blocks=MOMENT.format("the child"),
        done=lambda facts: all(index.name != name for index in facts.child.indexes),
    )
    return (step,)


# -- the NULL guard ------------------------------------------------------------------------------
def guard_is_whole(facts: Facts) -> bool:
    """Whether both triggers are there."""
    return set(guard_names(facts.reference)) <= set(facts.guards)


def guard_step(facts: Facts, name: str, columns: tuple[str, ...]) -> Step:
    """Two triggers that reject new NULLs with the number NOT NULL itself will use (1048).

    A CHECK would be the natural guard, but MySQL adds one only by copying the table with writers
    blocked. The update trigger lets a row that is NULL already be updated in its other columns. An
    account that may not create triggers (1419 with the binary log on) goes on without them: a
    NULL written during the rebuild then costs that rebuild, and it is tried again.
    """
    return ddl(
        null_step_name(name, facts, columns),
        f"reject new NULLs in {', '.join(columns)}; rows that are NULL already may still be updated",
        *_create_guard(facts, columns),
        lock="SHARED_NO_WRITE, then EXCLUSIVE, on the child, for a moment; twice",
        blocks=MOMENT.format("the child"),
        done=lambda facts: guard_is_whole(facts) or facts.not_null,
        optional=frozenset({"denied"}),
    )


def drop_guard_step(facts: Facts, name: str) -> Step:
    """NOT NULL says it now; and a trigger stands in the way of gh-ost and the like."""
    drops = (
        f"DROP TRIGGER IF EXISTS {trigger_sql(facts.reference, g)}" for g in guard_names(facts.reference)
    )
    fence = _beside_the_key(facts)
    return ddl(
        name,
        "drop the triggers of the NULL guard",
        *drops,
        lock="EXCLUSIVE on the child, for a moment; twice",
        blocks=MOMENT.format("the child"),
        done=lambda facts: not facts.guards,
        settle=fence.lower,
        courtesy=fence.raise_,
    )


def _beside_the_key(facts: Facts) -> Fence:
    """Triggers come and go alone on MySQL; on MariaDB whoever has written a parent row has a lock on the
    child as well, once the key is there."""
    return parent_first(facts) if facts.server.family == "mariadb" else Fence()


def _create_guard(facts: Facts, columns: tuple[str, ...]) -> tuple[str, ...]:
    named = ", ".join(f"'{column}'" for column in columns)
    # 128 characters are all that a condition's text may have (1648 above it, in strict mode).
    message = f"Column {named} cannot be null"[:128]
    signal = f"SIGNAL SQLSTATE '45000' SET MYSQL_ERRNO = 1048, MESSAGE_TEXT = {literal(message)}"
    null = " OR ".join(f"NEW.{quote(column)} IS NULL" for column in columns)
    becomes = " OR ".join(
        f"(NEW.{quote(column)} IS NULL AND OLD.{quote(column)} IS NOT NULL)" for column in columns
    )
    statements: list[str] = []
    for trigger, event, when in zip(
        guard_names(facts.reference), ("INSERT", "UPDATE"), (null, becomes), strict=True
    ):
        name = trigger_sql(facts.reference, trigger)
        # IF NOT EXISTS came with 8.0.29 (https://dev.mysql.com/doc/relnotes/mysql/8.0/en/news-8-0-29.html).
        knows = facts.server.family == "mariadb" or facts.server.version >= (8, 0, 29)
        if not knows:
            statements.append(f"DROP TRIGGER IF EXISTS {name}")
        statements.append(
            f"CREATE TRIGGER {'IF NOT EXISTS ' if knows else ''}{name} BEFORE {event} "
            f"ON {table_sql(facts.child.name)} FOR EACH ROW IF {when} THEN {signal}; END IF"
        )
    return tuple(statements)


# -- the foreign key ---------------------------------------------------------------------------
def add_foreign_key_sql(facts: Facts) -> str:
    """The ADD CONSTRAINT clause."""
    reference = facts.reference
    columns, parent_columns = pairs(facts)
    actions = "".join(
        f" ON {event} {action}"
        for event, action in (("DELETE", reference.on_delete), ("UPDATE", reference.on_update))
        if action
    )
    return (
        f"ADD CONSTRAINT {quote(reference.name)} FOREIGN KEY ({columns_sql(columns)}) "
        f"REFERENCES {table_sql(facts.parent.name)} ({columns_sql(parent_columns)}){actions}"
    )


def add_foreign_key(facts: Facts, *, otherwise: Fence = Fence()) -> Step:  # noqa: B008 (frozen)
    """New rows are checked from here on. The checks are off for this statement alone, on a connection
    that is closed afterwards: they must never be off on one that goes back to a pool.

    Args:
        otherwise: what stands in for the fence where the account may not put it up, for a server on which
            the ALTER itself does not wait for open transactions of the parent.
    """
    fence = parent_first(facts)
    return ddl(
        "add-foreign-key",
        f"add {facts.reference.name} without looking at old rows",
        "SET SESSION foreign_key_checks = 0",
        alter(facts, add_foreign_key_sql(facts)),
        lock="EXCLUSIVE on child and parent, for a moment",
        blocks=MOMENT.format("both tables"),
        done=lambda facts: facts.foreign_key is not None,
        settle=(*(fence.lower or otherwise.lower), "SET SESSION foreign_key_checks = 1"),
        courtesy=fence.raise_ or otherwise.raise_,
        otherwise=otherwise.raise_,
    )


def enforce_steps(facts: Facts, key: Step) -> tuple[Step, ...]:
    """The NULL guard, then the foreign key; and first an index, unless the sweep saw to it: InnoDB
    would build one itself and leave it behind when the key is dropped."""
    steps: list[Step] = []
    if not facts.reference.index or supporting_index(facts) is None:
        steps.append(create_index(facts, _KEY_INDEX))
    columns = nullable_columns(facts)
    if columns:
        steps.append(guard_step(facts, _CREATE_GUARD, columns))
    return (*steps, key)


def release_steps(facts: Facts, ours: frozenset[str]) -> tuple[Step, ...]:
    """The foreign key, then the guard, and the index that the key alone wanted, as far as they
    are ours."""
    steps: list[Step] = []
    if "add-foreign-key" in ours:
        steps.append(_drop_foreign_key(facts))
    if null_step_columns(_CREATE_GUARD, facts, ours):
        steps.append(drop_guard_step(facts, "remove-null-guard"))
    return (*steps, *drop_index(facts, ours, _KEY_INDEX))


def _drop_foreign_key(facts: Facts) -> Step:
    name, fence = facts.reference.name, parent_first(facts)
    return ddl(
        "drop-foreign-key",
        f"drop {name}",
        alter(facts, f"DROP FOREIGN KEY {quote(name)}"),
        lock="EXCLUSIVE on child and parent, for a moment",
        blocks=MOMENT.format("both tables"),
        done=lambda facts: all(key.name != name for key in facts.child.foreign_keys),
        settle=fence.lower,
        courtesy=fence.raise_,
    )


# -- NOT NULL ------------------------------------------------------------------------------------
def validate_steps(facts: Facts) -> tuple[Step, ...]:
    """NOT NULL, and away with the guard. That no orphan is left is proved by a count: the server has no
    word for it."""
    columns = nullable_columns(facts)
    if not columns:
        return ()
    return (set_not_null(facts, columns), drop_guard_step(facts, "drop-null-guard"))


def unvalidate_steps(facts: Facts, ours: frozenset[str]) -> tuple[Step, ...]:
    """The guard first, so that no NULL gets in between; then the same rebuild, the other way."""
    steps: list[Step] = []
    columns = null_step_columns(SET_NOT_NULL, facts, ours)
    guarded = null_step_columns(_CREATE_GUARD, facts, ours)
    if guarded and "drop-null-guard" in ours:
        steps.append(_restore_guard(facts, guarded))
    if columns:
        steps.append(drop_not_null(facts, columns))
    return tuple(steps)


def _restore_guard(facts: Facts, columns: tuple[str, ...]) -> Step:
    step, fence = guard_step(facts, "restore-null-guard", columns), _beside_the_key(facts)
    return ddl(
        "restore-null-guard",
        step.title,
        *_create_guard(facts, columns),
        lock=step.lock,
        blocks=step.blocks,
        done=guard_is_whole,
        optional=step.optional,
        settle=fence.lower,
        courtesy=fence.raise_,
    )
