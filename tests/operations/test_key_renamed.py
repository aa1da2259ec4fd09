"""The way back when our foreign key has another name by now."""

from __future__ import annotations

import pytest
import sqlalchemy as sa

from migrator.errors import Refused
from migrator.policy import Delete
from tests.operations.lifecycle import UP, rows_of, run
from tests.operations.offline_desk import written
from tests.operations.orphan_cases import simple
from tests.servers.database import Database

_RENAMED = {
    "postgresql": "ALTER TABLE post RENAME CONSTRAINT fk_post_user_id_user TO _fk",
    # As pt-online-schema-change leaves it: dropped, and there under another name.
    "mysql": "ALTER TABLE post DROP FOREIGN KEY fk_post_user_id_user, "
    "ADD CONSTRAINT _fk FOREIGN KEY (user_id) REFERENCES `user` (id)",
}


@pytest.mark.engines("postgresql", "mysql", "mariadb")
def test_a_renamed_key_is_refused_and_the_way_back_goes_on_without_it(database: Database) -> None:
    """It would have been left, and its orphans in quarantine. Said before anything changes; dropped by hand,
    the same downgrade puts every row back. So is the script."""
    case = simple(database.engine)
    reference, before = case.reference, rows_of(database.engine, case.reference, "id", "user_id")
    run(database.engine, UP, reference, Delete(), Delete())
    family = "postgresql" if database.family == "postgresql" else "mysql"
    with database.engine.begin() as connection:
        connection.execute(sa.text(_RENAMED[family]))
    run(database.engine, ("unvalidate",), reference, Delete(), Delete())
    said = "post has the foreign key _fk for .*; what this migration added is fk_post_user_id_user"
    with pytest.raises(Refused, match=said) as refused:
        run(database.engine, ("release",), reference, Delete(), Delete())
    with pytest.raises(Refused, match=said):
        written(database, ("release",), reference, Delete(), Delete())
    assert refused.value.hint is not None
    mend = refused.value.hint.partition("): ")[2].partition(";")[0]
    assert mend.startswith("ALTER TABLE ")
    with database.engine.begin() as connection:
        connection.execute(sa.text(mend))
    run(database.engine, ("release", "restore"), reference, Delete(), Delete())
    assert rows_of(database.engine, reference, "id", "user_id") == before
