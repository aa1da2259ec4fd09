"""Scripts that give each row a value of its own, chain policies, create parents: as an online run."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import sqlalchemy as sa

from migrator.fingerprint import compare
from migrator.policy import Backfill, Chain, CreateParents, Delete, Expression, Keep, Lookup, Policy, Refuse
from migrator.predicate import table_clause
from migrator.reference import Reference, TableName
from tests.conftest import Database
from tests.operations.lifecycle import DOWN, UP, assert_same, picture, run
from tests.operations.offline_desk import mirror_lines, quarantined, run_lines, step_lines, written
from tests.operations.orphan_cases import Row, fill, key, table
from tests.operations.policy_desk import decide, rows

REFERENCE = Reference.parse("post.user_id -> user.id")
USERS: list[Row] = [{"id": number, "name": f"user {number}"} for number in (1, 2, 3, 50)]
#: Enough for several batches.
POSTS: list[Row] = [
    {
        "id": number,
        "user_id": (number % 9 or None, 90 + number % 3)[number % 2],
        "author": f"user {number % 5}",
    }
    for number in range(1, 61)
]
GHOST = Backfill(sentinel={"name": "ghost", "id": 77})


def blog(database: Database) -> None:
    """Users, and posts without an author, of authors who are not there, and of others."""
    engine = database.engine
    made = table(engine, "user", key("id"), sa.Column("name", sa.String(40), nullable=False))
    fill(engine, made, USERS)
    author = sa.Column("author", sa.String(40))
    fill(engine, table(engine, "post", key("id"), sa.Column("user_id", sa.Integer), author), POSTS)
    names = [{"called": f"user {number}", "holder": number} for number in (1, 2, 3)]
    made = table(engine, "100% names", sa.Column("called", sa.String(40)), sa.Column("holder", sa.Integer))
    fill(engine, made, [*names, names[0]])


LOOKUP = Lookup(table="100% names", on={"author": "called"}, value="holder")
BY_REST = Expression("CASE WHEN id % 2 = 0 AND author <> ':x %s; //' THEN 1 ELSE 2 END")
SOME = Expression("CASE WHEN id % 7 < 3 THEN 50 END")
#: All posts of one author alike: one that stays an orphan has its author made, for the others too.
BY_AUTHOR = Expression("CASE WHEN user_id % 2 = 0 THEN 50 END")
MADE = CreateParents({"name": "made up, it's {id}\\ of {id}", "no_such": 1})
CHAINS: dict[str, tuple[Policy, Policy]] = {
    "expression": (BY_REST, BY_REST),
    "lookup": (Chain(LOOKUP, Backfill(to=50)), Chain(LOOKUP, Backfill(to=50))),
    "nested": (Chain(SOME, Chain(LOOKUP, GHOST)), Chain(SOME, Chain(LOOKUP, Delete()))),
    "last-word": (Chain(SOME, BY_REST, Refuse()), Chain(BY_REST, Keep())),
    "create": (GHOST, MADE),
    "create-some": (Chain(MADE, LOOKUP, GHOST), Chain(BY_AUTHOR, MADE)),
}


@pytest.mark.parametrize("name", CHAINS)
def test_a_script_does_with_each_row_what_an_online_run_does(database: Database, name: str) -> None:
    """The same rows, the same quarantine with the same new values, the same journal; and back without a
    trace."""
    null, dangling = CHAINS[name]
    same(database, null, dangling)


def same(database: Database, null: Policy, dangling: Policy) -> None:
    """Up as a script equals up online, each way back takes back each way up."""
    blog(database)
    before = picture(database)
    up = written(database, UP, REFERENCE, null, dangling)
    with database.new_database() as other:
        blog(other)
        run(other.engine, UP, REFERENCE, null, dangling)
        database.client(up)
        ran, fed = picture(other), picture(database)
        assert compare(ran.fingerprint, fed.fingerprint) == ()
        assert {name for name in ran.ours if "lease" not in name} == fed.ours
        assert quarantined(database, REFERENCE) == quarantined(other, REFERENCE) != []
        assert run_lines(database) == run_lines(other)
        assert step_lines(database) == step_lines(other)
        assert mirror_lines(database) == mirror_lines(other)
        other.client(written(other, DOWN, REFERENCE, null, dangling))
        assert compare(before.fingerprint, picture(other).fingerprint) == ()
    database.client(written(database, DOWN, REFERENCE, null, dangling))
    assert_same(before, picture(database))
    database.client(up)
    run(database.engine, DOWN, REFERENCE)
    assert_same(before, picture(database))


def test_a_script_carries_what_a_person_decided(database: Database, tmp_path: Path) -> None:
    """The file is read when the script is written; who is left open falls to the next policy."""
    blog(database)
    file = decide(
        REFERENCE, database, tmp_path / "decisions.csv", {("1",): ("3",), ("3",): ("50",), ("9",): ("1",)}
    )
    before = picture(database)
    chain = Chain(file, Delete())
    up = written(database, UP, REFERENCE, Chain(file, GHOST), chain)
    Path(file.path).unlink()
    database.client(up)
    after = {row["id"]: row["user_id"] for row in rows(database.engine, "post", "id", "user_id")}
    assert [after.get(number) for number in (1, 3, 5, 9, 18)] == [3, 50, None, 1, 77]
    assert (5 in after, 18 in after) == (False, True)
    database.client(written(database, DOWN, REFERENCE, Keep(), Keep()))
    assert_same(before, picture(database))


REFUSALS: dict[str, tuple[Policy, Policy, str]] = {
    "astray": (Backfill(to=1), Expression("id + 40"), "is itself no parent in user"),
    "unanswered": (Backfill(to=1), SOME, "dangling orphans of .* have no answer"),
    "last-word": (Chain(SOME, Refuse()), Backfill(to=1), "null orphans of .* have no answer"),
    "broken": (Backfill(to=1), Expression("no_such_column + 1"), "no_such_column"),
    "divided": (Backfill(to=1), Chain(LOOKUP, GHOST), "two different answers"),
    "nobody": (MADE, Delete(), "null orphans .* name nobody"),
    "bare": (Backfill(to=1), CreateParents(), "need a value for name"),
}


def test_a_script_says_no_before_the_first_change(database: Database) -> None:
    """A value that is no parent, no answer, two answers, SQL that fails, parents that cannot be made: the
    client stops with the reason, and nothing at all is different."""
    blog(database)
    with database.engine.begin() as connection:
        names = table_clause(TableName("100% names"), "called", "holder")
        connection.execute(sa.insert(names).values(called="user 3", holder=2))
    before = picture(database)
    for null, dangling, words in REFUSALS.values():
        done = database.client(written(database, UP, REFERENCE, null, dangling), check=False)
        assert done.returncode != 0
        assert re.search(words, done.stderr + done.stdout), done.stderr + done.stdout
        after = picture(database)
        assert compare(before.fingerprint, after.fingerprint) == ()
        # The one procedure by which a script stops stays behind where there are procedures.
        assert after.ours - before.ours <= {"routine migrator_assert"}


def test_parents_that_came_into_use_stay(database: Database) -> None:
    """A parent that a script made and the application refers to by now stays, and its row in quarantine says
    so; on SQLite the script stops for it."""
    blog(database)
    database.client(written(database, UP, REFERENCE, Backfill(to=1), MADE))
    with database.engine.begin() as connection:
        post = table_clause(TableName("post"), "id", "user_id")
        connection.execute(sa.insert(post).values(id=100, user_id=91))
    done = database.client(written(database, DOWN, REFERENCE, Keep(), Keep()), check=False)
    if database.family == "sqlite":
        assert "run alembic downgrade without --sql" in done.stderr + done.stdout
        run(database.engine, DOWN, REFERENCE)
    left = [row["id"] for row in rows(database.engine, "user", "id") if row["id"] > 50]
    assert left == [91]
    assert {row[2] for row in quarantined(database, REFERENCE) if row[1] == "created"} == {
        "restored",
        "conflict",
    }


def test_a_table_that_refers_to_itself(database: Database) -> None:
    """What is created is a child as well, and its copies lie in the one quarantine."""
    engine, node = database.engine, Reference.parse("node.parent_id -> node.id", nullable=True)
    lines: list[Row] = [
        {"id": number, "parent_id": (None, 1, 70 + number % 3)[number % 3]} for number in range(1, 31)
    ]
    fill(engine, table(engine, "node", key("id"), sa.Column("parent_id", sa.Integer)), lines)
    before = picture(database)
    chain = Chain(Expression("CASE WHEN id % 4 = 0 THEN 1 END"), CreateParents())
    database.client(written(database, UP, node, Keep(), chain))
    made = {row["id"] for row in rows(engine, "node", "id")} - {row["id"] for row in lines}
    assert made == {row["parent_id"] for row in lines if row["id"] % 3 == 2 and row["id"] % 4} - {1}
    database.client(written(database, DOWN, node, Keep(), chain))
    assert_same(before, picture(database))


def test_a_script_gives_no_orphan_to_the_sentinel_unseen(database: Database) -> None:
    """The next key, or the stated one, is that of users who are gone: the script stops, their posts do not
    silently become the sentinel's."""
    engine = database.engine
    users = table(
        engine, "user", sa.Column("id", sa.Integer, primary_key=True), sa.Column("name", sa.String(40))
    )
    fill(engine, users, [])
    with engine.begin() as connection:
        connection.execute(sa.insert(users), [{"name": "first"}, {"name": "second"}])
    post = table(engine, "post", key("id"), sa.Column("user_id", sa.Integer))
    fill(engine, post, [{"id": number, "user_id": number} for number in range(1, 5)])
    for stated in ({"name": "ghost"}, {"name": "ghost", "id": 4}):
        ghost = Backfill(sentinel=stated)
        done = database.client(written(database, ("sweep",), REFERENCE, ghost, ghost), check=False)
        assert done.returncode != 0
        assert "refer to" in done.stderr + done.stdout
        assert [row["id"] for row in rows(engine, "user", "id")] == [1, 2]
    ghost = Backfill(sentinel={"name": "ghost", "id": 50})
    database.client(written(database, ("sweep",), REFERENCE, ghost, ghost))
    assert [row["user_id"] for row in rows(engine, "post", "user_id")] == [1, 2, 50, 50]


@pytest.mark.engines("postgresql", "mysql", "mariadb")
def test_a_no_after_the_first_change_leaves_what_was_done_to_be_taken_back(database: Database) -> None:
    """A node goes, its child is an orphan then, and a note refers to that: the script stops in its second
    round, and the run stays in force."""
    engine, node = database.engine, Reference.parse("node.parent_id -> node.id", nullable=True)
    nodes = table(engine, "node", key("id"), sa.Column("parent_id", sa.Integer))
    fill(engine, nodes, [{"id": 1, "parent_id": None}, {"id": 3, "parent_id": 99}, {"id": 4, "parent_id": 3}])
    with engine.begin() as connection:
        connection.exec_driver_sql(
            "CREATE TABLE note (id INTEGER PRIMARY KEY, node_id INTEGER, "
            "CONSTRAINT fk_note_node FOREIGN KEY (node_id) REFERENCES node (id))"
        )
        connection.exec_driver_sql("INSERT INTO note VALUES (1, 4)")
    before = picture(database)
    done = database.client(written(database, ("sweep",), node, Keep(), Delete()), check=False)
    assert done.returncode != 0
    assert "refer to orphans" in done.stderr + done.stdout
    assert [row["id"] for row in rows(engine, "node", "id")] == [1, 4]
    run(engine, ("restore",), node)
    after = picture(database)
    assert compare(before.fingerprint, after.fingerprint) == ()
    assert after.ours - before.ours <= {"routine migrator_assert"}
