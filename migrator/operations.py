"""The six operations as Alembic knows them.

An operation is a data object with an inverse; what it does is `migrator.operate`. It works on
connections of its own: Alembic's transaction is committed before (`autocommit_block`), and nothing of
ours depends on it. Should the process die between the end of an operation and Alembic's version row, the
revision runs again and finds everything done.
"""

from __future__ import annotations

from typing import Any, ClassVar

from alembic.operations import MigrateOperation, Operations

from migrator.plan import INVERSE, Operation
from migrator.policy import Policy
from migrator.reference import Reference


class ReferenceOperation(MigrateOperation):
    """Base of the six: a reference, and what the revision states about it.

    Args:
        reference: a `Reference`, or its text.
        options: for those that sweep: `on_null`, `on_dangling`, `max_orphan_share`, `max_orphans`,
            `batch_size`.
    """

    operation: ClassVar[Operation]

    def __init__(self, reference: Reference | str, **options: Any) -> None:
        self.reference = reference if isinstance(reference, Reference) else Reference.parse(reference)
        self.options = {name: value for name, value in options.items() if value is not None}

    def reverse(self) -> ReferenceOperation:
        """The exact inverse."""
        return OPERATIONS[INVERSE[self.operation]](self.reference, **self.options)

    def to_diff_tuple(self) -> tuple[str, str]:
        """What autogenerate compares."""
        return (self.operation, str(self.reference))


class SweepOrphans(ReferenceOperation):
    """Find orphans, copy them to quarantine, apply the policy."""

    operation = "sweep"

    @classmethod
    def sweep_orphans(
        cls,
        operations: Operations,
        reference: Reference | str,
        *,
        on_null: Policy | str | None = None,
        on_dangling: Policy | str | None = None,
        max_orphan_share: float | None = None,
        max_orphans: int | None = None,
        batch_size: int | None = None,
    ) -> None:
        """See `migrator.sweep_orphans`."""
        operations.invoke(
            cls(
                reference,
                on_null=on_null,
                on_dangling=on_dangling,
                max_orphan_share=max_orphan_share,
                max_orphans=max_orphans,
                batch_size=batch_size,
            )
        )


class RestoreOrphans(ReferenceOperation):
    """Put every quarantined row back; never overwrite."""

    operation = "restore"

    @classmethod
    def restore_orphans(cls, operations: Operations, reference: Reference | str) -> None:
        """See `migrator.restore_orphans`."""
        operations.invoke(cls(reference))


class EnforceReference(ReferenceOperation):
    """New rows are checked from here on."""

    operation = "enforce"

    @classmethod
    def enforce_reference(cls, operations: Operations, reference: Reference | str) -> None:
        """See `migrator.enforce_reference`."""
        operations.invoke(cls(reference))


class ReleaseReference(ReferenceOperation):
    """A plain column again."""

    operation = "release"

    @classmethod
    def release_reference(cls, operations: Operations, reference: Reference | str) -> None:
        """See `migrator.release_reference`."""
        operations.invoke(cls(reference))


class ValidateReference(ReferenceOperation):
    """Sweep what slipped in, prove every row right, NOT NULL."""

    operation = "validate"

    @classmethod
    def validate_reference(
        cls,
        operations: Operations,
        reference: Reference | str,
        *,
        on_null: Policy | str | None = None,
        on_dangling: Policy | str | None = None,
        max_orphan_share: float | None = None,
        max_orphans: int | None = None,
        batch_size: int | None = None,
    ) -> None:
        """See `migrator.validate_reference`."""
        operations.invoke(
            cls(
                reference,
                on_null=on_null,
                on_dangling=on_dangling,
                max_orphan_share=max_orphan_share,
                max_orphans=max_orphans,
                batch_size=batch_size,
            )
        )


class UnvalidateReference(ReferenceOperation):
    """Back to enforced: nothing is claimed of old rows."""

    operation = "unvalidate"

    @classmethod
    def unvalidate_reference(cls, operations: Operations, reference: Reference | str) -> None:
        """See `migrator.unvalidate_reference`."""
        operations.invoke(cls(reference))


OPERATIONS: dict[Operation, type[ReferenceOperation]] = {
    "sweep": SweepOrphans,
    "restore": RestoreOrphans,
    "enforce": EnforceReference,
    "release": ReleaseReference,
    "validate": ValidateReference,
    "unvalidate": UnvalidateReference,
}

_WORDS = {
    SweepOrphans: "sweep_orphans",
    RestoreOrphans: "restore_orphans",
    EnforceReference: "enforce_reference",
    ReleaseReference: "release_reference",
    ValidateReference: "validate_reference",
    UnvalidateReference: "unvalidate_reference",
}


def register() -> None:
    """Give `op` the six words, and tell Alembic how each is carried out and rendered. Called once, by
    the plugin."""
    from alembic.autogenerate.render import renderers

    for cls, word in _WORDS.items():
        Operations.register_operation(word)(cls)
        Operations.implementation_for(cls)(_carry_out)
        renderers.dispatch_for(cls)(_render)


def _carry_out(operations: Operations, operation: ReferenceOperation) -> None:
    from migrator.alembic.bridge import carry_out

    carry_out(operations, operation)


def _render(autogen_context: Any, operation: ReferenceOperation) -> str:
    return f"op.{_WORDS[type(operation)]}({str(operation.reference)!r})"
