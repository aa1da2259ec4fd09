"""Carries an operation out inside a running Alembic migration, online or as a script."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from alembic.operations import Operations
from alembic.runtime.migration import MigrationContext

from migrator.arguments import check_near_names, policies_from, settings_from
from migrator.operate import Policies, operate
from migrator.operations import ReferenceOperation
from migrator.progress import telling
from migrator.reference import Reference
from migrator.set_operations import SetOperation, SweepSet
from migrator.sets import restore_together, sweep_together


def x_arguments(context: MigrationContext) -> Mapping[str, Any]:
    """What `-x name=value` said, in whichever environment we are.

    Raises:
        UsageError: a name is nearly one of ours: `on_nul=delete` must not end in the default.
    """
    environment = context.environment_context
    if environment is None:
        return {}
    found = environment.get_x_argument(as_dictionary=True)
    check_near_names(found)
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
    with context.autocommit_block(), telling(settings.log) as progress:
        operate(
            bind,
            operation.operation,
            operation.reference,
            policies=policies,
            settings=settings,
            progress=progress,
            heads=context.get_current_heads(),
        )


def carry_out_set(operations: Operations, operation: SetOperation) -> None:
    """Run one of the two that take several references, or print it when Alembic writes a script.

    Raises:
        MigratorError: a `CommandError` to Alembic, which prints its one line.
    """
    context = operations.migration_context
    arguments = x_arguments(context)
    options = dict(operation.options)
    null, dangling = options.pop("on_null", None), options.pop("on_dangling", None)
    settings = settings_from(arguments, **options)

    def policies(reference: Reference) -> Policies:
        own = operation.policies.get(str(reference))
        on_null, on_dangling = (own.on_null, own.on_dangling) if own else (null, dangling)
        return policies_from(arguments, reference, on_null, on_dangling)

    if context.as_sql:
        from migrator.offline import write_restore_set, write_sweep_set

        write = write_sweep_set if isinstance(operation, SweepSet) else write_restore_set
        write(context, operation, policies, settings, arguments)
        return
    assert context.connection is not None
    bind, heads = context.connection, context.get_current_heads()
    references = operation.references
    with context.autocommit_block(), telling(settings.log) as progress:
        if isinstance(operation, SweepSet):
            sweep_together(references, policies, bind=bind, settings=settings, progress=progress, heads=heads)
        else:
            restore_together(references, bind=bind, settings=settings, progress=progress, heads=heads)
