"""`op.sweep_set` and `op.restore_set`: several references swept as one set, and its inverse, as Alembic knows
them. What they do is `migrator.sets`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from alembic.operations import MigrateOperation, Operations

from migrator.errors import UsageError
from migrator.operate import Policies
from migrator.policy import Policy
from migrator.reference import Reference
from migrator.sets import in_order


class SetOperation(MigrateOperation):
    """Base of the two: the references, and what the revision states about them.

    Args:
        references: in any order, each a `Reference` or its text.
        policies: by the text of a reference: what to do with its orphans, where that is something else.
        options: `on_null`, `on_dangling`, `max_orphan_share`, `max_orphans`, `batch_size`, for all of them.

    Raises:
        UsageError: there is no reference, or a policy is for one that is not there.
    """

    def __init__(
        self,
        references: Sequence[Reference | str],
        policies: Mapping[str, Policies] | None = None,
        **options: Any,
    ) -> None:
        self.references = in_order(parsed(references))
        self.policies = stated(self.references, policies or {})
        self.options = {name: value for name, value in options.items() if value is not None}

    def reverse(self) -> SetOperation:
        """The exact inverse."""
        other = RestoreSet if isinstance(self, SweepSet) else SweepSet
        return other(self.references, self.policies, **self.options)

    def to_diff_tuple(self) -> tuple[str, ...]:
        """What autogenerate compares."""
        return (_WORDS[type(self)], *map(str, self.references))


class SweepSet(SetOperation):
    """Sweep each, and again until none has an orphan."""

    @classmethod
    def sweep_set(
        cls,
        operations: Operations,
        references: Sequence[Reference | str],
        *,
        on_null: Policy | str | None = None,
        on_dangling: Policy | str | None = None,
        policies: Mapping[str, Policies] | None = None,
        max_orphan_share: float | None = None,
        max_orphans: int | None = None,
        batch_size: int | None = None,
    ) -> None:
        """See `migrator.sweep_set`."""
        operations.invoke(
            cls(
                references,
                policies,
                on_null=on_null,
                on_dangling=on_dangling,
                max_orphan_share=max_orphan_share,
                max_orphans=max_orphans,
                batch_size=batch_size,
            )
        )


class RestoreSet(SetOperation):
    """Put every quarantined row of all of them back; never overwrite."""

    @classmethod
    def restore_set(cls, operations: Operations, references: Sequence[Reference | str]) -> None:
        """See `migrator.restore_set`."""
        operations.invoke(cls(references))


_WORDS: dict[type[SetOperation], str] = {SweepSet: "sweep_set", RestoreSet: "restore_set"}


def parsed(references: Sequence[Reference | str]) -> list[Reference]:
    """The references, each once; a single one is a set too."""
    each = [references] if isinstance(references, str | Reference) else references
    found = [one if isinstance(one, Reference) else Reference.parse(one) for one in each]
    return list({str(reference): reference for reference in found}.values())


def stated(references: Sequence[Reference], policies: Mapping[str, Policies]) -> dict[str, Policies]:
    """The policies by the references' own texts.

    Raises:
        UsageError: one is for a reference that is not in the set.
    """
    found = {str(Reference.parse(text)): chosen for text, chosen in policies.items()}
    unknown = found.keys() - set(map(str, references))
    if unknown:
        raise UsageError(
            f"Policies are stated for {', '.join(sorted(unknown))}, which is not in the set.",
            hint=f"The set is: {', '.join(map(str, references))}.",
        )
    return found


def register() -> None:
    """Give `op` the two words, and tell Alembic how each is carried out and rendered."""
    from alembic.autogenerate.render import renderers

    for cls, word in _WORDS.items():
        Operations.register_operation(word)(cls)
        Operations.implementation_for(cls)(_carry_out)
        renderers.dispatch_for(cls)(_render)


def _carry_out(operations: Operations, operation: SetOperation) -> None:
    from migrator.alembic.bridge import carry_out_set

    carry_out_set(operations, operation)


def _render(autogen_context: Any, operation: SetOperation) -> str:
    return f"op.{_WORDS[type(operation)]}({[str(reference) for reference in operation.references]!r})"
