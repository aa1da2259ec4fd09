"""A child whose reference is part of its own key: a row that is given a parent has another key then."""

from __future__ import annotations

import re

import pytest
import sqlalchemy as sa

from migrator.errors import Refused, StepFailed
from migrator.fingerprint import compare
from migrator.plan import Operation
from migrator.policy import Backfill, Expression
from migrator.predicate import table_clause
from migrator.reference import Reference
from tests.conftest import Database
from tests.operations.lifecycle import DOWN, UP, assert_same, picture, run
from tests.operations.offline_desk import written
from tests.operations.orphan_cases import Case, Row, fill, key, table, within_key
from tests.operations.policy_desk import rows
from tests.operations.reporting import run as by_hand

TOWN = ("land", "region", "number", "name")
#: In the order of the reference: region, land.
FIRST = Backfill(to=(1, "A"))


def insert(database: Database, case: Case, *towns: Row) -> None:
    """Rows of the child that were not there before."""
    town = table_clause(case.reference.child, *TOWN)
    with database.engine.begin() as connection:
        connection.execute(sa.insert(town), list(towns))


def test_a_value_of_each_rows_own(database: Database) -> None:
    """Every row gets the pair that was computed for it, and has its own again afterwards."""
    case = within_key(database.engine)
    before = picture(database)
    each = Expression(
        ("CASE WHEN region = 3 THEN 1 ELSE region END", "CASE WHEN land > 'C' THEN 'A' ELSE land END")
    )
    run(database.engine, UP, case.reference, each, each)
    became = {
        row["number"]: ("A" if row["land"] > "C" else row["land"], row["region"] if row["region"] < 3 else 1)
        for row in case.children
    }
    there = {row["number"]: (row["land"], row["region"]) for row in rows(database.engine, "town", *TOWN)}
    assert there == became
    run(database.engine, DOWN, case.reference)
    assert_same(before, picture(database))


@pytest.mark.parametrize("way", ["online", "script"])
def test_a_row_whose_parent_appears_has_its_old_key_again(database: Database, way: str) -> None:
    """The sweep gave it another parent; its own came before the reference was enforced."""
    case = within_key(database.engine)
    run(database.engine, ("sweep",), case.reference, FIRST, FIRST)
    region = table_clause(case.reference.parent, "country", "code")
    with database.engine.begin() as connection:
        connection.execute(sa.insert(region).values(country="D", code=2))
    then: tuple[Operation, ...] = ("enforce", "validate")
    if way == "online":
        run(database.engine, then, case.reference, FIRST, FIRST)
    else:
        database.client(written(database, then, case.reference, FIRST, FIRST))
    there = {row["number"]: (row["land"], row["region"]) for row in rows(database.engine, "town", *TOWN)}
    assert (there[23], there[13], there[24]) == (("D", 2), ("A", 1), ("A", 1))


TWIN: Row = {"land": "E", "region": 1, "number": 13, "name": "twin"}
#: The key of a row that is right where it is, but for the reference.
TAKEN: Row = {"land": "A", "region": 1, "number": 13, "name": "there"}


@pytest.mark.parametrize("other", [TWIN, TAKEN], ids=["two-orphans", "one-there"])
def test_a_backfill_to_a_key_of_another_row_is_refused(database: Database, other: Row) -> None:
    """Before the first change, online and by a script; the message names table, key and way out."""
    case = within_key(database.engine)
    insert(database, case, other)
    before = picture(database)
    said = r"rows of town .* its key \(land, region, number\) contains the reference"
    with pytest.raises(Refused, match=rf"{said} \(such rows have number=13\).*on_dangling=delete"):
        run(database.engine, ("sweep",), case.reference, FIRST, FIRST)
    assert_same(before, picture(database))
    script = written(database, ("sweep",), case.reference, FIRST, FIRST)
    done = database.client(script, check=False)
    assert re.search(said, done.stderr + done.stdout)
    after = picture(database)
    assert compare(before.fingerprint, after.fingerprint) == ()
    assert after.ours - before.ours <= {"routine migrator_assert"}


def test_two_rows_that_are_given_one_key(database: Database) -> None:
    """What only a batch finds out undoes it, the message names table, key and way out, and all comes back."""
    case = within_key(database.engine)
    insert(database, case, TWIN)
    before = picture(database)
    each = Expression(("1", "'A'"))
    with pytest.raises(StepFailed, match=r"town: the key \(land, region, number\) contains the ref") as said:
        run(database.engine, UP, case.reference, each, each)
    assert "alembic downgrade" in str(said.value.hint)
    run(database.engine, ("restore",), case.reference)
    assert_same(before, picture(database))


def test_the_old_key_is_taken_again(database: Database) -> None:
    """The application's row stands, the moved one stays where it is; the listing shows what is in the way."""
    case = within_key(database.engine)
    run(database.engine, ("sweep",), case.reference, FIRST, FIRST)
    insert(database, case, {"land": "D", "region": 1, "number": 13, "name": "new"})
    run(database.engine, ("restore",), case.reference)
    there = {(row["number"], row["name"]): row["land"] for row in rows(database.engine, "town", *TOWN)}
    assert (there[13, "new"], there[13, "D1"], there[14, "E1"]) == ("D", "A", "E")
    told = by_hand("quarantine", "restore", "--url", database.url, "--all", "--format", "json")
    (one,) = told.json["conflicts"]
    assert (told.code, one["conflict"], one["live"]["name"]) == (3, "key-taken", "new")


def test_a_row_that_was_swept_twice(database: Database) -> None:
    """Its second parent went too; it comes back over both keys."""
    case = within_key(database.engine)
    before = picture(database)
    run(database.engine, ("sweep",), case.reference, FIRST, FIRST)
    region = table_clause(case.reference.parent, "country", "code")
    first = sa.and_(region.c.country == "A", region.c.code == 1)
    with database.engine.begin() as connection:
        connection.execute(sa.delete(region).where(first))
    second = Backfill(to=(1, "B"))
    run(database.engine, ("enforce", "validate"), case.reference, second, second)
    assert {row["land"] for row in rows(database.engine, "town", *TOWN)} == {"A", "B", "C"}
    run(database.engine, ("unvalidate", "release"), case.reference)
    with database.engine.begin() as connection:
        connection.execute(sa.insert(region).values(country="A", code=1))
    run(database.engine, ("restore",), case.reference)
    assert_same(before, picture(database))


def test_a_reference_that_is_the_whole_key(database: Database) -> None:
    """One to one: one orphan may be given a parent that is free, online and by a script, two may not."""
    engine = database.engine
    fill(engine, table(engine, "user", key("id")), [{"id": 1}, {"id": 2}])
    profile = table(engine, "profile", key("user_id"), sa.Column("name", sa.String(9)))
    fill(engine, profile, [{"user_id": 1, "name": "Ann"}, {"user_id": 9, "name": "Bob"}])
    before = picture(database)
    reference, free = Reference.parse("profile.user_id -> user.id"), Backfill(to=(2,))
    run(engine, UP, reference, free, free)
    assert {row["user_id"]: row["name"] for row in rows(engine, "profile", "user_id", "name")} == {
        1: "Ann",
        2: "Bob",
    }
    run(engine, DOWN, reference)
    assert_same(before, picture(database))
    database.client(written(database, UP, reference, free, free))
    database.client(written(database, DOWN, reference, free, free))
    assert_same(before, picture(database))
    with engine.begin() as connection:
        connection.execute(sa.insert(profile), [{"user_id": 8, "name": "Cid"}])
    with pytest.raises(Refused, match=r"its key \(user_id\) contains the reference\. Nothing"):
        run(engine, UP, reference, free, free)
