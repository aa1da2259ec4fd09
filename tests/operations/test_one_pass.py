"""What a sweep asks of the server: the child is read once, nothing is counted for each batch, no table is
made from a query, and a NULL among the parents' keys hides no orphan."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.engine import Engine

from migrator import detect
from migrator.blog.revisions import POST_AUTHOR
from migrator.policy import Backfill, Delete
from migrator.reference import Reference
from tests.conftest import Database
from tests.crash.running import blog
from tests.listening import before_each
from tests.operations.lifecycle import DOWN, FAST, UP, assert_same, picture, run
from tests.operations.orphan_cases import fill, key, table
from tests.operations.policy_desk import rows


@contextmanager
def overheard() -> Iterator[list[str]]:
    """Every statement that is sent meanwhile."""
    said: list[str] = []

    def before(_connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
        said.append(" ".join(statement.split()))

    with before_each(Engine, before):
        yield said


def counting(statements: list[str]) -> list[str]:
    """Those that count rows of a table of the user's or of ours."""
    return [each for each in statements if re.search(r"count\(", each) and "information_schema" not in each]


def test_nothing_is_counted_for_each_batch(database: Database) -> None:
    """The rows of the child are counted once, by the scan; in nine batches no more is counted than in one,
    but for the rows of the batch itself, which are looked at again by key."""
    blog(database)
    found: list[list[str]] = []
    by_key: list[int] = []
    for rows_at_once in (1, 100):
        bounded = replace(FAST, batch_size=rows_at_once, batch_floor=rows_at_once, batch_ceiling=rows_at_once)
        with overheard() as said:
            run(
                database.engine,
                ("sweep",),
                POST_AUTHOR,
                Backfill(to=1),
                Delete(),
                settings=bounded,
            )
        counted = counting(said)
        found.append([each for each in counted if not re.search(r" IN \(| ANY \(", each)])
        by_key.append(len(counted) - len(found[-1]))
        run(database.engine, ("restore",), POST_AUTHOR)
    in_nine, in_one = found
    assert len(in_nine) == len(in_one)
    assert by_key == [9, 1]
    of_child = [each for each in in_nine if re.search(r'FROM ["`]post["`]', each)]
    assert len(of_child) == 1, of_child


@pytest.mark.engines("postgresql", "mysql", "mariadb")
def test_no_table_is_made_from_a_query(database: Database) -> None:
    """All the way up and down: with GTIDs, CREATE TABLE ... SELECT is refused or splits a transaction."""
    blog(database)
    start = picture(database)
    with overheard() as said:
        run(database.engine, UP, POST_AUTHOR, Backfill(to=1), Delete())
        run(database.engine, DOWN, POST_AUTHOR)
    made = [each for each in said if re.match(r"CREATE (\w+ )?TABLE", each)]
    assert made
    assert [each for each in made if re.search(r"\bSELECT\b", each)] == []
    assert_same(start, picture(database))


def test_a_parent_key_that_is_null_hides_no_orphan(database: Database) -> None:
    """A unique key may hold NULL, and `NOT IN` finds nothing then; what dangles is found and swept."""
    engine = database.engine
    people = table(engine, "person", key("id"), sa.Column("code", sa.Integer, unique=True))
    fill(engine, people, [{"id": 1, "code": 10}, {"id": 2, "code": None}])
    posts = table(engine, "post", key("id"), sa.Column("author", sa.Integer))
    fill(engine, posts, [{"id": 1, "author": 10}, {"id": 2, "author": 11}, {"id": 3, "author": None}])
    reference = Reference.parse("post.author -> person.code", nullable=True)
    start = picture(database)
    with engine.connect() as connection:
        assert detect.count(connection, reference).dangling == 1
    run(engine, UP, reference, None, Delete())
    assert [row["id"] for row in rows(engine, "post", "id")] == [1, 3]
    run(engine, DOWN, reference)
    assert_same(start, picture(database))
