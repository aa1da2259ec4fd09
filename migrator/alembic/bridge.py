"""Carries an operation out inside a running Alembic migration, online or as a script."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from alembic.operations import Operations
from alembic.runtime.migration import MigrationContext

from migrator.arguments import policies_from, settings_from
from migrator.operate import operate
from migrator.operations import ReferenceOperation
from migrator.progress import LogProgress


def x_arguments(context: MigrationContext) -> Mapping[str, Any]:
    """What `-x name=value` said, in whichever environment we are."""
    environment = context.environment_context
    if environment is None:
        return {}
    found = environment.get_x_argument(as_dictionary=True)
    return {name: value for name, value in found.items() if value is not None}


def carry_out(operations: Operations, operation: ReferenceOperation) -> None:
    """Run one of the six, or print it when Alembic writes a script.

    Raises:
        MigratorError: a `CommandError` to Alembic, which prints its one line.
    """
    context = operations.migration_context
    arguments = x_arguments(context)
    options = dict(operation.options)
    policies = policies_from(
        arguments, operation.reference, options.pop("on_null", None), options.pop("on_dangling", None)
    )
    settings = settings_from(arguments, **options)
    if context.as_sql:
        from migrator.offline import write_script

        write_script(context, operation, policies, settings, arguments)
        return
    assert context.connection is not None
    bind = context.connection
    # Commits what the revision did so far; no lock of Alembic's is then in our way.
    with context.autocommit_block():
        operate(
            bind,
            operation.operation,
            operation.reference,
            policies=policies,
            settings=settings,
            progress=LogProgress(),
            heads=context.get_current_heads(),
        )
