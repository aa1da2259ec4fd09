"""What the policies want of a database is asked before a row is touched, and `migrator plan` tells it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import pytest
import sqlalchemy as sa

from migrator.errors import PreflightRefused, Refused, StepFailed
from migrator.policy import Backfill, Chain, CreateParents, Delete, Keep, Policy, SetNull
from migrator.policy_preflight import counted, policy_problems
from migrator.reference import Reference
from tests.operations import mysql_desk
from tests.operations.lifecycle import DOWN, UP, run
from tests.operations.postgresql_desk import BLOG, REFERENCE, Desk
from tests.operations.reporting import run as cli
from tests.servers.database import Database

ORPHANS = "UPDATE post SET user_id = 77 WHERE id IN (5, 6)"
GHOST = Backfill(sentinel={"id": 999, "name": "ghost"})
COMPOSITE = (
    "CREATE TABLE p (a int, b text, UNIQUE (a, b))",
    "CREATE TABLE c (id int PRIMARY KEY, a int, b text)",
    "INSERT INTO p SELECT n, 'x' || n FROM generate_series(1, 20) n",
    "INSERT INTO c SELECT n, n, 'x' || n FROM generate_series(1, 20) n",
)
FULL = replace(Reference.parse("c(a, b) -> p(a, b)"), nullable=True, match="full")


@contextmanager
def clerk(desk: Desk, database: Database, *grants: str) -> Iterator[sa.Engine]:
    """A role that owns the child and has these privileges on the parent."""
    role = f"clerk_{database.name}"
    url = sa.make_url(database.url).set(username=role, password="clerk")
    desk.sql(
        f"CREATE ROLE {role} LOGIN PASSWORD 'clerk'",
        f"GRANT CREATE, USAGE ON SCHEMA public TO {role}",
        f"ALTER TABLE post OWNER TO {role}",
        *(f'GRANT {grant} ON "user" TO {role}' for grant in grants),
    )
    engine = sa.create_engine(url, poolclass=sa.NullPool)
    try:
        yield engine
    finally:
        desk.sql(f"REASSIGN OWNED BY {role} TO CURRENT_USER", f"DROP OWNED BY {role}", f"DROP ROLE {role}")


@pytest.mark.engines("postgresql", "postgresql-15")
@pytest.mark.parametrize(
    ("policy", "grants", "lacking"),
    [
        (GHOST, ["REFERENCES, SELECT"], "INSERT, DELETE"),
        (CreateParents(), ["REFERENCES, SELECT"], "INSERT, DELETE"),
        (CreateParents(), ["REFERENCES, SELECT (id), INSERT, DELETE"], "SELECT"),
        (Chain(CreateParents(), Delete()), ["REFERENCES, SELECT, INSERT"], "DELETE"),
    ],
    ids=["sentinel", "create-parents", "create-parents-blind", "chain"],
)
def test_missing_rights_on_the_parent_are_refused_with_their_grant(
    database: Database, policy: Policy, grants: list[str], lacking: str
) -> None:
    """Before anything is made; granted, the same command goes all the way and back."""
    desk = Desk.at(database, *BLOG, ORPHANS)
    before = desk.schema()
    with clerk(desk, database, *grants) as engine:
        with pytest.raises(PreflightRefused, match=rf"lacks {lacking} on public\.user") as error:
            run(engine, UP, REFERENCE, Delete(), policy)
        assert desk.schema() == before
        desk.sql((error.value.hint or "").partition(";")[0])
        run(engine, UP, REFERENCE, Delete(), policy)
        assert desk.facts().state == "validated"
        run(engine, DOWN, REFERENCE, Delete(), policy)
        assert desk.schema() == before


@pytest.mark.engines("postgresql")
def test_rights_that_are_not_needed_are_not_asked_for(database: Database) -> None:
    """No orphan of the kind, a sentinel that is there, a stated parent."""
    desk = Desk.at(database, *BLOG)
    with clerk(desk, database, "REFERENCES, SELECT") as engine:
        run(engine, UP, REFERENCE, GHOST, CreateParents())
        run(engine, DOWN, REFERENCE, GHOST, CreateParents())
        desk.sql("""INSERT INTO "user" VALUES (999, 'ghost')""", ORPHANS)
        for policy in (GHOST, Backfill(to=3)):
            run(engine, UP, REFERENCE, GHOST, policy)
            run(engine, DOWN, REFERENCE, GHOST, policy)


@pytest.mark.engines("postgresql")
def test_plan_names_the_rights_that_are_missing(database: Database) -> None:
    """As far as the counts say that they are needed."""
    desk = Desk.at(database, *BLOG)
    with clerk(desk, database, "REFERENCES, SELECT") as engine:
        url = engine.url.render_as_string(hide_password=False)
        plan = ("plan", "--url", url, "-r", str(REFERENCE), "--on-null", "delete", "--on-dangling")
        assert cli(*plan, "create-parents").code == 0
        assert cli(*plan, "create-parents", "--no-count").code == 4
        desk.sql(ORPHANS)
        assert cli(*plan, "delete").code == 0
        for policy in ("create-parents", "backfill"):
            ran = cli(*plan, policy, "--format", "json")
            assert ran.code == 4
            assert "no-privilege" in ran.out
            assert "GRANT INSERT, DELETE ON" in ran.out


@pytest.mark.engines("mysql", "mariadb")
def test_missing_rights_of_an_account_are_named_with_their_grant(database: Database) -> None:
    """By whole tables."""
    desk = mysql_desk.Desk.at(database, *mysql_desk.BLOG)
    few = ("SELECT, UPDATE ON {db}.*", "INSERT ON {db}.post")
    every = ("SELECT, INSERT, DELETE, UPDATE ON {db}.*",)
    for grants, lacking in ((few, ["no-privilege"]), (every, [])):
        with mysql_desk.account(desk, database, *grants) as theirs, theirs.engine.connect() as connection:
            facts = theirs.dialect.facts(connection, mysql_desk.REFERENCE)
            found = list(
                policy_problems(
                    connection,
                    theirs.dialect,
                    facts,
                    on_null=Delete(),
                    on_dangling=CreateParents(),
                    there=counted(None),
                )
            )
        assert [problem.slug for problem in found] == lacking
        assert all("lacks INSERT, DELETE on" in problem.message for problem in found)


@pytest.mark.engines("postgresql", "postgresql-15")
def test_a_key_null_in_part_cannot_be_kept_under_match_full(database: Database) -> None:
    """Refused before the first row is touched; set to NULL as a whole, by the policy or by the statement that
    is told, it goes all the way."""
    desk = Desk.at(
        database, *COMPOSITE, "UPDATE c SET b = NULL WHERE id = 5", "UPDATE c SET a = 77 WHERE id = 6"
    )
    with pytest.raises(PreflightRefused, match="MATCH FULL refuses and on_null=keep would leave") as error:
        run(database.engine, UP, FULL, Keep(), Delete())
    assert desk.value("SELECT count(*) FROM c WHERE b IS NULL AND a IS NOT NULL") == 1
    assert desk.value("SELECT count(*) FROM c") == 20
    run(database.engine, UP, FULL, SetNull(), Delete())
    run(database.engine, DOWN, FULL, SetNull(), Delete())
    desk.sql((error.value.hint or "").partition(";")[0])
    run(database.engine, UP, FULL, Keep(), Delete())
    assert desk.facts(FULL).state == "validated"


@pytest.mark.engines("postgresql")
def test_who_may_write_orphans_is_told_in_the_servers_own_words(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """PostgreSQL knows no foreign_key_checks."""
    desk = Desk.at(database, *BLOG, ORPHANS)
    run(database.engine, UP[:2], REFERENCE, Delete(), Delete())
    desk.sql("SET session_replication_role = replica; UPDATE post SET user_id = 88 WHERE id = 9")
    monkeypatch.setattr("migrator.sweep._ROUNDS", 1)
    monkeypatch.setattr("migrator.sweep._may_wait", lambda facts, work: False)
    with pytest.raises((StepFailed, Refused), match="as fast as they are swept") as error:
        run(database.engine, UP[2:], REFERENCE, Delete(), Delete())
    assert "session_replication_role=replica" in (error.value.hint or "")
    assert "foreign_key_checks" not in (error.value.hint or "")
