"""More of what PostgreSQL databases are refused for before a row is touched, and of what they are not."""

from __future__ import annotations

import pytest

from migrator.errors import PreflightRefused
from migrator.policy import Delete
from tests.operations.lifecycle import UP, run
from tests.operations.postgresql_desk import BLOG, REFERENCE, Desk
from tests.servers.database import Database

pytestmark = pytest.mark.engines("postgresql", "postgresql-15")


def test_a_deferrable_primary_key_of_the_parent_is_refused(database: Database) -> None:
    """No foreign key may refer to it; a plain unique index beside it will do."""
    desk = Desk.at(
        database,
        *BLOG,
        'ALTER TABLE "user" DROP CONSTRAINT user_pkey, ADD PRIMARY KEY (id) DEFERRABLE',
        "UPDATE post SET user_id = 77 WHERE id = 5",
    )
    with pytest.raises(
        PreflightRefused, match="no unique key that is full, valid and not deferrable"
    ) as error:
        run(database.engine, UP, REFERENCE, Delete(), Delete())
    assert desk.value("SELECT count(*) FROM post") == 200
    desk.sql((error.value.hint or "").partition(";")[0])
    run(database.engine, UP, REFERENCE, Delete(), Delete())
    assert desk.facts().state == "validated"


@pytest.mark.parametrize(
    ("published", "refused"),
    [("insert", False), ("insert, truncate", False), ("update", True), ("delete", True)],
)
def test_only_a_publication_of_updates_or_deletes_wants_a_replica_identity(
    database: Database, published: str, refused: bool
) -> None:
    """Of a table that is published for its new rows alone, rows are updated and deleted as ever."""
    desk = Desk.at(
        database,
        *BLOG,
        f"CREATE PUBLICATION news FOR TABLE post WITH (publish = '{published}')",
        "ALTER TABLE post REPLICA IDENTITY NOTHING",
        "UPDATE post SET user_id = 77 WHERE id = 5" if not refused else "SELECT 1",
    )
    assert [problem.slug for problem in desk.environment()] == ["no-replica-identity"] * refused
    if not refused:
        run(database.engine, UP, REFERENCE, Delete(), Delete())
        assert desk.value("SELECT count(*) FROM post") == 199
