"""The Alembic environment of the blog: `alembic upgrade head` from a checkout.

The engine is built from the URL itself, never through ConfigParser, which trips over a `%` in a password
(alembic issue 1489). Each revision has its transaction; the operations work on connections of their own.
"""

from __future__ import annotations

from migrator.alembic.environment import run

run()
