"""The audit's ten tests: four on timestamps, six on the relationship, on every engine."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from time import sleep
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import delete, event, func, insert, inspect, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from migrator.blog.models import Base, Post, User

if TYPE_CHECKING:
    from tests.conftest import Database


pytestmark = pytest.mark.every_engine


@pytest.fixture
def session(database: Database) -> Iterator[Session]:
    """Give a session on a new blog whose foreign keys are enforced."""
    if database.family == "sqlite":

        @event.listens_for(database.engine, "connect")
        def enforce(connection: Any, _record: Any) -> None:
            connection.execute("PRAGMA foreign_keys=ON")

    Base.metadata.create_all(database.engine)
    with Session(database.engine) as session:
        yield session


def _user(name: str = "ann") -> User:
    return User(username=name, email=f"{name}@example.com")


def _post(title: str = "Bread", **values: Any) -> Post:
    return Post(title=title, body="It rose.", **values)


def _now() -> datetime:
    return datetime.now(UTC).replace(tzinfo=None)


# Timestamps


def test_a_timestamp_is_filled_in_when_a_post_is_created(session: Session) -> None:
    """Nobody gives a time, and the row has one, whether the ORM writes it or an INSERT does."""
    author = _user()
    session.add(_post(author=author))
    session.flush()
    session.execute(insert(Post).values(title="Rain", body="It fell.", user_id=author.id))
    session.commit()

    assert session.scalar(select(func.count(Post.timestamp))) == 2


def test_a_timestamp_is_the_current_time_and_not_that_of_the_import(session: Session) -> None:
    """The time is that of writing, in UTC, for a second post as for the first."""
    author = _user()
    # The blog's clock moves readings apart by a microsecond each, so it may be a little ahead.
    ahead = timedelta(milliseconds=50)
    for _ in range(2):
        before = _now()
        post = _post(author=author)
        session.add(post)
        session.commit()

        assert before <= post.timestamp <= _now() + ahead
        sleep(0.1)


def test_timestamps_of_posts_are_distinct(session: Session) -> None:
    """Even posts written in one flush, faster than the clock ticks, have times of their own."""
    author = _user()
    session.add_all(_post(author=author) for _ in range(500))
    session.commit()

    assert session.scalar(select(func.count(func.distinct(Post.timestamp)))) == 500


def test_a_timestamp_is_a_datetime_and_keeps_its_microseconds(session: Session) -> None:
    """What is read back is what was written, to the microsecond: a naive datetime in UTC."""
    written = datetime(2026, 3, 1, 23, 59, 59, 999_999)
    session.add_all([_post("given", author=_user(), timestamp=written), _post("own", author=_user("bob"))])
    session.commit()

    given, own = session.scalars(select(Post.timestamp).order_by(Post.title))
    assert given == written
    assert type(own) is datetime
    assert own.tzinfo is None


# The relationship


def test_a_post_knows_its_author(session: Session) -> None:
    """`post.author` is the user whose key the post holds."""
    author = _user()
    session.add(author)
    session.flush()
    post = _post(user_id=author.id)
    session.add(post)
    session.commit()

    assert post.author is author


def test_the_posts_of_a_user_can_be_queried(session: Session) -> None:
    """`user.posts` is a query: it counts, filters and orders in the database."""
    author = _user()
    session.add_all(_post(title, author=author) for title in ("Bread", "Rain", "Boats"))
    session.commit()

    assert author.posts.count() == 3
    assert [post.title for post in author.posts] == ["Bread", "Rain", "Boats"]
    assert author.posts.filter(Post.title == "Rain").one().author is author
    assert author.posts.order_by(None).order_by(Post.title.desc()).limit(1).one().title == "Rain"


def test_either_side_of_the_relationship_sets_the_other(session: Session) -> None:
    """A post added to `user.posts` has its author at once, and a post given an author is among its posts."""
    author = _user()
    session.add(author)
    added, given = _post("added"), _post("given")
    author.posts.append(added)
    given.author = author
    session.add(given)

    assert added.author is author
    session.commit()
    assert author.posts.all() == [added, given]
    assert given.user_id == added.user_id == author.id


def test_the_constraint_is_there_and_rejects(session: Session) -> None:
    """The database has the named constraint and its index, and takes neither an unknown author nor none."""
    inspector = inspect(session.connection())
    (key,) = inspector.get_foreign_keys("post")
    assert (key["name"], key["constrained_columns"]) == ("fk_post_user_id_user", ["user_id"])
    assert (key["referred_table"], key["referred_columns"]) == ("user", ["id"])
    indexes = {index["name"]: index["column_names"] for index in inspector.get_indexes("post")}
    assert indexes == {"ix_post_user_id": ["user_id"]}

    post = _post(author=_user())
    session.add(post)
    session.commit()
    values = {"title": "Rain", "body": "It fell."}
    for statement in (
        insert(Post).values(**values, user_id=4711),
        insert(Post).values(**values, user_id=None),
        update(Post).values(user_id=4711),
        update(Post).values(user_id=None),
    ):
        with pytest.raises(IntegrityError):
            session.execute(statement)
        session.rollback()
    assert session.scalar(select(func.count()).select_from(Post)) == 1


def test_a_user_who_has_posts_cannot_be_deleted(session: Session) -> None:
    """The database refuses, the posts stay as they are; without posts, a user goes."""
    author, other = _user(), _user("bob")
    post = _post(author=author)
    session.add_all([post, other])
    session.commit()
    key = author.id

    session.delete(author)
    with pytest.raises(IntegrityError):
        session.commit()
    session.rollback()
    with pytest.raises(IntegrityError):
        session.execute(delete(User).where(User.id == key))
    session.rollback()
    assert session.scalars(select(Post.user_id)).all() == [key]

    session.delete(other)
    session.delete(post)
    session.flush()
    session.delete(author)
    session.commit()
    assert session.scalar(select(func.count()).select_from(User)) == 0


def test_several_users_keep_their_several_posts_apart(session: Session) -> None:
    """Each user has its own posts and each post its own author, and a post can change hands."""
    users = [_user(name) for name in ("ann", "bob", "cleo")]
    for number, user in enumerate(users):
        session.add(user)
        user.posts.extend(_post(f"{user.username} {place}") for place in range(number + 1))
    session.commit()

    assert [user.posts.count() for user in users] == [1, 2, 3]
    for post in session.scalars(select(Post)):
        assert post.title.startswith(post.author.username)

    users[2].posts.limit(1).one().author = users[0]
    session.commit()
    assert [user.posts.count() for user in users] == [2, 2, 2]
