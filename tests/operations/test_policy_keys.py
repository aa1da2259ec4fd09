"""Every policy with composite, text and UUID keys, and with tables and columns of any name."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.engine import Engine

from migrator import restore_orphans, sweep_orphans
from migrator.policy import Backfill, Chain, CreateParents, Delete, Expression, Lookup, Policy
from migrator.reference import Reference, TableName
from tests.conftest import Database
from tests.operations.lifecycle import FAST, Round, in_order, prove
from tests.operations.orphan_cases import Row, fill, key, table
from tests.operations.policy_desk import decide, rows

PAIRS: list[Row] = [{"country": country, "code": code} for country in ("A", "B") for code in (1, 2)]
CITIES: list[Row] = [
    {"part": "x", "number": 1, "region": 1, "land": "A"},
    {"part": "x", "number": 2, "region": 9, "land": "A"},
    {"part": "y", "number": 1, "region": None, "land": None},
    {"part": "y", "number": 2, "region": None, "land": "B"},
    {"part": "y", "number": 3, "region": 2, "land": "C"},
]
COMPOSITE = Reference.parse("city(region, land) -> region(code, country)")


def cities(database: Database) -> None:
    """Two columns in another order than the parent's, and two in the child's key."""
    engine = database.engine
    fill(engine, table(engine, "region", key("country", sa.String(2)), key("code")), PAIRS)
    made = table(
        engine,
        "city",
        key("part", sa.String(2)),
        key("number"),
        sa.Column("region", sa.Integer),
        sa.Column("land", sa.String(2)),
    )
    fill(engine, made, CITIES)


def city_lookup(engine: Engine) -> Lookup:
    """Says where the cities of a part lie."""
    made = table(
        engine,
        "atlas",
        sa.Column("p", sa.String(2)),
        sa.Column("c", sa.String(2)),
        sa.Column("n", sa.Integer),
    )
    fill(engine, made, [{"p": "x", "c": "A", "n": 2}, {"p": "y", "c": "B", "n": 1}])
    return Lookup("atlas", {"part": "p"}, ("n", "c"))


@pytest.mark.parametrize("policy", ["backfill", "expression", "lookup", "decisions", "create", "delete"])
def test_composite_keys(database: Database, tmp_path: Path, policy: str) -> None:
    """Every policy with keys of two columns; null and partial rows are backfilled where they must be."""
    cities(database)
    engine = database.engine
    # Columns in the reference's order: region, then land.
    wanted: dict[tuple[str, int], tuple[int, str] | None] = dict.fromkeys(
        (("x", 2), ("y", 1), ("y", 2), ("y", 3)), (2, "B")
    )
    others: list[Row] = []
    null: Policy = Backfill(to=(2, "B"))
    dangling = null
    if policy == "expression":
        dangling = Chain(Expression(("number", "CASE WHEN part = 'x' THEN 'A' END")), null)
        wanted[("x", 2)] = (2, "A")
    elif policy == "lookup":
        dangling = null = city_lookup(engine)
        wanted = {("x", 2): (2, "A"), ("y", 1): (1, "B"), ("y", 2): (1, "B"), ("y", 3): (1, "B")}
    elif policy == "decisions":
        file = tmp_path / "decisions.csv"
        dangling = Chain(decide(COMPOSITE, database, file, {("x", "2"): ("1", "B")}), null)
        wanted[("x", 2)] = (1, "B")
    elif policy == "create":
        dangling = CreateParents()
        others = [{"country": "A", "code": 9}, {"country": "C", "code": 2}]
        wanted = {("y", 1): (2, "B"), ("y", 2): (2, "B")}
    elif policy == "delete":
        dangling = Delete()
        wanted |= {("x", 2): None, ("y", 3): None}
    after = []
    for row in CITIES:
        name = (str(row["part"]), int(str(row["number"])))
        to = wanted.get(name, (row["region"], row["land"]))
        after += [] if to is None else [{**row, "region": to[0], "land": to[1]}]

    def there() -> None:
        assert rows(engine, "city", "part", "number", "region", "land") == in_order(after)
        assert rows(engine, "region", "country", "code") == in_order([*PAIRS, *others])

    prove(
        database,
        lambda: restore_orphans(COMPOSITE, bind=engine, settings=FAST),
        Round(
            lambda: sweep_orphans(COMPOSITE, on_null=null, on_dangling=dangling, bind=engine, settings=FAST),
            there,
        ),
    )


UUIDS = [f"00000000-0000-4000-8000-00000000000{digit}" for digit in range(8)]
WORDS = ["a", "it's", '100% "q"', "é :x", "\\", "漢字", " ", "line\nbreak"]


def _uuid(database: Database) -> sa.types.TypeEngine[Any]:
    return sa.Uuid(as_uuid=False) if database.family in ("postgresql", "mariadb") else sa.String(36)


@pytest.mark.parametrize("kind", ["text", "uuid"])
@pytest.mark.parametrize("policy", ["backfill", "expression", "lookup", "decisions", "create", "delete"])
def test_text_and_uuid_keys(database: Database, tmp_path: Path, kind: str, policy: str) -> None:
    """Values of any type, in tables and columns of any name."""
    engine = database.engine
    type_: Callable[[], sa.types.TypeEngine[Any]] = (
        (lambda: sa.String(40)) if kind == "text" else (lambda: _uuid(database))
    )
    values = WORDS if kind == "text" else UUIDS
    child, parent, column, name = 'Order "of" 5%', "select", "User's %s :x", "id"
    parents = [{name: value} for value in values[:4]]
    children: list[Row] = [
        {name: values[0], column: values[1]},
        {name: values[1], column: values[5]},
        {name: values[2], column: None},
        {name: values[7], column: values[6]},
    ]
    fill(engine, table(engine, parent, key(name, type_())), parents)
    fill(engine, table(engine, child, key(name, type_()), sa.Column(column, type_())), children)
    reference = Reference(TableName(child), (column,), TableName(parent), (name,))
    to = Backfill(to=values[3])
    dangling: Policy = to
    null, first, second = values[3], values[3], values[3]
    more: list[Row] = []
    gone: list[str] = []
    if policy == "expression":
        dangling = Chain(
            Expression(f"(SELECT s.id FROM {_quoted(engine, parent)} s ORDER BY s.id LIMIT 1)"), to
        )
        with engine.connect() as connection:
            lowest = connection.exec_driver_sql(
                f"SELECT id FROM {_quoted(engine, parent)} ORDER BY id LIMIT 1"
            ).scalar_one()
        first = second = str(lowest)
    elif policy == "lookup":
        made = table(engine, "book", key("of", type_()), sa.Column("is", type_()))
        fill(engine, made, [{"of": values[1], "is": values[2]}])
        dangling = Chain(Lookup("book", {name: "of"}, "is"), to)
        first = values[2]
    elif policy == "decisions":
        decided: dict[tuple[str, ...], tuple[str, ...]] = {
            (values[1],): (values[0],),
            (values[7],): (values[1],),
        }
        dangling = Chain(decide(reference, database, tmp_path / "d.csv", decided), to)
        first, second = values[0], values[1]
    elif policy == "create":
        dangling = CreateParents()
        first, second = values[5], values[6]
        more = [{name: first}, {name: second}]
    elif policy == "delete":
        dangling = Delete()
        gone = [values[1], values[7]]
    now = {values[1]: first, values[2]: null, values[7]: second}
    after = [
        {**row, column: now.get(str(row[name]), row[column])} for row in children if row[name] not in gone
    ]

    def texts(found: list[Row]) -> list[Row]:
        return in_order([{n: None if v is None else str(v) for n, v in row.items()} for row in found])

    def there() -> None:
        assert texts(rows(engine, child, name, column)) == texts(after)
        assert texts(rows(engine, parent, name)) == texts([*parents, *more])

    prove(
        database,
        lambda: restore_orphans(reference, bind=engine, settings=FAST),
        Round(
            lambda: sweep_orphans(reference, on_null=to, on_dangling=dangling, bind=engine, settings=FAST),
            there,
        ),
    )


def _quoted(engine: Engine, name: str) -> str:
    return engine.dialect.identifier_preparer.quote_identifier(name).replace("%%", "%")
