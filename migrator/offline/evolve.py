"""What a step does to the facts, on paper: the next step of a script is planned from what this one leaves.

Steps are known by their names. One that is not known here, or does not leave itself done, is an error: what
comes after it could not be planned, and a step that seems done is left out of a script.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Final

from migrator.catalog import Facts, Index
from migrator.dialects import mysql_rebuild, mysql_words, pg_null, pg_words
from migrator.dialects.pg_facts import NotNull, by_partition, extras
from migrator.dialects.pg_key import key_definition, key_name
from migrator.errors import MigratorError
from migrator.offline import postgresql_partitions as partitions
from migrator.offline.changing import (
    is_postgresql,
    key_made,
    with_child,
    with_extras,
    with_inbound,
    without,
)
from migrator.plan import Sql, Step


def evolved(facts: Facts, step: Step) -> Facts:
    """The facts after a step.

    Raises:
        MigratorError: they cannot be told.
    """
    if not isinstance(step.work, Sql) or step.done(facts):
        return facts
    after = _changed(facts, step, step.work)
    if after is None or not step.done(after):
        raise MigratorError(
            f"What {facts.reference} will be like after {step.name} cannot be told from here, so what "
            "follows cannot be written as a script.",
            hint="Run it without --sql.",
        )
    return after


def _changed(facts: Facts, step: Step, work: Sql) -> Facts | None:
    change = partitions.of_one(facts, step) or partitions.instead(facts, step)
    if change is not None:
        return change(facts)
    of_all = partitions.of_all(facts, step)
    if of_all is not None:
        facts = of_all(facts)
    if step.name == "unvalidate":
        return _unvalidate(facts, work)
    if step.name == "drop-not-null":
        return _drop_not_null(facts, _named(facts, work, mysql_rebuild.modifies))
    for stem, change in _CHANGES.items():
        if step.name == stem or step.name.removeprefix(stem + "-").replace("-", "").isdigit():
            return change(facts)
    return None


def _nullable(facts: Facts, nullable: bool, names: tuple[str, ...] = ()) -> Facts:
    wanted = names or facts.reference.columns
    columns = tuple(
        replace(column, nullable=nullable) if column.name in wanted else column
        for column in facts.child.columns
    )
    return with_child(facts, columns=columns)


def _add_index(facts: Facts) -> Facts:
    reference = facts.reference
    columns = reference.columns if is_postgresql(facts) else mysql_words.pairs(facts)[0]
    there = tuple(index for index in facts.child.indexes if index.name != reference.index_name)
    return with_child(facts, indexes=(*there, Index(reference.index_name, columns)))


def _drop_index(facts: Facts) -> Facts:
    name = facts.reference.index_name
    return with_child(facts, indexes=tuple(index for index in facts.child.indexes if index.name != name))


def _add_key(facts: Facts) -> Facts:
    key = key_made(facts)
    if is_postgresql(facts):
        declared = (facts.reference.name, key_definition(facts))
        facts = with_extras(facts, constraints=(*extras(facts.child).constraints, declared))
    facts = with_child(facts, foreign_keys=(*facts.child.foreign_keys, key))
    return with_inbound(facts, (*facts.parent.inbound, key))


def _drop_key(facts: Facts) -> Facts:
    name = facts.reference.name
    kept = tuple(found for found in extras(facts.child).constraints if found[0] != name)
    facts = with_extras(facts, constraints=kept)
    facts = with_child(facts, foreign_keys=without(facts.child.foreign_keys, name))
    return with_inbound(facts, without(facts.parent.inbound, name))


def _key_validity(facts: Facts, validated: bool) -> Facts:
    name = key_name(facts)
    keys = tuple(
        replace(key, validated=validated) if key.name == name else key for key in facts.child.foreign_keys
    )
    return with_child(facts, foreign_keys=keys)


def _guard(facts: Facts) -> Facts:
    if is_postgresql(facts):
        return replace(facts, guards=pg_words.guard_of(facts.reference, facts.child.name).triggers)
    return replace(facts, guards=mysql_words.guard_names(facts.reference))


def _unguard(facts: Facts) -> Facts:
    return replace(facts, guards=())


def _add_null_check(facts: Facts) -> Facts:
    facts = replace(facts, null_check="not valid")
    columns = pg_null.null_columns(facts)
    if not pg_null.is_native(facts):
        return facts
    names = pg_null.not_null_names(facts, columns)
    added = tuple(NotNull(names[column], column, False) for column in columns)
    definitions = tuple((each.name, f"NOT NULL {each.column}") for each in added)
    there = extras(facts.child)
    facts = with_extras(
        facts, not_nulls=(*there.not_nulls, *added), constraints=(*there.constraints, *definitions)
    )
    return _nullable(facts, False)


def _validate(facts: Facts) -> Facts:
    facts = _key_validity(facts, True)
    # Where NOT NULL was there before us no CHECK was added.
    if facts.null_check != "absent":
        facts = replace(facts, null_check="valid")
    proved = tuple(replace(each, validated=True) for each in extras(facts.child).not_nulls)
    return with_extras(facts, not_nulls=proved)


def _set_not_null(facts: Facts) -> Facts:
    facts = _nullable(facts, False)
    return _unguard(replace(facts, null_check="absent")) if is_postgresql(facts) else facts


def _drop_not_null(facts: Facts, names: tuple[str, ...] = ()) -> Facts:
    wanted = names or facts.reference.columns
    left = tuple(each for each in extras(facts.child).not_nulls if each.column not in wanted)
    gone = {each.name for each in extras(facts.child).not_nulls} - {each.name for each in left}
    kept = tuple(found for found in extras(facts.child).constraints if found[0] not in gone)
    facts = _nullable(with_extras(facts, not_nulls=left, constraints=kept), True, wanted)
    return replace(facts, null_check="absent")


def _named(facts: Facts, work: Sql, names: Callable[[str, str], bool]) -> tuple[str, ...]:
    """The columns of the reference that a statement of a step is about."""
    columns = facts.reference.columns
    return tuple(column for column in columns if any(names(one, column) for one in work.statements))


def _unvalidate(facts: Facts, work: Sql) -> Facts:
    """NULL is allowed again in the columns that the step names: not in one that was NOT NULL before."""
    if any(one.endswith(" NOT VALID") for one in work.statements):
        facts = partitions.exchange_keys(facts) if by_partition(facts) else _key_validity(facts, False)
    dropped = _named(facts, work, pg_null.drops_not_null)
    return _guard(_drop_not_null(facts, dropped)) if dropped else facts


_CHANGES: Final[dict[str, Callable[[Facts], Facts]]] = {
    "create-index": _add_index,
    "create-key-index": _add_index,
    "drop-index": _drop_index,
    "drop-key-index": _drop_index,
    "drop-invalid-index": _drop_index,
    "add-foreign-key": _add_key,
    "drop-foreign-key": _drop_key,
    "release": lambda facts: _unguard(_drop_key(facts)),
    "add-null-guard": _guard,
    "restore-null-guard": _guard,
    "drop-null-guard": _unguard,
    "remove-null-guard": _unguard,
    "add-null-check": _add_null_check,
    "validate": _validate,
    "set-not-null": _set_not_null,
}
