"""Orphaned posts are set aside, copied whole to quarantine, and given the sentinel author."""

from __future__ import annotations

from migrator import restore_orphans, sweep_orphans
from migrator.blog.revisions import DELETED_AUTHOR, POST_AUTHOR

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Sweep; `-x on_null=` and `-x on_dangling=` choose another policy."""
    sweep_orphans(POST_AUTHOR, on_null=DELETED_AUTHOR, on_dangling=DELETED_AUTHOR)


def downgrade() -> None:
    """Every row back."""
    restore_orphans(POST_AUTHOR)
