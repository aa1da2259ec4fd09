"""Alembic's own table in a script.

Online, Alembic creates it where it is missing. A script of its own making says CREATE TABLE, and so
fails on a database that was ever downgraded to its base, where the table stays.
"""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic.runtime.migration import MigrationContext


def only_if_missing(context: MigrationContext) -> None:
    """Let the scripts of this context create the version table IF NOT EXISTS.

    Args:
        context: Alembic's, in offline mode.
    """
    printed = context.impl._exec

    def print_(construct: Any, *arguments: Any, **options: Any) -> Any:
        if isinstance(construct, sa.schema.CreateTable) and construct.element is context._version:
            construct = sa.schema.CreateTable(construct.element, if_not_exists=True)
        return printed(construct, *arguments, **options)

    context.impl._exec = print_  # type: ignore[method-assign]
