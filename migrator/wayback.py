"""What on the way back is not ours to drop, and keeps rows from coming back."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy.engine import Connection

from migrator import quarantine
from migrator.catalog import Facts
from migrator.dialects import Dialect
from migrator.errors import Refused
from migrator.mirror import Mirror, mirror_name


def no_other_name(facts: Facts, dialect: Dialect, ours: frozenset[str]) -> None:
    """Look for our key renamed since (pt-online-schema-change does that), or an equal one beside it or in its
    place: a release would leave it, and with it every orphan in quarantine.

    Args:
        ours: the steps that changed something, by the journal.

    Raises:
        Refused: there is one.
    """
    child, name = facts.child.name, facts.reference.name
    if "add-foreign-key" not in ours or not dialect.drops_key_by_name:
        return
    for other in (key.name for key in facts.foreign_keys if key.name not in (None, name)):
        drop = f"ALTER TABLE {dialect.table_sql(child)} DROP CONSTRAINT {dialect.quote(other)}"
        raise Refused(
            f"{child} has the foreign key {other} for {facts.reference}; what this migration added "
            f"is {name}. While it stands no orphan can come back. Nothing was changed.",
            hint=f"If it is to go (it may be that one, renamed): {drop}; then run this again.",
        )


def same_table(facts: Facts, mirrors: Sequence[Mirror]) -> None:
    """Look whether the child is the table that the upgrade was about: a search_path may find another now.

    Raises:
        Refused: it is not.
    """
    child, name = facts.child.name, mirror_name(facts.reference, facts.child.name)
    for mirror in mirrors:
        there = mirror.source
        if mirror.name == name and None not in (child.schema, there.schema) and there != child:
            raise Refused(
                f"{facts.reference} is {child} here; the upgrade was run on {there}. Nothing was changed.",
                hint=f"Run this with the search_path of the upgrade, which finds {there}.",
            )


def nothing_in_the_way(
    connection: Connection, facts: Facts, dialect: Dialect, mirrors: Sequence[Mirror]
) -> None:
    """Look for a constraint that was there before us, or came since, and that the rows in quarantine break:
    a NOT VALID foreign key or check lets old rows stand and refuses them when they come back.

    Raises:
        Refused: there is one; the hint has the statements that drop it and put it back.
    """
    kinds, nulls = frozenset[str](), frozenset[str]()
    for mirror in mirrors:
        if mirror.source.name == facts.child.name.name:
            kinds |= quarantine.held_kinds(connection, mirror)
            nulls |= quarantine.held_nulls(connection, mirror, facts.reference.columns)
    for one in dialect.in_the_way(facts, kinds, nulls):
        raise Refused(
            f"{facts.child.name} has {one.what} {one.name}, which is not ours to drop: while it stands, "
            "rows in quarantine cannot come back. Nothing was changed.",
            hint=f"{one.drop}; then run this again; then put it back: {one.again};",
        )
