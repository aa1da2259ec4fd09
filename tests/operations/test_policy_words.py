"""The policies that `alembic -x` can name, on the audited blog."""

from __future__ import annotations

from pathlib import Path

import pytest
import sqlalchemy as sa

from migrator.blog import legacy
from migrator.blog.revisions import POST_AUTHOR
from migrator.errors import Refused, UsageError
from tests.conftest import Database
from tests.operations.lifecycle import alembic, assert_same, picture
from tests.operations.policy_desk import decide, rows

NAMES = ("parent.username=gone-{id}", "parent.email={id}@blog.invalid")


def blog(database: Database) -> None:
    """Two authors; a post without one, and three whose author is not there."""
    with database.engine.begin() as connection:
        legacy.Base.metadata.create_all(connection)
        for number in (1, 2):
            connection.execute(
                sa.insert(legacy.User).values(id=number, username=f"u{number}", email=f"{number}@x")
            )
        for number, author in ((1, 1), (2, None), (3, 98), (4, 99), (5, 99)):
            connection.execute(sa.insert(legacy.Post).values(id=number, title="t", body="b", user_id=author))


def authors(database: Database) -> dict[int, int | None]:
    """Who wrote each post."""
    return {row["id"]: row["user_id"] for row in rows(database.engine, "post", "id", "user_id")}


def test_create_parents(database: Database) -> None:
    """The authors who are not there are made, under their own numbers and with names of their own."""
    blog(database)
    before = picture(database)
    said = ("on_dangling=create-parents", "backfill_to=1", *NAMES, "max_orphan_share=1")
    alembic(database, "upgrade", "head", *said)
    assert authors(database) == {1: 1, 2: 1, 3: 98, 4: 99, 5: 99}
    made = [row for row in rows(database.engine, "user", "id", "username", "email") if row["id"] > 2]
    assert made == [
        {"id": number, "username": f"gone-{number}", "email": f"{number}@blog.invalid"} for number in (98, 99)
    ]
    alembic(database, "downgrade", "base")
    assert_same(before, picture(database))


@pytest.mark.parametrize(
    ("said", "words"),
    [
        (("on_dangling=create-parents", "backfill_to=1"), "need a value for username.*-x parent.username="),
        (
            ("on_dangling=create-parents", "backfill_to=1", "parent.username=x", NAMES[1]),
            "would all have the same username, which is unique",
        ),
        (("on_dangling=set-null",), "set-null would leave user_id NULL"),
        (("on_null=keep",), "1 null orphan.s. .* cannot be kept"),
        (("on_dangling=keep",), "3 dangling orphan.s. .* cannot be kept"),
        (("on_dangling=refuse",), "3 dangling orphan.s. .* the policy is to refuse"),
    ],
    ids=["no-name", "same-name", "set-null", "keep-null", "keep-dangling", "refuse"],
)
def test_words_that_are_refused(database: Database, said: tuple[str, ...], words: str) -> None:
    """They say what is in the way, and nothing of the blog is different."""
    blog(database)
    before = picture(database)
    with pytest.raises(Refused, match=words):
        alembic(database, "upgrade", "head", "max_orphan_share=1", *said)
    alembic(database, "downgrade", "base")
    assert_same(before, picture(database))


def test_decisions(database: Database, tmp_path: Path) -> None:
    """A file comes before the policy in force, for both kinds."""
    blog(database)
    before = picture(database)
    path = tmp_path / "decisions.csv"
    decide(POST_AUTHOR, database, path, {("2",): ("2",), ("4",): ("1",)})
    file = f"decisions={path}"
    with pytest.raises(Refused, match=r"1 of 1 null|2 of 3 dangling"):
        alembic(database, "upgrade", "head", file, "on_dangling=refuse", "max_orphan_share=1")
    alembic(database, "downgrade", "base")
    assert_same(before, picture(database))
    alembic(database, "upgrade", "head", file, "on_dangling=delete", "on_null=refuse", "max_orphan_share=1")
    assert authors(database) == {1: 1, 2: 2, 4: 1}
    alembic(database, "downgrade", "base")
    assert_same(before, picture(database))


def test_words_that_mean_nothing(database: Database) -> None:
    """A word that names no policy ends in an error that lists those there are, before anything is done."""
    blog(database)
    before = picture(database)
    with pytest.raises(UsageError, match=r"'create-parent' is no policy.*create-parents"):
        alembic(database, "upgrade", "head", "on_dangling=create-parent")
    alembic(database, "downgrade", "base")
    assert_same(before, picture(database))
