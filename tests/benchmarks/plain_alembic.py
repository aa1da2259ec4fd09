"""Plain Alembic: the migration autogenerate proposes for the blog, with the DELETE it needs before it.

Run as a program: `python -m tests.benchmarks.plain_alembic URL`. Phases are told on standard error.
"""

from __future__ import annotations

import sys

import sqlalchemy as sa
from alembic.migration import MigrationContext
from alembic.operations import Operations


def main(url: str) -> None:
    """Migrate; one transaction where the database has transactional DDL."""
    engine = sa.create_engine(url)
    with engine.begin() as connection:
        op = Operations(MigrationContext.configure(connection))
        _say("delete orphans")
        quoted = engine.dialect.identifier_preparer.quote("user")
        if engine.dialect.name == "mysql":
            op.execute(f"DELETE p FROM post p LEFT JOIN {quoted} u ON u.id = p.user_id WHERE u.id IS NULL")
        else:
            op.execute(
                f"DELETE FROM post p WHERE NOT EXISTS (SELECT 1 FROM {quoted} u WHERE u.id = p.user_id)"
            )
        _say("create foreign key")
        op.create_foreign_key("fk_post_user_id_user", "post", "user", ["user_id"], ["id"])
        _say("alter column")
        op.alter_column("post", "user_id", existing_type=sa.Integer(), nullable=False)
        _say("commit")
    engine.dispose()


def _say(phase: str) -> None:
    print(f"phase: {phase}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    main(sys.argv[1])
