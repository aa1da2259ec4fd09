"""What Alembic's autogenerate would not see, made visible, and our own tables made invisible.

`alembic check` then fails on a foreign key, check or not-null constraint that is there and not
validated, and on an INVALID index, and says the statement that mends it. An environment of its own opts
in with `autogenerate_plugins=["alembic.autogenerate.*", "migrator"]`; that our tables are left alone needs no
opting in.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from alembic.operations import MigrateOperation, Operations, ops

from migrator.dialects import dialect_for
from migrator.dialects.telling import Unproved
from migrator.naming import is_own_table
from migrator.reference import TableName


class ValidateConstraint(MigrateOperation):
    """Have the server look at every row of a constraint that is there and not validated, or build anew an
    index that is not valid.

    Args:
        statements: that do it, each by itself and in no transaction.
    """

    def __init__(self, found: Unproved, statements: tuple[str, ...]) -> None:
        self.found = found
        self.statements = statements

    def reverse(self) -> MigrateOperation:
        """Nothing to take back: a validated constraint needs no undoing."""
        return Nothing()

    def to_diff_tuple(self) -> tuple[str, str, str, str]:
        """What `alembic check` prints."""
        verb = "validate" if self.found.kind == "constraint" else "rebuild"
        verb = "enforce" if self.found.mend and verb == "validate" else verb
        return (f"{verb}_{self.found.kind}", self.found.what, self.found.name, "; ".join(self.statements))


class Nothing(MigrateOperation):
    """The inverse of what needs none."""

    def reverse(self) -> MigrateOperation:
        """Still nothing."""
        return Nothing()

    def to_diff_tuple(self) -> tuple[str]:
        """Its name."""
        return ("nothing",)


def compare_table(
    autogen_context: Any,
    modify_ops: Any,
    schema: str | None,
    name: str,
    conn_table: Any,
    metadata_table: Any,
) -> Any:
    """Add what is there and not proved to the differences of a table.

    Args:
        autogen_context: Alembic's, with the connection.
        modify_ops: the differences so far.
        schema, name: the table.
        conn_table, metadata_table: as reflected and as modelled; None where it is to be dropped or made.
    """
    from alembic.util import PriorityDispatchResult

    connection = autogen_context.connection
    if connection is None or conn_table is None or metadata_table is None:
        return PriorityDispatchResult.CONTINUE
    dialect = dialect_for(connection)
    table = TableName(str(name), schema)
    for found in dialect.unproved(connection, table):
        if _goes(found, modify_ops.ops) or _is_meant(found, autogen_context, conn_table, metadata_table):
            continue
        statement = f"ALTER TABLE {dialect.table_sql(table)} VALIDATE CONSTRAINT {dialect.quote(found.name)}"
        if found.kind == "index":
            statement = f"REINDEX INDEX CONCURRENTLY {dialect.quote(schema, found.name)}"
        modify_ops.ops.append(ValidateConstraint(found, found.mend or (statement,)))
    return PriorityDispatchResult.CONTINUE


def _goes(found: Unproved, others: Sequence[MigrateOperation]) -> bool:
    """Whether another difference takes it away: what is dropped need not be proved first."""
    for other in others:
        if isinstance(other, ops.DropConstraintOp) and other.constraint_name == found.name:
            return found.kind == "constraint"
        if isinstance(other, ops.DropIndexOp) and other.index_name == found.name:
            return found.kind == "index"
        if isinstance(other, ops.AlterColumnOp) and other.column_name == found.column:
            return other.modify_nullable is True
    return False


def _is_meant(found: Unproved, autogen_context: Any, conn_table: Any, metadata_table: Any) -> bool:
    """Whether the model wants it so (`postgresql_not_valid`), or the environment's filters leave it out."""
    for modelled in metadata_table.constraints:
        if modelled.name == found.name and modelled.dialect_kwargs.get("postgresql_not_valid"):
            return True
    kind, there = "foreign_key_constraint", conn_table.foreign_key_constraints
    if found.kind == "index":
        kind, there = "index", conn_table.indexes
    return any(
        one.name == found.name and not autogen_context.run_object_filters(one, one.name, kind, True, None)
        for one in there
    )


def hide_own_tables(autogen_context: Any, upgrade_ops: Any) -> Any:
    """Drop "drop table migrator_..." from the differences: the journal is nobody's model."""
    from alembic.util import PriorityDispatchResult

    def own(operation: Any) -> bool:
        return isinstance(operation, (ops.DropTableOp, ops.ModifyTableOps)) and is_own_table(
            operation.table_name
        )

    upgrade_ops.ops[:] = [operation for operation in upgrade_ops.ops if not own(operation)]
    return PriorityDispatchResult.CONTINUE


def register(plugin: Any) -> None:
    """Tell Alembic. Called once, by the plugin."""
    from alembic.autogenerate.render import renderers
    from alembic.util import DispatchPriority

    # Last: what the others drop is not ours to prove.
    plugin.add_autogenerate_comparator(compare_table, "table", "unproved", priority=DispatchPriority.LAST)
    renderers.dispatch_for(ValidateConstraint)(_render)
    renderers.dispatch_for(Nothing)(lambda *_: "pass")
    Operations.implementation_for(ValidateConstraint)(_validate)
    Operations.implementation_for(Nothing)(lambda *_: None)


def protect(plugin: Any) -> None:
    """Tell Alembic that our tables are nobody's difference. Called once, by the plugin."""
    from alembic.util import DispatchPriority

    plugin.add_autogenerate_comparator(hide_own_tables, "autogenerate", priority=DispatchPriority.LAST)


def _render(autogen_context: Any, operation: ValidateConstraint) -> list[str]:
    # Outside a transaction: REINDEX CONCURRENTLY wants it, and VALIDATE should hold its lock alone. In one
    # line each: Alembic's printer would never come back from an indented one.
    return [
        f"with op.get_context().autocommit_block(): op.execute({_as_text(statement)!r})"
        for statement in operation.statements
    ]


def _as_text(statement: str) -> str:
    """As `sqlalchemy.text` wants it: a colon before a word would be a parameter."""
    return re.sub(r"(?<!:):(?=\w)", r"\:", statement)


def _validate(operations: Operations, operation: ValidateConstraint) -> None:
    with operations.migration_context.autocommit_block():
        for statement in operation.statements:
            operations.execute(_as_text(statement))
