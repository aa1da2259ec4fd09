"""What MySQL and MariaDB are refused or warned of before a row is touched, one by one, on real servers.

The server's own number for it, where it gives one, is beside each case: with foreign_key_checks off it
often gives none, and accepts what can never work.
"""

from __future__ import annotations

from dataclasses import replace

import pytest
import sqlalchemy as sa

from migrator.dialects.mysql_words import guard_names
from migrator.errors import UnknownTableError
from migrator.reference import Reference
from tests.operations.mysql_desk import ALL, BLOG, REFERENCE, Desk, account
from tests.servers.database import Database

pytestmark = pytest.mark.engines("mysql", "mariadb", "mariadb-10.11")

USER = "CREATE TABLE user (id int PRIMARY KEY, code varchar(20) UNIQUE, other int, KEY (other))"
CHECKS_OFF = "SET SESSION foreign_key_checks = 0"
ADD = "ALTER TABLE post ADD FOREIGN KEY (user_id) REFERENCES user (id)"


def post(user_id: str = "user_id int", more: str = "") -> str:
    """A child whose reference column is declared so."""
    return f"CREATE TABLE post (id int PRIMARY KEY, {user_id}{more})"


REFUSED = {
    "bigint to int (3780)": ((USER, post("user_id bigint")), "type-mismatch"),
    "unsigned to signed (3780)": ((USER, post("user_id int unsigned")), "type-mismatch"),
    "text column (1170)": ((USER, post("user_id text")), "type-cannot-be-a-key"),
    "virtual column (3733)": ((USER, post("raw int, user_id int AS (raw) VIRTUAL")), "generated-column"),
    "stored column": ((USER, post("raw int, user_id int AS (raw) STORED")), "generated-column"),
    "MyISAM child (none)": ((USER, post() + " ENGINE=MyISAM"), "engine"),
    "MEMORY child (none)": ((USER, post() + " ENGINE=MEMORY"), "engine"),
    "MyISAM parent (none, or 1824)": ((USER + " ENGINE=MyISAM", post()), "engine"),
    "partitioned child (1506)": (
        (USER, post() + " PARTITION BY HASH (id) PARTITIONS 2"),
        "partitioned",
    ),
    "partitioned parent (1506)": (
        (
            "CREATE TABLE user (id int PRIMARY KEY) PARTITION BY HASH (id) PARTITIONS 2",
            post(),
        ),
        "partitioned",
    ),
    "view as parent (1347)": (
        ("CREATE TABLE base (id int PRIMARY KEY)", "CREATE VIEW user AS SELECT * FROM base", post()),
        "not-a-table",
    ),
    "no key on the parent (6125)": (
        ("CREATE TABLE user (id int, KEY (id))", post()),
        "parent-key-not-unique",
    ),
    "no key on the child": ((USER, "CREATE TABLE post (user_id int)"), "no-key"),
    "a reference that is told rounded": (
        ("CREATE TABLE user (id float PRIMARY KEY)", "CREATE TABLE post (id int PRIMARY KEY, user_id float)"),
        "type-cannot-be-a-key",
    ),
    "no key but one that is told rounded": (
        (USER, "CREATE TABLE post (at float PRIMARY KEY, user_id int)"),
        "no-key",
    ),
    "name of another key (1826)": (
        (USER, post(more=", CONSTRAINT fk_post_user_id_user FOREIGN KEY (id) REFERENCES user (id)")),
        "name-taken",
    ),
    "name of another index (1061)": ((USER, post(more=", KEY ix_post_user_id (id)")), "name-taken"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_work_is_refused(database: Database, case: str) -> None:
    """By one slug, naming the table or the reference, and with what to do."""
    statements, slug = REFUSED[case]
    problems = Desk.at(database, *statements).preflight()
    problem = problems[0]
    assert problem.slug == slug
    # MariaDB 10.11 cannot rebuild beside a stored column either.
    assert {other.slug for other in problems[1:]} <= {"rebuild-not-online"}
    assert "post" in problem.message or "user" in problem.message
    assert problem.fix.endswith((";", ".", ")"))
    assert "\n" not in problem.message


@pytest.mark.parametrize(
    "declared",
    [
        "user_id bigint unsigned NULL DEFAULT 3 COMMENT 'it''s'",
        "user_id smallint NOT NULL",
        "user_id tinyint unsigned DEFAULT NULL",
    ],
)
def test_the_statement_that_mends_a_type_mends_it_and_nothing_else(database: Database, declared: str) -> None:
    """Default, comment and nullness stay."""
    desk = Desk.at(database, USER, post(declared))
    before = desk.facts().child.column("user_id")
    (problem,) = desk.preflight()
    desk.sql(problem.fix.rstrip(";"))
    assert desk.preflight() == []
    after = desk.facts().child.column("user_id")
    assert (after.nullable, after.default) == (before.nullable, before.default)
    assert after.type == desk.facts().parent.column("id").type


def test_character_set_and_collation_must_be_the_same(database: Database) -> None:
    """3780; the fix gives the parent's to the child."""
    reference = Reference.parse("post.code -> user.code")
    desk = Desk.at(
        database,
        "CREATE TABLE user (id int PRIMARY KEY, code varchar(20) CHARACTER SET latin1 UNIQUE)",
        "CREATE TABLE post (id int PRIMARY KEY, code varchar(20) COLLATE utf8mb4_bin DEFAULT 'x')",
    )
    (problem,) = desk.preflight(reference)
    assert problem.slug == "type-mismatch"
    desk.sql(problem.fix.rstrip(";"))
    assert desk.preflight(reference) == []
    assert desk.facts(reference).child.column("code").default == "'x'"


@pytest.mark.parametrize(
    ("key", "column"),
    [
        ("user(code)", "code char(7)"),
        ("user(code)", "code varchar(200)"),
        ("user(price)", "code decimal(5,1)"),
        ("user(day)", "code datetime(6)"),
        ("user(raw)", "code varbinary(9)"),
    ],
)
def test_lengths_and_precisions_may_differ(database: Database, key: str, column: str) -> None:
    """The server ties them, so they are not refused."""
    reference = Reference.parse(f"post(code) -> {key}")
    desk = Desk.at(
        database,
        "CREATE TABLE user (id int PRIMARY KEY, code varchar(20) UNIQUE, price decimal(9,2) UNIQUE, "
        "day datetime UNIQUE, raw binary(4) UNIQUE)",
        f"CREATE TABLE post (id int PRIMARY KEY, {column})",
    )
    assert desk.preflight(reference) == []
    desk.upgrade(reference)


@pytest.mark.parametrize(
    ("change", "slug"),
    [
        ({"on_delete": "SET NULL"}, "set-null-not-null"),
        ({"on_delete": "SET DEFAULT", "nullable": True}, "set-default"),
        ({"match": "full"}, "not-supported"),
        ({"deferrable": True}, "not-supported"),
        ({"name": "f" * 65}, "name-too-long"),
        ({"index_name": "i" * 65}, "name-too-long"),
    ],
)
def test_what_the_server_does_not_have_is_refused(
    database: Database, change: dict[str, object], slug: str
) -> None:
    """1830 and 1059; the others it accepts and ignores."""
    reference = replace(REFERENCE, **change)  # type: ignore[arg-type]
    assert slug in [problem.slug for problem in Desk.at(database, USER, post()).preflight(reference)]


@pytest.mark.parametrize(
    ("parent", "column"),
    [
        ("int", "int INVISIBLE"),
        ("timestamp", "timestamp NULL DEFAULT NULL"),
        ("datetime(6)", "datetime(6) DEFAULT NULL ON UPDATE CURRENT_TIMESTAMP(6)"),
    ],
)
def test_what_mariadb_makes_no_not_null_of_is_refused(database: Database, parent: str, column: str) -> None:
    """4108, 1846, and a default of zero that would stay after the way back; MySQL does all of them."""
    user = f"CREATE TABLE user (id {parent} NOT NULL PRIMARY KEY)"
    desk = Desk.at(database, user, post(f"user_id {column}"))
    assert [problem.slug for problem in desk.preflight()] == (["rebuild-refused"] if desk.mariadb else [])
    assert desk.preflight(replace(REFERENCE, nullable=True)) == []
    if not desk.mariadb:
        before = desk.schema()
        desk.downgrade(desk.upgrade())
        assert desk.schema() == before


def test_a_default_that_asks_a_sequence_is_refused(database: Database) -> None:
    """1100 in the middle of the run otherwise; MySQL has no sequences."""
    desk = Desk.at(database, USER, post())
    if not desk.mariadb:
        assert desk.fails("CREATE SEQUENCE numbers") == 1064
        return
    desk.sql("CREATE SEQUENCE numbers", "ALTER TABLE post ALTER id SET DEFAULT nextval(numbers)")
    assert [problem.slug for problem in desk.preflight()] == ["sequence-default"]
    desk.run(desk.dialect.index_steps(desk.facts()))
    assert desk.attempt_fails(desk.step("add-foreign-key")) == 1100


@pytest.mark.parametrize("event", ["DELETE", "UPDATE"])
def test_another_key_that_sets_the_column_to_null_is_refused(database: Database, event: str) -> None:
    """1830 at the very end otherwise: it refers to some other table, by this column among others."""
    member = "CREATE TABLE member (team int, id int, PRIMARY KEY (team, id))"
    key = f"CONSTRAINT fm FOREIGN KEY (team, user_id) REFERENCES member (team, id) ON {event} SET NULL"
    desk = Desk.at(database, USER, member, post(more=f", team int, {key}"))
    (problem,) = desk.preflight()
    assert problem.slug == "set-null-not-null"
    assert "fm" in problem.message
    assert desk.fails("ALTER TABLE post MODIFY user_id int NOT NULL, ALGORITHM=INPLACE, LOCK=NONE") == 1830
    assert desk.preflight(replace(REFERENCE, nullable=True)) == []


def test_a_key_that_differs_is_refused_and_an_equal_one_adopted(database: Database) -> None:
    """By its actions; NO ACTION and RESTRICT are one to InnoDB."""
    desk = Desk.at(database, USER, post(), ADD + " ON DELETE CASCADE")
    assert [p.slug for p in desk.preflight(replace(REFERENCE, on_delete="RESTRICT"))] == [
        "foreign-key-differs"
    ]
    assert desk.preflight(replace(REFERENCE, on_delete="CASCADE")) == []
    adopted = desk.preflight(replace(REFERENCE, on_delete="CASCADE"), severity="warn")
    assert [problem.slug for problem in adopted] == ["foreign-key-adopted"]


@pytest.mark.parametrize("kind", ["FULLTEXT", "SPATIAL"])
def test_a_table_that_cannot_be_rebuilt_online_is_refused(database: Database, kind: str) -> None:
    """1846 at the very end of the run otherwise; a nullable reference needs no rebuild."""
    more = ", body text, FULLTEXT (body)"
    if kind == "SPATIAL":
        more = f", at point NOT NULL{' SRID 0' if database.family == 'mysql' else ''}, SPATIAL INDEX (at)"
    desk = Desk.at(database, USER, post(more=more))
    copies = desk.mariadb and database.version >= (11, 2)
    assert [problem.slug for problem in desk.preflight()] == ([] if copies else ["rebuild-not-online"])
    assert desk.preflight(replace(REFERENCE, nullable=True)) == []
    if not copies:
        assert desk.attempt_fails(desk.step("set-not-null")) == 1846


def test_a_column_without_any_default_is_spoken_of(database: Database) -> None:
    """MySQL's MODIFY cannot say it: the column would come back with DEFAULT NULL, as on MariaDB at once."""
    desk = Desk.at(database, USER, post(), "ALTER TABLE post ALTER user_id DROP DEFAULT")
    warned = [problem.slug for problem in desk.preflight(severity="warn")]
    assert warned == ([] if desk.mariadb else ["default-will-be-null"])


def test_the_name_of_a_key_of_another_table_is_taken(database: Database) -> None:
    """1826 on MySQL: such names are of the database."""
    desk = Desk.at(
        database,
        *BLOG,
        "CREATE TABLE more (id int, CONSTRAINT fk_post_user_id_user FOREIGN KEY (id) REFERENCES user (id))",
    )
    assert "name-taken" in [problem.slug for problem in desk.environment()]


def test_with_the_checks_off_the_server_accepts_what_can_never_work(database: Database) -> None:
    """Why it is all looked at here: a parent that is missing."""
    desk = Desk.at(database, post(more=", KEY (user_id)"))
    desk.sql(CHECKS_OFF, ADD + ", ALGORITHM=INPLACE, LOCK=NONE")
    assert desk.value("SELECT COUNT(*) FROM information_schema.referential_constraints "
                      "WHERE constraint_schema = DATABASE()") == 1  # fmt: skip


def test_root_has_nothing_to_complain_of(database: Database) -> None:
    """No problem at all on a server set up as usual."""
    assert Desk.at(database, *BLOG).environment() == []


@pytest.mark.parametrize(
    "lacking", ["SELECT", "INSERT", "UPDATE", "DELETE", "CREATE", "DROP", "ALTER", "INDEX"]
)
def test_a_privilege_that_is_lacking_is_named(database: Database, lacking: str) -> None:
    """With the GRANT that gives it (1142 in the middle of the run otherwise)."""
    desk = Desk.at(database, *BLOG)
    facts = desk.facts()
    with account(desk, database, ALL.replace(f"{lacking}, ", "")) as poor:
        # Without SELECT the account could not read the facts either.
        with poor.open() as connection:
            found = list(poor.dialect.environment_problems(connection, facts, poor.settings))
        refused = [problem for problem in found if problem.severity == "refuse"]
        assert {problem.slug for problem in refused} <= {"no-privilege", "no-create"}
        assert all(lacking in problem.message and "GRANT" in problem.fix for problem in refused)
        assert refused
        desk.sql(*(problem.fix.rstrip(";") for problem in refused))
        assert not [p for p in poor.environment() if p.severity == "refuse"]


@pytest.mark.parametrize(("lacking", "family"), [("LOCK TABLES", "mariadb"), ("REFERENCES", "mysql")])
def test_what_one_server_alone_asks_for(database: Database, lacking: str, family: str) -> None:
    """MariaDB for its fence, MySQL for the key (1142); the other one does without and goes there and back."""
    desk = Desk.at(database, *BLOG)
    with account(desk, database, ALL.replace(f"{lacking}, ", "")) as poor:
        refused = [problem for problem in poor.environment() if problem.severity == "refuse"]
        assert bool(refused) == (database.family == family)
        assert all(lacking in problem.message and "GRANT" in problem.fix for problem in refused)
        desk.sql(*(problem.fix.rstrip(";") for problem in refused))
        poor.run(poor.dialect.index_steps(poor.facts()))
        ours = poor.run([poor.step("add-foreign-key")])
        poor.downgrade(frozenset({*ours, "create-index"}))
    assert desk.facts().state == "none"


def test_an_account_that_may_only_read_is_refused(database: Database) -> None:
    """It is told every privilege it lacks."""
    desk = Desk.at(database, *BLOG)
    with account(desk, database, "SELECT ON {db}.*") as poor:
        assert {p.slug for p in poor.environment() if p.severity == "refuse"} == {"no-privilege", "no-create"}


def test_without_the_trigger_privilege_the_run_is_warned_and_goes_on(database: Database) -> None:
    """The guard's step is `denied`, which is optional; the rest is done."""
    desk = Desk.at(database, *BLOG)
    with account(desk, database, ALL.replace(", TRIGGER", "")) as poor:
        slugs = {problem.slug: problem.severity for problem in poor.environment()}
        assert slugs == {"no-trigger": "warn", "no-process": "warn", "no-fence": "warn"}
        steps = [*poor.dialect.index_steps(poor.facts()), *poor.dialect.enforce_steps(poor.facts())]
        for step in steps:
            if step.name != "add-null-guard":
                poor.run([step])
                continue
            with pytest.raises(sa.exc.DBAPIError) as caught:
                poor.attempt(step)
            assert poor.dialect.verdict(caught.value) in step.optional
        assert poor.run(poor.dialect.validate_steps(poor.facts())) == ["set-not-null"]


@pytest.mark.parametrize("lacking", ["CREATE VIEW", "LOCK TABLES"])
def test_what_the_fence_wants_is_warned_of_with_its_grant(database: Database, lacking: str) -> None:
    """It is a courtesy to the application, so that the run may go on; on MariaDB LOCK TABLES is demanded."""
    desk = Desk.at(database, *BLOG)
    whole = ALL.replace("TRIGGER", "TRIGGER, CREATE VIEW")
    with account(desk, database, whole) as rich:
        assert "no-fence" not in {problem.slug for problem in rich.environment()}
    with account(desk, database, whole.replace(f", {lacking}", "")) as poor:
        found = {problem.slug: problem for problem in poor.environment()}
        if lacking == "LOCK TABLES" and database.family == "mariadb":
            assert "no-fence" not in found
            assert found["no-privilege"].severity == "refuse"
            return
        assert found["no-fence"].severity == "warn"
        assert lacking in found["no-fence"].message
        desk.sql(found["no-fence"].fix.rstrip(";"))
        assert "no-fence" not in {problem.slug for problem in poor.environment()}


def test_with_the_binary_log_on_a_trigger_wants_more_than_its_privilege(database: Database) -> None:
    """1419: typical of hosted servers. It is `denied` as well."""
    desk = Desk.at(database, *BLOG)
    with account(desk, database, ALL) as poor:
        assert "no-trigger" in [problem.slug for problem in poor.environment()]
        assert poor.attempt_fails(poor.step("add-null-guard")) == 1419
        assert "denied" in poor.step("add-null-guard").optional
    assert not set(guard_names(REFERENCE)) & set(desk.facts().guards)


@pytest.mark.parametrize("table", ["user", "post"])
def test_an_old_transaction_on_either_table_is_refused(database: Database, table: str) -> None:
    """Where the server names the holders of metadata locks."""
    desk = Desk.at(database, *BLOG)
    impatient = replace(desk, settings=replace(desk.settings, long_transaction=0.5))
    with desk.transaction(f"SELECT * FROM {table}") as holder:
        holder.exec_driver_sql("DO SLEEP(2)")
        found = [problem.slug for problem in impatient.environment()]
    assert found == ([] if desk.mariadb else ["long-transaction"])


def test_a_parent_that_is_missing_is_refused(database: Database) -> None:
    """With the names that are there."""
    desk = Desk.at(database, post(), "CREATE TABLE users (id int PRIMARY KEY)")
    with pytest.raises(UnknownTableError, match="users"):
        desk.preflight()


def test_what_a_large_rebuild_needs_is_spoken_of(database: Database) -> None:
    """Room for the table once more, and in the log of what is written meanwhile (1799); only where there is a
    rebuild to come."""
    desk = Desk.at(database, *BLOG)
    small = desk.facts()
    large = replace(small, child=replace(small.child, bytes=10**15))
    for facts, expected in (
        (large, {"room-unknown": "warn", "online-log": "warn"}),
        (replace(large, reference=replace(REFERENCE, nullable=True)), {}),
        (small, {}),
    ):
        with desk.open() as connection:
            found = list(desk.dialect.environment_problems(connection, facts, desk.settings))
        about = {p.slug: p.severity for p in found if p.slug in ("room-unknown", "online-log", "no-room")}
        assert about == expected


def test_a_session_with_its_checks_off_is_spoken_of(database: Database) -> None:
    """On MySQL, which can tell."""
    desk = Desk.at(database, *BLOG)
    with desk.transaction(CHECKS_OFF):
        slugs = [problem.slug for problem in desk.environment()]
    assert ("checks-off" in slugs) is not desk.mariadb
