"""Names the project keeps for itself, so that nothing of ours is taken for the user's.

Every table, sequence, routine and type of ours begins with `OWN_PREFIX`; Alembic's bookkeeping table belongs
to the tool rather than to the application and counts as ours too.
"""

from __future__ import annotations

from typing import Final

OWN_PREFIX: Final = "migrator_"
ALEMBIC_VERSION_TABLE: Final = "alembic_version"
#: How a statement of a step begins, with the step's name, where the server may go on when its client is dead.
MARKER: Final = "/* migrator:"


def is_own_table(name: str) -> bool:
    """Tell whether `name` (unqualified, as stored in the catalog) is a table or object of ours."""
    return name.startswith(OWN_PREFIX) or name == ALEMBIC_VERSION_TABLE
