"""What the catalog readers of MySQL and MariaDB see."""

from __future__ import annotations

from dataclasses import replace

import pytest

from migrator.errors import UnknownColumnError, UnknownTableError
from migrator.reference import Reference, TableName
from tests.operations.mysql_desk import BLOG, REFERENCE, Desk
from tests.servers.database import Database

pytestmark = pytest.mark.engines("mysql", "mariadb", "mariadb-10.11")


def test_the_blog_as_it_was_found(database: Database) -> None:
    """Columns, keys, engine and size; no schema on a table of the current database."""
    desk = Desk.at(database, *BLOG, "ANALYZE TABLE post")
    facts = desk.facts()
    assert facts.server.family == database.family
    assert facts.child.name == TableName("post")
    assert facts.child.engine == "InnoDB"
    assert [column.name for column in facts.child.columns] == ["id", "user_id", "title"]
    assert facts.child.key == ("id",)
    assert facts.child.column("id").identity == "auto"
    assert (facts.child.estimated_rows, facts.state) == (4, "none")
    assert facts.child.bytes


def test_odd_names_are_read_and_migrated(database: Database) -> None:
    """Reserved words, blanks, percent signs, backticks and CamelCase, through the whole way and back."""
    reference = Reference.parse('"or`der 100% :x"."user id" -> "User Table"."the `key`"')
    desk = Desk.at(
        database,
        "CREATE TABLE `User Table` (`the ``key``` bigint unsigned PRIMARY KEY)",
        "CREATE TABLE `or``der 100% :x` (`id %s` int PRIMARY KEY, `user id` bigint unsigned COMMENT '100%')",
        "INSERT INTO `User Table` VALUES (1)",
        "INSERT INTO `or``der 100% :x` VALUES (1, 1)",
    )
    before = desk.schema()
    assert desk.preflight(reference) == []
    ours = desk.upgrade(reference)
    assert desk.facts(reference).foreign_key is not None
    assert desk.facts(reference).not_null
    desk.downgrade(ours, reference)
    assert desk.schema() == before


def test_the_key_is_known_by_what_it_ties_and_not_by_its_name(database: Database) -> None:
    """Its actions are told in the reference's words where InnoDB means the same."""
    desk = Desk.at(
        database, *BLOG, "ALTER TABLE post ADD CONSTRAINT other FOREIGN KEY (user_id) REFERENCES user(id)"
    )
    key = desk.facts().foreign_key
    assert key is not None
    assert (key.name, key.parent, key.on_delete) == ("other", TableName("user"), "NO ACTION")
    restrict = desk.facts(replace(REFERENCE, on_delete="RESTRICT")).foreign_key
    assert restrict is not None
    assert restrict.on_delete == "RESTRICT"


def test_a_reference_may_name_the_current_database(database: Database) -> None:
    """Facts then speak of both tables as the reference does."""
    desk = Desk.at(database, *BLOG)
    reference = Reference.parse(f"{database.name}.post.user_id -> {database.name}.user.id")
    ours = desk.upgrade(reference)
    facts = desk.facts(reference)
    assert facts.child.name == reference.child
    assert facts.foreign_key is not None
    assert facts.foreign_key.parent == reference.parent
    desk.downgrade(ours, reference)
    assert desk.facts(reference).foreign_key is None


def test_keys_of_other_databases_that_refer_to_the_child_are_seen(database: Database) -> None:
    """An inbound key decides what a delete does, wherever it is declared."""
    desk = Desk.at(database, *BLOG)
    with database.new_database() as elsewhere:
        Desk.at(
            elsewhere,
            "CREATE TABLE comment (id int PRIMARY KEY, post_id int, CONSTRAINT fk_far FOREIGN KEY (post_id) "
            f"REFERENCES `{database.name}`.post (id) ON DELETE CASCADE)",
        )
        (inbound,) = desk.facts().child.inbound
        assert inbound.child == TableName("comment", elsewhere.name)
        assert (inbound.parent, inbound.on_delete) == (TableName("post"), "CASCADE")


def test_a_key_to_a_namesake_in_another_database_is_no_answer(database: Database) -> None:
    """It is refused by name: the column refers to something else already."""
    desk = Desk.at(database, *BLOG)
    with database.new_database() as elsewhere:
        Desk.at(elsewhere, "CREATE TABLE user (id int PRIMARY KEY)", "INSERT INTO user VALUES (1), (2)")
        desk.sql(f"ALTER TABLE post ADD FOREIGN KEY (user_id) REFERENCES `{elsewhere.name}`.user (id)")
        assert [problem.slug for problem in desk.preflight()] == ["foreign-key-elsewhere"]
        desk.sql("DROP TABLE post")


def test_columns_are_told_whole(database: Database) -> None:
    """Type with character set, default, generated, invisible, ON UPDATE, collation."""
    desk = Desk.at(
        database,
        "CREATE TABLE user (id int PRIMARY KEY)",
        "CREATE TABLE post (id int PRIMARY KEY, user_id int, "
        "label varchar(9) CHARACTER SET latin1 COLLATE latin1_bin DEFAULT 'a''b', "
        "touched datetime(3) DEFAULT CURRENT_TIMESTAMP(3) ON UPDATE CURRENT_TIMESTAMP(3), "
        "hidden int INVISIBLE, twice int AS (user_id * 2) VIRTUAL, thrice int AS (user_id * 3) STORED)",
    )
    child = desk.facts().child
    assert child.column("label").type == "varchar(9) CHARACTER SET latin1 COLLATE latin1_bin"
    assert child.column("label").default == "'a''b'"
    assert child.column("touched").on_update_now
    assert list(desk.dialect.change_extras(child)) == ["touched"]
    assert child.column("hidden").invisible
    assert [column.generated for column in child.columns[-2:]] == ["virtual", "stored"]
    assert [column.name for column in child.stored_columns][-1] == "hidden"


def test_indexes_are_told_by_what_they_serve(database: Database) -> None:
    """A prefix or an expression is no column, a prefix no full unique key; FULLTEXT leads nothing."""
    expression = ", KEY by_expression ((user_id + 1))" if database.family == "mysql" else ""
    desk = Desk.at(
        database,
        "CREATE TABLE user (id int PRIMARY KEY)",
        "CREATE TABLE post (id int PRIMARY KEY, user_id int, code varchar(40), body text, "
        f"UNIQUE KEY whole (code), UNIQUE KEY prefix (code(4)), FULLTEXT KEY words (body){expression})",
    )
    child = desk.facts().child
    by_name = {index.name: index for index in child.indexes}
    assert child.unique_keys == (("code",),)
    assert by_name["prefix"].columns == (None,)
    assert by_name["words"].kind == "fulltext"
    assert expression == "" or by_name["by_expression"].columns == (None,)


def test_views_and_partitions_are_told_apart(database: Database) -> None:
    """Neither takes a foreign key."""
    desk = Desk.at(
        database,
        "CREATE TABLE user (id int PRIMARY KEY) PARTITION BY HASH (id) PARTITIONS 2",
        "CREATE TABLE base (id int PRIMARY KEY, user_id int)",
        "CREATE VIEW post AS SELECT * FROM base",
    )
    facts = desk.facts()
    assert (facts.child.kind, facts.parent.kind) == ("view", "partitioned")
    assert [problem.slug for problem in desk.preflight()] == ["not-a-table", "partitioned"]


def test_our_guards_are_not_the_users_triggers(database: Database) -> None:
    """They are told apart by name."""
    desk = Desk.at(
        database, *BLOG, "CREATE TRIGGER mine BEFORE INSERT ON post FOR EACH ROW SET NEW.title = 'x'"
    )
    desk.enforce()
    facts = desk.facts()
    assert facts.child.triggers == ("mine",)
    assert len(facts.guards) == 2


def test_what_is_not_there_is_named_with_the_nearest(database: Database) -> None:
    """A table, a column, and a connection without a database."""
    desk = Desk.at(database, *BLOG)
    with pytest.raises(UnknownTableError, match="post"):
        desk.facts(Reference.parse("posts.user_id -> user.id"))
    with pytest.raises(UnknownColumnError, match="user_id"):
        desk.facts(Reference.parse("post.userid -> user.id"))


def test_a_table_of_another_case_is_another_table(database: Database) -> None:
    """`lower_case_table_names` decides, also where information_schema compares without case."""
    desk = Desk.at(database, *BLOG)
    if desk.value("SELECT @@lower_case_table_names"):
        assert desk.facts(Reference.parse("POST.user_id -> USER.id")).child.key == ("id",)
        return
    with pytest.raises(UnknownTableError, match="POST"):
        desk.facts(Reference.parse("POST.user_id -> user.id"))
    desk.sql("CREATE TABLE POST (id int PRIMARY KEY, user_id bigint, UNIQUE (user_id))")
    assert desk.facts(Reference.parse("POST.user_id -> user.id")).child.column("user_id").type != "int"
    assert desk.facts().child.unique_keys == ()


def test_reading_the_catalog_leaves_no_lock_behind(database: Database) -> None:
    """An ALTER does not wait for a transaction that only read facts; in autocommit mode they are of now."""
    desk = Desk.at(database, *BLOG)
    with desk.engine.connect() as reader:
        assert desk.dialect.facts(reader, REFERENCE).index is None
        assert reader.in_transaction()
        desk.sql(
            "SET SESSION lock_wait_timeout = 1", "ALTER TABLE post ADD KEY (user_id), ADD COLUMN more int"
        )
    assert desk.facts().child.has("more")
    assert desk.facts().index is not None


@pytest.mark.parametrize("mode", ["ANSI_QUOTES", "NO_BACKSLASH_ESCAPES", "ANSI_QUOTES,NO_BACKSLASH_ESCAPES"])
def test_the_sessions_sql_mode_changes_nothing(database: Database, mode: str) -> None:
    """SHOW CREATE TABLE is read in a plain session, and the session is put back."""
    desk = Desk.at(
        database,
        "CREATE TABLE user (id int PRIMARY KEY)",
        "CREATE TABLE post (id int PRIMARY KEY, user_id int, "
        "odd varchar(9) DEFAULT 'a\\\\b''c\"' COMMENT 'x\\\\y')",
    )
    plain = desk.facts().child
    with desk.open() as connection:
        connection.exec_driver_sql(f"SET SESSION sql_mode = '{mode}', SESSION sql_quote_show_create = 0")
        assert desk.dialect.facts(connection, REFERENCE).child == plain
        left = connection.exec_driver_sql("SELECT @@sql_mode, @@sql_quote_show_create").one()
        assert (set(mode.split(",")), 0) == (set(left[0].split(",")), left[1])
