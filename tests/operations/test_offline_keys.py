"""Scripts for references of every shape: reserved and awkward names, composite, text and UUID keys, a table
that refers to itself."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.engine import Engine

from migrator.fingerprint import compare
from migrator.policy import Backfill, Chain, CreateParents, Delete, Expression, Keep, Policy
from migrator.reference import Reference, TableName
from tests.conftest import Database
from tests.operations import orphan_cases as cases
from tests.operations.lifecycle import DOWN, UP, assert_same, picture, run
from tests.operations.offline_desk import quarantined, written
from tests.operations.policy_desk import decide, rows
from tests.operations.test_policy_keys import COMPOSITE, WORDS, cities, city_lookup


def _not_null(engine: Engine, *hard: str) -> cases.Case:
    """Two columns, of which some were NOT NULL before anybody came."""
    region = cases.table(engine, "region", cases.key("country", sa.String(2)), cases.key("code"))
    parents: list[cases.Row] = [{"country": "A", "code": 1}, {"country": "B", "code": 2}]
    cases.fill(engine, region, parents)
    columns: list[sa.Column[Any]] = [
        sa.Column("land", sa.String(2), nullable="land" not in hard),
        sa.Column("region", sa.Integer, nullable="region" not in hard),
    ]
    soft = None if len(hard) == 1 else 7
    children: list[cases.Row] = [
        {"id": 1, "land": "A", "region": 1},
        {"id": 2, "land": "A", "region": soft},
        {"id": 3, "land": "B", "region": 1},
        {"id": 4, "land": "B", "region": 2},
        {"id": 5, "land": "A", "region": 1},
    ]
    cases.fill(engine, cases.table(engine, "city", cases.key("id"), *columns), children)
    reference = Reference.parse("city(land, region) -> region(country, code)")
    return cases.Case(reference, ("id",), parents, children)


SHAPES: dict[str, Callable[[Engine], cases.Case]] = {
    "simple": cases.simple,
    "awkward": cases.awkward,
    "clashing": cases.clashing,
    "itself": cases.itself,
    "composite": cases.composite,
    "within": cases.within_key,
    "half": cases.half_null,
    "text": cases.text_keys,
    "uuid": cases.uuid_keys,
    "not-null": lambda engine: _not_null(engine, "land", "region"),
    "half-not-null": lambda engine: _not_null(engine, "land"),
}


def policies(case: cases.Case, *, backfill: bool) -> tuple[Policy, Policy]:
    """Delete what may not be kept, or point it at the first parent."""
    first = tuple(case.parents[0][column] for column in case.reference.parent_columns)
    repair: Policy = Backfill(to=first) if backfill else Delete()
    return (Keep() if case.reference.nullable else repair), repair


# Not "itself" with backfill: its first parent is a child as well, and may be an orphan.
@pytest.mark.parametrize(
    ("shape", "backfill"),
    [
        pytest.param(shape, backfill, id=f"{shape}-{'backfill' if backfill else 'delete'}")
        for shape in SHAPES
        for backfill in (False, True)
        if not (backfill and shape == "itself")
    ],
)
def test_a_script_does_for_every_shape_what_an_online_run_does(
    database: Database, shape: str, backfill: bool
) -> None:
    """Up as a script equals up online, and both ways back leave no trace."""
    case = SHAPES[shape](database.engine)
    before = picture(database)
    null, dangling = policies(case, backfill=backfill)
    with database.new_database() as other:
        SHAPES[shape](other.engine)
        run(other.engine, UP, case.reference, null, dangling)
        database.client(written(database, UP, case.reference, null, dangling))
        assert compare(picture(other).fingerprint, picture(database).fingerprint) == ()
        run(other.engine, DOWN, case.reference)
        assert_same(before, picture(other))
    database.client(written(database, DOWN, case.reference, null, dangling))
    assert_same(before, picture(database))


def test_values_of_every_kind_go_through_a_script(database: Database, tmp_path: Path) -> None:
    """Quotes, backslashes, line ends, blanks, letters of all sorts: as keys, in a decisions file, and as the
    keys of parents that are created."""
    engine, child, parent, column = database.engine, 'Order "of" 5%', "select", "User's %s :x"
    text = sa.String(40)
    cases.fill(
        engine, cases.table(engine, parent, cases.key("id", text)), [{"id": each} for each in WORDS[:4]]
    )
    lines: list[cases.Row] = [
        {"id": WORDS[0], column: WORDS[1]},
        {"id": WORDS[1], column: WORDS[5]},
        {"id": WORDS[2], column: None},
        {"id": WORDS[4], column: WORDS[7]},
        {"id": WORDS[7], column: WORDS[6]},
    ]
    made = cases.table(engine, child, cases.key("id", text), sa.Column(column, text))
    cases.fill(engine, made, [dict(line) for line in lines])
    reference = Reference(TableName(child), (column,), TableName(parent), ("id",))
    file = decide(reference, database, tmp_path / "decisions.csv", {(WORDS[7],): (WORDS[2],)})
    before = picture(database)
    chain = Chain(file, CreateParents())
    database.client(written(database, UP, reference, Backfill(to=WORDS[3]), chain))
    became = {**{line["id"]: line[column] for line in lines}, WORDS[2]: WORDS[3], WORDS[7]: WORDS[2]}
    assert {row["id"]: row[column] for row in rows(engine, child, "id", column)} == became
    there = {row["id"] for row in rows(engine, parent, "id")}
    assert there == {*WORDS[:4], WORDS[5], WORDS[7]}
    database.client(written(database, DOWN, reference, Keep(), Keep()))
    assert_same(before, picture(database))


@pytest.mark.parametrize("policy", ["expression", "lookup", "create"])
def test_a_script_gives_values_to_keys_of_two_columns(database: Database, policy: str) -> None:
    """In another order than the parent's, the child's own key of two columns as well."""
    chains: dict[str, Policy] = {
        "expression": Chain(
            Expression(("number", "CASE WHEN part = 'x' THEN 'A' END")), Backfill(to=(2, "B"))
        ),
        "lookup": city_lookup(database.engine),
        "create": CreateParents(),
    }
    cities(database)
    before = picture(database)
    chain = chains[policy]
    null = Backfill(to=(2, "B")) if policy == "create" else chain
    with database.new_database() as other:
        city_lookup(other.engine)
        cities(other)
        run(other.engine, UP, COMPOSITE, null, chain)
        database.client(written(database, UP, COMPOSITE, null, chain))
        assert compare(picture(other).fingerprint, picture(database).fingerprint) == ()
        assert quarantined(database, COMPOSITE) == quarantined(other, COMPOSITE) != []
    database.client(written(database, DOWN, COMPOSITE, null, chain))
    assert_same(before, picture(database))
