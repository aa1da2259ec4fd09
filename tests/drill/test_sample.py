"""A sample holds together: orphans of every kind in proportion, and no row that is an orphan in it alone."""

from __future__ import annotations

from pathlib import Path

import pytest
import sqlalchemy as sa

from migrator.connect import make_engine
from migrator.drill.clone import cloned
from migrator.drill.sample import Sampling
from migrator.errors import UsageError
from migrator.fingerprint import take
from migrator.reference import Reference
from tests.conftest import Database
from tests.drill.harness import TOUCHING, blog, copies, url_of
from tests.operations.reporting import check_schema, run

_COMMENTS = (
    # Declared: to a post, and to the comment it answers. Not declared, under a name that gives nothing away:
    # who it is by.
    "CREATE TABLE comment (id INTEGER PRIMARY KEY, post_id INTEGER NOT NULL, answers INTEGER, who INTEGER, "
    "CONSTRAINT fk_post FOREIGN KEY (post_id) REFERENCES post (id) ON DELETE CASCADE, "
    "CONSTRAINT fk_answers FOREIGN KEY (answers) REFERENCES comment (id))",
    *(
        f"INSERT INTO comment (id, post_id, answers, who) VALUES ({n}, {n % 1000 + 1}, "
        f"{n - 7 if n > 7 else 'NULL'}, {n % 37 + 1})"
        for n in range(1, 201)
    ),
    "CREATE TABLE note (words VARCHAR(20))",
    "INSERT INTO note (words) VALUES ('without a key'), ('all of it')",
)


def _rows(engine: sa.Engine, query: str) -> list[int]:
    quote = engine.dialect.identifier_preparer.quote
    with engine.connect() as connection:
        return list(connection.execute(sa.text(query.replace("<user>", quote("user")))).scalars())


_DANGLING = (
    "SELECT id FROM post WHERE user_id IS NOT NULL AND user_id NOT IN (SELECT id FROM <user>) ORDER BY id"
)
_LOST = "SELECT id FROM comment WHERE who NOT IN (SELECT id FROM <user>)"
_NULL = "SELECT id FROM post WHERE user_id IS NULL ORDER BY id"


def test_a_sample_holds_together(database: Database) -> None:
    """What the sampled rows refer to is in it, by declared keys, by name and as told; orphans of each kind
    come in proportion; tables without a key come whole; no trigger went off; the source is untouched."""
    blog(database, posts=1000)
    with database.engine.begin() as connection:
        for statement in (*_COMMENTS, *TOUCHING[database.family]):
            connection.execution_options(no_parameters=True).exec_driver_sql(statement)
    before = take(database.engine)
    orphans, nobodys = set(_rows(database.engine, _DANGLING)), set(_rows(database.engine, _LOST))
    wish = Sampling.parse("10%", [Reference.parse("comment.who -> user.id")])

    with cloned(url_of(database), sampling=wish) as copy:
        engine = make_engine(copy.url)
        posts = _rows(engine, "SELECT id FROM post ORDER BY id")
        dangling, null = _rows(engine, _DANGLING), _rows(engine, _NULL)
        loose = _rows(
            engine,
            "SELECT id FROM comment c WHERE post_id NOT IN (SELECT id FROM post) "
            "OR answers NOT IN (SELECT id FROM comment)",
        )
        lost = _rows(engine, _LOST)
        touched = _rows(engine, "SELECT id FROM post WHERE title LIKE '%!'")
        notes = _rows(engine, "SELECT count(*) FROM note")
        engine.dispose()
    assert copy.sample is not None
    # 100 picked, and those that the sampled comments are on.
    assert 100 <= len(posts) < 400
    assert copy.sample.tables["post"] == (len(posts), 1000)
    assert set(dangling) <= orphans
    assert set(lost) <= nobodys
    assert 2 <= len(dangling) <= 40
    assert 2 <= len(null) <= 40
    assert (loose, touched, notes) == ([], [], [2])
    assert not copies(database)
    assert before.identical(take(database.engine), counters=True)


def test_a_kind_of_orphan_too_rare_to_be_picked_is_in_it_all_the_same(database: Database) -> None:
    """A single post without an author among a thousand."""
    blog(database, posts=1000)
    with database.engine.begin() as connection:
        connection.exec_driver_sql("UPDATE post SET user_id = 1")
        connection.exec_driver_sql("UPDATE post SET user_id = NULL WHERE id = 777")

    with cloned(url_of(database), sampling=Sampling.parse("50")) as copy:
        engine = make_engine(copy.url)
        null = _rows(engine, _NULL)
        engine.dispose()

    assert null == [777]
    assert copy.sample is not None
    assert copy.sample.tables["post"][0] <= 51


@pytest.mark.engines("sqlite", "mysql-9.7")
def test_a_drill_on_a_sample_says_so(database: Database, tmp_path: Path) -> None:
    """In the verdict, the place and the cost, which is for the whole database."""
    blog(database, posts=1000)
    options = ("--sample", "100", "--quick", "-x", "pause_ms=0", "--format", "json")

    found = run("drill", "--url", database.url, *options)

    assert found.code == 0, found.out
    check_schema(found.json)
    sample = found.json["place"]["sample"]
    (posts,) = [one for one in sample["tables"] if one["table"] == "post"]
    assert (posts["rows"], posts["of"]) == (100, 1000)
    assert found.json["verdict"]["sentence"].startswith("Identical on a sample of 1")
    (reference,) = found.json["references"]
    assert found.json["cost"]["rows"] > reference["set_aside"] * 5
    assert "Extrapolated from a sample" in found.json["cost"]["how"]


@pytest.mark.parametrize("text", ["0", "-5", "0%", "101%", "some", "%", "1.5"])
def test_a_sample_is_a_number_of_rows_or_a_share(text: str) -> None:
    """Anything else is told."""
    with pytest.raises(UsageError, match="neither a number of rows nor a share"):
        Sampling.parse(text)
