"""What each policy does to each row, on every engine, and that the way back leaves no trace of it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from migrator import restore_orphans, sweep_orphans
from migrator.errors import PolicyChanged, Refused, TooManyOrphans, UsageError
from migrator.fingerprint import compare
from migrator.policy import (
    Backfill,
    Chain,
    CreateParents,
    Decisions,
    Delete,
    Expression,
    Keep,
    Lookup,
    Policy,
    Refuse,
    SetNull,
)
from migrator.predicate import table_clause
from migrator.reference import Reference, TableName
from tests.conftest import Database
from tests.operations import policy_desk as desk
from tests.operations.lifecycle import FAST, Round, assert_same, in_order, picture, prove
from tests.operations.offline_desk import written
from tests.operations.orphan_cases import Row, fill, key, table
from tests.operations.policy_desk import rows

USERS: list[Row] = [{"id": number, "name": f"user {number}"} for number in (1, 2, 3, 50)]
POSTS: list[Row] = [
    {"id": 1, "user_id": 1, "author": "user 1"},
    {"id": 2, "user_id": None, "author": "user 2"},
    {"id": 3, "user_id": 99, "author": "user 3"},
    {"id": 4, "user_id": 99, "author": "user 1"},
    {"id": 5, "user_id": 98, "author": "nobody"},
    {"id": 6, "user_id": None, "author": "nobody"},
    {"id": 7, "user_id": 3, "author": "user 2"},
]
REFERENCE = Reference.parse("post.user_id -> user.id")


def blog(database: Database) -> None:
    """Users, and posts of which two have no author and three an author who is not there."""
    engine = database.engine
    fill(engine, table(engine, "user", key("id"), sa.Column("name", sa.String(40), nullable=False)), USERS)
    post = table(
        engine, "post", key("id"), sa.Column("user_id", sa.Integer), sa.Column("author", sa.String(40))
    )
    fill(engine, post, POSTS)


def sweep(database: Database, null: Policy | None, dangling: Policy | None) -> Mapping[str, Any]:
    """The sweep of the posts in small batches."""
    return sweep_orphans(REFERENCE, on_null=null, on_dangling=dangling, bind=database.engine, settings=FAST)


def restore(database: Database) -> Mapping[str, Any]:
    """Its inverse."""
    return restore_orphans(REFERENCE, bind=database.engine, settings=FAST)


def posts_become(changes: Mapping[int, Any], gone: tuple[int, ...] = ()) -> list[Row]:
    """The posts after a sweep."""
    return in_order(
        [{**row, "user_id": changes.get(row["id"], row["user_id"])} for row in POSTS if row["id"] not in gone]
    )


def proved(database: Database, null: Policy, dangling: Policy, posts: list[Row]) -> None:
    """Sweep, these posts and no other, users as they were, back."""

    def there() -> None:
        assert rows(database.engine, "post", "id", "user_id", "author") == posts
        assert rows(database.engine, "user", "id", "name") == in_order(USERS)

    prove(database, lambda: restore(database), Round(lambda: sweep(database, null, dangling), there))


def refused(database: Database, null: Policy, dangling: Policy, error: type[Exception], words: str) -> None:
    """The sweep says no, and nothing at all is different afterwards."""
    before = picture(database)
    with pytest.raises(error, match=words):
        sweep(database, null, dangling)
    assert_same(before, picture(database))


# -- one value for all ---------------------------------------------------------------------------
def test_backfill_to_a_stated_key(database: Database) -> None:
    """Each kind to a parent of its own."""
    blog(database)
    proved(database, Backfill(to=1), Backfill(to=(2,)), posts_become({2: 1, 6: 1, 3: 2, 4: 2, 5: 2}))


def test_backfill_to_a_sentinel_that_is_made_and_goes_again(database: Database) -> None:
    """The sentinel row is there afterwards, all orphans are its, and the way back removes it."""
    blog(database)
    before = picture(database)
    sentinel = Backfill(sentinel={"id": 7, "name": "ghost", "no_such_column": 1})
    sweep(database, sentinel, sentinel)
    assert rows(database.engine, "post", "id", "user_id", "author") == posts_become(
        dict.fromkeys((2, 3, 4, 5, 6), 7)
    )
    assert rows(database.engine, "user", "id", "name") == in_order([*USERS, {"id": 7, "name": "ghost"}])
    restore(database)
    assert_same(before, picture(database))


def test_delete(database: Database) -> None:
    """One kind deleted, the other backfilled."""
    blog(database)
    proved(database, Backfill(to=3), Delete(), posts_become({2: 3, 6: 3}, gone=(3, 4, 5)))


def test_set_null_where_null_is_right(database: Database) -> None:
    """What dangles becomes NULL in a nullable reference; what was NULL is kept."""
    blog(database)
    nullable = Reference.parse("post.user_id -> user.id", nullable=True)
    prove(
        database,
        lambda: restore_orphans(nullable, bind=database.engine),
        Round(
            lambda: sweep_orphans(nullable, on_dangling=SetNull(), bind=database.engine, settings=FAST),
            lambda: _same_posts(database, posts_become(dict.fromkeys((3, 4, 5)))),
        ),
    )


def _same_posts(database: Database, posts: list[Row]) -> None:
    assert rows(database.engine, "post", "id", "user_id", "author") == posts


@pytest.mark.parametrize(
    ("null", "dangling", "words"),
    [
        (Backfill(to=1), SetNull(), "set-null would leave user_id NULL"),
        (Keep(), Backfill(to=1), "2 null orphan.s. of .* cannot be kept"),
        (Backfill(to=1), Keep(), "3 dangling orphan.s. of .* cannot be kept"),
        (Backfill(to=1), Refuse(), "3 dangling orphan.s. .* the policy is to refuse"),
        (Refuse(), Backfill(to=1), "2 null orphan.s. .* the policy is to refuse"),
        (Backfill(to=1), Backfill(to=77), "user has no such row"),
        (Backfill(to=(1, 2)), Backfill(to=1), "gives 2 value"),
    ],
    ids=lambda value: value.name if isinstance(value, Policy) else "",
)
def test_refusals_change_nothing(database: Database, null: Policy, dangling: Policy, words: str) -> None:
    """Whatever says no does so before the first change."""
    blog(database)
    refused(database, null, dangling, Refused, words)


@pytest.mark.parametrize("part_of_the_key", [False, True])
def test_set_null_is_refused_where_a_column_is_not_null(database: Database, part_of_the_key: bool) -> None:
    """Whatever the reference says of NULL: the table does not take it, and that is known beforehand; by a
    script too."""
    engine = database.engine
    fill(engine, table(engine, "user", key("id")), [{"id": 1}])
    column = sa.Column("user_id", sa.Integer, nullable=False, primary_key=part_of_the_key)
    fill(engine, table(engine, "post", key("id"), column), [{"id": 2, "user_id": 1}, {"id": 3, "user_id": 9}])
    nullable = Reference.parse("post.user_id -> user.id", nullable=True)
    before, words = picture(database), "set-null would leave user_id NULL, and post.user_id is NOT NULL"
    words = words.replace("post.user_id", r"(public\.)?post\.user_id")
    with pytest.raises(Refused, match=words):
        sweep_orphans(nullable, on_dangling=SetNull(), bind=engine, settings=FAST)
    assert_same(before, picture(database))
    done = database.client(written(database, ("sweep",), nullable, Keep(), SetNull()), check=False)
    assert done.returncode != 0
    assert re.search(words, done.stdout + done.stderr)
    # The one procedure by which a script stops stays behind where there are procedures.
    assert compare(before.fingerprint, picture(database).fingerprint) == ()


def test_more_orphans_than_allowed(database: Database) -> None:
    """A share above the threshold stops the run; what is kept does not count."""
    blog(database)
    before = picture(database)
    with pytest.raises(TooManyOrphans, match="5 of 7 rows of post"):
        sweep_orphans(REFERENCE, bind=database.engine, max_orphan_share=0.5)
    with pytest.raises(TooManyOrphans, match=r"5 of 7 rows of post.*max_orphans=4.*-x max_orphans=5"):
        sweep_orphans(REFERENCE, bind=database.engine, max_orphan_share=0.72, max_orphans=4)
    assert_same(before, picture(database))


def test_the_share_that_is_offered_lets_the_run_through(database: Database) -> None:
    """5 of 7 is a little more than 0.71: what the refusal says is rounded up."""
    blog(database)
    with pytest.raises(TooManyOrphans, match=r"-x max_orphan_share=0\.72\b"):
        sweep_orphans(REFERENCE, bind=database.engine, max_orphan_share=0.5)
    found = sweep_orphans(
        REFERENCE,
        on_null=Backfill(to=1),
        on_dangling=Backfill(to=1),
        bind=database.engine,
        max_orphan_share=0.72,
        max_orphans=5,
    )
    assert found["changed"] == 5


# -- a value for each row --------------------------------------------------------------------------
def test_an_expression_over_the_row(database: Database) -> None:
    """Any SQL over the child's own columns, a percent sign and a colon in it."""
    blog(database)
    by_rest = Expression("CASE WHEN id % 2 = 0 AND author <> ':x %s' THEN 1 ELSE 2 END")
    proved(database, by_rest, by_rest, posts_become({2: 1, 3: 2, 4: 1, 5: 2, 6: 1}))


def test_an_expression_that_gives_no_parent(database: Database) -> None:
    """A value that is itself no parent is an error before the change; it is named with its row."""
    blog(database)
    refused(database, Backfill(to=1), Expression("id + 40"), Refused, r"The value 43 for post \(id=3\) is")


def test_an_expression_that_answers_for_some(database: Database) -> None:
    """NULL is no answer: alone it is refused, in a chain the next policy has its turn."""
    blog(database)
    some = Expression("CASE WHEN id = 3 THEN 50 END")
    refused(database, Backfill(to=1), some, Refused, "2 of 3 dangling orphan.s. .* have no answer")
    chained = Chain(some, Chain(Expression("CASE WHEN id = 4 THEN 2 END"), Delete()))
    proved(database, Backfill(to=1), chained, posts_become({2: 1, 6: 1, 3: 50, 4: 2}, gone=(5,)))


def test_an_expression_that_cannot_be_computed(database: Database) -> None:
    """The server's own words, and no change."""
    blog(database)
    refused(database, Backfill(to=1), Expression("no_such_column + 1"), Refused, "cannot be computed")
    refused(database, Backfill(to=1), Expression(("1", "2")), UsageError, "2 expression.s. for 1 column")


def with_names(database: Database, *more: Row) -> Lookup:
    """A table that says which user has which name."""
    engine = database.engine
    names = [{"called": f"user {number}", "holder": number} for number in (1, 2, 3)]
    made = table(engine, "100% names", sa.Column("called", sa.String(40)), sa.Column("holder", sa.Integer))
    fill(engine, made, [*names, *more])
    return Lookup(table="100% names", on={"author": "called"}, value="holder")


def test_a_lookup(database: Database) -> None:
    """Another table joined on columns; who is not in it falls to the next policy."""
    blog(database)
    # The same answer twice is one answer.
    chain = Chain(with_names(database, {"called": "user 1", "holder": 1}), Backfill(to=50))
    proved(database, chain, chain, posts_become({2: 2, 6: 50, 3: 3, 4: 1, 5: 50}))


def test_a_lookup_with_two_answers(database: Database) -> None:
    """Two different answers for one row are no answer to be had: refused."""
    blog(database)
    chain = Chain(with_names(database, {"called": "user 1", "holder": 2}), Backfill(to=50))
    refused(database, Backfill(to=50), chain, Refused, r"two different answers for post \(id=4\)")
    decided = Chain(Expression("CASE id WHEN 4 THEN 3 END"), chain)
    proved(database, Backfill(to=50), decided, posts_become({2: 50, 6: 50, 3: 3, 4: 3, 5: 50}))


def test_a_lookup_without_an_answer(database: Database) -> None:
    """Alone it must know every row; and what it says must be a parent."""
    blog(database)
    lookup = with_names(database)
    refused(database, lookup, Backfill(to=1), Refused, "1 of 2 null orphan.s. .* have no answer")
    refused(database, Chain(lookup, Refuse()), Backfill(to=1), Refused, "1 of 2 null orphan.s. .* no answer")
    refused(
        database, Backfill(to=1), Lookup("no such table", {"author": "a"}, "b"), Refused, "cannot be computed"
    )
    with database.engine.begin() as connection:
        connection.execute(
            sa.insert(table_clause(TableName("100% names"), "called", "holder")).values(
                called="nobody", holder=41
            )
        )
    refused(database, lookup, Backfill(to=1), Refused, r"The value 41 for post \(id=6\) is itself no parent")


def test_an_earlier_answer_settles_what_a_later_one_says(database: Database) -> None:
    """A later policy of a chain is not asked about a row that an earlier one answers for."""
    blog(database)
    chain = Chain(Expression("CASE WHEN id IN (3, 4, 5) THEN 1 END"), Expression("12345"))
    proved(database, Backfill(to=2), chain, posts_become({2: 2, 6: 2, 3: 1, 4: 1, 5: 1}))


# -- decisions of a person -------------------------------------------------------------------------
def decide(database: Database, path: Path, decisions: Mapping[tuple[str, ...], tuple[str, ...]]) -> Decisions:
    """Have the report write its file, and fill in what a person would."""
    return desk.decide(REFERENCE, database, path, decisions)


def test_decisions(database: Database, tmp_path: Path) -> None:
    """The file that the report wrote, filled in; whom it leaves open the next policy decides."""
    blog(database)
    file = decide(database, tmp_path / "decisions.csv", {("2",): ("3",), ("3",): ("50",), ("4",): ("1",)})
    chain = Chain(file, Delete())
    proved(database, chain, chain, posts_become({2: 3, 3: 50, 4: 1}, gone=(5, 6)))


def test_decisions_that_will_not_do(database: Database, tmp_path: Path) -> None:
    """A row left open, a value that is no parent or no number, a row twice, a file that is not there or is
    something else: refused, and nothing of ours is left."""
    blog(database)
    path = tmp_path / "decisions.csv"
    to = Backfill(to=1)
    file = decide(database, path, {("3",): ("50",)})
    refused(database, to, file, Refused, "2 of 3 dangling orphan.s. .* have no answer")
    refused(database, to, Chain(file, Refuse()), Refused, "2 of 3 dangling orphan.s. .* have no answer")
    decide(database, path, {("3",): ("77",)})
    refused(database, to, Chain(file, to), Refused, "77 .*no parent")
    decide(database, path, {("3",): ("seven",)})
    refused(database, to, Chain(file, to), Refused, "seven|cannot be computed")
    decide(database, path, {("3",): ("1",)})
    path.write_text(path.read_text() + path.read_text().splitlines()[2] + "\n")
    refused(database, to, Chain(file, to), Refused, "decides a row of .*post twice")
    path.write_bytes("id\n\xe9\n".encode("latin-1"))
    refused(database, to, Chain(file, to), UsageError, "not UTF-8")
    path.write_text("id,user_id\n3,1\n")
    refused(database, to, Chain(file, to), UsageError, "no column 'key:id'")
    path.unlink()
    refused(database, to, Chain(file, to), UsageError, "cannot be read")


# -- parents that are made -------------------------------------------------------------------------
def test_create_parents(database: Database) -> None:
    """Each missing parent is made once, under the key its orphans name; no post changes."""
    blog(database)
    made = [{"id": number, "name": "made up"} for number in (98, 99)]

    def there() -> None:
        _same_posts(database, posts_become({2: 1, 6: 1}))
        assert rows(database.engine, "user", "id", "name") == in_order([*USERS, *made])

    prove(
        database,
        lambda: restore(database),
        Round(
            lambda: sweep(database, Backfill(to=1), CreateParents({"name": "made up", "no_such": 1})), there
        ),
    )


@pytest.mark.engines("postgresql")
def test_parents_whose_key_is_always_generated(database: Database) -> None:
    """GENERATED ALWAYS takes a stated key only when told that it is meant."""
    engine = database.engine
    fill(
        engine,
        table(engine, "user", sa.Column("id", sa.Integer, sa.Identity(always=True), primary_key=True)),
        [],
    )
    posts = [{"id": number, "user_id": 98 + number % 2} for number in range(1, 5)]
    fill(engine, table(engine, "post", key("id"), sa.Column("user_id", sa.Integer)), posts)
    before = picture(database)
    sweep(database, None, CreateParents())
    assert rows(engine, "user", "id") == [{"id": 98}, {"id": 99}]
    restore(database)
    assert_same(before, picture(database))


def test_parents_that_several_batches_name(database: Database) -> None:
    """A parent made for the rows of one batch is named by rows of later ones as well, and by one that had
    another parent first: all of them are evidence, and the way back leaves no trace."""
    engine = database.engine
    fill(engine, table(engine, "user", key("id")), [{"id": 1}])
    posts = [{"id": number, "user_id": 98 + number % 2} for number in range(1, 21)]
    fill(engine, table(engine, "post", key("id"), sa.Column("user_id", sa.Integer)), posts)
    before = picture(database)
    sweep(database, None, Chain(Expression("CASE WHEN id < 3 THEN 1 END"), CreateParents()))
    assert rows(engine, "user", "id") == [{"id": 1}, {"id": 98}, {"id": 99}]
    assert rows(engine, "post", "id", "user_id") == in_order(posts)
    restore(database)
    assert_same(before, picture(database))


def test_created_parents_that_came_into_use_stay(database: Database) -> None:
    """A parent of ours to which the application refers by now is left, and said to be."""
    blog(database)
    sweep(database, Backfill(to=1), CreateParents({"name": "made up"}))
    with database.engine.begin() as connection:
        post = table_clause(TableName("post"), "id", "user_id")
        connection.execute(sa.insert(post).values(id=100, user_id=98))
    restore(database)
    left = [{"id": 98, "name": "made up"}]
    assert rows(database.engine, "user", "id", "name") == in_order([*USERS, *left])
    assert rows(database.engine, "post", "id", "user_id") == in_order(
        [{"id": row["id"], "user_id": row["user_id"]} for row in POSTS] + [{"id": 100, "user_id": 98}]
    )


def test_parents_that_cannot_be_made(database: Database) -> None:
    """NULL names nobody; and a NOT NULL column of the parent wants a value."""
    blog(database)
    refused(database, CreateParents({"name": "x"}), Delete(), Refused, "null orphans .* name nobody")
    refused(database, Backfill(to=1), CreateParents(), Refused, "need a value for name")
    chain = Chain(CreateParents({"name": "x"}), Backfill(to=2))
    before = picture(database)
    sweep(database, chain, chain)
    _same_posts(database, posts_become({2: 2, 6: 2}))
    restore(database)
    assert_same(before, picture(database))


# -- a run that was stopped ------------------------------------------------------------------------
class StopsAfter:
    """Ends a run, as a crash would, once so many rows of the sweep are through."""

    def step(self, name: str, title: str) -> None:
        """Nothing."""

    def rows(self, what: str, done: int, total: int | None) -> None:
        """After the first batch of the sweep."""
        if what.startswith("sweep"):
            raise KeyboardInterrupt

    def note(self, message: str) -> None:
        """Nothing."""


def test_a_run_goes_on_with_its_own_policy_only(database: Database, tmp_path: Path) -> None:
    """A run that has changed rows is not finished with another policy, nor with an edited file."""
    engine = database.engine
    fill(engine, table(engine, "user", key("id")), [{"id": 1}, {"id": 2}])
    posts = [{"id": number, "user_id": 99} for number in range(1, 21)]
    fill(engine, table(engine, "post", key("id"), sa.Column("user_id", sa.Integer)), posts)
    before = picture(database)
    path = tmp_path / "decisions.csv"
    first = Chain(decide(database, path, {("3",): ("2",)}), Backfill(to=1))
    with pytest.raises(KeyboardInterrupt):
        sweep_orphans(REFERENCE, on_dangling=first, bind=engine, settings=FAST, progress=StopsAfter())
    with pytest.raises(PolicyChanged, match="has changed 7 row"):
        sweep(database, None, Delete())
    content = path.read_bytes()
    edited = content.replace(b"4,99,", b"4,99,2")
    assert edited != content
    path.write_bytes(edited)
    with pytest.raises(PolicyChanged):
        sweep(database, None, first)
    path.write_bytes(content)
    sweep(database, None, first)
    assert rows(engine, "post", "id", "user_id") == in_order(
        [{"id": number, "user_id": 2 if number == 3 else 1} for number in range(1, 21)]
    )
    restore(database)
    assert_same(before, picture(database))
