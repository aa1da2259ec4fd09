"""Every post has an author that exists, proved, and NOT NULL."""

from __future__ import annotations

from migrator import unvalidate_reference, validate_reference
from migrator.blog.revisions import DELETED_AUTHOR, POST_AUTHOR

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Sweep what slipped in, validate, NOT NULL, prove."""
    validate_reference(POST_AUTHOR, on_null=DELETED_AUTHOR, on_dangling=DELETED_AUTHOR)


def downgrade() -> None:
    """Back to enforced."""
    unvalidate_reference(POST_AUTHOR)
