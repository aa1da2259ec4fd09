"""Where MariaDB differs from MySQL, on real servers of it."""

from __future__ import annotations

import pytest

from tests.operations.mysql_desk import BLOG, Desk
from tests.servers.database import Database

pytestmark = pytest.mark.engines("mariadb", "mariadb-10.11")


def test_modify_keeps_a_columns_own_check(database: Database) -> None:
    """MariaDB has checks inside a column's definition; MODIFY without it drops it."""
    desk = Desk.at(
        database,
        "CREATE TABLE user (id int PRIMARY KEY)",
        "CREATE TABLE post (id int PRIMARY KEY, user_id int DEFAULT 1 COMMENT 'x' CHECK (user_id > 0))",
    )
    before = desk.schema()
    ours = desk.upgrade()
    assert desk.fails("INSERT INTO post VALUES (1, -1)") == 4025
    desk.downgrade(ours)
    assert desk.schema() == before


def test_mariadb_copies_online_what_it_cannot_rebuild_in_place(database: Database) -> None:
    """From 11.2 on with LOCK=NONE; before, the preflight refuses."""
    desk = Desk.at(database, *BLOG, "ALTER TABLE post ADD twice int AS (user_id * 2) STORED")
    before = desk.schema()
    if database.version < (11, 2):
        assert [problem.slug for problem in desk.preflight()] == ["rebuild-not-online"]
        return
    assert desk.preflight() == []
    ours = desk.upgrade()
    assert desk.facts().not_null
    desk.downgrade(ours)
    assert desk.schema() == before
