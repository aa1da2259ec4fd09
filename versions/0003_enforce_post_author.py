"""New posts need an author that exists; old rows are not looked at yet."""

from __future__ import annotations

from migrator import enforce_reference, release_reference
from migrator.blog.revisions import POST_AUTHOR

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """The foreign key, not validated, and the guard against new NULLs."""
    enforce_reference(POST_AUTHOR)


def downgrade() -> None:
    """A plain column again."""
    release_reference(POST_AUTHOR)
