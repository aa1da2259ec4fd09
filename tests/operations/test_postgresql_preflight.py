"""What PostgreSQL databases are refused for, one by one, each with the statement that mends it.

Where a refusal names a statement that can be run as it stands, it is run, and the refusal is gone.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import pytest

from migrator.dialects.pg_environment import pooling_problem
from migrator.dialects.telling import Problem
from migrator.reference import Reference
from tests.operations.postgresql_desk import BLOG, REFERENCE, Desk
from tests.servers.database import Database

pytestmark = pytest.mark.engines("postgresql")


def slugs(problems: list[Problem]) -> list[str]:
    """The problems' slugs."""
    return [problem.slug for problem in problems]


def mend(desk: Desk, problem: Problem) -> None:
    """Run the statements of a problem's fix."""
    desk.sql(*(part for part in problem.fix.split(";")[:1]))


def test_a_healthy_blog_is_not_refused(database: Database) -> None:
    """Neither for its facts nor for its surroundings."""
    desk = Desk.at(database, *BLOG)
    assert desk.problems() == []
    assert desk.environment() == []


@pytest.mark.parametrize(
    ("slug", "named", "statements"),
    [
        ("type-mismatch", "post.user_id is text", ["ALTER TABLE post ALTER user_id TYPE text"]),
        ("type-mismatch", "user_id is numeric", ["ALTER TABLE post ALTER user_id TYPE numeric"]),
        ("parent-key-not-unique", "user(id)", ['ALTER TABLE "user" DROP CONSTRAINT user_pkey']),
        (
            "parent-key-not-unique",
            "user(id)",
            [
                'ALTER TABLE "user" DROP CONSTRAINT user_pkey',
                'CREATE UNIQUE INDEX partly ON "user" (id) WHERE id > 0',
            ],
        ),
        (
            "parent-key-not-unique",
            "user(id)",
            [
                'ALTER TABLE "user" DROP CONSTRAINT user_pkey',
                'ALTER TABLE "user" ADD UNIQUE (id) DEFERRABLE',
            ],
        ),
        ("unlogged-parent", "user is unlogged", ['ALTER TABLE "user" SET UNLOGGED']),
        ("inheritance", "public.more", ["CREATE TABLE more () INHERITS (post)"]),
        ("inheritance", "public.more", ['CREATE TABLE more () INHERITS ("user")']),
        (
            "no-key",
            "post has no primary key",
            ["DROP TABLE post", "CREATE TABLE post (id int, user_id bigint) PARTITION BY HASH (id)"],
        ),
        ("name-taken", "ix_post_user_id", ["CREATE INDEX ix_post_user_id ON post (title)"]),
        (
            "name-taken",
            "fk_post_user_id_user",
            ["ALTER TABLE post ADD CONSTRAINT fk_post_user_id_user CHECK (id > 0)"],
        ),
        (
            "set-null-not-null",
            "post.user_id",
            ['ALTER TABLE post ADD FOREIGN KEY (user_id) REFERENCES "user" ON DELETE SET NULL'],
        ),
    ],
)
def test_a_fact_that_forbids_the_run_is_named(
    database: Database, slug: str, named: str, statements: list[str]
) -> None:
    """With table and column in the message."""
    desk = Desk.at(database, *BLOG, *statements)
    found = [problem for problem in desk.problems() if problem.severity == "refuse"]
    assert slugs(found) == [slug]
    assert named in found[0].message
    assert "\n" not in found[0].message + found[0].fix


def test_a_check_that_only_shares_its_name_with_ours_is_not_touched(database: Database) -> None:
    """Before 18 there is a helper of that name, which is dropped in the end; one that a run of ours has left
    is taken up."""
    there = "ALTER TABLE post ADD CONSTRAINT post_user_id_nn_chk CHECK ({})"
    desk = Desk.at(database, *BLOG, there.format("user_id > 0 OR user_id IS NULL"))
    native = desk.facts().server.version >= (18,)
    assert slugs(desk.problems()) == ([] if native else ["name-taken"])
    assert desk.problems(replace(REFERENCE, nullable=True)) == []
    desk.sql("ALTER TABLE post DROP CONSTRAINT post_user_id_nn_chk", there.format("user_id IS NOT NULL"))
    assert desk.problems() == []


def test_a_table_without_a_key_has_addresses(database: Database) -> None:
    """The operator is told what that means, and the run goes on."""
    desk = Desk.at(database, *BLOG, "ALTER TABLE post DROP CONSTRAINT post_pkey")
    (problem,) = desk.problems()
    assert (problem.slug, problem.severity) == ("no-key", "warn")
    assert "named by their ctid" in problem.message


@pytest.mark.parametrize(
    ("table", "create"),
    [
        ("posts", "CREATE VIEW posts AS SELECT * FROM post"),
        ("posts", "CREATE MATERIALIZED VIEW posts AS SELECT * FROM post"),
    ],
)
def test_a_view_is_not_a_table(database: Database, table: str, create: str) -> None:
    """A foreign key wants one."""
    desk = Desk.at(database, *BLOG, create)
    assert slugs(desk.problems(Reference.parse(f"{table}.user_id -> user.id"))) == ["not-a-table"]
    assert slugs(desk.problems(Reference.parse(f"{table}.user_id -> post.id"))) == ["not-a-table"]


@pytest.mark.parametrize(
    ("child", "parent"),
    [
        ("smallint", "bigint"),
        ("bigint", "integer"),
        ("varchar(20)", "text"),
        ("small", "bigint"),
        ("mood", "mood"),
        ("integer", "numeric"),
        ("real", "double precision"),
        ("uuid", "uuid"),
        ("integer", "text"),
        ("numeric", "integer"),
        ("text", "uuid"),
        ("mood", "text"),
        ("timestamptz", "date"),
        ("integer[]", "integer[]"),
        ("citext_like", "text"),
    ],
)
def test_types_are_judged_as_the_server_judges_them(database: Database, child: str, parent: str) -> None:
    """Refused here exactly where ADD FOREIGN KEY itself would be."""
    desk = Desk.at(
        database,
        "CREATE DOMAIN small AS smallint",
        "CREATE DOMAIN citext_like AS varchar(9)",
        "CREATE TYPE mood AS ENUM ('glad', 'sad')",
        f"CREATE TABLE parent (id {parent} PRIMARY KEY)",
        f"CREATE TABLE child (id int PRIMARY KEY, parent_id {child})",
    )
    probe = (
        "DO $$ BEGIN ALTER TABLE child ADD CONSTRAINT probe FOREIGN KEY (parent_id) REFERENCES parent; "
        "EXCEPTION WHEN datatype_mismatch OR undefined_function THEN NULL; END $$"
    )
    found = slugs(desk.problems(Reference.parse("child.parent_id -> parent.id")))
    desk.sql(probe)
    accepted = desk.value("SELECT count(*) FROM pg_constraint WHERE conname = 'probe'") == 1
    assert found == ([] if accepted else ["type-mismatch"])


def test_set_null_cannot_go_with_not_null(database: Database) -> None:
    """Nor SET DEFAULT where there is no default; both are fine for a nullable reference."""
    desk = Desk.at(database, *BLOG)
    assert slugs(desk.problems(replace(REFERENCE, on_delete="SET NULL"))) == ["set-null-not-null"]
    assert slugs(desk.problems(replace(REFERENCE, on_delete="SET DEFAULT"))) == ["set-default-not-null"]
    assert desk.problems(replace(REFERENCE, on_delete="SET NULL", nullable=True)) == []


def test_an_equal_key_under_another_name_is_adopted(database: Database) -> None:
    """Said, not refused; but one with other actions than those asked for is refused."""
    desk = Desk.at(
        database,
        *BLOG,
        'ALTER TABLE post ADD CONSTRAINT theirs FOREIGN KEY (user_id) REFERENCES "user" ON DELETE CASCADE',
    )
    (problem,) = desk.problems()
    assert (problem.severity, problem.slug) == ("warn", "foreign-key-adopted")
    (problem,) = desk.problems(replace(REFERENCE, on_delete="RESTRICT"))
    assert (problem.severity, problem.slug) == ("refuse", "foreign-key-differs")
    assert "ON DELETE CASCADE instead of RESTRICT" in problem.message
    mend(desk, replace(problem, fix=problem.fix.split("drop it: ")[1]))
    assert desk.problems(replace(REFERENCE, on_delete="RESTRICT")) == []


def test_a_unique_index_is_key_enough(database: Database) -> None:
    """It need not be a constraint."""
    desk = Desk.at(database, *BLOG, 'CREATE UNIQUE INDEX names ON "user" (name)')
    reference = Reference.parse("post.title -> user.name")
    assert desk.problems(reference) == []


@pytest.mark.parametrize(
    "statement", ['ALTER TABLE "user" SET UNLOGGED', "CREATE TABLE more () INHERITS (post)"]
)
def test_the_fix_mends_it(database: Database, statement: str) -> None:
    """Pasted as it stands."""
    desk = Desk.at(database, *BLOG, statement)
    (problem,) = desk.problems()
    mend(desk, replace(problem, fix=problem.fix[problem.fix.index("ALTER TABLE") :]))
    assert desk.problems() == []


@contextmanager
def a_role(desk: Desk, database: Database, *statements: str) -> Iterator[str]:
    """A role without privileges, but for what the statements (with `{role}`) grant it."""
    role = f"clerk_{database.name}"
    desk.sql(f'CREATE ROLE "{role}"')
    try:
        desk.sql(*(statement.format(role=f'"{role}"') for statement in statements))
        yield role
    finally:
        desk.sql(f'DROP OWNED BY "{role}"', f'DROP ROLE "{role}"')


def environment_as(desk: Desk, role: str) -> list[Problem]:
    """What stands against the run for this role."""
    facts = desk.facts()
    with desk.open() as connection:
        connection.exec_driver_sql(f'SET ROLE "{role}"')
        return list(desk.dialect.environment_problems(connection, facts, desk.settings))


def test_each_missing_privilege_is_named_with_its_grant(database: Database) -> None:
    """Ownership of the child, REFERENCES and SELECT on the parent's key, CREATE in the schema."""
    desk = Desk.at(database, *BLOG)
    with a_role(desk, database, "REVOKE CREATE ON SCHEMA public FROM PUBLIC") as role:
        problems = environment_as(desk, role)
        found = slugs(problems)
        assert found == ["no-create"]
        desk.sql(f'GRANT CREATE, USAGE ON SCHEMA public TO "{role}"')
        problems = environment_as(desk, role)
        assert slugs(problems) == ["not-owner", "no-privilege", "no-privilege"]
        assert "SELECT, UPDATE, DELETE on public.post" in problems[1].message
        assert "REFERENCES and SELECT on public.user(id)" in problems[2].message
        desk.sql(f'ALTER TABLE post OWNER TO "{role}"')
        (problem,) = environment_as(desk, role)
        mend(desk, problem)
        assert environment_as(desk, role) == []


def test_row_level_security_that_binds_us_is_refused(database: Database) -> None:
    """Parents that it hides would look missing."""
    desk = Desk.at(database, *BLOG, 'ALTER TABLE "user" ENABLE ROW LEVEL SECURITY')
    assert desk.environment() == []  # the owner and superusers are not bound
    grants = (
        "GRANT CREATE ON SCHEMA public TO {role}",
        "ALTER TABLE post OWNER TO {role}",
        'GRANT SELECT, REFERENCES ON "user" TO {role}',
    )
    with a_role(desk, database, *grants) as role:
        (problem,) = environment_as(desk, role)
        assert problem.slug == "row-security"
        mend(desk, problem)
        assert environment_as(desk, role) == []


def test_a_read_only_default_is_refused(database: Database) -> None:
    """It is somebody's intent."""
    desk = Desk.at(
        database, *BLOG, f'ALTER DATABASE "{database.name}" SET default_transaction_read_only = on'
    )
    try:
        assert slugs(desk.environment()) == ["read-only"]
    finally:
        with desk.open() as connection:
            connection.exec_driver_sql("SET default_transaction_read_only = off")
            connection.exec_driver_sql(
                f'ALTER DATABASE "{database.name}" RESET default_transaction_read_only'
            )


def test_a_long_transaction_on_the_tables_is_refused_and_elsewhere_warned_of(database: Database) -> None:
    """Named by process, application and age."""
    desk = Desk.at(database, *BLOG, "CREATE TABLE elsewhere ()")
    impatient = replace(desk, settings=replace(desk.settings, long_transaction=1.0))
    with desk.transaction("UPDATE post SET title = 'x' WHERE id = 1", "SELECT pg_sleep(1.1)"):
        assert desk.environment() == []
        (problem,) = impatient.environment()
        assert (problem.severity, problem.slug) == ("refuse", "long-transaction")
    with desk.transaction(
        "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ", "TABLE elsewhere", "SELECT pg_sleep(1.1)"
    ):
        (problem,) = impatient.environment()
        assert (problem.severity, problem.slug) == ("warn", "long-transaction")


def test_a_prepared_transaction_on_the_tables_is_refused(database: Database) -> None:
    """It holds its locks until somebody ends it, without any session to be seen."""
    desk = Desk.at(database, *BLOG)
    with desk.open() as connection:
        for statement in (
            "BEGIN",
            "UPDATE post SET title = 'x' WHERE id = 1",
            "PREPARE TRANSACTION 'it''s open'",
        ):
            connection.exec_driver_sql(statement)
    (problem,) = [problem for problem in desk.environment() if problem.severity == "refuse"]
    assert problem.slug == "prepared-transaction"
    assert "it's open" in problem.message
    desk.sql("ROLLBACK PREPARED 'it''s open'")
    assert desk.environment() == []


def test_a_published_table_without_replica_identity_is_refused(database: Database) -> None:
    """Its rows can be neither updated nor deleted."""
    desk = Desk.at(
        database, *BLOG, "ALTER TABLE post REPLICA IDENTITY NOTHING", "CREATE PUBLICATION p FOR TABLE post"
    )
    (problem,) = desk.environment()
    assert problem.slug == "no-replica-identity"
    mend(desk, problem)
    assert desk.environment() == []


def test_a_key_not_enforced_checks_nothing(database: Database) -> None:
    """18 and later: it is not taken for a foreign key."""
    desk = Desk.at(database, *BLOG)
    if desk.facts().server.version < (18,):
        return
    desk.sql('ALTER TABLE post ADD CONSTRAINT k FOREIGN KEY (user_id) REFERENCES "user" NOT ENFORCED')
    assert desk.facts().state == "none"
    (problem,) = desk.problems()
    assert problem.slug == "not-enforced"
    mend(desk, problem)
    assert desk.problems() == []


@pytest.mark.parametrize(
    ("processes", "refused"),
    [((1, 2, 1), False), ((1, 1, 1), True), ((1, 1, 3), True), ((1, 2, 3), True)],
)
def test_a_pooler_in_transaction_mode_is_told_by_the_processes_behind_it(
    processes: tuple[int, int, int], refused: bool
) -> None:
    """Ours went to another client, or ours is another now."""
    assert bool(list(pooling_problem(*processes))) is refused


def test_an_unknown_table_or_column_comes_with_the_nearest_names(database: Database) -> None:
    """Or with the schema it lies in."""
    desk = Desk.at(database, *BLOG, "CREATE SCHEMA shop", "CREATE TABLE shop.item (id int)")
    for text, hint in (
        ("posts.user_id -> user.id", "post"),
        ("post.usr_id -> user.id", "user_id"),
        ("item.id -> user.id", "shop.item"),
        ("shop.itm.id -> user.id", "item"),
    ):
        with pytest.raises(Exception, match=r"There is no table|has no column") as error:
            desk.facts(Reference.parse(text))
        assert hint in str(error.value)
