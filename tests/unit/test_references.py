"""References from words and from models; names that look like references; families of types."""

from __future__ import annotations

import pytest
import sqlalchemy as sa

from migrator.blog import legacy, models
from migrator.catalog import Column
from migrator.discover import singular, words
from migrator.errors import ReferenceSyntaxError, UsageError
from migrator.nearest import nearest
from migrator.references import Found, from_metadata, load_metadata, named, without_repeats
from migrator.typefamily import family, length


def test_references_in_words_are_kept_in_order_and_once() -> None:
    """The same reference given twice is looked at once."""
    found = named(["b.x -> p.id", "a.x -> p.id", "b.x -> p.id"], nullable=True, on_delete="set null")
    assert [str(one.reference) for one in found] == ["b.x -> p.id", "a.x -> p.id"]
    assert {(one.reference.nullable, one.reference.on_delete) for one in found} == {(True, "SET NULL")}


def test_an_unknown_action_is_told() -> None:
    """The actions there are are listed."""
    with pytest.raises(UsageError, match="CASCADE"):
        named(["a.x -> p.id"], on_delete="explode")
    with pytest.raises(ReferenceSyntaxError):
        named(["a.x"])


def test_the_models_foreign_keys_are_references() -> None:
    """Names by the naming convention; NULL is right where the column may be NULL."""
    (found,) = from_metadata(models.Base.metadata)
    assert str(found.reference) == "post.user_id -> user.id"
    assert found.reference.name == "fk_post_user_id_user"
    assert (found.reference.nullable, found.origin) == (False, "models")
    assert from_metadata(legacy.Base.metadata) == []


def test_composite_and_cascading_keys_of_models() -> None:
    """Columns in the order of the key, actions and all."""
    metadata = sa.MetaData()
    sa.Table("p", metadata, sa.Column("a", primary_key=True, type_=sa.Integer), sa.Column("b", sa.Integer))
    sa.Table(
        "c",
        metadata,
        sa.Column("x", sa.Integer),
        sa.Column("y", sa.Integer),
        sa.ForeignKeyConstraint(["y", "x"], ["p.b", "p.a"], ondelete="cascade", match="FULL"),
    )
    (found,) = from_metadata(metadata)
    assert str(found.reference) == "c(y, x) -> p(b, a)"
    assert (found.reference.on_delete, found.reference.match) == ("CASCADE", "full")
    assert found.reference.nullable


def test_metadata_can_be_named_directly() -> None:
    """`module:Base` and `module:Base.metadata` are the same."""
    assert load_metadata("migrator.blog.models:Base") is load_metadata("migrator.blog.models:Base.metadata")


def test_repeats_are_found_whatever_the_order_of_columns() -> None:
    """The first of two that say the same stays."""
    one, two = named(["c(x, y) -> p(a, b)"])[0], named(["c(y, x) -> p(b, a)"])[0]
    assert without_repeats([one, Found(two.reference, "name")]) == [one]


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("OwnerUserId", ("owner", "user", "id")),
        ("owner_user_id", ("owner", "user", "id")),
        ("HTTPServer2Id", ("http", "server2", "id")),
        ("userid", ("userid",)),
        ("User's %", ("user", "s")),
    ],
)
def test_names_are_taken_apart(name: str, found: tuple[str, ...]) -> None:
    """CamelCase and snake_case give the same words."""
    assert words(name) == found


@pytest.mark.parametrize(
    ("plural", "one"),
    [
        ("users", "user"),
        ("cities", "city"),
        ("addresses", "address"),
        ("boxes", "box"),
        ("status", "status"),
        ("news", "news"),
        ("user", "user"),
    ],
)
def test_plurals_of_tables(plural: str, one: str) -> None:
    """Good enough for table names."""
    assert singular(plural) == one


@pytest.mark.parametrize(
    ("text", "found", "size"),
    [
        ("bigint", "integer", None),
        ("int unsigned", "integer", None),
        ("tinyint(1)", "integer", 1),
        ("INTEGER", "integer", None),
        ("numeric(10,2)", "number", None),
        ("double precision", "number", None),
        ("character varying(20)", "text", 20),
        ("char(36) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin", "text", 36),
        ("longtext", "text", None),
        ("uuid", "uuid", None),
        ("varbinary(16)", "binary", 16),
        ("bytea", "binary", None),
        ("timestamp without time zone", "moment", None),
        ("datetime(6)", "moment", 6),
        ("boolean", "boolean", None),
        ("integer[]", "other", None),
        ("enum('a','int')", "other", None),
        ("point", "other", None),
        ("", "untyped", None),
    ],
)
def test_families_of_types(text: str, found: str, size: int | None) -> None:
    """Each server's spelling falls into its family."""
    column = Column("x", text)
    assert family(column) == found
    assert length(column) == size


def test_the_nearest_names_come_first() -> None:
    """Case does not count, and a name within another is near."""
    there = ["user", "User", "blog_post", "tag"]
    assert nearest("usr", there)[:2] == ["user", "User"]
    assert nearest("post", there) == ["blog_post"]
    assert nearest("zzz", there) == []
