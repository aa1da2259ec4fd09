"""Scripts that were stopped half-way, and are written again."""

from __future__ import annotations

import pytest
import sqlalchemy as sa

from migrator.policy import Delete, Keep
from migrator.reference import Reference
from tests.conftest import Database
from tests.operations import orphan_cases as cases
from tests.operations.lifecycle import DOWN, UP, assert_same, picture, run
from tests.operations.offline_desk import written


@pytest.mark.engines("postgresql", "mysql", "mariadb")
def test_a_downgrade_that_was_stopped_after_its_rows_were_back_is_written_again(database: Database) -> None:
    """Whoever reads the journal then finds no quarantine, and has the index still to drop."""
    case = cases.simple(database.engine)
    before = picture(database)
    run(database.engine, UP, case.reference, Delete(), Delete())
    whole = written(database, DOWN, case.reference, Keep(), Keep())
    head, found, _ = whole.partition("-- drop-index")
    assert found
    database.client(head)
    database.client(written(database, DOWN[2:], case.reference, Keep(), Keep()))
    assert_same(before, picture(database))


def test_a_script_takes_back_what_found_nothing(database: Database) -> None:
    """An online sweep without an orphan sets nothing aside, so there is nothing to put back."""
    engine = database.engine
    cases.fill(engine, cases.table(engine, "author", cases.key("id")), [{"id": 1}])
    item = cases.table(engine, "item", cases.key("id"), sa.Column("author_id", sa.Integer))
    cases.fill(engine, item, [{"id": each, "author_id": 1} for each in range(3)])
    reference = Reference.parse("item.author_id -> author.id")
    before = picture(database)
    run(engine, UP, reference, Delete(), Delete())
    database.client(written(database, DOWN, reference, Keep(), Keep()))
    assert_same(before, picture(database))
