"""Scripts for references of every shape: reserved and awkward names, composite, text and UUID keys, a table
that refers to itself."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from sqlalchemy.engine import Engine

from migrator.fingerprint import compare
from migrator.policy import Backfill, Delete, Keep, Policy
from tests.conftest import Database
from tests.operations import orphan_cases as cases
from tests.operations.lifecycle import DOWN, UP, assert_same, picture, run
from tests.operations.offline_desk import written

SHAPES: dict[str, Callable[[Engine], cases.Case]] = {
    "simple": cases.simple,
    "awkward": cases.awkward,
    "clashing": cases.clashing,
    "itself": cases.itself,
    "composite": cases.composite,
    "text": cases.text_keys,
    "uuid": cases.uuid_keys,
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
    """Up as a script equals up online, and both scripts together leave no trace."""
    case = SHAPES[shape](database.engine)
    before = picture(database)
    null, dangling = policies(case, backfill=backfill)
    with database.new_database() as other:
        SHAPES[shape](other.engine)
        run(other.engine, UP, case.reference, null, dangling)
        database.client(written(database, UP, case.reference, null, dangling))
        assert compare(picture(other).fingerprint, picture(database).fingerprint) == ()
    database.client(written(database, DOWN, case.reference, null, dangling))
    after = picture(database)
    assert_same(before, after)
