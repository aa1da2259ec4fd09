"""What to do with each kind of orphan. Plain values: they say what, never how."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar

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
    """

    name: ClassVar[str] = "backfill"
    to: tuple[Any, ...] | None = None
    sentinel: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.to is not None and not isinstance(self.to, tuple):
            object.__setattr__(self, "to", (self.to,))

    def to_json(self) -> dict[str, Any]:
        if self.to is not None:
            return {"policy": self.name, "to": list(self.to)}
        return {"policy": self.name, "sentinel": dict(self.sentinel)}


@dataclass(frozen=True)
class Delete(Policy):
    """Remove the orphan; its whole row stays in quarantine."""

    name: ClassVar[str] = "delete"


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


_BY_NAME: dict[str, type[Policy]] = {cls.name: cls for cls in (Backfill, Delete, SetNull, Refuse, Keep)}


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
