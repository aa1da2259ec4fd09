"""What a migration has come to, by the catalog and a count: nobody is measured who did half of it."""

from __future__ import annotations

import sqlalchemy as sa

from migrator import detect
from migrator.blog.revisions import POST_AUTHOR
from migrator.dialects import dialect_for


def missing(url: str) -> str:
    """What of foreign key, NOT NULL and no orphan is not there; "" when all is."""
    engine = sa.create_engine(url, isolation_level="AUTOCOMMIT", poolclass=sa.NullPool)
    with engine.connect() as connection:
        facts = dialect_for(connection).facts(connection, POST_AUTHOR)
        orphans = detect.count_orphans(connection, POST_AUTHOR)
    lacks = {
        "the foreign key": facts.foreign_key is None,
        "its validation": facts.foreign_key is not None and facts.foreign_key.validated is False,
        "NOT NULL": not facts.not_null,
        f"{orphans} orphans to go": orphans > 0,
    }
    return ", ".join(what for what, is_missing in lacks.items() if is_missing)
