"""The blog as it was audited, or its tables adopted where they exist."""

from __future__ import annotations

from migrator.blog.revisions import abandon_blog, adopt_blog

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create the tables, or check that those there have `user.id`, `post.id` and `post.user_id`."""
    adopt_blog()


def downgrade() -> None:
    """Drop what was created here and is empty; never what was adopted."""
    abandon_blog()
