"""A seeded blog is the same every time, and holds exactly what `seed` says it does."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import Connection, create_engine, select, text
from sqlalchemy.orm import Session

from migrator.blog import legacy
from migrator.blog.seed import SeedCounts, seed
from migrator.errors import Refused, UsageError

if TYPE_CHECKING:
    from tests.conftest import Database

_USER, _POST = legacy.Base.metadata.tables["user"], legacy.Base.metadata.tables["post"]


def _rows(connection: Connection) -> list[Sequence[Any]]:
    return [
        tuple(row)
        for table in (_USER, _POST)
        for row in connection.execute(select(table).order_by(table.c.id))
    ]


def _scalar(connection: Connection, statement: str) -> Any:
    user = connection.dialect.identifier_preparer.quote("user")
    return connection.execute(text(statement.replace("[user]", user))).scalar()


@pytest.mark.parametrize(
    "arguments",
    [
        {"posts": 3_000, "users": 200},
        {
            "posts": 1_001,
            "users": 7,
            "null_share": 0.25,
            "dangling_share": 0.5,
            "posts_per_missing_author": 3,
        },
        {"posts": 100, "users": 0, "null_share": 0.5, "dangling_share": 0.5},
        {"posts": 100, "users": 10, "null_share": 0, "dangling_share": 0},
        {"posts": 5, "users": 1, "null_share": 0, "dangling_share": 0.2, "starts": 12},
        {"posts": 0, "users": 3},
    ],
    ids=["usual", "very-dirty", "nobody-left", "clean", "tiny", "empty"],
)
def test_the_counts_are_those_that_plain_sql_finds(database: Database, arguments: dict[str, Any]) -> None:
    """Rows, valid, null, dangling and missing parents, counted with a LEFT JOIN."""
    with database.engine.begin() as connection:
        counts = seed(connection, **arguments)

    joined = "FROM post p LEFT JOIN [user] u ON u.id = p.user_id"
    dangling = f"{joined} WHERE p.user_id IS NOT NULL AND u.id IS NULL"
    with database.engine.connect() as connection:
        assert counts == SeedCounts(
            rows=_scalar(connection, "SELECT count(*) FROM post"),
            valid=_scalar(connection, f"SELECT count(*) {joined} WHERE u.id IS NOT NULL"),
            null=_scalar(connection, "SELECT count(*) FROM post WHERE user_id IS NULL"),
            dangling=_scalar(connection, f"SELECT count(*) {dangling}"),
            missing_parents=_scalar(connection, f"SELECT count(DISTINCT p.user_id) {dangling}"),
        )
        assert counts.null == round(arguments["posts"] * arguments.get("null_share", 0.01))
        assert counts.dangling == round(arguments["posts"] * arguments.get("dangling_share", 0.01))
        assert _scalar(connection, "SELECT count(*) FROM [user]") == arguments["users"]


def test_the_same_arguments_give_the_same_rows_on_every_engine(database: Database) -> None:
    """Row for row what SQLite in memory holds; another seed gives other rows and the same counts."""
    memory = create_engine("sqlite://")
    with memory.connect() as connection:
        counts = seed(connection, posts=2_000, users=100)
        expected = _rows(connection)
    memory.dispose()

    with database.engine.connect() as connection:
        assert seed(connection, posts=2_000, users=100) == counts
        assert _rows(connection) == expected
        connection.execute(_POST.delete())
        connection.execute(_USER.delete())
        assert seed(connection, posts=2_000, users=100, seed=2) == counts
        assert _rows(connection) != expected


def test_posts_come_in_clusters_of_one_instant_per_process_start(database: Database) -> None:
    """In order of writing there are as many runs of equal timestamps as starts, each later than the last."""
    with database.engine.connect() as connection:
        seed(connection, posts=2_000, users=100, starts=9)
        timestamps = connection.scalars(select(_POST.c.timestamp).order_by(_POST.c.id)).all()

    runs = [(instant, len(list(run))) for instant, run in groupby(timestamps)]
    assert len(runs) == 9
    assert [instant for instant, _ in runs] == sorted({instant for instant, _ in runs})
    assert len({length for _, length in runs}) > 1


def test_missing_authors_wrote_several_posts_and_left_holes_and_an_end(database: Database) -> None:
    """Some missing keys are between those of users who stayed, others above them, all with several posts."""
    with database.engine.connect() as connection:
        counts = seed(connection, posts=5_000, users=100, posts_per_missing_author=5)
        present = set(connection.scalars(select(_USER.c.id)))
        named = connection.scalars(select(_POST.c.user_id).where(_POST.c.user_id.is_not(None))).all()

    missing = [key for key in named if key not in present]
    assert {missing.count(key) for key in missing} == {5}
    assert (
        len([key for key in set(missing) if min(present) < key < max(present)]) == counts.missing_parents // 2
    )
    assert any(key > max(present) for key in missing)


def test_new_users_and_posts_get_keys_of_their_own_afterwards(database: Database) -> None:
    """The blog goes on being written to, and a new user does not inherit a missing author's posts."""
    with database.engine.begin() as connection:
        seed(connection, posts=1_000, users=50)

    with Session(database.engine) as session:
        user = legacy.User(username="new", email="new@example.com")
        session.add_all([user, legacy.Post(title="Bread", body="It rose.")])
        session.commit()
        assert user.posts.count() == 0


def test_the_callers_transaction_decides(database: Database) -> None:
    """Rolled back, nothing of it stays."""
    legacy.Base.metadata.create_all(database.engine)
    with database.engine.connect() as connection:
        seed(connection, posts=100, users=10)
        connection.rollback()

    with database.engine.connect() as connection:
        assert _rows(connection) == []


def test_a_blog_that_has_rows_is_refused(database: Database) -> None:
    """No count could be promised for it, so nothing is written."""
    with database.engine.begin() as connection:
        seed(connection, posts=10, users=2)
        before = _rows(connection)

        with pytest.raises(Refused, match=r'"user" has rows already.*Seed a database'):
            seed(connection)

        assert _rows(connection) == before


@pytest.mark.parametrize(
    "arguments",
    [
        {"posts": -1},
        {"users": -1},
        {"users": 0},
        {"null_share": -0.1},
        {"null_share": 0.6, "dangling_share": 0.6},
        {"posts_per_missing_author": 0},
        {"starts": 0},
    ],
)
def test_arguments_out_of_range_are_refused(arguments: dict[str, Any]) -> None:
    """Each is a usage error, and no table is created."""
    engine = create_engine("sqlite://")
    with engine.connect() as connection:
        with pytest.raises(UsageError):
            seed(connection, **arguments)
        assert _scalar(connection, "SELECT count(*) FROM sqlite_master") == 0
    engine.dispose()
