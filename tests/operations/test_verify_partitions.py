"""`migrator verify` on a partitioned child."""

from __future__ import annotations

from typing import Any

import pytest

from migrator.policy import Delete
from tests.operations.lifecycle import UP
from tests.operations.lifecycle import run as operate
from tests.operations.postgresql_desk import REFERENCE, Desk
from tests.operations.reporting import run
from tests.operations.test_postgresql_partitions import CHILD
from tests.servers.database import Database

pytestmark = pytest.mark.engines("postgresql", "postgresql-15")


def checks(database: Database, code: int) -> dict[str, Any]:
    """The checks by their names."""
    ran = run("verify", "--url", database.url, "-r", str(REFERENCE), "--format", "json")
    assert ran.code == code, ran
    (found,) = ran.json["references"]
    return {check["slug"]: check for check in found["checks"]}


def test_a_migrated_partitioned_child_passes_every_check(database: Database) -> None:
    """The plan names the indexes of the partitions, one of which came with an index of its own."""
    desk = Desk.at(database, *CHILD)
    operate(database.engine, UP, REFERENCE, Delete(), Delete())
    desk.sql(
        "CREATE TABLE post_c (id bigint PRIMARY KEY, user_id bigint NOT NULL, title text)",
        "CREATE INDEX elsewhere ON post_c (user_id)",
        "ALTER TABLE post ATTACH PARTITION post_c FOR VALUES FROM (900) TO (1000)",
    )
    found = checks(database, 0)
    assert {check["status"] for check in found.values()} == {"passed"}
    assert found["index-used"]["message"].endswith(
        "uses elsewhere, ix_post_a_user_id, ix_post_b1_user_id and 1 more"
    )


def test_a_key_on_the_partitions_alone_is_none_of_the_table(database: Database) -> None:
    """A partition added later would be without it: nothing is offered that the server would refuse."""
    desk = Desk.at(database, *CHILD)
    operate(database.engine, UP[:2], REFERENCE, Delete(), Delete())
    found = checks(database, 3)
    if desk.facts().server.version >= (18,):
        assert found["foreign-key"]["status"] == "passed"
        return
    for slug, words in (
        ("foreign-key", "the table itself does not"),
        ("validated", "is not declared on post"),
    ):
        assert found[slug]["status"] == "failed"
        assert words in found[slug]["message"]
        assert found[slug]["fix"].startswith("migrator plan ")
