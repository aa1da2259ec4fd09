"""What a sweep must do to every row, found by brute force: each row is judged by itself, again and again."""

from __future__ import annotations

from collections.abc import Iterator

from migrator.policy import Backfill, CreateParents, Delete, Lookup, Policy, SetNull, flat
from tests.property.worlds import CHILD, Declared, Key, Row, Table, World, edges

State = dict[str, dict[Key, Row]]
#: A row: its table and its key.
Named = tuple[str, Key]


class NotAllowed(Exception):
    """The sweep has to say no; `changed` tells whether it has changed rows by then."""

    def __init__(self, *, changed: bool) -> None:
        self.changed = changed


def swept(world: World, before: State) -> State:
    """The rows after a sweep.

    Raises:
        NotAllowed: it has to refuse.
    """
    state = {name: {key: dict(row) for key, row in rows.items()} for name, rows in before.items()}
    changed = False
    while listed := dict(_listed(world, state)):
        if not _allowed(world, state, listed):
            raise NotAllowed(changed=changed)
        _settle(world, state, listed)
        changed = True
        if not world.reference.is_self_reference:
            break
    return state


def _listed(world: World, state: State) -> Iterator[tuple[Key, str]]:
    """Every row that breaks the reference, and how."""
    there = set(state[world.parent.name])
    for key, row in state[CHILD].items():
        value = tuple(row[column] for column in world.reference.columns)
        if None not in value:
            if value not in there:
                yield key, "dangling"
        elif not world.reference.nullable:
            yield key, "null" if set(value) == {None} else "partial"


def _policies(world: World, kind: str) -> tuple[Policy, ...]:
    return flat(world.on_dangling if kind == "dangling" else world.on_null)


def _allowed(world: World, state: State, listed: dict[Key, str]) -> bool:
    """Whether nothing protects what is to be deleted."""
    for kind in set(listed.values()):
        for policy in _policies(world, kind):
            if isinstance(policy, Delete):
                roots = {(CHILD, key) for key, found in listed.items() if found == kind}
                gone = _closure(world, state, roots, policy)
                for table, declared in edges(world):
                    goes_along = _removes(declared, policy) or _nulls(declared, policy)
                    if not goes_along and _referring(state, table, declared, gone):
                        return False
    return True


def _removes(declared: Declared, policy: Delete) -> bool:
    if policy.dependants == "refuse":
        return False
    return declared.action == "CASCADE" or (policy.dependants == "delete" and declared.action != "SET NULL")


def _nulls(declared: Declared, policy: Delete) -> bool:
    return policy.dependants != "refuse" and declared.action == "SET NULL"


def _referring(state: State, table: Table, declared: Declared, gone: set[Named]) -> set[Named]:
    return {
        (table.name, key)
        for key, row in state[table.name].items()
        if (declared.parent, tuple(row[column] for column in declared.columns)) in gone
    }


def _closure(world: World, state: State, roots: set[Named], policy: Delete) -> set[Named]:
    gone = set(roots)
    while True:
        more = {
            row
            for table, declared in edges(world)
            if _removes(declared, policy)
            for row in _referring(state, table, declared, gone)
        }
        if more <= gone:
            return gone
        gone |= more


def _settle(world: World, state: State, listed: dict[Key, str]) -> None:
    deleted: set[Named] = set()
    for key, kind in listed.items():
        row = state[CHILD][key]
        for policy in _policies(world, kind):
            value: Key | None = None
            if isinstance(policy, Lookup):
                value = world.answers.get(row["note"])
                if value is None:
                    continue
            elif isinstance(policy, Backfill):
                value = policy.to
            elif isinstance(policy, SetNull):
                value = (None,) * len(world.reference.columns)
            elif isinstance(policy, CreateParents):
                named = tuple(row[column] for column in world.reference.columns)
                made = dict(zip(world.parent.key, named, strict=True))
                state[world.parent.name][named] = {**made, **policy.values}
            elif isinstance(policy, Delete):
                deleted |= _closure(world, state, {(CHILD, key)}, policy)
            if value is not None:
                row.update(zip(world.reference.columns, value, strict=True))
            break
    for table, declared in edges(world):
        if declared.action == "SET NULL":
            for name, key in _referring(state, table, declared, deleted):
                state[name][key].update(dict.fromkeys(declared.columns))
    for name, key in deleted:
        del state[name][key]
