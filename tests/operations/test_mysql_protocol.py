"""The protocol on real MySQL and MariaDB servers: every step, its inverse, and what each relies on."""

from __future__ import annotations

from dataclasses import replace

import pytest
import sqlalchemy as sa

from migrator.dialects.mysql_sessions import execute
from migrator.plan import Sql
from migrator.reference import Reference
from tests.operations.mysql_desk import BLOG, REFERENCE, Desk
from tests.servers.database import Database

pytestmark = pytest.mark.engines("mysql", "mariadb", "mariadb-10.11")

NULLABLE = replace(REFERENCE, nullable=True, on_delete="CASCADE")
BARE = replace(REFERENCE, index=False)


@pytest.mark.parametrize("reference", [REFERENCE, NULLABLE, BARE], ids=["not-null", "nullable", "no-index"])
def test_upgrade_and_downgrade_leave_the_schema_as_it_was(database: Database, reference: Reference) -> None:
    """After the way there and back nothing of ours is left, and nothing of the user's is changed."""
    desk = Desk.at(database, *BLOG)
    before = desk.schema()
    ours = desk.upgrade(reference)
    facts = desk.facts(reference)
    assert replace(facts, proved_at="now").state == "validated"
    assert not facts.guards
    desk.downgrade(ours, reference)
    assert desk.schema() == before


def test_unvalidate_goes_back_to_what_enforce_had_left(database: Database) -> None:
    """NULL is allowed again and the guard is back in its place."""
    desk = Desk.at(database, *BLOG)
    ours = desk.enforce()
    enforced, guards = desk.schema()[:-2], desk.facts().guards
    ours += desk.run(desk.dialect.validate_steps(desk.facts()))
    assert desk.facts().guards == ()
    desk.run(desk.dialect.unvalidate_steps(desk.facts(), frozenset(ours)))
    assert desk.schema()[:-2] == enforced
    assert desk.facts().guards == guards


def test_every_step_run_again_is_found_done(database: Database) -> None:
    """A second upgrade runs nothing."""
    desk = Desk.at(database, *BLOG)
    desk.upgrade()
    assert desk.upgrade() == frozenset()


def test_every_statement_can_be_sent_twice_by_a_client_that_missed_the_answer(database: Database) -> None:
    """Guard, rebuild and drops say OK again; index and key say that they are there."""
    desk = Desk.at(database, *BLOG)
    for name in ("create-index", "add-null-guard", "add-foreign-key", "set-not-null", "drop-null-guard"):
        step = desk.step(name)
        desk.attempt(step)
        if name in ("create-index", "add-foreign-key"):
            with pytest.raises(sa.exc.DBAPIError) as caught:
                desk.attempt(step)
            assert desk.dialect.verdict(caught.value) == "duplicate"
        else:
            desk.attempt(step)
        assert step.done(desk.facts())


def test_the_way_back_leaves_what_was_there_before_us(database: Database) -> None:
    """An index, a foreign key under another name and NOT NULL: neither made nor dropped."""
    desk = Desk.at(
        database,
        *BLOG,
        "ALTER TABLE post MODIFY user_id int NOT NULL, ADD KEY mine (user_id), "
        "ADD CONSTRAINT fk_mine FOREIGN KEY (user_id) REFERENCES user (id)",
    )
    before = desk.schema()
    ours = desk.upgrade()
    assert ours == frozenset()
    desk.downgrade(ours)
    assert desk.schema() == before


def test_orphans_do_not_stop_the_key_and_new_ones_are_rejected(database: Database) -> None:
    """Enforcing looks at no row that is there; from then on 1452, 1451 and 1048."""
    desk = Desk.at(database, *BLOG, "INSERT INTO post (id, user_id) VALUES (90, 99), (91, NULL)")
    desk.enforce()
    assert desk.fails("INSERT INTO post (user_id) VALUES (99)") == 1452
    assert desk.fails("UPDATE post SET user_id = 98 WHERE id = 1") == 1452
    assert desk.fails("DELETE FROM user WHERE id = 1") == 1451
    assert desk.fails("INSERT INTO post (user_id) VALUES (NULL)") == 1048
    assert desk.fails("INSERT INTO post (title) VALUES ('no author')") == 1048
    assert desk.fails("INSERT IGNORE INTO post (user_id) VALUES (NULL)") == 1048
    assert desk.fails("UPDATE post SET user_id = NULL WHERE id = 1") == 1048
    desk.sql(
        "UPDATE post SET title = 'still editable' WHERE id IN (90, 91)", "DELETE FROM post WHERE id = 90"
    )


def test_the_session_that_added_the_key_checks_again(database: Database) -> None:
    """foreign_key_checks is on again before the connection is given up, also after a failure."""
    desk = Desk.at(database, *BLOG)
    step = desk.step("add-foreign-key")
    with desk.open() as connection:
        desk.dialect.run_sql(connection, step, desk.settings)
        assert connection.exec_driver_sql("SELECT @@foreign_key_checks").scalar() == 1
    with desk.open() as connection:
        with pytest.raises(sa.exc.DBAPIError):
            desk.dialect.run_sql(connection, step, desk.settings)
        assert connection.exec_driver_sql("SELECT @@foreign_key_checks").scalar() == 1
        # LOCK TABLES would refuse this one (1100).
        connection.exec_driver_sql("SELECT * FROM information_schema.engines").all()
        connection.exec_driver_sql("CREATE TABLE elsewhere (id int)")


def test_a_fence_holds_beside_triggers_and_keys_to_other_tables(database: Database) -> None:
    """LOCK TABLES takes what triggers use along; the ALTER needs no third table."""
    desk = Desk.at(
        database,
        *BLOG,
        "CREATE TABLE category (id int PRIMARY KEY)",
        "CREATE TABLE audit (id int)",
        "ALTER TABLE post ADD category_id int, ADD FOREIGN KEY (category_id) REFERENCES category (id)",
        "CREATE TABLE comment (id int PRIMARY KEY, post_id int, FOREIGN KEY (post_id) REFERENCES post (id))",
        "CREATE TRIGGER log AFTER INSERT ON post FOR EACH ROW INSERT INTO audit VALUES (NEW.id)",
    )
    desk.upgrade()
    assert desk.facts().not_null


def test_modify_keeps_every_attribute(database: Database) -> None:
    """Default, comment, sign and invisibility of the column, and its place, there and back."""
    desk = Desk.at(
        database,
        "CREATE TABLE user (id bigint unsigned PRIMARY KEY)",
        "CREATE TABLE post (id int PRIMARY KEY, user_id bigint unsigned DEFAULT 7 INVISIBLE "
        "COMMENT 'it''s; 100%s NOT NULL, `x` \\\\', title varchar(9) COLLATE utf8mb4_bin DEFAULT ' ')",
        "INSERT INTO user VALUES (7)",
        "INSERT INTO post (id) VALUES (1)",
    )
    before = desk.schema()
    ours = desk.upgrade()
    column = desk.facts().child.column("user_id")
    assert (column.nullable, column.invisible) == (False, True)
    desk.downgrade(ours)
    assert desk.schema() == before


@pytest.mark.parametrize(
    "definition",
    [
        "varchar(36) CHARACTER SET latin1 COLLATE latin1_general_cs COMMENT 'key'",
        "varchar(36) CHARACTER SET latin1 COLLATE latin1_general_cs DEFAULT (CONCAT('a', 'b'))",
        "char(36) CHARACTER SET latin1 COLLATE latin1_general_cs DEFAULT 'it''s \\\\ 100%'",
    ],
)
def test_modify_keeps_character_sets_and_defaults_that_are_expressions(
    database: Database, definition: str
) -> None:
    """The table's own character set is another."""
    desk = Desk.at(
        database,
        "CREATE TABLE user (id varchar(36) CHARACTER SET latin1 COLLATE latin1_general_cs PRIMARY KEY)",
        f"CREATE TABLE post (id int PRIMARY KEY, user_id {definition}, n int) CHARACTER SET utf8mb4",
    )
    before = desk.schema()
    assert desk.preflight() == []
    desk.downgrade(desk.upgrade())
    assert desk.schema() == before


def test_a_composite_key_in_another_order_than_the_parents(database: Database) -> None:
    """Declared in the parent's order; only what was nullable becomes so again."""
    reference = Reference.parse("city(region, country) -> region(code, country)")
    desk = Desk.at(
        database,
        "CREATE TABLE region (country char(2), code int, PRIMARY KEY (country, code))",
        "CREATE TABLE city (id int PRIMARY KEY, region int, country char(2) NOT NULL)",
        "INSERT INTO region VALUES ('de', 1)",
        "INSERT INTO city VALUES (1, 1, 'de')",
    )
    before = desk.schema()
    ours = desk.upgrade(reference)
    assert desk.facts(reference).not_null
    assert desk.fails("INSERT INTO city VALUES (2, 1, 'fr')") == 1452
    desk.downgrade(ours, reference)
    assert desk.schema() == before


def test_a_self_reference(database: Database) -> None:
    """Child and parent are one table, locked once."""
    reference = Reference.parse("node.parent_id -> node.id", nullable=True)
    desk = Desk.at(
        database,
        "CREATE TABLE node (id int PRIMARY KEY, parent_id int)",
        "INSERT INTO node VALUES (1, NULL), (2, 1)",
    )
    before = desk.schema()
    ours = desk.upgrade(reference)
    assert desk.fails("INSERT INTO node VALUES (3, 9)") == 1452
    desk.downgrade(ours, reference)
    assert desk.schema() == before


def test_a_null_that_is_there_fails_the_rebuild_as_a_violation(database: Database) -> None:
    """1138 on MySQL, 1265 on MariaDB; nothing is changed, in particular no NULL into 0."""
    desk = Desk.at(database, *BLOG)
    desk.enforce()
    guard = desk.dialect.release_steps(desk.facts(), frozenset({"add-null-guard"}))
    desk.run(guard)
    desk.sql("SET GLOBAL sql_mode = @@global.sql_mode", "INSERT INTO post (id, user_id) VALUES (9, NULL)")
    step = desk.step("set-not-null")
    with pytest.raises(sa.exc.DBAPIError) as caught:
        desk.attempt(step)
    assert desk.dialect.verdict(caught.value) == "violation"
    assert step.violation == "sweep"
    assert desk.value("SELECT user_id FROM post WHERE id = 9") is None
    assert not desk.facts().not_null


def test_the_rebuild_is_strict_whatever_the_session_was(database: Database) -> None:
    """Outside strict mode the servers turn NULL into 0, MariaDB under any algorithm."""
    desk = Desk.at(database, *BLOG, "INSERT INTO post (id, user_id) VALUES (9, NULL)")
    step = desk.step("set-not-null")
    assert isinstance(step.work, Sql)
    with desk.open() as connection:
        execute(connection, "SET SESSION sql_mode = ''")
        with pytest.raises(sa.exc.DBAPIError):
            desk.dialect.run_sql(connection, step, desk.settings)
    assert desk.value("SELECT user_id FROM post WHERE id = 9") is None
    if desk.mariadb:  # what it would have done
        desk.sql("SET SESSION sql_mode = ''", *step.work.statements)
        assert desk.value("SELECT user_id FROM post WHERE id = 9") == 0


def test_a_myisam_child_has_no_key_though_the_server_said_ok(database: Database) -> None:
    """The done-check reads the catalog, and the preflight refuses before that."""
    desk = Desk.at(database, *BLOG, "ALTER TABLE post ENGINE=MyISAM")
    assert [problem.slug for problem in desk.preflight()] == ["engine"]
    desk.sql(
        "ALTER TABLE post ADD CONSTRAINT fk_post_user_id_user FOREIGN KEY (user_id) REFERENCES user (id)"
    )
    assert not desk.step("add-foreign-key").done(desk.facts())
