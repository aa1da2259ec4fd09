"""What a step does to the facts, on paper: the next step of a script is planned from what this one leaves.

Steps are known by their names. One that is not known here (the partitions of a table, a leftover index)
leaves the facts as they are; `follows` then says that what comes after cannot be planned.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Final

from migrator.catalog import Facts, ForeignKey, Index, Table
from migrator.dialects import mysql_rebuild, mysql_words, pg_null, pg_words
from migrator.dialects.pg_facts import Extras, NotNull, extras
from migrator.dialects.pg_key import key_definition, key_name
from migrator.plan import Plan, Sql, Step


def evolved(facts: Facts, step: Step) -> Facts:
    """The facts after a step."""
    if not isinstance(step.work, Sql) or step.done(facts):
        return facts
    if step.name == "unvalidate":
        return _unvalidate(facts, step.work)
    if step.name == "drop-not-null":
        return _drop_not_null(facts, _named(facts, step.work, mysql_rebuild.modifies))
    for stem, change in _CHANGES.items():
        if step.name == stem or step.name.removeprefix(stem + "-").replace("-", "").isdigit():
            return change(facts)
    return facts


def follows(plan: Plan, facts: Facts) -> bool:
    """Whether the facts show every step of a plan as done."""
    return all(step.done(facts) for step in plan.steps if isinstance(step.work, Sql))


def _is_postgresql(facts: Facts) -> bool:
    # Not a protocol of its own: PostgreSQL alone keeps a constraint's validity, and facts of it.
    return facts.server.family == "postgresql"


def _child(facts: Facts, **values: object) -> Facts:
    child: Table = replace(facts.child, **values)  # type: ignore[arg-type]
    same = facts.reference.is_self_reference
    return replace(facts, child=child, parent=child if same else facts.parent)


def _extras(facts: Facts, **values: object) -> Facts:
    if not _is_postgresql(facts):
        return facts
    changed: Extras = replace(extras(facts.child), **values)  # type: ignore[arg-type]
    return _child(facts, extra={**facts.child.extra, **changed.packed()})


def _nullable(facts: Facts, nullable: bool, names: tuple[str, ...] = ()) -> Facts:
    wanted = names or facts.reference.columns
    columns = tuple(
        replace(column, nullable=nullable) if column.name in wanted else column
        for column in facts.child.columns
    )
    return _child(facts, columns=columns)


def _add_index(facts: Facts) -> Facts:
    reference = facts.reference
    columns = reference.columns if _is_postgresql(facts) else mysql_words.pairs(facts)[0]
    there = tuple(index for index in facts.child.indexes if index.name != reference.index_name)
    return _child(facts, indexes=(*there, Index(reference.index_name, columns)))


def _drop_index(facts: Facts) -> Facts:
    name = facts.reference.index_name
    return _child(facts, indexes=tuple(index for index in facts.child.indexes if index.name != name))


def _add_key(facts: Facts) -> Facts:
    reference = facts.reference
    key = ForeignKey(
        reference.name,
        facts.child.name,
        reference.columns,
        facts.parent.name,
        reference.parent_columns,
        on_delete=reference.on_delete or "NO ACTION",
        on_update=reference.on_update or "NO ACTION",
        match=reference.match,
        deferrable=reference.deferrable or reference.initially_deferred,
        initially_deferred=reference.initially_deferred,
        validated=False if _is_postgresql(facts) else None,
    )
    definition = (reference.name, key_definition(facts)) if _is_postgresql(facts) else ("", "")
    facts = _extras(facts, constraints=(*extras(facts.child).constraints, definition))
    facts = _child(facts, foreign_keys=(*facts.child.foreign_keys, key))
    parent = facts.child if reference.is_self_reference else facts.parent
    parent = replace(parent, inbound=(*parent.inbound, key))
    return replace(facts, parent=parent, child=parent if reference.is_self_reference else facts.child)


def _drop_key(facts: Facts) -> Facts:
    name = facts.reference.name

    def without(keys: Iterable[ForeignKey]) -> tuple[ForeignKey, ...]:
        return tuple(key for key in keys if key.name != name)

    kept = tuple(found for found in extras(facts.child).constraints if found[0] != name)
    facts = _extras(facts, constraints=kept)
    facts = _child(facts, foreign_keys=without(facts.child.foreign_keys))
    parent = replace(facts.parent, inbound=without(facts.parent.inbound))
    return replace(facts, parent=parent, child=parent if facts.reference.is_self_reference else facts.child)


def _key_validity(facts: Facts, validated: bool) -> Facts:
    name = key_name(facts)
    keys = tuple(
        replace(key, validated=validated) if key.name == name else key for key in facts.child.foreign_keys
    )
    return _child(facts, foreign_keys=keys)


def _guard(facts: Facts) -> Facts:
    if _is_postgresql(facts):
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
    facts = _extras(
        facts, not_nulls=(*there.not_nulls, *added), constraints=(*there.constraints, *definitions)
    )
    return _nullable(facts, False)


def _validate(facts: Facts) -> Facts:
    facts = _key_validity(facts, True)
    # Where NOT NULL was there before us no CHECK was added.
    if facts.null_check != "absent":
        facts = replace(facts, null_check="valid")
    proved = tuple(replace(each, validated=True) for each in extras(facts.child).not_nulls)
    return _extras(facts, not_nulls=proved)


def _set_not_null(facts: Facts) -> Facts:
    facts = _nullable(facts, False)
    return _unguard(replace(facts, null_check="absent")) if _is_postgresql(facts) else facts


def _drop_not_null(facts: Facts, names: tuple[str, ...] = ()) -> Facts:
    wanted = names or facts.reference.columns
    left = tuple(each for each in extras(facts.child).not_nulls if each.column not in wanted)
    gone = {each.name for each in extras(facts.child).not_nulls} - {each.name for each in left}
    kept = tuple(found for found in extras(facts.child).constraints if found[0] not in gone)
    facts = _nullable(_extras(facts, not_nulls=left, constraints=kept), True, wanted)
    return replace(facts, null_check="absent")


def _named(facts: Facts, work: Sql, names: Callable[[str, str], bool]) -> tuple[str, ...]:
    """The columns of the reference that a statement of a step is about."""
    columns = facts.reference.columns
    return tuple(column for column in columns if any(names(one, column) for one in work.statements))


def _unvalidate(facts: Facts, work: Sql) -> Facts:
    """NULL is allowed again in the columns that the step names: not in one that was NOT NULL before."""
    facts = _key_validity(facts, False)
    dropped = _named(facts, work, pg_null.drops_not_null)
    return _guard(_drop_not_null(facts, dropped)) if dropped else facts


_CHANGES: Final[dict[str, Callable[[Facts], Facts]]] = {
    "create-index": _add_index,
    "create-key-index": _add_index,
    "drop-index": _drop_index,
    "drop-key-index": _drop_index,
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
