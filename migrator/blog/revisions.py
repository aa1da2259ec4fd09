"""What the blog's four revisions share: the reference, and the sentinel author's stated values."""

from __future__ import annotations

from alembic import op

from migrator.adopt import abandon_tables, adopt_tables
from migrator.alembic.bridge import x_arguments
from migrator.blog import legacy
from migrator.policy import Backfill
from migrator.progress import LogProgress
from migrator.reference import Reference

POST_AUTHOR = Reference.parse("post.user_id -> user.id")

#: Found again by its unique column; values for columns that the `user` table lacks are left out.
DELETED_AUTHOR = Backfill(sentinel={"username": "deleted-author", "email": "deleted-author@blog.invalid"})


def adopt_blog() -> None:
    """The blog as it was audited, or the tables that are there."""
    context = op.get_context()
    if context.as_sql:
        from migrator.offline import write_adoption

        write_adoption(context, legacy.Base.metadata, POST_AUTHOR)
        return
    assert context.connection is not None
    bind = context.connection
    with context.autocommit_block():
        adopt_tables(bind, legacy.Base.metadata, POST_AUTHOR, progress=LogProgress())


def abandon_blog() -> None:
    """Drop what `adopt_blog` created, while it is empty."""
    context = op.get_context()
    if context.as_sql:
        from migrator.offline import write_abandonment

        write_abandonment(context, legacy.Base.metadata, POST_AUTHOR)
        return
    assert context.connection is not None
    bind = context.connection
    drop = str(x_arguments(context).get("drop_tables", "no")).lower() in ("1", "yes", "true", "on")
    with context.autocommit_block():
        abandon_tables(bind, legacy.Base.metadata, POST_AUTHOR, drop=drop, progress=LogProgress())
