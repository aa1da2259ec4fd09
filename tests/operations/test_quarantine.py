"""The quarantine verbs: what was set aside is counted, shown, exported, put back by hand and purged."""

from __future__ import annotations

import csv
import io
import json

import pytest
import sqlalchemy as sa
from sqlalchemy.engine import Engine

from migrator.policy import Backfill, CreateParents, Delete
from migrator.reference import Reference
from tests.conftest import Database
from tests.operations.lifecycle import DOWN, UP
from tests.operations.lifecycle import run as operate
from tests.operations.orphan_cases import fill, key, table
from tests.operations.reporting import Ran, check_schema, run

POST = Reference.parse("post.user_id -> user.id")


@pytest.fixture
def engine(database: Database) -> Engine:
    """Two posts of users who are not there, one of nobody, one of Ann."""
    engine = database.engine
    fill(
        engine, table(engine, "user", key("id"), sa.Column("name", sa.String(20))), [{"id": 1, "name": "Ann"}]
    )
    posts = [(1, "good", 1), (2, "nobody's", None), (3, 'a "quoted", \\ one', 99), (4, "", 98)]
    fill(
        engine,
        table(engine, "post", key("id"), sa.Column("title", sa.String(40)), sa.Column("user_id", sa.Integer)),
        [dict(zip(("id", "title", "user_id"), post, strict=True)) for post in posts],
    )
    return engine


def swept(engine: Engine, *operations: str) -> None:
    """NULL set to Ann, dangling ones removed; with what follows the sweep, if so asked."""
    operate(engine, operations or ("sweep",), POST, Backfill(to=(1,)), Delete())  # type: ignore[arg-type]


def verb(database: Database, *arguments: str) -> Ran:
    """`migrator quarantine ...` on this database."""
    return run("quarantine", arguments[0], "--url", database.url, *arguments[1:])


def posts(engine: Engine) -> list[tuple[object, ...]]:
    """All posts, by key."""
    with engine.connect() as connection:
        found = connection.execute(sa.text("SELECT id, title, user_id FROM post ORDER BY id"))
        return [tuple(row) for row in found]


def execute(engine: Engine, *statements: str) -> None:
    """What the application does meanwhile."""
    with engine.begin() as connection:
        for statement in statements:
            connection.execute(sa.text(statement))


def test_list_counts_by_kind_action_and_state(database: Database, engine: Engine) -> None:
    """Each line says whose rows, why, what was done, how many, since when."""
    swept(engine)
    listed = verb(database, "list", "--format", "json")
    check_schema(listed.json)
    found = {(one["kind"], one["action"], one["state"]): one["rows"] for one in listed.json["entries"]}
    assert found == {("null", "changed", "held"): 1, ("dangling", "deleted", "held"): 2}
    assert all(one["in_force"] for one in listed.json["entries"])
    # SQLite says it only where it was built with its dbstat table.
    assert all(one["bytes"] or database.family == "sqlite" for one in listed.json["entries"])
    assert "a downgrade would bring it back" in verb(database, "list").out


def test_a_database_without_a_quarantine_says_so(database: Database, engine: Engine) -> None:
    """An empty list is no error; a restore of nothing is one of usage."""
    assert verb(database, "list").out == "Nothing is in quarantine.\n"
    refused = verb(database, "restore", "--all")
    assert refused.code == 2
    assert "no quarantine" in refused.err


def test_show_gives_the_reason_and_keeps_other_columns_to_itself(database: Database, engine: Engine) -> None:
    """Keys and reference columns, and the whole row only when asked."""
    swept(engine)
    shown = verb(database, "show", "--format", "json")
    check_schema(shown.json)
    reasons = {row["key"]["id"]: row["reason"] for row in shown.json["rows"]}
    assert reasons == {
        2: "user_id was NULL; set to user_id = 1",
        3: "user_id = 99 names no row of user; the row was removed",
        4: "user_id = 98 names no row of user; the row was removed",
    }
    assert "nobody" not in shown.out
    whole = verb(database, "show", "--whole", "--key", "2", "--format", "json")
    check_schema(whole.json)
    assert whole.json["rows"][0]["row"] == {"id": 2, "title": "nobody's", "user_id": None}
    text = verb(database, "show", "--limit", "1").out
    assert "user_id was NULL" in text
    assert "and 2 more" in text


def test_rows_are_chosen_by_run_state_kind_and_key(database: Database, engine: Engine) -> None:
    """What is asked for and nothing else; a wrong name is told with the right ones."""
    swept(engine)
    whose = verb(database, "list", "--format", "json").json["entries"][0]["run"]
    for chosen, ids in (
        (("--run", whose[:13]), [2, 3, 4]),
        (("--kind", "dangling"), [3, 4]),
        (("--state", "held", "--key", "id=4"), [4]),
        (("-r", "post.user_id -> user.id", "--key", "3", "--key", "2"), [2, 3]),
    ):
        rows = verb(database, "show", *chosen, "--format", "json").json["rows"]
        assert [row["key"]["id"] for row in rows] == ids
    assert verb(database, "show", "--state", "healed").code == 2
    unknown = verb(database, "show", "-r", "post.editor -> user.id")
    assert unknown.code == 2
    assert "post.user_id -> user.id" in unknown.err


def test_export_to_csv_and_json_lines(database: Database, engine: Engine) -> None:
    """Whole rows; NULL and the empty text are told apart."""
    swept(engine)
    exported = verb(database, "export")
    rows = list(csv.DictReader(io.StringIO(exported.out)))
    assert [row["value:title"] for row in rows] == ["nobody's", 'a "quoted", \\ one', ""]
    assert rows[0]["new:user_id"] == "1"
    assert ',4,"",98,' in exported.out
    lines = [json.loads(line) for line in verb(database, "export", "--format", "jsonl").out.splitlines()]
    assert [line["row"]["user_id"] for line in lines] == [None, 99, 98]
    assert "3 row(s) exported" in exported.err


def test_exported_sql_puts_the_rows_back(database: Database, engine: Engine) -> None:
    """Statements that the server's own client takes, and that leave the table as it was."""
    before = posts(engine)
    swept(engine)
    assert posts(engine) != before
    database.client(verb(database, "export", "--format", "sql").out)
    assert posts(engine) == before


def test_restore_brings_chosen_rows_back(database: Database, engine: Engine) -> None:
    """Those and no others; the downgrade brings the rest."""
    before = posts(engine)
    swept(engine)
    done = verb(database, "restore", "--key", "3", "--format", "json")
    check_schema(done.json)
    assert (done.code, done.json["summary"]["restored"]) == (0, 1)
    assert [post[0] for post in posts(engine)] == [1, 2, 3]
    operate(engine, ("restore",), POST)
    assert posts(engine) == before


def test_restore_is_refused_while_the_reference_stands(database: Database, engine: Engine) -> None:
    """An orphan cannot be put back; the refusal names the way. One whose parent is there by now can."""
    swept(engine, *UP)
    refused = verb(database, "restore", "--all")
    assert refused.code == 4
    assert "alembic downgrade" in refused.err
    execute(engine, "INSERT INTO \"user\" (id, name) VALUES (99, 'Bob')" if database.family in (
        "sqlite", "postgresql") else "INSERT INTO `user` (id, name) VALUES (99, 'Bob')")  # fmt: skip
    some = verb(database, "restore", "--all", "--format", "json")
    assert some.code == 3
    assert some.json["summary"] == {
        "restored": 1,
        "superseded": 0,
        "blocked": 2,
        "conflicts": 0,
        "parents": 0,
    }
    assert (3, 'a "quoted", \\ one', 99) in posts(engine)
    operate(engine, DOWN, POST)
    assert [post[0] for post in posts(engine)] == [1, 2, 3, 4]


def test_a_conflict_is_reported_skipped_or_settled(database: Database, engine: Engine) -> None:
    """Both versions side by side; nothing is overwritten; `newest` lets the application's row stand."""
    swept(engine)
    execute(engine, "INSERT INTO post (id, title, user_id) VALUES (3, 'new', 1)")
    reported = verb(database, "restore", "--all", "--format", "json")
    check_schema(reported.json)
    assert reported.code == 3
    (conflict,) = reported.json["conflicts"]
    assert conflict["conflict"] == "key-taken"
    assert conflict["row"]["title"] == 'a "quoted", \\ one'
    assert conflict["live"] == {"id": 3, "title": "new", "user_id": 1}
    assert "in quarantine" in verb(database, "restore", "--all").out
    shown = verb(database, "show", "--state", "conflict", "--format", "json").json["rows"]
    assert "post has a row id = 3 again" in shown[0]["message"]
    assert verb(database, "restore", "--all", "--on-conflict", "skip").code == 0
    settled = verb(database, "restore", "--all", "--on-conflict", "newest", "--format", "json")
    assert (settled.code, settled.json["summary"]["superseded"]) == (0, 1)
    operate(engine, ("restore",), POST)
    assert posts(engine)[2] == (3, "new", 1)
    assert verb(database, "list").out == "Nothing is in quarantine.\n"


def test_conflicts_left_by_a_downgrade_are_settled_and_the_quarantine_goes(
    database: Database, engine: Engine
) -> None:
    """After the migration was taken back the last row out drops the mirror."""
    swept(engine)
    execute(engine, "INSERT INTO post (id, title, user_id) VALUES (3, 'new', 1)")
    operate(engine, ("restore",), POST)
    assert "its migration was taken back" in verb(database, "list").out
    execute(engine, "DELETE FROM post WHERE id = 3")
    done = verb(database, "restore", "--all")
    assert done.code == 0
    assert "is empty now and was dropped" in done.out
    assert posts(engine)[2] == (3, 'a "quoted", \\ one', 99)


def test_purge_asks_and_refuses_what_a_downgrade_could_need(database: Database, engine: Engine) -> None:
    """By age, run or state; what has served goes without a fight."""
    swept(engine)
    assert verb(database, "purge").code == 2
    assert verb(database, "purge", "--older-than", "soon").code == 2
    assert verb(database, "purge", "--older-than", "1d").code == 2
    refused = verb(database, "purge", "--all", "--yes")
    assert refused.code == 4
    assert "--even-if-needed" in refused.err
    assert verb(database, "purge", "--all", "--even-if-needed").code == 130
    assert verb(database, "restore", "--key", "3").code == 0
    assert "1 row(s) purged" in verb(database, "purge", "--state", "restored", "--yes").out
    assert "2 row(s) purged" in verb(database, "purge", "--all", "--yes", "--even-if-needed").out
    assert verb(database, "list").out == "Nothing is in quarantine.\n"


def users(engine: Engine) -> list[int]:
    """The keys of all users."""
    user = engine.dialect.identifier_preparer.quote("user")
    with engine.connect() as connection:
        return list(connection.execute(sa.text(f"SELECT id FROM {user} ORDER BY id")).scalars())


def test_restore_removes_the_parents_that_were_created(database: Database, engine: Engine) -> None:
    """Those of a whole reference, where only the orphans that named them refer to them; one that came into
    use stays, until nothing refers to it any more."""
    operate(engine, ("sweep",), POST, Backfill(to=(1,)), CreateParents({"name": "made up"}))
    execute(engine, "INSERT INTO post (id, title, user_id) VALUES (9, 'new', 98)")
    assert users(engine) == [1, 98, 99]

    first = verb(database, "restore", "--all", "--format", "json")
    there = users(engine)
    execute(engine, "DELETE FROM post WHERE id = 9")
    second = verb(database, "restore", "--all", "--format", "json")

    check_schema(first.json)
    assert (first.code, first.json["summary"]["parents"], first.json["summary"]["conflicts"]) == (3, 1, 1)
    assert first.json["conflicts"][0]["conflict"] == "still-used"
    assert there == [1, 98]
    assert (second.code, second.json["summary"]["parents"]) == (0, 1)
    assert users(engine) == [1]
    assert [row[2] for row in posts(engine)] == [1, None, 99, 98]


def test_restore_removes_the_sentinel_that_nothing_refers_to(database: Database, engine: Engine) -> None:
    """Not with some of the rows: with the whole reference, though other rows of it came back before."""
    made = Backfill(sentinel={"id": 7, "name": "nobody"})
    operate(engine, ("sweep",), POST, made, made)
    assert len(users(engine)) == 2

    some = verb(database, "restore", "--key", "2")
    assert (some.code, len(users(engine))) == (0, 2)
    rest = verb(database, "restore", "--reference", str(POST), "--format", "json")

    assert (rest.code, rest.json["summary"]["restored"], rest.json["summary"]["parents"]) == (0, 2, 1)
    assert users(engine) == [1]
