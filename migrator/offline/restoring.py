"""The expressions of a restore that all databases share."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy.sql.elements import ColumnElement
from sqlalchemy.sql.expression import FromClause

from migrator.catalog import Facts
from migrator.mirror import ACTION, CONFLICT, CREATED, HELD, ID, KEPT, RESTORED, STATE, Mirror
from migrator.offline.words import Words
from migrator.parents import parents_mirror, unused
from migrator.sentinel import users, without


def held(words: Words, kept: FromClause, *actions: str) -> ColumnElement[bool]:
    """True for the rows of a mirror, under an alias, that are set aside and not back.

    Args:
        actions: what was done to them; none for whatever it was.
    """
    found = kept.c[STATE].in_([words.value(HELD), words.value(CONFLICT)])
    if not actions:
        return found
    return sa.and_(found, kept.c[ACTION].in_([words.value(action) for action in actions]))


@dataclass(frozen=True)
class MadeParents:
    """The parents that we created, on the way back.

    Args:
        words, facts: the database's.
        child: the child's mirror, with those who named them.
        parents: the mirror that has them.
    """

    words: Words
    facts: Facts
    child: Mirror
    parents: Mirror

    @classmethod
    def of(cls, words: Words, facts: Facts, mirrors: Sequence[Mirror]) -> MadeParents | None:
        """Those in these mirrors; None where there can be none."""
        child = next((one for one in mirrors if one.source.name == facts.child.name.name), None)
        home = parents_mirror(facts).name
        parents = next((one for one in mirrors if one.name == home), None)
        return None if child is None or parents is None else cls(words, facts, child, parents)

    def free(self, number: str) -> str:
        """An expression: whether nothing refers to one of them but the orphans that named it.

        Args:
            number: an expression: its number in the mirror.
        """
        made = self.parents.clause.alias("m")
        one: sa.Select[Any] = sa.select(sa.literal_column("1")).select_from(made)
        query = one.where(made.c[ID] == sa.literal_column(number), unused(self.facts, made, self.child))
        return f"EXISTS ({self.words.sql(query)})"

    def there(self, made: FromClause) -> ColumnElement[bool]:
        """True for the rows of their mirror, under an alias, that are still there."""
        return held(self.words, made, CREATED)

    @property
    def stay(self) -> str:
        """An expression: how many of them are still there."""
        made = self.parents.clause.alias("m")
        return how_many(self.words, made, self.there(made))

    @property
    def served(self) -> str:
        """The evidence of who named them has served."""
        kept = self.child.clause
        query = sa.update(kept).values({kept.c[STATE]: self.words.value(RESTORED)})
        return self.words.sql(query.where(held(self.words, kept, KEPT)))


def how_many(words: Words, kept: FromClause, condition: ColumnElement[bool]) -> str:
    """An expression: how many rows of a mirror, under an alias, meet a condition."""
    return f"({words.sql(sa.select(sa.func.count()).select_from(kept).where(condition))})"


def used(words: Words, facts: Facts, key: list[str]) -> str:
    """An expression: how many rows refer to a parent, by the reference or by a declared foreign key.

    Args:
        key: expressions for the parent's key.
    """
    named: list[ColumnElement[Any]] = [sa.literal_column(each) for each in key]
    return " + ".join(f"({words.sql(query)})" for query in users(facts, named))


def delete_parent(words: Words, facts: Facts, key: list[str]) -> str:
    """Delete a parent by its key."""
    return words.sql(without(facts, [sa.literal_column(each) for each in key]))
