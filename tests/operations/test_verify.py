"""`migrator verify` tells a reference that holds from one that merely looks as if it did."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING, Any

import pytest
import sqlalchemy as sa
from sqlalchemy.orm import Session

from migrator.blog import legacy, models
from migrator.blog.seed import seed
from migrator.policy import Keep, SetNull
from migrator.reference import Reference
from tests.operations.lifecycle import UP
from tests.operations.lifecycle import run as operate
from tests.operations.orphan_cases import fill, key, table
from tests.operations.reporting import check_schema, run

if TYPE_CHECKING:
    from tests.conftest import Database

BLOG = "post.user_id -> user.id"


def _corrected_blog(database: Database, users: int = 3) -> None:
    models.Base.metadata.create_all(database.engine)
    with Session(database.engine) as session:
        for number in range(users):
            posts = [models.Post(title="t", body="100% b") for _ in range(4)]
            session.add(models.User(username=f"u{number}", email=f"e{number}", posts=posts))
        session.commit()


def _checks(document: Any) -> dict[str, str]:
    (found,) = document["references"]
    return {check["slug"]: check["status"] for check in found["checks"]}


def _rows(database: Database) -> list[Any]:
    with database.engine.connect() as connection:
        return [
            tuple(row)
            for name in ("user", "post")
            for row in connection.execute(models.Base.metadata.tables[name].select().order_by(sa.text("id")))
        ]


def test_the_corrected_blog_passes_every_check(database: Database) -> None:
    """A foreign key that holds: nothing failed, nothing skipped, not one row changed."""
    _corrected_blog(database)
    before = _rows(database)

    ran = run("verify", "--url", database.url, "--models", "migrator.blog.models:Base", "--format", "json")

    assert ran.code == 0, ran
    check_schema(ran.json)
    checks = _checks(ran.json)
    assert set(checks.values()) == {"passed"}, checks
    assert set(checks) >= {
        "foreign-key",
        "validated",
        "not-null",
        "no-orphans",
        "rejects-dangling",
        "rejects-null",
        "index",
        "index-used",
        "resolves",
        "tied-both-ways",
        "frozen-default",
    }
    assert _rows(database) == before


def test_probes_leave_no_gap_in_the_keys(database: Database) -> None:
    """The next row gets the key it would have got without the probes."""
    _corrected_blog(database)
    assert run("verify", "--url", database.url).code == 0
    with Session(database.engine) as session:
        post = models.Post(title="t", body="b", user_id=1)
        session.add(post)
        session.commit()
        assert post.id == 13


def test_an_empty_blog_is_probed_too(database: Database) -> None:
    """Without a row to copy the probes make one up."""
    models.Base.metadata.create_all(database.engine)
    ran = run("verify", "--url", database.url, "--format", "json")
    checks = _checks(ran.json)
    assert (checks["rejects-dangling"], checks["rejects-null"]) == ("passed", "passed")
    assert ran.code == 0


def test_the_audited_blog_fails_and_is_left_as_it_is(database: Database) -> None:
    """No constraint: the bad rows are accepted, which is a failure, and rolled back."""
    with database.engine.begin() as connection:
        seed(connection, posts=50, users=5, null_share=0.1, dangling_share=0.1)
    before = _rows(database)

    ran = run("verify", "--url", database.url, "-r", BLOG, "--format", "json")

    assert ran.code == 3
    check_schema(ran.json)
    assert _checks(ran.json) == {
        "foreign-key": "failed",
        "not-null": "failed",
        "no-orphans": "failed",
        "index": "failed",
        "rejects-dangling": "failed",
        "rejects-null": "failed",
    }
    assert _rows(database) == before
    assert run("verify", "--url", database.url, "-r", BLOG, "--no-fail").code == 0


@pytest.mark.engines("sqlite")
def test_the_audited_models_fail(database: Database) -> None:
    """A frozen default and a one-way relationship are found in the models themselves."""
    legacy.Base.metadata.create_all(database.engine)
    ran = run(
        "verify",
        "--url",
        database.url,
        "-r",
        BLOG,
        "--models",
        "migrator.blog.legacy:Base",
        "--format",
        "json",
    )
    checks = _checks(ran.json)
    assert checks["frozen-default"] == "failed"
    assert checks["relationship"] == "failed"
    assert checks["back-reference"] == "passed"


@pytest.mark.engines("postgresql")
def test_a_foreign_key_that_is_not_valid_is_told(database: Database) -> None:
    """NOT VALID checks new rows only; the fix is the statement that proves the old ones."""
    with database.engine.begin() as connection:
        seed(connection, posts=50, users=5, null_share=0, dangling_share=0.1)
        connection.exec_driver_sql(
            'ALTER TABLE post ADD CONSTRAINT "fk %%" FOREIGN KEY (user_id) REFERENCES "user" NOT VALID', ()
        )
    ran = run("verify", "--url", database.url, "-r", BLOG, "--nullable", "--format", "json")
    checks = _checks(ran.json)
    assert checks["foreign-key"] == "passed"
    assert checks["validated"] == "failed"
    assert checks["no-orphans"] == "failed"
    assert checks["rejects-dangling"] == "passed"
    (validated,) = (c for c in ran.json["references"][0]["checks"] if c["slug"] == "validated")
    assert validated["fix"] == 'ALTER TABLE "post" VALIDATE CONSTRAINT "fk %";'


def test_what_was_migrated_with_null_allowed_is_looked_at_as_such(database: Database) -> None:
    """The journal knows it: whoever leaves --nullable out is not told of orphans that are none."""
    with database.engine.begin() as connection:
        seed(connection, posts=40, users=5, null_share=0.2, dangling_share=0.1)
    optional = Reference.parse(BLOG, nullable=True)
    words = ("verify", "--url", database.url, "-r", BLOG, "--format", "json")
    assert _checks(run(*words).json)["no-orphans"] == "failed"

    operate(database.engine, UP, optional, Keep(), SetNull())

    ran = run(*words)
    assert (ran.code, _checks(ran.json)["no-orphans"]) == (0, "passed"), ran


@pytest.mark.engines("postgresql")
def test_a_foreign_key_whose_triggers_are_off_is_found_out(database: Database) -> None:
    """The catalog says valid and nothing is checked: only trying it shows that."""
    _corrected_blog(database)
    with database.engine.begin() as connection:
        connection.exec_driver_sql("ALTER TABLE post DISABLE TRIGGER ALL")
    checks = _checks(run("verify", "--url", database.url, "--format", "json").json)
    assert checks["foreign-key"] == "passed"
    assert checks["rejects-dangling"] == "failed"


@pytest.mark.engines("postgresql")
def test_a_deferred_foreign_key_is_probed_at_once(database: Database) -> None:
    """INITIALLY DEFERRED is checked at COMMIT, which a probe never reaches: it asks for the check."""
    with database.engine.begin() as connection:
        for statement in (
            "CREATE TABLE p (id int PRIMARY KEY)",
            "CREATE TABLE c (id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY, body json, "
            "p int NOT NULL REFERENCES p DEFERRABLE INITIALLY DEFERRED)",
            "CREATE INDEX ON c (p)",
            "INSERT INTO p VALUES (1)",
            "INSERT INTO c (body, p) VALUES ('{\"a\":1}', 1)",
        ):
            connection.exec_driver_sql(statement)
    ran = run("verify", "--url", database.url, "--format", "json")
    assert set(_checks(ran.json).values()) == {"passed"}, ran.out


def test_a_probe_that_another_rule_refuses_falls_back_to_a_change(database: Database) -> None:
    """Where a copy of a row is refused for another reason, a row that is there is changed instead."""
    engine = database.engine
    fill(engine, table(engine, "parent", key("id")), [{"id": 1}])
    with engine.begin() as connection:
        connection.execute(
            sa.text(
                "CREATE TABLE child (id INTEGER NOT NULL PRIMARY KEY, parent INTEGER NOT NULL, "
                "CHECK (id > 0), CONSTRAINT fk_c FOREIGN KEY (parent) REFERENCES parent (id))"
            )
        )
        connection.execute(sa.text("INSERT INTO child (id, parent) VALUES (1, 1)"))
        connection.execute(sa.text("CREATE INDEX ix_child_parent ON child (parent)"))
    ran = run("verify", "--url", database.url, "-r", "child.parent -> parent.id", "--format", "json")
    messages = {check["slug"]: check["message"] for check in ran.json["references"][0]["checks"]}
    assert ran.code == 0, messages
    assert "UPDATE, foreign-key" in messages["rejects-dangling"]


@pytest.mark.engines("postgresql", "mysql", "mariadb")
def test_a_user_that_may_not_write_is_told_what_was_not_tried(database: Database) -> None:
    """Without the right to write no probe is made: skipped, with the reason, and never passed."""
    _corrected_blog(database)
    user = f"v{abs(hash(database.name)) % 10**8}"
    url = sa.make_url(database.url).set(username=user, password="reader")
    if database.family == "postgresql":
        make = [f"CREATE ROLE {user} LOGIN PASSWORD 'reader'", f'GRANT SELECT ON post, "user" TO {user}']
        drop = [f"DROP OWNED BY {user}", f"DROP ROLE {user}"]
    else:
        # MariaDB lists a table's constraints only for those who may do more with it than SELECT.
        make = [
            f"CREATE USER {user}@'%%' IDENTIFIED BY 'reader'",
            f"GRANT SELECT, SHOW VIEW ON `{database.name}`.* TO {user}@'%%'",
        ]
        drop = [f"DROP USER {user}@'%%'"]
    with database.engine.begin() as connection:
        for statement in make:
            connection.exec_driver_sql(statement, ())
    try:
        shown = url.render_as_string(hide_password=False)
        ran = run("verify", "--url", shown, "-r", BLOG, "--format", "json")
        strict = run("verify", "--url", shown, "-r", BLOG, "--strict")
    finally:
        with database.engine.begin() as connection:
            for statement in drop:
                connection.exec_driver_sql(statement, ())
    checks = _checks(ran.json)
    assert (checks["rejects-dangling"], checks["rejects-null"]) == ("skipped", "skipped"), ran.out
    assert "may not write" in ran.out
    assert (ran.code, strict.code) == (0, 3), ran.out


def test_no_probe_writes_nothing_at_all(database: Database) -> None:
    """--no-probe skips the two and says so."""
    _corrected_blog(database)
    checks = _checks(run("verify", "--url", database.url, "--no-probe", "--format", "json").json)
    assert checks["rejects-dangling"] == "skipped"


@pytest.mark.parametrize("type_", ["integer", "text", "composite", "uuid"])
def test_keys_of_every_kind_are_probed(database: Database, type_: str) -> None:
    """A missing parent is made up for integer, text, composite and UUID keys."""
    engine = database.engine
    columns = {
        "integer": [key("a")],
        "text": [key("a", sa.String(2))],
        "composite": [key("a", sa.String(2)), key("b")],
        "uuid": [key("a", sa.Uuid())],
    }[type_]
    first = {"integer": 1, "uuid": uuid.UUID(int=7)}.get(type_, "x")
    values: dict[str, Any] = {"a": first, "b": 5}
    row = {column.name: values[column.name] for column in columns}
    fill(engine, table(engine, "parent", *columns), [row])
    names = [column.name for column in columns]
    child = table(engine, "child", key("id"), *(sa.Column(c.name, c.type, nullable=False) for c in columns))
    child.append_constraint(sa.ForeignKeyConstraint(names, [f"parent.{name}" for name in names], name="fk_c"))
    sa.Index("ix_child", *(child.c[name] for name in names))
    sa.Table("parent", child.metadata, *(sa.Column(c.name, c.type, primary_key=True) for c in columns))
    fill(engine, child, [{"id": 1, **row}])
    ran = run("verify", "--url", database.url, "--format", "json")
    assert set(_checks(ran.json).values()) == {"passed"}, ran.out


def test_a_self_reference_is_probed_with_a_row_that_is_not_its_own_parent(database: Database) -> None:
    """The made-up row and the parent it lacks have different keys, whatever keys are there."""
    engine = database.engine
    node = table(engine, "node", key("id"), sa.Column("up", sa.Integer, nullable=False, index=True))
    node.append_constraint(sa.ForeignKeyConstraint(["up"], ["node.id"], name="fk_up"))
    fill(engine, node, [{"id": 1, "up": 1}])
    ran = run("verify", "--url", database.url, "--format", "json")
    assert set(_checks(ran.json).values()) == {"passed"}, ran.out
    messages = {check["slug"]: check["message"] for check in ran.json["references"][0]["checks"]}
    assert "INSERT, foreign-key" in messages["rejects-dangling"]
