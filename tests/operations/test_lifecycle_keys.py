"""Sweep, enforce, validate, and back, for every kind of key and name, judged by a brute-force oracle."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import replace

import pytest
import sqlalchemy as sa
from sqlalchemy.engine import Engine

from migrator.dialects import dialect_of
from migrator.policy import Backfill, Delete, Policy, SetNull
from migrator.reference import Reference
from tests.conftest import Database
from tests.operations import orphan_cases
from tests.operations.lifecycle import (
    DELETE,
    DOWN,
    KEEP,
    UP,
    Fate,
    Round,
    becomes,
    expected_rows,
    prove,
    rows_of,
    run,
)
from tests.operations.orphan_cases import Case, fill, key, table

Make = Callable[[Engine], Case]
Choice = tuple[Policy | None, Fate]


def round_of(database: Database, case: Case, null: Choice, dangling: Choice) -> Round:
    """Three operations with these policies; afterwards the rows are the oracle's, and proved right."""
    wanted = expected_rows(case, null[1], dangling[1])

    def there() -> None:
        assert rows_of(database.engine, case.reference, *case.children[0]) == wanted
        with database.engine.connect() as connection:
            facts = dialect_of(connection.dialect).facts(connection, case.reference)
        assert facts.foreign_key is not None
        assert facts.not_null is not case.reference.nullable

    return Round(lambda: run(database.engine, UP, case.reference, null[0], dangling[0]), there)


@pytest.mark.parametrize("make", [*orphan_cases.CASES, orphan_cases.within_key, orphan_cases.half_null])
def test_any_key_is_swept_constrained_and_given_back(database: Database, make: Make) -> None:
    """Backfilled to a stated parent, then deleted: composite, text and UUID keys, self-references, names
    that are reserved words or hold blanks, quotes and percent signs."""
    case = make(database.engine)
    to = tuple(case.parents[3][column] for column in case.reference.parent_columns)
    backfill: Choice = (Backfill(to=to), becomes(*to))
    prove(
        database,
        lambda: run(database.engine, DOWN, case.reference),
        round_of(database, case, backfill, backfill),
        round_of(database, case, (Delete(), DELETE), (Delete(), DELETE)),
    )


@pytest.mark.parametrize("make", [orphan_cases.simple, orphan_cases.itself, orphan_cases.composite])
def test_a_nullable_reference_keeps_its_nulls(database: Database, make: Make) -> None:
    """NULL is right there: such rows are never touched, and what dangles may be set to NULL."""
    case = make(database.engine)
    case = replace(case, reference=replace(case.reference, nullable=True))
    keep: Choice = (None, KEEP)
    nothing = becomes(*[None] * len(case.reference.columns))
    prove(
        database,
        lambda: run(database.engine, DOWN, case.reference),
        round_of(database, case, keep, (SetNull(), nothing)),
        round_of(database, case, keep, (Delete(), DELETE)),
    )


def test_a_chain_of_a_self_reference_is_deleted_link_by_link(database: Database) -> None:
    """Deleting a reply orphans the replies to it: rounds go on until nothing dangles, and all come back."""
    engine = database.engine
    rows = [{"id": number, "parent_id": number + 1} for number in range(1, 15)]
    rows += [{"id": number, "parent_id": number} for number in range(40, 60)]
    fill(engine, table(engine, "node", key("id"), sa.Column("parent_id", sa.Integer)), rows)
    case = Case(Reference.parse("node.parent_id -> node.id"), ("id",), rows, rows)
    prove(
        database,
        lambda: run(engine, DOWN, case.reference),
        round_of(database, case, (Delete(), DELETE), (Delete(), DELETE)),
    )


@pytest.mark.engines("postgresql")
def test_tables_in_other_schemas(database: Database) -> None:
    """Child and parent each in a schema of its own, neither of them on the search path."""
    engine = database.engine
    drawn = random.Random(8)
    parents = [{"id": number} for number in range(1, 20)]
    children = [{"id": number, "user": drawn.choice([None, *range(1, 30)])} for number in range(1, 60)]
    with engine.begin() as connection:
        connection.execute(sa.text('CREATE SCHEMA "Blog 1"'))
        connection.execute(sa.text("CREATE SCHEMA auth"))
    metadata = sa.MetaData()
    fill(engine, sa.Table("user", metadata, key("id"), schema="auth"), parents)
    post = sa.Table("post", metadata, key("id"), sa.Column("user", sa.Integer), schema="Blog 1")
    fill(engine, post, children)
    case = Case(Reference.parse('"Blog 1".post.user -> auth.user.id'), ("id",), parents, children)
    to: Choice = (Backfill(to=(5,)), becomes(5))
    prove(
        database,
        lambda: run(engine, DOWN, case.reference),
        round_of(database, case, to, to),
        round_of(database, case, (Delete(), DELETE), (Delete(), DELETE)),
    )
