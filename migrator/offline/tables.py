"""What a script has made of the tables so far.

Several references may have a table in common: what one of them left there, a foreign key, an index, NOT NULL,
is what the next finds.
"""

from __future__ import annotations

from dataclasses import replace

from migrator.catalog import Facts, Table
from migrator.offline import postgresql_partitions
from migrator.reference import TableName


class Tables:
    """Each table as the last operation left it."""

    def __init__(self) -> None:
        self._now: dict[TableName, Table] = {}

    def left(self, facts: Facts) -> None:
        """Remember the tables of a reference."""
        self._now |= {facts.parent.name: facts.parent, facts.child.name: facts.child}

    def seen_by(self, facts: Facts) -> Facts:
        """The facts of a reference, its tables as they are by now."""
        child = self._now.get(facts.child.name, facts.child)
        parent = self._now.get(facts.parent.name, facts.parent)
        if child is facts.child and parent is facts.parent:
            return facts
        return postgresql_partitions.seen(replace(facts, child=child, parent=parent))
