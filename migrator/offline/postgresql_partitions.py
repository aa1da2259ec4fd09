"""What a step does to the partitions of a PostgreSQL child, on paper; the rest of it is `evolve`'s.

Before 18 the foreign key is each partition's own until `attach-foreign-key` declares it on the child.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import replace
from typing import Final

from migrator.catalog import Facts, ForeignKey, Index
from migrator.dialects.pg_facts import (
    Partition,
    by_partition,
    extras,
    leaf_foreign_key,
    not_null_state,
    with_partitions_key,
)
from migrator.dialects.pg_index import partition_index
from migrator.dialects.pg_key import key_definition, key_name
from migrator.dialects.pg_partitions import leaves, without_key
from migrator.dialects.pg_words import slug
from migrator.offline.changing import is_postgresql, key_made, with_child, with_extras, with_inbound, without
from migrator.plan import Step
from migrator.reference import TableName

Change = Callable[[Facts], Facts]


def of_one(facts: Facts, step: Step) -> Change | None:
    """What a step does that is about one partition; None where it is about the whole table."""
    for leaf in leaves(facts) if is_postgresql(facts) else ():
        stem = step.name.removesuffix(f"-{slug(leaf.name)}")
        if stem in _OF_ONE and stem != step.name:
            return lambda facts, change=_OF_ONE[stem], leaf=leaf: change(facts, leaf)  # type: ignore[misc]
    return None


def of_all(facts: Facts, step: Step) -> Change | None:
    """What a step about a partitioned table does to its partitions besides; None where it does nothing."""
    if not is_postgresql(facts) or facts.child.kind != "partitioned":
        return None
    return _OF_ALL.get(step.name)


def instead(facts: Facts, step: Step) -> Change | None:
    """What a step does where the key is each partition's own; None where that makes no difference."""
    return _OWN_KEYS.get(step.name) if is_postgresql(facts) and by_partition(facts) else None


def seen(facts: Facts) -> Facts:
    """The facts of a reference whose child another reference has changed."""
    if not is_postgresql(facts):
        return facts
    if facts.server.version < (18,):
        return with_child(facts, foreign_keys=with_partitions_key(facts.child, facts.reference).foreign_keys)
    return replace(facts, null_check=not_null_state(facts.child, facts.reference.columns))


def exchange_keys(facts: Facts) -> Facts:
    """The child's key, or the proved ones of its partitions, for one on each that claims no proof."""
    name, old = key_name(facts), facts.foreign_key or key_made(facts)
    facts = _without_keys(facts, name)
    kept = tuple(found for found in extras(facts.child).constraints if found[0] != name)
    facts = with_child(
        with_extras(facts, constraints=kept), foreign_keys=without(facts.child.foreign_keys, name)
    )
    facts = with_inbound(facts, without(facts.parent.inbound, name))
    return _with_keys(facts, replace(old, validated=False), [leaf.name for leaf in leaves(facts)])


def _tree(facts: Facts, change: Callable[[Partition], Partition]) -> Facts:
    return with_extras(facts, partitions=tuple(map(change, extras(facts.child).partitions)))


# -- foreign keys ----------------------------------------------------------------------------------
def _with_keys(facts: Facts, key: ForeignKey, tables: Collection[TableName]) -> Facts:
    """The key added to some partitions, each its own; the child is enforced once all have it."""
    facts = _tree(facts, lambda each: _with_key(each, key) if each.name in tables else each)
    facts = with_inbound(facts, (*facts.parent.inbound, *(replace(key, child=table) for table in tables)))
    child = with_partitions_key(facts.child, facts.reference)
    return with_child(facts, foreign_keys=child.foreign_keys)


def _with_key(partition: Partition, key: ForeignKey) -> Partition:
    return replace(
        partition,
        foreign_keys=(*partition.foreign_keys, replace(key, child=partition.name, on_partitions=False)),
    )


def _without_keys(facts: Facts, name: str) -> Facts:
    return _tree(facts, lambda each: replace(each, foreign_keys=without(each.foreign_keys, name)))


def _add_keys(facts: Facts) -> Facts:
    return _with_keys(facts, key_made(facts), without_key(facts))


def _add_leaf_key(facts: Facts, leaf: Partition) -> Facts:
    return _with_keys(facts, key_made(facts), [leaf.name])


def _validate_leaf(facts: Facts, leaf: Partition) -> Facts:
    proved = leaf_foreign_key(facts, leaf)

    def change(each: Partition) -> Partition:
        if each.name != leaf.name:
            return each
        keys = (replace(fk, validated=True) if fk == proved else fk for fk in each.foreign_keys)
        return replace(each, foreign_keys=tuple(keys))

    return _tree(facts, change)


def _prove_null(facts: Facts) -> Facts:
    return replace(facts, null_check="valid")


def _attach(facts: Facts) -> Facts:
    """The child's own key, which every partition has as a part of it."""
    name = key_name(facts)
    key = replace(facts.foreign_key or key_made(facts), validated=True, on_partitions=False)
    declared = (*extras(facts.child).constraints, (name, key_definition(facts)))
    facts = with_extras(_without_keys(facts, name), constraints=declared)
    facts = _tree(facts, lambda each: _with_key(each, key))
    facts = with_child(facts, foreign_keys=(*without(facts.child.foreign_keys, name), key))
    return with_inbound(facts, (*without(facts.parent.inbound, name), key))


# -- indexes ---------------------------------------------------------------------------------------
def _with_index(facts: Facts, partition: Partition) -> Partition:
    index = Index(partition_index(facts, partition.name).name, facts.reference.columns)
    return replace(partition, indexes=(*_without_index(facts, partition).indexes, index))


def _without_index(facts: Facts, partition: Partition) -> Partition:
    name = partition_index(facts, partition.name).name
    return replace(partition, indexes=tuple(index for index in partition.indexes if index.name != name))


def _build(facts: Facts, leaf: Partition) -> Facts:
    return _tree(facts, lambda each: _with_index(facts, each) if each.name == leaf.name else each)


def _drop(facts: Facts, leaf: Partition) -> Facts:
    return _tree(facts, lambda each: _without_index(facts, each) if each.name == leaf.name else each)


_OF_ONE: Final[dict[str, Callable[[Facts, Partition], Facts]]] = {
    "create-index": _build,
    "drop-index": _drop,
    "drop-invalid-index": _drop,
    "add-foreign-key": _add_leaf_key,
    "validate": _validate_leaf,
}
_OF_ALL: Final[dict[str, Change]] = {
    "create-index": lambda facts: _tree(facts, lambda each: _with_index(facts, each)),
    "drop-index": lambda facts: _tree(facts, lambda each: _without_index(facts, each)),
    "release": lambda facts: _without_keys(facts, facts.reference.name),
}
_OWN_KEYS: Final[dict[str, Change]] = {
    "add-foreign-key": _add_keys,
    "attach-foreign-key": _attach,
    "validate": _prove_null,
}
