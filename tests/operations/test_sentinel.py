"""The sentinel row: made once, under a key nobody has, found again, and taken back."""

from __future__ import annotations

from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.engine import Engine

from migrator.errors import Refused
from migrator.fingerprint import compare
from migrator.policy import Backfill, Delete
from migrator.reference import Reference
from tests.conftest import Database
from tests.operations.lifecycle import DOWN, UP, Picture, assert_same, picture, run
from tests.operations.offline_desk import written

POST_AUTHOR = Reference.parse("post.user_id -> user.id")
DELETED = Backfill(sentinel={"username": "deleted"})


def blog(database: Database, users: list[int], authors: list[int | None], *, identity: Any = ()) -> Engine:
    """Users with these keys, and a post for each of these authors."""
    metadata = sa.MetaData()
    user = sa.Table(
        "user",
        metadata,
        sa.Column("id", sa.Integer, *identity, primary_key=True),
        sa.Column("username", sa.String(40), nullable=False, unique=True),
    )
    post = sa.Table(
        "post", metadata, sa.Column("id", sa.Integer, primary_key=True), sa.Column("user_id", sa.Integer)
    )
    metadata.create_all(database.engine)
    with database.engine.begin() as connection:
        for number in users:
            # By the counter where it comes out right, so that it is where an application would have it.
            connection.execute(sa.insert(user).values(username=f"user{number}"))
        found = connection.execute(sa.select(user.c.id).order_by(user.c.id)).scalars().all()
        assert list(found) == users
        for author in authors:
            connection.execute(sa.insert(post).values(user_id=author))
    return database.engine


def loaded(database: Database, identity: Any) -> Engine:
    """Users who were loaded with their keys: the sequence is still at its start."""
    engine = blog(database, [], [1, 2, 301, None, 300], identity=identity)
    always = "OVERRIDING SYSTEM VALUE" if identity else ""
    with engine.begin() as connection:
        for number in (1, 2, 300):
            connection.exec_driver_sql(
                f"INSERT INTO \"user\" (id, username) {always} VALUES ({number}, 'u{number}')"
            )
    return engine


def authors(engine: Engine) -> list[int | None]:
    """Each post's author, in the order of the posts."""
    with engine.connect() as connection:
        return list(connection.execute(sa.text("SELECT user_id FROM post ORDER BY id")).scalars())


def sentinels(database: Database) -> list[int]:
    """The keys of the sentinel rows."""
    quoted = '"user"' if database.family in ("sqlite", "postgresql") else "`user`"
    query = sa.text(f"SELECT id FROM {quoted} WHERE username = 'deleted'")
    with database.engine.connect() as connection:
        return list(connection.execute(query).scalars())


def up_and_down(database: Database, reference: Reference = POST_AUTHOR) -> list[int | None]:
    """Backfill to the sentinel, constrain, and take all back; returns the authors in between."""
    before: Picture = picture(database)
    run(database.engine, UP, reference, DELETED, DELETED)
    between = authors(database.engine)
    run(database.engine, DOWN, reference)
    assert_same(before, picture(database))
    return between


def test_it_does_not_take_the_key_that_dangling_rows_refer_to(database: Database) -> None:
    """The next key is that of users who are gone: their posts do not silently become the sentinel's."""
    blog(database, [1, 2, 3], [1, 4, 4, None, 3])
    found = up_and_down(database)
    assert found[0] == 1
    assert found[4] == 3
    assert len({*found[1:4]}) == 1
    assert found[1] not in (1, 2, 3, 4)


def test_it_steps_over_a_long_run_of_keys_that_are_referred_to(database: Database) -> None:
    """A reload put the counter back to the last user who stayed: hundreds of dangling keys follow."""
    blog(database, [1, 2], [1, *range(3, 300)])
    before = picture(database)
    run(database.engine, ("sweep",), POST_AUTHOR, DELETED, DELETED)
    (key,) = sentinels(database)
    assert key >= 300
    assert authors(database.engine) == [1, *[key] * 297]
    with database.engine.begin() as connection:
        user = sa.Table("user", sa.MetaData(), autoload_with=connection)
        connection.execute(sa.insert(user).values(username="next"))
        newest = connection.execute(sa.select(user.c.id).where(user.c.username == "next")).scalar_one()
        connection.execute(sa.delete(user).where(user.c.username == "next"))
    assert newest > key
    run(database.engine, ("restore",), POST_AUTHOR)
    assert_same(before, picture(database))


@pytest.mark.engines("postgresql")
def test_a_key_that_is_always_generated_is_stepped_over_too(database: Database) -> None:
    """GENERATED ALWAYS takes no stated key: the sequence is moved."""
    blog(database, [1, 2], [1, *range(3, 60)], identity=(sa.Identity(always=True),))
    assert len({*up_and_down(database)}) == 2


@pytest.mark.engines("postgresql")
@pytest.mark.parametrize("identity", [(), (sa.Identity(always=True),)], ids=["serial", "always"])
def test_a_sequence_behind_its_table_is_no_obstacle(database: Database, identity: Any) -> None:
    """Rows that were loaded with their keys leave the sequence at its start: the sentinel comes after them,
    and the sequence, which is the application's affair, is not moved to where they end."""
    engine = loaded(database, identity)
    assert up_and_down(database) == [1, 2, 302, 302, 300]
    with engine.connect() as connection:
        assert connection.scalar(sa.text("SELECT nextval(pg_get_serial_sequence('user', 'id'))")) == 2


@pytest.mark.engines("postgresql")
@pytest.mark.parametrize("identity", [(), (sa.Identity(always=True),)], ids=["serial", "always"])
@pytest.mark.parametrize("sentinel", [{}, {"username": "deleted"}], ids=["defaults", "stated"])
def test_a_sequence_behind_its_table_is_no_obstacle_to_a_script(
    database: Database, identity: Any, sentinel: dict[str, Any]
) -> None:
    """The script makes the row where an online run would, and takes it away again."""
    engine = loaded(database, identity)
    if not sentinel:
        with engine.begin() as connection:
            connection.exec_driver_sql('ALTER TABLE "user" ALTER username DROP NOT NULL')
    before = picture(database)
    policy = Backfill(sentinel=sentinel)
    database.client(written(database, UP, POST_AUTHOR, policy, policy))
    assert authors(engine) == [1, 2, 302, 302, 300]
    database.client(written(database, DOWN, POST_AUTHOR, policy, policy))
    assert_same(before, picture(database))


def test_a_stated_key_that_is_referred_to_is_refused(database: Database) -> None:
    """Whoever names the key of dangling rows is told so; nothing is changed and nothing left behind."""
    blog(database, [1, 2], [1, 9, None])
    before = picture(database)
    policy = Backfill(sentinel={"username": "deleted", "id": 9})
    with pytest.raises(Refused, match=r"id=9, and rows of post refer to that already.*-x sentinel\.id="):
        run(database.engine, ("sweep",), POST_AUTHOR, policy, policy)
    assert_same(before, picture(database))


def test_another_run_uses_the_row_that_the_first_one_made(database: Database) -> None:
    """What slips in after the sweep gets the same sentinel, also where the parent has nothing but its key
    to know it by; and when all is taken back it is gone."""
    metadata = sa.MetaData()
    sa.Table("user", metadata, sa.Column("id", sa.Integer, primary_key=True))
    post = sa.Table(
        "post",
        metadata,
        sa.Column("id", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("user_id", sa.Integer),
    )
    metadata.create_all(database.engine)
    with database.engine.begin() as connection:
        connection.execute(sa.insert(post), [{"id": 1, "user_id": 77}, {"id": 2, "user_id": None}])
    before = picture(database)
    run(database.engine, ("sweep",), POST_AUTHOR)
    with database.engine.begin() as connection:
        connection.execute(sa.insert(post), [{"id": 3, "user_id": None}])
    run(database.engine, ("enforce", "validate"), POST_AUTHOR)
    assert len({*authors(database.engine)}) == 1
    with database.engine.connect() as connection:
        user = sa.Table("user", sa.MetaData(), autoload_with=connection)
        assert len(connection.execute(sa.select(user.c.id)).all()) == 1
    run(database.engine, DOWN, POST_AUTHOR)
    with database.engine.begin() as connection:
        connection.execute(sa.delete(post).where(post.c.id == 3))
    assert_same(before, picture(database))


@pytest.mark.engines("sqlite")
def test_a_text_key_without_a_value_is_no_sentinel(database: Database) -> None:
    """SQLite would let the key be NULL; it is asked for instead."""
    with database.engine.begin() as connection:
        connection.execute(sa.text("CREATE TABLE user (id TEXT PRIMARY KEY, username TEXT UNIQUE)"))
        connection.execute(sa.text("CREATE TABLE post (id INTEGER PRIMARY KEY, user_id TEXT)"))
        connection.execute(sa.text("INSERT INTO post VALUES (1, 'ann'), (2, NULL)"))
    before = picture(database)
    with pytest.raises(Refused, match=r"needs a value for id: it is part of the key.*-x sentinel\.id="):
        run(database.engine, ("sweep",), POST_AUTHOR, DELETED, DELETED)
    assert_same(before, picture(database))


def test_a_stated_value_that_another_row_has_is_refused(database: Database) -> None:
    """The username is free and the address is not: said before anything is changed."""
    metadata = sa.MetaData()
    user = sa.Table(
        "user",
        metadata,
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("username", sa.String(40), unique=True),
        sa.Column("email", sa.String(40), unique=True),
    )
    post = sa.Table(
        "post", metadata, sa.Column("id", sa.Integer, primary_key=True), sa.Column("user_id", sa.Integer)
    )
    metadata.create_all(database.engine)
    with database.engine.begin() as connection:
        connection.execute(sa.insert(user).values(username="ann", email="nobody@blog.invalid"))
        connection.execute(sa.insert(post).values(user_id=None))
    before = picture(database)
    policy = Backfill(sentinel={"username": "deleted", "email": "nobody@blog.invalid"})
    with pytest.raises(Refused, match=r"another row has email='nobody@blog.invalid'.*-x sentinel\.email="):
        run(database.engine, ("sweep",), POST_AUTHOR, policy, policy)
    assert_same(before, picture(database))


def test_it_stays_while_the_application_uses_it(database: Database) -> None:
    """A post written to the sentinel after the upgrade keeps it; the orphans are back all the same."""
    engine = blog(database, [1, 2], [1, 9, None])
    run(engine, UP, POST_AUTHOR, DELETED, Delete())
    (key,) = sentinels(database)
    with engine.begin() as connection:
        connection.execute(sa.text("INSERT INTO post (id, user_id) VALUES (50, :key)"), {"key": key})
    run(engine, DOWN, POST_AUTHOR)
    assert authors(engine) == [1, 9, None, key]
    assert sentinels(database) == [key]


@pytest.mark.every_engine
def test_it_stays_where_rows_refer_to_another_key_of_it(database: Database) -> None:
    """A badge by name, ON DELETE CASCADE: deleting the sentinel would take it along, copied nowhere."""
    engine = blog(database, [1, 2], [1, None, 9])
    metadata = sa.MetaData()
    sa.Table("user", metadata, autoload_with=engine)
    badge = sa.Table(
        "badge",
        metadata,
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("name", sa.String(40), sa.ForeignKey("user.username", ondelete="CASCADE")),
    )
    badge.create(engine)
    run(engine, UP, POST_AUTHOR, DELETED, DELETED)
    (key,) = sentinels(database)
    with engine.begin() as connection:
        connection.execute(sa.insert(badge).values(id=1, name="deleted"))
    run(engine, DOWN, POST_AUTHOR)
    assert sentinels(database) == [key]
    with engine.connect() as connection:
        assert connection.scalar(sa.select(sa.func.count()).select_from(badge)) == 1
    assert authors(engine) == [1, None, 9]


@pytest.mark.parametrize("said", ["false", "FALSE", False])
def test_a_yes_or_no_is_said_in_letters(database: Database, said: Any) -> None:
    """`-x sentinel.active=false` is no on every server, whatever it calls a boolean."""
    metadata = sa.MetaData()
    user = sa.Table(
        "user",
        metadata,
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("username", sa.String(40), unique=True),
        sa.Column("active", sa.Boolean, nullable=False),
    )
    post = sa.Table(
        "post", metadata, sa.Column("id", sa.Integer, primary_key=True), sa.Column("user_id", sa.Integer)
    )
    metadata.create_all(database.engine)
    with database.engine.begin() as connection:
        connection.execute(sa.insert(user).values(username="ann", active=True))
        connection.execute(sa.insert(post).values(user_id=1))
        connection.execute(sa.insert(post).values(user_id=None))
        connection.execute(sa.insert(post).values(user_id=1))
    policy = Backfill(sentinel={"username": "deleted", "active": said})
    run(database.engine, ("sweep",), POST_AUTHOR, policy, policy)
    with database.engine.connect() as connection:
        found = connection.execute(sa.select(user.c.active).where(user.c.username == "deleted")).scalar_one()
    assert found is False


def test_a_reference_within_the_key_comes_back_under_the_old_key(database: Database) -> None:
    """The backfill moves the row to another key; the way back finds it there."""
    metadata = sa.MetaData()
    region = sa.Table(
        "region", metadata, sa.Column("code", sa.Integer, primary_key=True, autoincrement=False)
    )
    town = sa.Table(
        "town",
        metadata,
        sa.Column("region", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("number", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("name", sa.String(10)),
    )
    metadata.create_all(database.engine)
    rows = [{"region": 1 if n < 4 else n, "number": n, "name": f"t{n}"} for n in range(1, 7)]
    with database.engine.begin() as connection:
        connection.execute(sa.insert(region), [{"code": 1}, {"code": 2}])
        connection.execute(sa.insert(town), rows)
    before = picture(database)
    reference = Reference.parse("town.region -> region.code")
    run(database.engine, UP, reference, Backfill(to=2), Backfill(to=2))
    run(database.engine, DOWN, reference)
    assert_same(before, picture(database))


def test_a_number_for_a_key_of_text_is_its_digits(database: Database) -> None:
    """Not any text that a server takes for the same number; online and by a script."""
    metadata = sa.MetaData()
    region = sa.Table("region", metadata, sa.Column("code", sa.String(5), primary_key=True))
    town = sa.Table(
        "town", metadata, sa.Column("id", sa.Integer, primary_key=True), sa.Column("region", sa.String(5))
    )
    metadata.create_all(database.engine)
    with database.engine.begin() as connection:
        connection.execute(sa.insert(region), [{"code": code} for code in ("05", "5", "5x")])
        connection.execute(sa.insert(town), [{"id": 1, "region": "9"}, {"id": 2, "region": None}])
    before = picture(database)
    reference = Reference.parse("town.region -> region.code")
    five = Backfill(to=5)

    def online() -> None:
        run(database.engine, ("sweep",), reference, five, five)

    def script() -> None:
        database.client(written(database, ("sweep",), reference, five, five))

    for up in (online, script):
        up()
        with database.engine.connect() as connection:
            assert set(connection.execute(sa.select(town.c.region)).scalars()) == {"5"}
        run(database.engine, ("restore",), reference)
        assert compare(before.fingerprint, picture(database).fingerprint) == ()
