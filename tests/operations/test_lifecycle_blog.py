"""The four revisions through Alembic, on the blog: whole and step by step, under every policy, on fresh,
adopted and prepared databases."""

from __future__ import annotations

from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.engine import Engine

from migrator.blog.revisions import POST_AUTHOR
from migrator.blog.seed import seed
from migrator.dialects import dialect_of
from migrator.errors import Refused, UnknownColumnError
from migrator.fingerprint import take
from tests.conftest import Database
from tests.operations.lifecycle import (
    Picture,
    Round,
    alembic,
    assert_same,
    own_objects,
    picture,
    prove,
    rows_of,
)

pytestmark = pytest.mark.every_engine

POLICIES = {
    "backfill": (),
    "backfill_to": ("backfill_to=3",),
    "delete": ("on_null=delete", "on_dangling=delete"),
    "mixed": ("on_null=delete", "on_dangling=backfill", "backfill_to=3"),
}


@pytest.fixture
def blog(database: Database) -> Database:
    """Sixty posts, six without an author and twelve whose author is gone."""
    with database.engine.begin() as connection:
        seed(connection, posts=60, users=20, null_share=0.1, dangling_share=0.2)
    return database


def scalar(engine: Engine, query: str) -> Any:
    with engine.connect() as connection:
        return connection.execute(sa.text(query)).scalar()


def valid_posts(database: Database) -> tuple[int, int]:
    """Posts, and those whose author is there."""
    user = '"user"' if database.family in ("sqlite", "postgresql") else "`user`"
    return (
        scalar(database.engine, "SELECT count(*) FROM post"),
        scalar(database.engine, f"SELECT count(*) FROM post JOIN {user} u ON u.id = post.user_id"),
    )


def assert_constrained(database: Database) -> None:
    """The reference is declared, by its name, and the column is NOT NULL."""
    with database.engine.connect() as connection:
        facts = dialect_of(connection.dialect).facts(connection, POST_AUTHOR)
    assert facts.foreign_key is not None
    assert facts.foreign_key.name == "fk_post_user_id_user"
    assert facts.foreign_key.validated is not False
    assert facts.not_null
    assert facts.index is not None
    assert facts.guards == ()


def test_head_and_base_under_every_policy(blog: Database) -> None:
    """Each policy in turn on one database: up to the head, and back to the byte."""
    left = {"backfill": (60, 60), "backfill_to": (60, 60), "delete": (42, 42), "mixed": (54, 54)}

    def there(policy: str) -> None:
        assert valid_posts(blog) == left[policy]
        assert_constrained(blog)

    def round_of(policy: str) -> Round:
        return Round(lambda: alembic(blog, "upgrade", "head", *POLICIES[policy]), lambda: there(policy))

    prove(blog, lambda: alembic(blog, "downgrade", "base"), *map(round_of, POLICIES))


def test_step_by_step(blog: Database) -> None:
    """`+1` four times, `-1` four times: each step down ends where the step up had begun."""
    seen: list[Picture] = [picture(blog)]
    for _ in range(4):
        alembic(blog, "upgrade", "+1")
        seen.append(picture(blog))
    assert_constrained(blog)
    for _ in range(4):
        seen.pop()
        alembic(blog, "downgrade", "-1")
        assert take(blog.engine).identical(seen[-1].fingerprint)
    assert own_objects(blog) == frozenset()
    assert_same(seen[0], picture(blog))


def test_refuse_changes_nothing(blog: Database) -> None:
    """The sweep stops before the first change, and what the first revision noted is all there is of ours."""
    alembic(blog, "upgrade", "0001")
    before = picture(blog)
    with pytest.raises(Refused, match=r"12 dangling orphan\(s\).*the policy is to refuse"):
        alembic(blog, "upgrade", "head", "on_dangling=refuse")
    assert_same(before, picture(blog))
    alembic(blog, "downgrade", "base")
    assert own_objects(blog) == frozenset()


def test_a_fresh_database_gets_the_tables_and_loses_them_again(database: Database) -> None:
    """Nothing was there: the revisions create the blog, and take it away while it is empty."""
    alembic(database, "upgrade", "head")
    assert_constrained(database)
    alembic(database, "downgrade", "base")
    assert set(sa.inspect(database.engine).get_table_names()) == {"alembic_version"}


def test_created_tables_that_hold_rows_are_never_dropped(database: Database) -> None:
    """What users wrote since stays, unless it is said that it may go."""
    alembic(database, "upgrade", "head")
    with database.engine.begin() as connection:
        user = sa.Table("user", sa.MetaData(), autoload_with=connection)
        connection.execute(sa.insert(user).values(username="ann", email="ann@example.com"))
    alembic(database, "downgrade", "base")
    assert set(sa.inspect(database.engine).get_table_names()) == {"alembic_version", "user"}
    assert own_objects(database) == frozenset()


def test_created_tables_go_with_their_rows_when_that_is_said(database: Database) -> None:
    """`-x drop_tables=yes`."""
    alembic(database, "upgrade", "head")
    with database.engine.begin() as connection:
        user = sa.Table("user", sa.MetaData(), autoload_with=connection)
        connection.execute(sa.insert(user).values(username="ann", email="ann@example.com"))
    alembic(database, "downgrade", "base", "drop_tables=yes")
    assert set(sa.inspect(database.engine).get_table_names()) == {"alembic_version"}


def make(database: Database, user: list[sa.Column[Any]], post: list[sa.Column[Any]]) -> None:
    """The two tables with a key each, and these columns besides; posts of 1, of nobody and of one gone."""
    metadata = sa.MetaData()
    users = sa.Table("user", metadata, sa.Column("id", sa.Integer, primary_key=True), *user)
    posts = sa.Table(
        "post",
        metadata,
        sa.Column("id", sa.Integer, primary_key=True),
        *post,
        sa.Column("user_id", sa.Integer),
    )
    metadata.create_all(database.engine)
    with database.engine.begin() as connection:
        stated = {"name": "ann"} if "name" in users.c else {}
        connection.execute(sa.insert(users).values(**stated))
        for author in (1, None, 77):
            connection.execute(sa.insert(posts).values(user_id=author))


def up_and_down(database: Database, *x: str) -> list[Any]:
    """To the head and back to the same picture; returns the authors at the head."""
    before = picture(database)
    alembic(database, "upgrade", "head", "max_orphan_share=1", *x)
    found = [row["user_id"] for row in rows_of(database.engine, POST_AUTHOR, "id", "user_id")]
    alembic(database, "downgrade", "base")
    assert_same(before, picture(database))
    return found


def test_adopted_tables_may_have_fewer_columns(database: Database) -> None:
    """`user.id`, `post.id` and `post.user_id` are all that is asked for."""
    make(database, [], [])
    assert up_and_down(database) == [1, 2, 2]


def test_adopted_tables_may_have_other_columns_of_any_type(database: Database) -> None:
    """Whatever a deleted post held, it comes back as it was."""
    extra: list[sa.Column[Any]] = [
        sa.Column("flag", sa.Boolean, default=True),
        sa.Column("price", sa.Numeric(12, 4), default=1234.5678),
        sa.Column("ratio", sa.Double, default=0.1),
        sa.Column("big", sa.BigInteger, default=-(2**62)),
        sa.Column("raw", sa.LargeBinary, default=bytes(range(256))),
        sa.Column("day", sa.Date, server_default="2024-02-29"),
        sa.Column("clock", sa.Time, server_default="23:59:59"),
        sa.Column("made", sa.DateTime, server_default="2024-02-29 12:34:56"),
        sa.Column("words", sa.Text, default='it\'s 100% "quoted" \\ 漢字 \n'),
        sa.Column("data", sa.JSON, default={"a": [1, None, "é"]}),
    ]
    make(database, [sa.Column("name", sa.String(20))], extra)
    up_and_down(database, "on_null=delete", "on_dangling=delete")
    assert up_and_down(database, "backfill_to=1") == [1, 1, 1]


def test_a_sentinel_column_without_a_value_is_asked_for_by_name(database: Database) -> None:
    """NOT NULL, no default, none stated: the error names it and the argument that gives one, which then
    does; nothing is changed before."""
    make(database, [sa.Column("name", sa.String(20), nullable=False)], [])
    alembic(database, "upgrade", "0001")
    before = picture(database)
    with pytest.raises(Refused, match=r"user needs a value for name.*-x sentinel\.name=<value>"):
        alembic(database, "upgrade", "head", "max_orphan_share=1")
    assert_same(before, picture(database))
    alembic(database, "downgrade", "base")
    assert up_and_down(database, "sentinel.name=nobody") == [1, 2, 2]


def test_an_adopted_table_without_the_reference_column_is_refused(database: Database) -> None:
    """The first revision says which column is missing, and changes nothing."""
    metadata = sa.MetaData()
    sa.Table("user", metadata, sa.Column("id", sa.Integer, primary_key=True))
    sa.Table(
        "post",
        metadata,
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("userid", sa.Integer),
    )
    metadata.create_all(database.engine)
    before = picture(database)
    with pytest.raises(UnknownColumnError, match=r"post.*user_id.*userid"):
        alembic(database, "upgrade", "head")
    assert_same(before, picture(database))


def test_what_was_there_before_us_stays(database: Database) -> None:
    """An index, an equal foreign key of another name and NOT NULL are adopted, and left by the way back."""
    metadata = sa.MetaData()
    sa.Table("user", metadata, sa.Column("id", sa.Integer, primary_key=True))
    sa.Table(
        "post",
        metadata,
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("user_id", sa.Integer, sa.ForeignKey("user.id", name="authorship"), nullable=False),
        sa.Index("by_author", "user_id", "id"),
    )
    metadata.create_all(database.engine)
    with database.engine.begin() as connection:
        connection.execute(sa.insert(metadata.tables["user"]).values(id=1))
        connection.execute(sa.insert(metadata.tables["post"]).values(id=1, user_id=1))
    before = picture(database)
    alembic(database, "upgrade", "head")
    assert take(database.engine).schema == before.fingerprint.schema
    alembic(database, "downgrade", "base")
    assert_same(before, picture(database))
