"""Conflicts provoked one by one: what cannot come back stays in quarantine, and the reason is exact."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.engine import Engine

from migrator.policy import Backfill, Delete, Policy
from migrator.reference import Reference
from tests.conftest import Database
from tests.operations.lifecycle import run as operate
from tests.operations.orphan_cases import fill, key, table
from tests.operations.reporting import check_schema, run

POST = Reference.parse("post.user_id -> user.id")
TO_ANN = Backfill(to=(1,))


@pytest.fixture
def engine(database: Database) -> Engine:
    """Posts of Ann, of nobody and of people who are not there; a comment on one of them."""
    engine = database.engine
    users = table(engine, "user", key("id"), sa.Column("name", sa.String(20), unique=True))
    fill(engine, users, [{"id": 1, "name": "Ann"}, {"id": 2, "name": "Bob"}])
    post = table(
        engine,
        "post",
        key("id"),
        sa.Column("slug", sa.String(20), unique=True),
        sa.Column("title", sa.String(20)),
        sa.Column("user_id", sa.Integer),
    )
    posts = [(1, "a", 1), (2, "b", None), (3, "c", 99), (4, "d", 98)]
    fill(engine, post, [{"id": at, "slug": slug, "title": "t", "user_id": of} for at, slug, of in posts])
    return engine


def execute(engine: Engine, *statements: str) -> None:
    """What the application, or another migration, does meanwhile."""
    with engine.connect() as connection:
        connection = connection.execution_options(isolation_level="AUTOCOMMIT")
        for statement in statements:
            connection.exec_driver_sql(statement)


def downgraded(engine: Engine, policy: Policy, *meanwhile: str) -> int:
    """Sweep, let something happen, restore; returns how many rows are in conflict."""
    operate(engine, ("sweep",), POST, policy, policy)
    execute(engine, *meanwhile)
    (counts,) = operate(engine, ("restore",), POST)
    return int(counts.get("conflicts", -1))


def conflicts(database: Database, *more: str) -> list[dict[str, Any]]:
    """What a restore by hand says of what is left."""
    told = run("quarantine", "restore", "--url", database.url, "--all", *more, "--format", "json")
    check_schema(told.json)
    assert told.code == (3 if told.json["conflicts"] else 0)
    found: list[dict[str, Any]] = told.json["conflicts"]
    return found


def reasons(found: Sequence[dict[str, Any]]) -> dict[int, str]:
    """Key and reason of each."""
    return {one["key"]["id"]: one["conflict"] for one in found}


def ids(engine: Engine) -> list[int]:
    """The posts that are there."""
    with engine.connect() as connection:
        return list(connection.execute(sa.text("SELECT id FROM post ORDER BY id")).scalars())


def test_a_key_that_is_taken_again(database: Database, engine: Engine) -> None:
    """The row of today stays as it is; the others come back."""
    taken = "INSERT INTO post (id, slug, title, user_id) VALUES (3, 'new', 'new', 2)"
    assert downgraded(engine, Delete(), taken) == 1
    (one,) = conflicts(database)
    assert (one["conflict"], one["live"]["title"], one["row"]["title"]) == ("key-taken", "new", "t")
    assert ids(engine) == [1, 2, 3, 4]


def test_a_row_that_the_application_has_changed(database: Database, engine: Engine) -> None:
    """A reference of the application's own is not overwritten; other columns of its own are no conflict."""
    changed = ("UPDATE post SET user_id = 2 WHERE id = 3", "UPDATE post SET title = 'mine' WHERE id = 4")
    assert downgraded(engine, TO_ANN, *changed) == 1
    (one,) = conflicts(database)
    assert (one["conflict"], one["live"]["user_id"], one["row"]["user_id"]) == ("row-changed", 2, 99)
    with engine.connect() as connection:
        row = connection.execute(sa.text("SELECT title, user_id FROM post WHERE id = 4")).one()
    assert tuple(row) == ("mine", 98)


def test_a_changed_row_that_is_gone(database: Database, engine: Engine) -> None:
    """The application has deleted it: that is its newer word, which `newest` lets stand."""
    assert downgraded(engine, TO_ANN, "DELETE FROM post WHERE id = 3") == 1
    assert reasons(conflicts(database)) == {3: "row-gone"}
    assert conflicts(database, "--on-conflict", "newest") == []
    assert ids(engine) == [1, 2, 4]


def test_another_unique_key_is_taken(database: Database, engine: Engine) -> None:
    """The row that holds the value today is shown; freed, the row comes back."""
    taken = "INSERT INTO post (id, slug, title, user_id) VALUES (50, 'c', 'new', 2)"
    assert downgraded(engine, Delete(), taken) == 1
    (one,) = conflicts(database)
    assert (one["conflict"], one["live"]["id"]) == ("unique-taken", 50)
    execute(engine, "DELETE FROM post WHERE id = 50")
    assert conflicts(database) == []
    assert ids(engine) == [1, 2, 3, 4]


def test_the_parent_of_a_dependant_is_gone(database: Database, engine: Engine) -> None:
    """A comment that went with its post stays where it is while the post's key belongs to nobody."""
    comment = sa.Table(
        "comment",
        (metadata := sa.MetaData()),
        key("id"),
        sa.Column("post_id", sa.ForeignKey("post.id", name="fk_comment", ondelete="CASCADE")),
        sa.Column("author_id", sa.ForeignKey("user.id", name="fk_author", ondelete="CASCADE")),
    )
    metadata.reflect(engine, only=["post", "user"])
    comment.create(engine)
    execute(engine, "INSERT INTO comment (id, post_id, author_id) VALUES (7, 3, 2)")
    user = "`user`" if database.family in ("mysql", "mariadb") else '"user"'
    assert downgraded(engine, Delete(), f"DELETE FROM {user} WHERE id = 2") == 1
    (one,) = conflicts(database)
    assert (one["table"].rpartition(".")[2], one["conflict"]) == ("comment", "parent-gone")
    execute(engine, f"INSERT INTO {user} (id, name) VALUES (2, 'Bob')")
    assert conflicts(database) == []


def test_the_sentinel_is_in_use(database: Database, engine: Engine) -> None:
    """A sentinel to which the application has given a row stays; the orphans come back all the same."""
    policy = Backfill(sentinel={"id": 1000, "name": "nobody"})
    operate(engine, ("sweep",), POST, policy, policy)
    execute(engine, "INSERT INTO post (id, slug, title, user_id) VALUES (60, 'z', 'new', 1000)")
    (counts,) = operate(engine, ("restore",), POST)
    assert (counts["conflicts"], counts["sentinels"]) == (0, 1)
    with engine.connect() as connection:
        found = connection.execute(sa.text("SELECT id, user_id FROM post ORDER BY id")).all()
    assert [tuple(row) for row in found] == [(1, 1), (2, None), (3, 99), (4, 98), (60, 1000)]


def test_a_column_gained_with_a_default(database: Database, engine: Engine) -> None:
    """Rows come back with the default in it."""
    gained = "ALTER TABLE post ADD COLUMN views integer DEFAULT 5 NOT NULL"
    assert downgraded(engine, Delete(), gained) == 0
    with engine.connect() as connection:
        assert connection.scalar(sa.text("SELECT COUNT(*) FROM post WHERE views = 5")) == 4


@pytest.mark.engines("postgresql", "mysql", "mariadb")
def test_a_column_gained_that_wants_a_value(database: Database, engine: Engine) -> None:
    """What does not fit is said, with the way to make it fit."""
    gained = "ALTER TABLE post ADD COLUMN views integer DEFAULT 5 NOT NULL"
    without = "ALTER TABLE post ALTER COLUMN views DROP DEFAULT"
    assert downgraded(engine, Delete(), gained, without) == 3
    found = conflicts(database)
    assert {one["conflict"] for one in found} == {"does-not-fit"}
    assert "post.views is new, NOT NULL and has no default" in found[0]["message"]
    execute(engine, "ALTER TABLE post ALTER COLUMN views SET DEFAULT 0")
    assert conflicts(database) == []
    assert ids(engine) == [1, 2, 3, 4]


def test_a_column_lost(database: Database, engine: Engine) -> None:
    """A value without a column keeps its row in quarantine, until it is given up by name."""
    assert downgraded(engine, Delete(), "ALTER TABLE post DROP COLUMN title") == 3
    found = conflicts(database)
    assert {one["conflict"] for one in found} == {"does-not-fit"}
    assert "no longer has the column title" in found[0]["message"]
    assert "--leave-out title" in found[0]["message"]
    assert conflicts(database, "--leave-out", "title") == []
    assert ids(engine) == [1, 2, 3, 4]


def test_a_column_lost_matters_not_to_changed_rows(database: Database, engine: Engine) -> None:
    """Only the reference is given back to them."""
    assert downgraded(engine, TO_ANN, "ALTER TABLE post DROP COLUMN title") == 0


@pytest.mark.engines("postgresql", "mysql", "mariadb")
def test_a_column_retyped(database: Database, engine: Engine) -> None:
    """A value that means the same in the new type comes back; one that does not stays, and is told."""
    execute(engine, "UPDATE post SET title = '12' WHERE id = 3")
    execute(engine, "UPDATE post SET title = 'twelve' WHERE id = 4")
    operate(engine, ("sweep",), POST, Delete(), Delete())
    if database.family == "postgresql":
        retype = "ALTER TABLE post ALTER COLUMN title TYPE integer USING 1"
    else:
        execute(engine, "UPDATE post SET title = '1'")
        retype = "ALTER TABLE post MODIFY title integer"
    execute(engine, retype)
    (counts,) = operate(engine, ("restore",), POST)
    assert counts["conflicts"] == 2
    found = conflicts(database)
    assert reasons(found) == {2: "does-not-fit", 4: "does-not-fit"}
    assert "post.title was" in found[0]["message"]
    with engine.connect() as connection:
        assert connection.scalar(sa.text("SELECT title FROM post WHERE id = 3")) == 12


def test_a_column_widened(database: Database, engine: Engine) -> None:
    """A bigger type of the same kind is no conflict."""
    operate(engine, ("sweep",), POST, Delete(), Delete())
    widen = {
        "postgresql": "ALTER TABLE post ALTER COLUMN title TYPE text",
        "mysql": "ALTER TABLE post MODIFY title varchar(200)",
        "mariadb": "ALTER TABLE post MODIFY title varchar(200)",
        "sqlite": "ALTER TABLE post ADD COLUMN more text",
    }
    execute(engine, widen[database.family])
    (counts,) = operate(engine, ("restore",), POST)
    assert counts["conflicts"] == 0
    assert ids(engine) == [1, 2, 3, 4]


TRIGGERS = {
    "sqlite": (
        "CREATE TRIGGER shout AFTER INSERT ON post "
        "BEGIN UPDATE post SET title = 'LOUD' WHERE id = NEW.id;END",
    ),
    "mysql": ("CREATE TRIGGER shout BEFORE INSERT ON post FOR EACH ROW SET NEW.title = 'LOUD'",),
    "mariadb": ("CREATE TRIGGER shout BEFORE INSERT ON post FOR EACH ROW SET NEW.title = 'LOUD'",),
    "postgresql": (
        "CREATE FUNCTION shout() RETURNS trigger LANGUAGE plpgsql AS "
        "$$ BEGIN NEW.title := 'LOUD'; RETURN NEW; END $$",
        "CREATE TRIGGER shout BEFORE INSERT ON post FOR EACH ROW EXECUTE FUNCTION shout()",
    ),
}


def test_a_trigger_that_would_change_the_row(database: Database, engine: Engine) -> None:
    """A row that would come back as another one stays in quarantine, and comes back without the trigger.
    On PostgreSQL the owner of the table switches it off for the batch."""
    left = downgraded(engine, Delete(), *TRIGGERS[database.family])
    assert left == (0 if database.family == "postgresql" else 3)
    if left:
        found = conflicts(database)
        assert {one["conflict"] for one in found} == {"refused"}
        assert "shout" in found[0]["message"]
        execute(engine, "DROP TRIGGER shout")
        assert conflicts(database) == []
    else:  # and it is on again afterwards
        execute(engine, "INSERT INTO post (id, slug, title, user_id) VALUES (70, 'x', 't', 1)")
    with engine.connect() as connection:
        assert connection.scalar(sa.text("SELECT COUNT(*) FROM post WHERE title = 't'")) == 4
