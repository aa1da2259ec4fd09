"""Small databases made at random: a child, its parent, what refers to the child, and what is to be done."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import sqlalchemy as sa
from hypothesis import strategies as st
from sqlalchemy.engine import Engine

from migrator.policy import Backfill, Chain, CreateParents, Delete, Lookup, Policy, SetNull
from migrator.reference import Reference, TableName
from tests.operations.orphan_cases import table

Key = tuple[Any, ...]
Row = dict[str, Any]

WORDS = ["a", "A", "it's", "100% %s", "é", "\\", "漢字", " b"]
ACTIONS = ["CASCADE", "SET NULL", "NO ACTION", "RESTRICT"]
NOTES = ["n0", "n1", "n2", "n3"]
#: What the child, its parent and the lookup are called.
CHILD, PARENT, BOOK = "child", "parent", "book"


@dataclass(frozen=True)
class Declared:
    """A declared foreign key to the child's key, or to that of another table."""

    columns: tuple[str, ...]
    parent: str
    action: str


@dataclass
class Table:
    """A table with its rows.

    Args:
        kinds: of the key's columns: `int` or `text`.
        primary: whether the key is a primary key; else a unique index of NOT NULL columns.
        others: further columns and their kinds, references included; all may be NULL.
    """

    name: str
    key: tuple[str, ...]
    kinds: tuple[str, ...]
    primary: bool = True
    others: dict[str, str] = field(default_factory=dict)
    declared: list[Declared] = field(default_factory=list)
    rows: list[Row] = field(default_factory=list)

    @property
    def columns(self) -> tuple[str, ...]:
        """All of them."""
        return (*self.key, *self.others)

    def key_of(self, row: Row) -> Key:
        """What names a row."""
        return tuple(row[column] for column in self.key)


@dataclass
class World:
    """A database, a reference and the policies for it.

    Args:
        tables: by name; the parent before the child, dependants last.
        logged: whether triggers write down every change of the child (SQLite).
    """

    tables: dict[str, Table]
    reference: Reference
    on_null: Policy
    on_dangling: Policy
    answers: dict[str, Key]
    logged: bool = False

    @property
    def child(self) -> Table:
        """The child."""
        return self.tables[CHILD]

    @property
    def parent(self) -> Table:
        """The parent, which may be the child."""
        return self.tables[self.reference.parent.name]


def keys(kinds: Sequence[str]) -> list[Key]:
    """All the keys there may be."""
    if tuple(kinds) == ("int",):
        return [(number,) for number in range(1, 13)]
    if tuple(kinds) == ("text",):
        return [(word,) for word in WORDS]
    return [(word, number) for word in WORDS[:4] for number in (1, 2, 3)]


KINDS = st.sampled_from([("int",), ("int",), ("text",), ("text", "int")])


@st.composite
def worlds(draw: st.DrawFn) -> World:
    """One of them."""
    to_itself = draw(st.integers(0, 3)) == 0
    kinds = draw(KINDS)
    child_kinds = kinds if to_itself else draw(KINDS)
    child = Table(CHILD, _names("k", child_kinds), child_kinds, primary=draw(st.booleans()))
    columns = _names("r", kinds)
    child.others = {**dict(zip(columns, kinds, strict=True)), "note": "text"}
    parent = child
    if not to_itself:
        parent = Table(PARENT, _names("p", kinds), kinds, others={"note": "text"})
        there = draw(st.lists(st.sampled_from(keys(kinds)), min_size=1, unique=True))
        parent.rows = [{**dict(zip(parent.key, key, strict=True)), "note": "there"} for key in there]
    _fill_child(draw, child, columns, kinds, to_itself=to_itself)
    dependants = _dependants(draw, child)
    made = [child] if to_itself else [parent, child]
    reference = Reference(
        TableName(CHILD),
        columns,
        TableName(parent.name),
        parent.key,
        nullable=draw(st.booleans()),
        index=False,
    )
    answers = {}
    if not to_itself:
        there = [parent.key_of(row) for row in parent.rows]
        answers = draw(st.dictionaries(st.sampled_from(NOTES), st.sampled_from(there), max_size=3))
    to = child.key_of(child.rows[0]) if to_itself else draw(st.sampled_from(there))
    return World(
        {each.name: each for each in (*made, *dependants)},
        reference,
        draw(_policies(to, columns, nullable=False, chained=not to_itself, creates=False)),
        draw(
            _policies(to, columns, nullable=reference.nullable, chained=not to_itself, creates=not to_itself)
        ),
        answers,
        logged=draw(st.booleans()),
    )


def _names(letter: str, kinds: Sequence[str]) -> tuple[str, ...]:
    return tuple(f"{letter}{at}" for at in range(len(kinds)))


def _fill_child(
    draw: st.DrawFn, child: Table, columns: tuple[str, ...], kinds: Sequence[str], *, to_itself: bool
) -> None:
    values = st.one_of(
        st.sampled_from(keys(kinds)),
        st.tuples(*(st.sampled_from([None, key]) for key in keys(kinds)[-1])),
    )
    for key in draw(st.lists(st.sampled_from(keys(child.kinds)), min_size=1, max_size=10, unique=True)):
        # The first row of a child that is its own parent refers to itself: it is never an orphan.
        value = key if to_itself and not child.rows else draw(values)
        row = dict(zip((*child.key, *columns), (*key, *value), strict=True))
        child.rows.append({**row, "note": draw(st.sampled_from([*NOTES, None]))})
    if draw(st.booleans()):
        _declare(draw, child, child, "u", first=1 if to_itself else 0)


def _dependants(draw: st.DrawFn, child: Table) -> list[Table]:
    found: list[Table] = []
    for at in range(draw(st.integers(0, 3))):
        made = Table(f"d{at}", ("id",), ("int",), others={})
        made.rows = [{"id": number} for number in range(1, draw(st.integers(1, 6)) + 1)]
        for letter in "fg"[: draw(st.integers(1, 2))]:
            _declare(draw, made, draw(st.sampled_from([child, child, *found, made])), letter)
        found.append(made)
    return found


def _declare(draw: st.DrawFn, table: Table, parent: Table, letter: str, first: int = 0) -> None:
    """Give a table a foreign key, and its rows from `first` on something to refer to."""
    columns = tuple(f"{letter}{at}" for at in range(len(parent.key)))
    table.others.update(zip(columns, parent.kinds, strict=True))
    table.declared.append(Declared(columns, parent.name, draw(st.sampled_from(ACTIONS))))
    there = [parent.key_of(row) for row in parent.rows]
    nothing = (None,) * len(columns)
    for at, row in enumerate(table.rows):
        value = draw(st.sampled_from([nothing, *there])) if at >= first else nothing
        row.update(zip(columns, value, strict=True))


def _policies(
    to: Key, columns: tuple[str, ...], *, nullable: bool, chained: bool, creates: bool
) -> st.SearchStrategy[Policy]:
    words = st.sampled_from(["quarantine", "delete", "refuse"])
    plain: list[st.SearchStrategy[Policy]] = [st.just(Backfill(to=to)), words.map(_delete)]
    if nullable:
        plain.append(st.just(SetNull()))
    if creates:
        plain.append(st.just(CreateParents({"note": "made"})))
    last = st.one_of(plain)
    lookup = Lookup(BOOK, {"note": "of"}, tuple(f"v{at}" for at in range(len(columns))))
    return st.one_of(last, last.map(lambda policy: Chain(lookup, policy))) if chained else last


def _delete(word: str) -> Policy:
    return Delete(dependants=word)  # type: ignore[arg-type]  # one of the three


# -- in a database ---------------------------------------------------------------------------------
def create(engine: Engine, world: World) -> None:
    """Make the tables and fill them: rows first, then what they refer to."""
    metadata = [_made(engine, world, each) for each in world.tables.values()]
    with engine.begin() as connection:
        for made in metadata:
            made.create(connection)
        for each, made in zip(world.tables.values(), metadata, strict=True):
            _insert(connection, each, made)
        for each, made in zip(world.tables.values(), metadata, strict=True):
            _refer(connection, each, made)
        if world.parent is not world.child:
            _write_book(connection, engine, world)
        if world.logged and engine.dialect.name == "sqlite":
            connection.exec_driver_sql("CREATE TABLE log (what TEXT)")
            for verb in ("INSERT", "UPDATE", "DELETE"):
                connection.exec_driver_sql(
                    f"CREATE TRIGGER log_{verb} AFTER {verb} ON {CHILD} "
                    f"BEGIN INSERT INTO log VALUES ('{verb}'); END"
                )


def _type(kind: str) -> sa.types.TypeEngine[Any]:
    return sa.Integer() if kind == "int" else sa.String(20)


def _made(engine: Engine, world: World, each: Table) -> sa.Table:
    columns: list[Any] = [
        sa.Column(name, _type(kind), primary_key=each.primary, autoincrement=False, nullable=False)
        for name, kind in zip(each.key, each.kinds, strict=True)
    ]
    columns += [sa.Column(name, _type(kind)) for name, kind in each.others.items()]
    if not each.primary:
        columns.append(sa.UniqueConstraint(*each.key, name=f"uq_{each.name}"))
    made = table(engine, each.name, *columns)
    for at, key in enumerate(each.declared):
        parent = world.tables[key.parent]
        if parent is not each:  # SQLAlchemy looks the parent up
            _stub(made.metadata, parent)
        targets = [f"{parent.name}.{column}" for column in parent.key]
        made.append_constraint(
            sa.ForeignKeyConstraint(key.columns, targets, name=f"fk_{each.name}_{at}", ondelete=key.action)
        )
    return made


def _stub(metadata: sa.MetaData, parent: Table) -> None:
    if parent.name not in metadata.tables:
        columns = zip(parent.key, parent.kinds, strict=True)
        sa.Table(parent.name, metadata, *(sa.Column(name, _type(kind)) for name, kind in columns))


def _insert(connection: sa.Connection, each: Table, made: sa.Table) -> None:
    referring = {column for key in each.declared for column in key.columns}
    for row in each.rows:
        values = {made.c[name]: value for name, value in row.items() if name not in referring}
        connection.execute(sa.insert(made).values(values))


def _refer(connection: sa.Connection, each: Table, made: sa.Table) -> None:
    for row in each.rows:
        for key in each.declared:
            same = (made.c[name] == row[name] for name in each.key)
            values = {made.c[name]: row[name] for name in key.columns}
            connection.execute(sa.update(made).where(*same).values(values))


def _write_book(connection: sa.Connection, engine: Engine, world: World) -> None:
    kinds = [world.child.others[column] for column in world.reference.columns]
    columns = [sa.Column(f"v{at}", _type(kind)) for at, kind in enumerate(kinds)]
    made = table(engine, BOOK, sa.Column("of", sa.String(20)), *columns)
    made.create(connection)
    for note, key in world.answers.items():
        values = {"of": note, **{f"v{at}": part for at, part in enumerate(key)}}
        connection.execute(sa.insert(made).values({made.c[name]: value for name, value in values.items()}))


def read(engine: Engine, world: World) -> dict[str, dict[Key, Row]]:
    """All rows there are, by table and key."""
    found: dict[str, dict[Key, Row]] = {}
    with engine.connect() as connection:
        for each in world.tables.values():
            clause = sa.table(each.name, *(sa.column(name) for name in each.columns))
            rows = [dict(row._mapping) for row in connection.execute(sa.select(clause))]
            found[each.name] = {each.key_of(row): row for row in rows}
    return found


def given(world: World) -> dict[str, dict[Key, Row]]:
    """All rows there are to be, before anything was done."""
    return {
        each.name: {each.key_of(row): {name: row.get(name) for name in each.columns} for row in each.rows}
        for each in world.tables.values()
    }


def edges(world: World) -> Iterator[tuple[Table, Declared]]:
    """All declared foreign keys, with the table they are of."""
    for each in world.tables.values():
        for key in each.declared:
            yield each, key
