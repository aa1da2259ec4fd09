"""Several references swept as one set, in the order of what refers to what, until nothing changes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pytest
import sqlalchemy as sa

from migrator import Policies, journal, restore_set, status, sweep_set
from migrator.errors import Refused, UsageError
from migrator.policy import Backfill, Delete, Refuse
from migrator.reference import Reference
from migrator.sets import in_order
from tests.conftest import Database
from tests.operations.lifecycle import FAST, assert_same, picture
from tests.operations.lifecycle import in_order as sorted_rows
from tests.operations.orphan_cases import fill, key, table
from tests.operations.policy_desk import rows

REACTION = "reaction.reply_id -> reply.id"
REPLY = "reply.post_id -> post.id"
POST = "post.user_id -> user.id"


def make(database: Database, columns: Sequence[str], **filled: Sequence[tuple[Any, ...]]) -> None:
    """Tables with a key and integer columns, and rows in them."""
    engine = database.engine
    for name, found in filled.items():
        names = ["id", *(column for owner, column in (each.split(".") for each in columns) if owner == name)]
        made = table(engine, name, key("id"), *(sa.Column(column, sa.Integer) for column in names[1:]))
        fill(engine, made, [dict(zip(names, row, strict=True)) for row in found])


def forum(database: Database) -> None:
    """Nothing is declared: users, posts, replies, reactions."""
    make(
        database,
        ["post.user_id", "reply.post_id", "reaction.reply_id"],
        user=[(1,), (2,)],
        post=[(1, 1), (2, 99), (3, None), (4, 2)],
        reply=[(10, 1), (11, 2), (12, 98), (13, 4), (14, 3)],
        reaction=[(20, 10), (21, 11), (22, 12), (23, 97), (24, 13), (25, 11)],
    )


def there(database: Database, wanted: Mapping[str, Sequence[tuple[int, int | None]]]) -> None:
    """These rows and no others."""
    for column, pairs in wanted.items():
        name, _, reference = column.partition(".")
        found = [{"id": number, reference: value} for number, value in pairs]
        assert rows(database.engine, name, "id", reference) == sorted_rows(found)


def test_one_sweep_makes_orphans_for_the_next(database: Database) -> None:
    """Each row goes in the first round, because a post is swept before its replies, in whatever order they
    were named; the second round finds nothing."""
    forum(database)
    before = picture(database)
    references = (REACTION, POST, REPLY)
    swept = sweep_set(references, bind=database.engine, on_null=Delete(), on_dangling=Delete(), settings=FAST)
    assert [str(one) for one in swept.order] == [POST, REPLY, REACTION]
    assert [list(counts.values()) for counts in swept.rounds] == [[2, 3, 4], [0, 0, 0]]
    assert swept.changed == 9
    there(
        database,
        {
            "post.user_id": [(1, 1), (4, 2)],
            "reply.post_id": [(10, 1), (13, 4)],
            "reaction.reply_id": [(20, 10), (24, 13)],
        },
    )
    restore_set(references, bind=database.engine, settings=FAST)
    assert_same(before, picture(database))


def test_each_reference_may_have_a_policy_of_its_own(database: Database) -> None:
    """A backfilled reply keeps its reactions."""
    forum(database)
    before = picture(database)
    references = (POST, REPLY, REACTION)
    swept = sweep_set(
        references,
        bind=database.engine,
        on_null=Delete(),
        on_dangling=Delete(),
        policies={REPLY: Policies(Backfill(to=1), Backfill(to=4))},
        settings=FAST,
    )
    assert [list(counts.values()) for counts in swept.rounds] == [[2, 3, 1], [0, 0, 0]]
    there(
        database,
        {
            "post.user_id": [(1, 1), (4, 2)],
            "reply.post_id": [(10, 1), (11, 4), (12, 4), (13, 4), (14, 4)],
            "reaction.reply_id": [(20, 10), (21, 11), (22, 12), (24, 13), (25, 11)],
        },
    )
    restore_set(references, bind=database.engine, settings=FAST)
    assert_same(before, picture(database))


def test_references_in_a_circle_take_rounds(database: Database) -> None:
    """Two tables that refer to each other: a chain of rows goes link by link, and is counted by round."""
    make(
        database,
        ["a.b_id", "b.a_id"],
        a=[(1, 11), (2, 12), (3, 13), (7, 17)],
        b=[(11, 2), (12, 3), (13, 99), (17, 7)],
    )
    before = picture(database)
    references = ("a.b_id -> b.id", "b.a_id -> a.id")
    swept = sweep_set(references, bind=database.engine, on_dangling=Delete(), settings=FAST)
    assert [sum(counts.values()) for counts in swept.rounds] == [1, 2, 2, 1, 0]
    there(database, {"a.b_id": [(7, 17)], "b.a_id": [(17, 7)]})
    restore_set(references, bind=database.engine, settings=FAST)
    assert_same(before, picture(database))


def test_declared_keys_between_them(database: Database) -> None:
    """A row that one sweep removed is by a declared key the parent of what another did, both ways round."""
    engine = database.engine
    make(database, ["post.user_id"], user=[(1,)], post=[(1, 1), (2, 99)])
    reply = table(
        engine,
        "reply",
        key("id"),
        sa.Column("post_id", sa.Integer),
        sa.Column("quoted_id", sa.Integer),
    )
    sa.Table("post", reply.metadata, sa.Column("id", sa.Integer))
    reply.append_constraint(sa.ForeignKeyConstraint(["quoted_id"], ["post.id"], ondelete="CASCADE"))
    replies = [(10, 1, 2), (11, 2, 1), (12, 98, 2), (13, 1, 1)]
    fill(engine, reply, [dict(zip(("id", "post_id", "quoted_id"), row, strict=True)) for row in replies])
    before = picture(database)
    swept = sweep_set((REPLY, POST), bind=engine, on_dangling=Delete(), settings=FAST)
    assert [list(counts.values()) for counts in swept.rounds] == [[1, 1], [0, 0]]
    there(database, {"post.user_id": [(1, 1)], "reply.post_id": [(13, 1)]})
    restore_set((REPLY, POST), bind=engine, settings=FAST)
    assert_same(before, picture(database))


def test_a_row_that_one_sweep_made_and_another_changed(database: Database) -> None:
    """Replies are backfilled to a sentinel post, which has no author and so gets one in the second round."""
    forum(database)
    before = picture(database)
    swept = sweep_set(
        (POST, REPLY),
        bind=database.engine,
        policies={
            POST: Policies(Backfill(to=1), Delete()),
            REPLY: Policies(Delete(), Backfill(sentinel={"id": 77})),
        },
        settings=FAST,
    )
    assert [list(counts.values()) for counts in swept.rounds] == [[2, 2], [1, 0], [0, 0]]
    there(
        database,
        {
            "post.user_id": [(1, 1), (3, 1), (4, 2), (77, 1)],
            "reply.post_id": [(10, 1), (11, 77), (12, 77), (13, 4), (14, 3)],
        },
    )
    restore_set((POST, REPLY), bind=database.engine, settings=FAST)
    assert_same(before, picture(database))


def test_a_set_goes_on_in_the_round_it_was_stopped_in(database: Database) -> None:
    """References that were done in that round are not swept again in it; the status shows the rounds."""
    forum(database)
    before = picture(database)
    order = (POST, REPLY, REACTION)
    given: dict[str, Any] = {"bind": database.engine, "on_null": Delete(), "settings": FAST}
    with pytest.raises(Refused):
        sweep_set(order, on_dangling=Delete(), policies={REACTION: Policies(Delete(), Refuse())}, **given)
    swept = sweep_set(order, on_dangling=Delete(), **given)
    assert [list(counts.values()) for counts in swept.rounds] == [[2, 3, 4], [0, 0, 0]]
    again = sweep_set(order, on_dangling=Delete(), **given)
    assert [sum(counts.values()) for counts in again.rounds] == [9, 0, 0]
    with database.engine.connect() as connection:
        runs = [run for run in status.read(connection) if run.state == "done"]
    assert [(run.reference, run.round) for run in runs] == [(one, at) for at in (1, 2, 3) for one in order]
    restore_set(order, bind=database.engine, settings=FAST)
    assert_same(before, picture(database))


def test_an_upgrade_waits_for_a_way_back_that_was_cut_short(database: Database) -> None:
    """Some of the rows are back by then, and would be swept a second time."""
    forum(database)
    before = picture(database)
    sweep_set((POST, REPLY), bind=database.engine, on_null=Delete(), on_dangling=Delete(), settings=FAST)
    with database.engine.begin() as connection:
        journal.start(connection, Reference.parse(REPLY), "restore", {})
    with pytest.raises(Refused, match="was cut short"):
        sweep_set((POST, REPLY), bind=database.engine, on_dangling=Delete(), settings=FAST)
    restore_set((POST, REPLY), bind=database.engine, settings=FAST)
    assert_same(before, picture(database))


def test_a_refusal_leaves_what_was_done_for_others(database: Database) -> None:
    """It names its reference; the way back takes back the rest."""
    forum(database)
    before = picture(database)
    with pytest.raises(Refused, match=r"1 dangling .*of reaction.reply_id"):
        sweep_set(
            (POST, REPLY, REACTION),
            bind=database.engine,
            on_null=Backfill(to=1),
            on_dangling=Backfill(to=1),
            policies={REACTION: Policies(Delete(), Refuse()), REPLY: Policies(Delete(), Backfill(to=1))},
            settings=FAST,
        )
    restore_set((POST, REPLY, REACTION), bind=database.engine, settings=FAST)
    assert_same(before, picture(database))


def test_the_order() -> None:
    """Parents' references first; references of one table in the order they were named; circles end."""
    parsed = [Reference.parse(text) for text in (REACTION, "post.tag_id -> tag.id", REPLY, POST)]
    assert [str(one) for one in in_order(parsed)] == ["post.tag_id -> tag.id", POST, REPLY, REACTION]
    circle = [Reference.parse(text) for text in ("a.x -> b.id", "b.x -> a.id", "a.up -> a.id")]
    assert sorted(map(str, in_order(circle))) == sorted(map(str, circle))
    assert in_order(parsed[:1]) == tuple(parsed[:1])


@pytest.mark.engines("sqlite")
def test_words_that_make_no_set(database: Database) -> None:
    """No reference at all, or a policy for one that is not in the set."""
    with pytest.raises(UsageError, match="wants at least one"):
        sweep_set([], bind=database.engine)
    with pytest.raises(UsageError, match=r"stated for reply.post_id -> post.id, which is not"):
        sweep_set([POST], bind=database.engine, policies={REPLY: Policies(Delete(), Delete())})
