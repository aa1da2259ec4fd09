"""The PostgreSQL protocol on real servers: every step, its inverse, and what each relies on."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.engine import Connection

from migrator.policy import Delete
from migrator.reference import Reference, TableName
from tests.listening import before_each
from tests.operations.lifecycle import FAST, run
from tests.operations.postgresql_desk import BLOG, REFERENCE, Desk
from tests.servers.database import Database

pytestmark = pytest.mark.engines("postgresql", "postgresql-13", "postgresql-17")

NULLABLE = replace(REFERENCE, nullable=True, on_delete="CASCADE")


def sqlstate(error: pytest.ExceptionInfo[sa.exc.DBAPIError]) -> str:
    """The SQLSTATE of what was raised."""
    return str(getattr(error.value.orig, "sqlstate", ""))


@pytest.mark.parametrize("reference", [REFERENCE, NULLABLE], ids=["not-null", "nullable"])
def test_upgrade_and_downgrade_leave_the_schema_as_it_was(database: Database, reference: Reference) -> None:
    """After the way there and back nothing of ours is left, and nothing of the user's is changed."""
    desk = Desk.at(database, *BLOG)
    before = desk.schema()
    ours = desk.upgrade(reference)
    assert desk.facts(reference).state == "validated"
    assert not desk.facts(reference).guards
    assert not desk.value("SELECT count(*) FROM pg_proc WHERE proname LIKE 'migrator%'")
    desk.downgrade(ours, reference)
    assert desk.schema() == before


@pytest.mark.parametrize("reference", [REFERENCE, NULLABLE], ids=["not-null", "nullable"])
def test_unvalidate_goes_back_to_what_enforce_had_left(database: Database, reference: Reference) -> None:
    """The foreign key claims no proof again and the guard is back in its place."""
    desk = Desk.at(database, *BLOG)
    desk.run(desk.dialect.enforce_steps(desk.facts(reference)), reference)
    enforced = desk.schema()
    ours = desk.run(desk.dialect.validate_steps(desk.facts(reference)), reference)
    desk.run(desk.dialect.unvalidate_steps(desk.facts(reference), frozenset(ours)), reference)
    assert desk.schema() == enforced
    assert desk.facts(reference).state == "enforced"


def test_every_step_run_again_is_found_done(database: Database) -> None:
    """A second upgrade runs nothing."""
    desk = Desk.at(database, *BLOG)
    desk.upgrade()
    assert desk.upgrade() == frozenset()


def test_an_upgrade_stopped_after_any_step_goes_on_and_comes_back(database: Database) -> None:
    """Whatever the last step was, the rest is planned anew from the catalog, and the way back is whole."""
    desk = Desk.at(database, *BLOG)
    before = desk.schema()
    full = len(desk.upgrade())
    desk.downgrade(
        frozenset({"create-index", "add-foreign-key", "add-null-guard", "add-null-check", "validate"})
    )
    assert desk.schema() == before
    for stop in range(full):
        plan = (desk.dialect.index_steps, desk.dialect.enforce_steps, desk.dialect.validate_steps)
        ran: list[str] = []
        for steps in plan:
            for step in steps(desk.facts()):
                if len(ran) < stop:
                    ran += desk.run([step])
        ours = frozenset(ran) | desk.upgrade()
        assert desk.facts().state == "validated", stop
        desk.downgrade(ours)
        assert desk.schema() == before, stop


def test_the_way_back_leaves_what_was_there_before_us(database: Database) -> None:
    """An index, a foreign key under another name and NOT NULL: neither made nor dropped."""
    desk = Desk.at(
        database,
        *BLOG,
        "CREATE INDEX theirs ON post (user_id)",
        'ALTER TABLE post ADD CONSTRAINT theirs_fk FOREIGN KEY (user_id) REFERENCES "user" (id)',
        "ALTER TABLE post ALTER user_id SET NOT NULL",
    )
    before = desk.schema()
    ours = desk.upgrade()
    assert ours == frozenset()
    desk.downgrade(ours)
    assert desk.schema() == before


def test_an_adopted_key_that_we_validated_is_given_back_not_valid(database: Database) -> None:
    """With its own name and its own actions."""
    theirs = (
        'ALTER TABLE post ADD CONSTRAINT theirs FOREIGN KEY (user_id) REFERENCES "user" (id) '
        "ON DELETE SET NULL NOT VALID"
    )
    desk = Desk.at(database, *BLOG, theirs)
    reference = replace(REFERENCE, nullable=True, index=False)
    before = desk.schema()
    ours = frozenset(desk.run(desk.dialect.validate_steps(desk.facts(reference)), reference))
    assert ours == {"validate"}
    desk.run(desk.dialect.unvalidate_steps(desk.facts(reference), ours), reference)
    assert desk.schema() == before


def test_a_composite_key_gives_back_only_the_nulls_it_took(database: Database) -> None:
    """A column that was NOT NULL before stays so after the way back."""
    desk = Desk.at(
        database,
        "CREATE TABLE region (country text, code text, PRIMARY KEY (country, code))",
        "CREATE TABLE city (id int PRIMARY KEY, country text NOT NULL, region text)",
        "INSERT INTO region VALUES ('fr', '75')",
        "INSERT INTO city VALUES (1, 'fr', '75')",
    )
    reference = Reference.parse("city(country, region) -> region(country, code)")
    before = desk.schema()
    ours = desk.upgrade(reference)
    assert desk.facts(reference).not_null
    desk.downgrade(ours, reference)
    assert desk.schema() == before


def test_old_null_rows_may_be_updated_while_new_nulls_are_refused(database: Database) -> None:
    """Under the guard, that is; a CHECK NOT VALID would refuse the first as well."""
    desk = Desk.at(database, *BLOG, "INSERT INTO post VALUES (901, NULL, 'old')")
    desk.run(desk.dialect.enforce_steps(desk.facts()))
    desk.sql(
        "UPDATE post SET title = 'still old' WHERE id = 901", "UPDATE post SET user_id = 1 WHERE id = 901"
    )
    for refused in (
        "INSERT INTO post VALUES (902, NULL, 'new')",
        "UPDATE post SET user_id = NULL WHERE id = 1",
    ):
        with pytest.raises(sa.exc.IntegrityError, match="user_id") as error:
            desk.sql(refused)
        assert sqlstate(error) == "23502"


def test_the_guard_judges_the_row_as_it_is_stored(database: Database) -> None:
    """A value filled in by another trigger passes, as it does NOT NULL."""
    desk = Desk.at(
        database,
        *BLOG,
        "CREATE FUNCTION fill() RETURNS trigger LANGUAGE plpgsql AS "
        "'BEGIN NEW.user_id = coalesce(NEW.user_id, 1); RETURN NEW; END'",
        "CREATE TRIGGER zz_fill BEFORE INSERT ON post FOR EACH ROW EXECUTE FUNCTION fill()",
    )
    desk.run(desk.dialect.enforce_steps(desk.facts()))
    desk.sql("INSERT INTO post VALUES (901, NULL, 'filled')")
    assert desk.value("SELECT user_id FROM post WHERE id = 901") == 1


def test_a_foreign_key_not_valid_refuses_new_orphans_only(database: Database) -> None:
    """Old orphans stay and may be updated once in a transaction; a second update of one is refused."""
    desk = Desk.at(database, *BLOG, "INSERT INTO post VALUES (901, 77, 'dangling')")
    desk.run(desk.dialect.enforce_steps(desk.facts()))
    desk.sql("UPDATE post SET title = 'once' WHERE id = 901")
    with pytest.raises(sa.exc.IntegrityError) as error:
        desk.sql("INSERT INTO post VALUES (902, 77, 'new')")
    assert sqlstate(error) == "23503"
    with desk.transaction("UPDATE post SET title = 'twice' WHERE id = 901") as other:
        with pytest.raises(sa.exc.IntegrityError) as error:
            other.exec_driver_sql("UPDATE post SET title = 'thrice' WHERE id = 901")
        assert sqlstate(error) == "23503"


def test_a_row_that_breaks_the_constraint_is_a_violation_to_sweep(database: Database) -> None:
    """VALIDATE fails, leaves the key NOT VALID, and the step says that a sweep is the answer."""
    desk = Desk.at(database, *BLOG, "INSERT INTO post VALUES (901, 77, 'dangling')")
    desk.run(desk.dialect.enforce_steps(desk.facts()))
    steps = {step.name: step for step in desk.dialect.validate_steps(desk.facts())}
    desk.run([steps["add-null-check"]])
    with pytest.raises(sa.exc.IntegrityError) as error:
        desk.attempt(steps["validate"])
    assert desk.dialect.verdict(error.value) == "violation"
    assert steps["validate"].violation == "sweep"
    assert desk.facts().state == "enforced"
    desk.sql("DELETE FROM post WHERE id = 901")
    desk.run(steps.values())
    assert desk.facts().state == "validated"


def test_set_not_null_does_not_scan(database: Database) -> None:
    """The server says that the CHECK was enough proof; 18 has no such step at all."""
    desk = Desk.at(database, *BLOG)
    desk.run(desk.dialect.enforce_steps(desk.facts()))
    steps = {step.name: step for step in desk.dialect.validate_steps(desk.facts())}
    if desk.facts().server.version >= (18,):
        assert list(steps) == ["add-null-check", "validate", "drop-null-guard"]
        return
    desk.run([steps["add-null-check"], steps["validate"]])
    heard: list[str] = []
    with desk.open() as connection:
        driver = connection.connection.dbapi_connection
        assert driver is not None
        driver.add_notice_handler(lambda notice: heard.append(notice.message_primary))
        connection.exec_driver_sql("SET client_min_messages = debug1")
        desk.dialect.run_sql(connection, steps["set-not-null"], desk.settings)
    assert any("sufficient to prove" in line for line in heard)
    assert not any("verifying table" in line for line in heard)


def test_18_names_not_null_as_the_server_would(database: Database) -> None:
    """So that the schema is that of a plain SET NOT NULL."""
    desk = Desk.at(
        database, *BLOG, "CREATE TABLE plain (LIKE post)", "ALTER TABLE plain ALTER user_id SET NOT NULL"
    )
    if desk.facts().server.version < (18,):
        assert not desk.rows("SELECT 1 FROM pg_constraint WHERE contype = 'n'")
        return
    desk.upgrade()
    names = desk.rows(
        "SELECT replace(conname, conrelid::regclass::text, 't') FROM pg_constraint WHERE contype = 'n' "
        "AND conkey = '{2}' AND conrelid IN ('post'::regclass, 'plain'::regclass)"
    )
    assert names == [("t_user_id_not_null",), ("t_user_id_not_null",)]


def test_a_self_reference_goes_all_the_way(database: Database) -> None:
    """Parent and child are one table, locked once."""
    desk = Desk.at(
        database,
        "CREATE TABLE node (id int PRIMARY KEY, parent_id int)",
        "INSERT INTO node VALUES (1, 1), (2, 1)",
    )
    reference = Reference.parse("node.parent_id -> node.id")
    before = desk.schema()
    ours = desk.upgrade(reference)
    assert desk.facts(reference).state == "validated"
    desk.downgrade(ours, reference)
    assert desk.schema() == before


def test_odd_names_go_all_the_way(database: Database) -> None:
    """Quotes, percent signs, colons, blanks, capitals and schemas, in every kind of name."""
    desk = Desk.at(
        database,
        'CREATE SCHEMA "Odd ""s%"',
        'CREATE TABLE "Odd ""s%"."Us%%er :x" ("I d%" int PRIMARY KEY)',
        """CREATE TABLE "Odd ""s%"."it's ""a"" post\\" (id int PRIMARY KEY, "user:Id $1 %s" int)""",
        'INSERT INTO "Odd ""s%"."Us%%er :x" VALUES (1)',
        """INSERT INTO "Odd ""s%"."it's ""a"" post\\" VALUES (1, 1)""",
    )
    schema = 'Odd "s%'
    reference = Reference(
        TableName('it\'s "a" post\\', schema), ("user:Id $1 %s",), TableName("Us%%er :x", schema), ("I d%",)
    )
    assert desk.problems(reference) == []
    assert desk.environment(reference) == []
    ours = desk.upgrade(reference)
    facts = desk.facts(reference)
    assert facts.state == "validated"
    assert facts.index is not None
    desk.downgrade(ours, reference)
    assert desk.facts(reference).state == "none"


def test_key_options_reach_the_server(database: Database) -> None:
    """Actions, MATCH FULL and deferral are declared and read back."""
    desk = Desk.at(database, *BLOG)
    reference = replace(
        NULLABLE,
        on_delete="SET NULL",
        on_update="CASCADE",
        match="full",
        deferrable=True,
        initially_deferred=True,
    )
    desk.upgrade(reference)
    fk = desk.facts(reference).foreign_key
    assert fk is not None
    assert (fk.on_delete, fk.on_update, fk.match) == ("SET NULL", "CASCADE", "full")
    assert (fk.deferrable, fk.initially_deferred, fk.validated) == (True, True, True)


def test_an_invalid_index_is_rebuilt(database: Database) -> None:
    """CREATE INDEX .. IF NOT EXISTS takes an INVALID index for the one wanted; we do not."""
    desk = Desk.at(database, *BLOG)
    with pytest.raises(sa.exc.IntegrityError):
        desk.sql(f"CREATE UNIQUE INDEX CONCURRENTLY {REFERENCE.index_name} ON post (user_id)")
    facts = desk.facts()
    assert facts.index is None
    assert [problem.slug for problem in desk.problems()] == ["invalid-index"]
    steps = desk.dialect.index_steps(facts)
    assert [step.name for step in steps] == ["drop-invalid-index", "create-index"]
    desk.run(steps)
    assert desk.facts().index is not None


def test_an_attempt_at_the_index_clears_away_what_the_one_before_left(database: Database) -> None:
    """The step alone, tried again over an INVALID leftover, ends with a valid index."""
    desk = Desk.at(database, *BLOG)
    (build,) = desk.dialect.index_steps(desk.facts())
    with pytest.raises(sa.exc.IntegrityError):
        desk.sql(f"CREATE UNIQUE INDEX CONCURRENTLY {REFERENCE.index_name} ON post (user_id)")
    desk.run([build])
    assert desk.facts().index is not None
    assert (
        desk.value(f"SELECT indisunique FROM pg_index WHERE indexrelid = '{REFERENCE.index_name}'::regclass")
        is False
    )


@pytest.mark.parametrize(("scan_rows", "windows"), [(0, False), (50, True)], ids=["by size", "as stated"])
def test_a_table_of_moderate_size_is_scanned_in_one_go(
    database: Database, scan_rows: int, windows: bool
) -> None:
    """Once the server knows how large it is, and unless windows were asked for; the same rows are found."""
    orphans = "INSERT INTO post VALUES (901, 99, 'dangling'), (902, NULL, 'null')"
    desk = Desk.at(database, *BLOG, orphans, "ANALYZE post")
    ends: list[str] = []

    def listen(_connection: Connection, _cursor: Any, statement: str, *_: Any) -> None:
        if " OFFSET " in statement:
            ends.append(statement)

    with before_each(desk.engine, listen):
        counted = run(
            desk.engine,
            ("sweep",),
            REFERENCE,
            Delete(),
            Delete(),
            settings=replace(FAST, scan_rows=scan_rows),
        )
    assert (counted[0]["rows"], counted[0]["found"]) == (202, 2)
    assert bool(ends) is windows
