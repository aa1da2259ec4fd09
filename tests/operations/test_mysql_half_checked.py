"""MySQL from 9.6 on lets orphans through where the index it checks a foreign key by goes on with a NULL."""

from __future__ import annotations

import pytest
import sqlalchemy as sa

from migrator.dialects.mysql_preflight import preflight
from migrator.errors import PreflightRefused
from migrator.operate import operate
from tests.operations.mysql_desk import REFERENCE, Desk
from tests.servers.database import Database

POST = (
    "CREATE TABLE post "
    "(id int PRIMARY KEY, user_id int, deleted_at datetime, KEY by_user (user_id, deleted_at))"
)
TABLES = ("CREATE TABLE user (id int PRIMARY KEY)", "INSERT INTO user VALUES (1)", POST)
KEY = "ALTER TABLE post ADD CONSTRAINT fk_post_user FOREIGN KEY (user_id) REFERENCES user (id)"
ORPHAN = "INSERT INTO post (id, user_id) VALUES (7, 99)"


@pytest.mark.engines("mysql>=9.6")
def test_the_server_lets_an_orphan_through(database: Database) -> None:
    """Its key stands and is not looked at, as long as the index begins with it and goes on with a NULL."""
    desk = Desk.at(database, *TABLES, KEY)
    desk.sql(ORPHAN)
    with pytest.raises(sa.exc.IntegrityError):
        desk.sql("INSERT INTO post VALUES (8, 99, '2025-01-01')")


@pytest.mark.engines("mysql>=9.6")
def test_such_an_index_is_refused_until_another_comes_before_it(database: Database) -> None:
    """Refused before anything changes, naming the index and the column; what it says to do is what helps."""
    desk = Desk.at(database, *TABLES)
    with pytest.raises(PreflightRefused) as refused:
        operate(database.engine, "sweep", REFERENCE)
    assert "by_user" in refused.value.message
    assert "deleted_at is NULL" in refused.value.message
    with database.engine.connect() as connection:
        assert set(sa.inspect(connection).get_table_names()) == {"user", "post"}

    desk.sql("ALTER TABLE post ADD INDEX ix_post_user_id (user_id), DROP INDEX by_user")
    desk.sql("ALTER TABLE post ADD INDEX by_user (user_id, deleted_at)")
    operate(database.engine, "sweep", REFERENCE)
    operate(database.engine, "enforce", REFERENCE)
    with pytest.raises(sa.exc.IntegrityError):
        desk.sql(ORPHAN)


@pytest.mark.engines("mysql>=9.6")
def test_an_index_that_goes_on_with_no_null_serves(database: Database) -> None:
    """A column that is NOT NULL beside the reference hides nothing."""
    never = POST.replace("deleted_at datetime", "deleted_at datetime NOT NULL")
    desk = Desk.at(database, *TABLES[:2], never)
    assert "half-checked-key" not in {problem.slug for problem in desk.environment()}
    assert list(preflight(desk.facts())) == []
