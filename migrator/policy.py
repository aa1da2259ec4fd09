"""What to do with each kind of orphan. Plain values: they say what, never how."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, ClassVar, Literal

from migrator.errors import UsageError


@dataclass(frozen=True)
class Policy:
    """Base of the policies; `name` is what users write."""

    name: ClassVar[str] = ""

    def to_json(self) -> dict[str, Any]:
        """The whole value, as the journal keeps it."""
        return {"policy": self.name}


@dataclass(frozen=True)
class Backfill(Policy):
    """Point the orphan at a parent that exists.

    Args:
        to: the key of an existing parent row (a value, or a tuple for a composite key).
        sentinel: without `to`: the stated values of a sentinel row, which is found again by its
            unique column, or created. Values for columns the parent does not have are left out.
        required: those of its columns that the parent must have: an operator named them just now, and
            a typing error is not to be left out.
    """

    name: ClassVar[str] = "backfill"
    to: Any = None  # a tuple once made, whatever was given
    sentinel: Mapping[str, Any] = field(default_factory=dict)
    required: frozenset[str] = frozenset()

    def __post_init__(self) -> None:
        if self.to is not None and not isinstance(self.to, tuple):
            object.__setattr__(self, "to", (self.to,))

    def to_json(self) -> dict[str, Any]:
        if self.to is not None:
            return {"policy": self.name, "to": list(self.to)}
        return {"policy": self.name, "sentinel": dict(self.sentinel)}


@dataclass(frozen=True)
class Expression(Policy):
    """Give the reference what SQL expressions over the child row come to, where that is a parent.

    Args:
        sql: one expression for each column of the reference, over the child's columns. It is SQL of
            yours and is taken as it stands.
    """

    name: ClassVar[str] = "expression"
    sql: str | tuple[str, ...] = ()

    @property
    def expressions(self) -> tuple[str, ...]:
        """One for each column."""
        return _several(self.sql)

    def to_json(self) -> dict[str, Any]:
        return {"policy": self.name, "sql": list(self.expressions)}


@dataclass(frozen=True)
class Lookup(Policy):
    """Give the reference what another table says for the row; a row it does not know is left to the
    next policy of a chain.

    Args:
        table: `table` or `schema.table`.
        on: the child's columns and the lookup's columns that must be equal.
        value: the lookup's columns that hold the new value, in the reference's order.
    """

    name: ClassVar[str] = "lookup"
    table: str = ""
    on: Mapping[str, str] = field(default_factory=dict)
    value: str | tuple[str, ...] = ()

    @property
    def values(self) -> tuple[str, ...]:
        """One for each column."""
        return _several(self.value)

    def to_json(self) -> dict[str, Any]:
        return {"policy": self.name, "table": self.table, "on": dict(self.on), "value": list(self.values)}


@dataclass(frozen=True)
class Decisions(Policy):
    """Give the reference what a person wrote into the file that `migrator report --format csv` wrote; a
    row without an entry is left to the next policy of a chain.

    Args:
        path: the CSV file, with `key:<column>` and `new:<column>` columns.
    """

    name: ClassVar[str] = "decisions"
    path: str = ""

    def to_json(self) -> dict[str, Any]:
        # The content counts, not the place: a file edited in between is another policy.
        try:
            digest = hashlib.sha256(Path(self.path).read_bytes()).hexdigest()
        except OSError:
            digest = "unreadable"
        return {"policy": self.name, "sha256": digest}


@dataclass(frozen=True)
class CreateParents(Policy):
    """Insert the missing parents under the very keys the dangling rows name, so that the reference
    becomes true. For dangling rows only; the rows themselves are not touched.

    Args:
        values: stated values for the new parents' other columns; columns the parent does not have are
            left out. `{id}`, or whatever the key's column is called, stands for the new parent's key.
    """

    name: ClassVar[str] = "create-parents"
    values: Mapping[str, Any] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        return {"policy": self.name, "values": dict(self.values)}


@dataclass(frozen=True)
class Chain(Policy):
    """The first of several policies that has an answer for the row: `Chain(Lookup(...), Backfill())`."""

    name: ClassVar[str] = "chain"
    policies: tuple[Policy, ...] = ()

    def __init__(self, *policies: Policy) -> None:
        object.__setattr__(self, "policies", policies)

    def to_json(self) -> dict[str, Any]:
        return {"policy": self.name, "policies": [policy.to_json() for policy in self.policies]}


@dataclass(frozen=True)
class Delete(Policy):
    """Remove the orphan; its whole row stays in quarantine.

    Args:
        dependants: what of rows that refer to it by declared foreign keys: `quarantine` captures what
            the server will cascade to or set to NULL, any depth, and refuses where ON DELETE is RESTRICT
            or NO ACTION; `delete` removes (and captures) those too; `refuse` stops where there are any.
    """

    name: ClassVar[str] = "delete"
    dependants: Literal["quarantine", "delete", "refuse"] = "quarantine"

    def to_json(self) -> dict[str, Any]:
        if self.dependants == "quarantine":
            return {"policy": self.name}
        return {"policy": self.name, "dependants": self.dependants}


@dataclass(frozen=True)
class SetNull(Policy):
    """Set the reference columns to NULL; only where the reference is nullable."""

    name: ClassVar[str] = "set-null"


@dataclass(frozen=True)
class Refuse(Policy):
    """Stop before the first change when there is any such row."""

    name: ClassVar[str] = "refuse"


@dataclass(frozen=True)
class Keep(Policy):
    """Leave the row as it is: right for NULL in a nullable reference."""

    name: ClassVar[str] = "keep"


_BY_NAME: dict[str, type[Policy]] = {
    cls.name: cls for cls in (Backfill, CreateParents, Delete, SetNull, Refuse, Keep)
}


def _several(one_or_more: str | tuple[str, ...]) -> tuple[str, ...]:
    return (one_or_more,) if isinstance(one_or_more, str) else tuple(one_or_more)


def flat(policy: Policy) -> tuple[Policy, ...]:
    """The policies of a chain, in order; a policy that is none is a chain of itself."""
    if isinstance(policy, Chain):
        return tuple(one for each in policy.policies for one in flat(each))
    return (policy,)


def heard(policy: Policy, kind: str) -> tuple[Policy, ...]:
    """Those policies of a chain that are asked about orphans of a kind: up to the first that has an answer
    for every row. Creating parents answers for dangling rows alone; others name nobody."""
    asked: list[Policy] = []
    for one in flat(policy):
        if isinstance(one, CreateParents) and kind != "dangling":
            continue
        asked.append(one)
        if not isinstance(one, (Expression, Lookup, Decisions)):
            break
    return tuple(asked)


def policy_named(name: str, default: Policy | None = None) -> Policy:
    """The policy a user names by a word; a `default` of the same kind keeps its values.

    Raises:
        UsageError: the word names no policy.
    """
    cls = _BY_NAME.get(name.strip().lower().replace("_", "-"))
    if cls is None:
        raise UsageError(f"{name!r} is no policy.", hint="One of " + ", ".join(sorted(_BY_NAME)) + ".")
    return default if isinstance(default, cls) else cls()


def policy_from_json(value: Mapping[str, Any]) -> Policy:
    """The inverse of `Policy.to_json`."""
    policy = policy_named(str(value["policy"]))
    if isinstance(policy, Backfill):
        to = value.get("to")
        return replace(
            policy, to=tuple(to) if to is not None else None, sentinel=dict(value.get("sentinel") or {})
        )
    return policy
