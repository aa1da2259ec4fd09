"""Creating the parents that dangling rows name, so that the reference becomes true."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import sqlalchemy as sa
from sqlalchemy.engine import Connection
from sqlalchemy.sql.elements import ColumnElement
from sqlalchemy.sql.expression import FromClause

from migrator import quarantine
from migrator.catalog import Facts, Table
from migrator.context import Context
from migrator.detect import missing_parents
from migrator.errors import Refused
from migrator.mirror import ACTION, CREATED, HEALED, HELD, ID, KEPT, STATE, Mirror, mirror_of, other_mirror_of
from migrator.predicate import all_null, parent_exists, table_clause
from migrator.sentinel import stated_values
from migrator.sentinel_row import insert_stated
from migrator.worklist import bound

Key = tuple[Any, ...]


@dataclass(frozen=True)
class MakeParents:
    """Insert each missing parent once, under the very key its orphans name.

    Args:
        mirror: the child's; its rows are kept there as evidence of who named the parent.
        parents: the parent's; the rows we made, so that the way back can remove them.
        values: stated values for the parent's other columns.
    """

    context: Context
    facts: Facts
    mirror: Mirror
    parents: Mirror
    values: Mapping[str, Any]
    pulls_along: ClassVar[bool] = False

    def takes(self, connection: Connection, keys: Sequence[Key], kind: str) -> list[Key]:
        """The dangling ones: NULL names nobody who could be created."""
        return list(keys) if kind == "dangling" else []

    def apply(self, connection: Connection, keys: Sequence[Key], kind: str) -> int:
        """See `repair.Repair.apply`; returns how many orphans are none any more."""
        reference, dialect = self.facts.reference, self.context.dialect
        run_id = self.context.run.id
        kept = quarantine.capture(
            connection, dialect, self.mirror, keys, run_id=run_id, kind=kind, action=KEPT
        )
        child = self.mirror.source_clause.alias("c")
        rows = dialect.key_in([child.c[column] for column in self.mirror.key], keys)
        missing = connection.execute(
            sa.select(*(child.c[column] for column in reference.columns))
            .distinct()
            .where(rows, ~parent_exists(reference, child), ~all_null(reference, child))
        ).all()
        target = table_clause(reference.parent, *reference.parent_columns, *self.values)
        for row in missing:
            named = dict(zip(reference.parent_columns, row, strict=True))
            stated = {name: _filled(value, named) for name, value in self.values.items()}
            values = {name: bound(value) for name, value in {**stated, **named}.items()}
            insert_stated(connection, dialect, sa.insert(target).values(values))
        if missing:
            self._capture(connection, [tuple(row) for row in missing], kind)
        return kept

    def vouch(self, connection: Connection, keys: Sequence[Key]) -> int:
        """Of rows that were listed and are no orphans any more, keep those as evidence whose parent was made
        for the rows of an earlier batch: they named it as well. Returns how many those are."""
        child = table_clause(self.facts.reference.child, *self.facts.reference.columns, *self.mirror.key)
        rows = child.alias("c")
        columns = [rows.c[column] for column in self.mirror.key]
        named = sa.select(*columns).where(
            self.context.dialect.key_in(columns, keys), names_ours(self.facts, rows, self.parents)
        )
        found = [tuple(row) for row in connection.execute(named)] if keys else []
        if not found:
            return 0
        return quarantine.capture(
            connection,
            self.context.dialect,
            self.mirror,
            found,
            run_id=self.context.run.id,
            kind="dangling",
            action=KEPT,
        )

    def _capture(self, connection: Connection, values: list[Key], kind: str) -> None:
        """The new rows, by the key the orphans name; their own key may be another."""
        reference, dialect = self.facts.reference, self.context.dialect
        parent = table_clause(reference.parent, *reference.parent_columns, *self.parents.key).alias("p")
        columns = [parent.c[column] for column in self.parents.key]
        found = connection.execute(
            sa.select(*columns).where(
                dialect.key_in([parent.c[column] for column in reference.parent_columns], values)
            )
        )
        keys = [tuple(row) for row in found]
        quarantine.capture(
            connection,
            dialect,
            self.parents,
            keys,
            run_id=self.context.run.id,
            kind=kind,
            action=CREATED,
        )


def _filled(value: Any, key: Mapping[str, Any]) -> Any:
    """A stated value with the parent's own key in it: `deleted-{id}`."""
    if isinstance(value, str):
        for name, part in key.items():
            value = value.replace(f"{{{name}}}", str(part))
    return value


def keyed_parent(facts: Facts) -> Table:
    """The parent as the quarantine names its rows: by the key that orphans name where it is the only one. It
    may be NULL in rows that nobody names."""
    return replace(facts.parent, primary_key=facts.parent.key or facts.reference.parent_columns)


def parents_mirror(facts: Facts) -> Mirror:
    """Where made parents are kept; made or not. In a table that refers to itself that is the child's."""
    if facts.parent.name == facts.child.name:
        return mirror_of(facts.reference, facts.child)
    return other_mirror_of(facts.reference, keyed_parent(facts))


def check_unique(connection: Connection, facts: Facts, values: Mapping[str, Any]) -> None:
    """Whether two new parents could have the same stated values.

    Raises:
        Refused: they would break a unique key.
    """
    refusal = same_values(facts, values)
    if refusal is not None and len(missing_parents(connection, facts.reference, 2)) > 1:
        raise refusal


def same_values(facts: Facts, values: Mapping[str, Any]) -> Refused | None:
    """What to say where more than one parent is to be created and they would share a unique key's values."""
    reference = facts.reference
    names = [f"{{{name}}}" for name in reference.parent_columns]
    same = {name for name, value in values.items() if not any(part in str(value) for part in names)} - set(
        reference.parent_columns
    )
    broken = next((key for key in facts.parent.unique_keys if key and set(key) <= same), None)
    if broken is None:
        return None
    column = broken[0]
    return Refused(
        f"The parents to be created in {facts.parent.name} would all have the same {', '.join(broken)}, "
        "which is unique.",
        hint=f"Put the key into it: CreateParents(values={{{column!r}: '{values[column]}-{names[0]}'}}).",
    )


def check_parents(facts: Facts, values: Mapping[str, Any]) -> dict[str, Any]:
    """The stated values the parent has columns for.

    Raises:
        Refused: a NOT NULL column has neither a default nor a stated value.
    """
    parent, reference = facts.parent, facts.reference
    stated = stated_values(parent, values)
    for column in parent.columns:
        given = (
            column.name in stated
            or column.name in reference.parent_columns
            or column.default is not None
            or column.identity
            or column.generated
        )
        if not column.nullable and not given:
            raise Refused(
                f"The parents to be created in {parent.name} need a value for {column.name}: it is NOT NULL, "
                "has no default, and none is stated.",
                hint=f"Give one with -x parent.{column.name}=<value>, in a revision "
                f"CreateParents(values={{{column.name!r}: ...}}); {{{reference.parent_columns[0]}}} in it "
                "stands for the new parent's key.",
            )
    return stated


def remove_created(
    context: Context, connection: Connection, facts: Facts, parents: Mirror, child: Mirror, ids: Sequence[int]
) -> list[int]:
    """Delete parents we made, those to which nothing refers but the orphans that named them. Part of
    the caller's transaction. Returns the mirror numbers of those gone."""
    made = parents.clause.alias("m")
    free = connection.execute(
        sa.select(made.c[ID], *(made.c[column] for column in parents.key)).where(
            made.c[ID].in_([sa.literal_column(str(number)) for number in ids]), unused(facts, made, child)
        )
    ).all()
    if not free:
        return []
    target = parents.source_clause
    keys = [tuple(row[1:]) for row in free]
    connection.execute(
        sa.delete(target).where(context.dialect.key_in([target.c[column] for column in parents.key], keys))
    )
    return [int(row[0]) for row in free]


def names_ours(facts: Facts, child: FromClause, parents: Mirror) -> ColumnElement[bool]:
    """True for the rows of the child, under an alias, that name a parent that we made."""
    made, reference = parents.clause.alias("o"), facts.reference
    pairs = zip(reference.columns, reference.parent_columns, strict=True)
    return sa.exists(
        sa.select(sa.literal_column("1"))
        .select_from(made)
        .where(
            *(made.c[theirs] == child.c[ours] for ours, theirs in pairs),
            made.c[ACTION] == sa.literal_column(f"'{CREATED}'"),
            made.c[STATE] == sa.literal_column(f"'{HELD}'"),
        )
        .correlate(child)
    )


def unused(facts: Facts, made: FromClause, child: Mirror) -> ColumnElement[bool]:
    """True for the parents we made to which nothing refers but the orphans that named them.

    Args:
        made: the mirror that has them, under an alias.
        child: the child's mirror, which knows the orphans.
    """
    reference = facts.reference
    live = table_clause(reference.child, *reference.columns, *child.key).alias("c")
    evidence = child.clause.alias("k")
    ours = sa.exists(
        sa.select(sa.literal_column("1"))
        .select_from(evidence)
        .where(
            *(evidence.c[column] == live.c[column] for column in (*child.key, *reference.columns)),
            # Or an orphan that got another parent first, and its own back as soon as that was made.
            sa.or_(
                sa.and_(
                    evidence.c[ACTION] == sa.literal_column(f"'{KEPT}'"),
                    evidence.c[STATE] == sa.literal_column(f"'{HELD}'"),
                ),
                evidence.c[STATE] == sa.literal_column(f"'{HEALED}'"),
            ),
        )
        .correlate(live)
    )
    refers = [
        made.c[theirs] == live.c[mine]
        for mine, theirs in zip(reference.columns, reference.parent_columns, strict=True)
    ]
    used = sa.exists(
        sa.select(sa.literal_column("1")).select_from(live).where(*refers, ~ours).correlate(made)
    )
    conditions = [~used]
    for fk in facts.parent.inbound:
        if fk.child.name == reference.child.name and fk.columns == reference.columns:
            continue
        other = table_clause(fk.child, *fk.columns).alias("o")
        same = [
            other.c[mine] == made.c[theirs]
            for mine, theirs in zip(fk.columns, fk.parent_columns, strict=True)
        ]
        conditions.append(
            ~sa.exists(sa.select(sa.literal_column("1")).select_from(other).where(*same).correlate(made))
        )
    return sa.and_(*conditions)
