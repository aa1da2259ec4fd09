"""The entry point through which Alembic finds our operations.

Alembic imports this module from inside its own import, half initialised. So nothing is imported at the
top, and registration happens in `setup`, when `alembic.operations` is there.
"""


def setup(plugin):  # type: ignore[no-untyped-def]  # naming its type would import Alembic
    """Register the operations and the autogenerate comparators.

    Args:
        plugin: Alembic's `Plugin`, which collects autogenerate comparators.
    """
    from migrator import autogenerate, operations, set_operations

    operations.register()
    set_operations.register()
    autogenerate.register(plugin)
    # Within the name that every environment has on unless it says otherwise: a project that never heard of us
    # must not write itself a revision that drops the quarantine.
    autogenerate.protect(type(plugin)("alembic.autogenerate.migrator"))
