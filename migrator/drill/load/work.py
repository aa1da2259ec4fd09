"""What an application does with the two tables of a reference, without knowing what they are for.

A new row is one that is there once more, with keys of its own: numbered by the table where it numbers its
rows, else made up. It refers to a parent that was there before the migration began, so that nothing it
writes is wrong but where that is meant: a child without a parent, as the previous release wrote them.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from migrator.catalog import Facts, Table
from migrator.codec import dump_key
from migrator.dialects import Dialect
from migrator.predicate import table_clause
from migrator.typefamily import family
from migrator.verify.another import send
from migrator.verify.madeup import bound, fresh

#: How many rows at either end of a table, and in between, the writers choose among.
_ENDS: Final = 500
_BETWEEN: Final = 200

Key = tuple[Any, ...]


@dataclass(frozen=True)
class Action:
    """One kind of transaction.

    Args:
        weight: how often, beside the others.
        name: what it does.
        do: does it, inside a transaction.
        wrong: whether the reference is there to refuse it.
    """

    weight: int
    name: str
    do: Callable[[], None]
    wrong: bool = False


@dataclass(frozen=True)
class Row:
    """A row that was written: of the child or the parent of which reference, its key as `codec` writes it."""

    reference: int
    child: bool
    columns: tuple[str, ...]
    key: str


class Work:
    """The transactions on one reference.

    Args:
        connection: in autocommit mode.
        dialect: for it.
        facts: of the reference, from before the migration.
        place: the reference's number.
        chance: picks rows.
        harmless: nothing may be changed: reads, and updates of rows to themselves.
    """

    def __init__(
        self,
        connection: Connection,
        dialect: Dialect,
        facts: Facts,
        place: int,
        chance: random.Random,
        *,
        harmless: bool,
    ) -> None:
        self._connection = connection
        self._dialect = dialect
        self._facts = facts
        self._place = place
        self._chance = chance
        self._harmless = harmless
        self._children = _pool(connection, facts.child, facts.child.key)
        self._parents = _pool(connection, facts.parent, facts.parent.key)
        self._targets = _pool(connection, facts.parent, facts.reference.parent_columns)
        self._open: list[Row] = []
        self.written: list[Row] = []
        self.label = str(facts.child.name)

    def begin(self) -> None:
        """Forget what a transaction that was rolled back had written."""
        self._open = []

    def commit(self) -> None:
        """Remember what it wrote."""
        self.written += self._open

    def actions(self) -> Iterator[Action]:
        """What can be done to these tables."""
        reference, child = self._facts.reference, self._facts.child
        if self._children:
            yield Action(30, "read", self._read)
            if self._plain:
                yield Action(20, "update", self._update)
                yield Action(10, "update twice", self._update_twice)
        if self._harmless or not (self._children and self._targets and self._parents):
            return
        if _writable(child, reference.columns, self._connection):
            yield Action(20, "insert", self._insert)
            if not reference.nullable and all(child.column(name).nullable for name in reference.columns):
                yield Action(3, "insert without a parent", self._insert_null, wrong=True)
            if _writable(self._facts.parent, (), self._connection):
                yield Action(10, "insert parent, then child", self._insert_both)

    # -- transactions --------------------------------------------------------------------------------
    @property
    def _plain(self) -> list[str]:
        """A column of the child that is no key of any kind."""
        child = self._facts.child
        keys = {name for key in (child.key, *child.unique_keys) for name in key}
        keys |= {name for key in child.foreign_keys for name in key.columns} | set(
            self._facts.reference.columns
        )
        return [column.name for column in child.stored_columns if column.name not in keys][:1]

    def _read(self) -> None:
        """A row of the child's."""
        child = self._facts.child
        clause = table_clause(child.name, *child.key, *self._facts.reference.columns)
        self._connection.execute(
            sa.select(clause).where(*_same(clause, child.key, self._some(self._children)))
        ).all()

    def _update(self) -> None:
        """A row as it is, written once more."""
        self._set(self._some(self._children))

    def _update_twice(self) -> None:
        """As an ORM does that flushes twice."""
        key = self._some(self._children)
        self._set(key)
        self._set(key)

    def _set(self, key: Key) -> None:
        child = self._facts.child
        clause = table_clause(child.name, *child.key, *self._plain)
        if child.triggers:  # they might change the row, and nobody could say then who had
            query = sa.select(clause).where(*_same(clause, child.key, key))
            self._connection.execute(self._dialect.for_update(query)).all()
            return
        itself = {clause.c[name]: clause.c[name] for name in self._plain}
        send(
            self._connection,
            self._dialect,
            sa.update(clause).where(*_same(clause, child.key, key)).values(itself),
        )

    def _insert(self) -> None:
        """A child of a parent that is there."""
        self._add(True, dict(zip(self._facts.reference.columns, self._some(self._targets), strict=True)))

    def _insert_null(self) -> None:
        """A child without a parent."""
        self._add(True, dict.fromkeys(self._facts.reference.columns))

    def _insert_both(self) -> None:
        """A parent, and its first child."""
        reference, parent = self._facts.reference, self._facts.parent
        key = self._add(False, {})
        clause = table_clause(parent.name, *parent.key, *reference.parent_columns)
        names = [clause.c[name] for name in reference.parent_columns]
        row = self._connection.execute(sa.select(*names).where(*_same(clause, parent.key, key))).one()
        self._add(True, dict(zip(reference.columns, row, strict=True)))

    def _add(self, child: bool, stated: Mapping[str, Any]) -> Key:
        """A row like another one; returns its key."""
        table = self._facts.child if child else self._facts.parent
        like = self._some(self._children if child else self._parents)
        key = _insert(self._connection, self._dialect, table, like, stated)
        self._open.append(Row(self._place, child, table.key, dump_key(key)))
        return key

    def _some(self, pool: Sequence[Key]) -> Key:
        return self._chance.choice(pool)


def _insert(
    connection: Connection, dialect: Dialect, table: Table, like: Key, stated: Mapping[str, Any]
) -> Key:
    """Write an existing row once more, with keys of its own; returns its key."""
    numbered = [column.name for column in table.columns if column.identity and column.name not in stated]
    new = {**stated, **_made_up(connection, table, {*stated, *numbered})}
    columns = [column.name for column in table.stored_columns if column.name not in numbered]
    target = table_clause(table.name, *columns, *numbered)
    source = table_clause(table.name, *columns, *table.key).alias("c")
    row = sa.select(*(bound(new[name]) if name in new else source.c[name] for name in columns))
    insert = sa.insert(target).from_select(
        [target.c[name] for name in columns],
        row.select_from(source).where(*_same(source, table.key, like)),
    )
    if numbered and dialect.family == "postgresql":
        insert = insert.returning(*(target.c[name] for name in numbered))
    compiled = insert.compile(dialect=connection.dialect)
    values: Any = compiled.construct_params()
    if compiled.positional:
        values = tuple(values[name] for name in compiled.positiontup or ())
    result = connection.exec_driver_sql(str(compiled), values)
    given = dict[str, Any]()
    if numbered:
        found = result.one() if dialect.family == "postgresql" else (result.lastrowid,)
        given = dict(zip(numbered, found, strict=True))
    return tuple(given.get(name, new.get(name)) for name in table.key)


def _made_up(connection: Connection, table: Table, known: set[str]) -> dict[str, Any]:
    """A value nobody has for one column of each unique key none of whose columns is new already."""
    made = dict[str, Any]()
    foreign = {column for other in table.foreign_keys for column in other.columns}
    for key in (table.primary_key, *table.unique_keys):
        if not key or set(key) & {*made, *known}:
            continue
        for name in sorted(key, key=lambda name: name in foreign):
            column = table.column(name)
            value = next(fresh(connection, table.name, column), None) if column.generated is None else None
            if value is not None:
                made[name] = value
                break
    return made


def _writable(table: Table, stated: Sequence[str], connection: Connection) -> bool:
    """Whether a new row's key is one column that the table gives or that we can make up or state."""
    if len(table.key) != 1 or table.kind not in ("table", "partitioned", "unlogged"):
        return False
    column = table.column(table.key[0])
    if column.name in stated:
        return False
    return column.identity is not None or next(fresh(connection, table.name, column), None) is not None


def _pool(connection: Connection, table: Table, key: Sequence[str]) -> list[Key]:
    """Keys at either end of a table, and, of numbers, some in between."""
    if not key:
        return []
    clause = table_clause(table.name, *key)
    names = [clause.c[name] for name in key]
    there = sa.select(*names).where(*(name.is_not(None) for name in names))
    found: dict[Key, None] = {}
    for order in ([name.asc() for name in names], [name.desc() for name in names]):
        found.update((tuple(row), None) for row in connection.execute(there.order_by(*order).limit(_ENDS)))
    if len(key) == 1 and len(found) > _ENDS and family(table.column(key[0])) == "integer":
        chance = random.Random(0)
        low, high = min(one[0] for one in found), max(one[0] for one in found)
        for _ in range(_BETWEEN):
            past = names[0] >= bound(chance.randint(low, high))
            row = connection.execute(there.where(past).order_by(names[0]).limit(1)).first()
            if row is not None:
                found[tuple(row)] = None
    return list(found)


def _same(clause: Any, key: Sequence[str], values: Key) -> Iterator[sa.ColumnElement[bool]]:
    return (clause.c[name] == bound(value) for name, value in zip(key, values, strict=True))
