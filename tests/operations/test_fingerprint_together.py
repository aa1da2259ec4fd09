"""A fingerprint that several connections take is the one that a single connection takes."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping

import pytest
import sqlalchemy as sa
from sqlalchemy import Connection

from migrator.fingerprint import take
from migrator.fingerprint.backend import RowSums
from migrator.fingerprint.model import ColumnShape, PartDigest, Shape
from migrator.fingerprint.mysql import MySQL
from migrator.fingerprint.postgresql import PostgreSQL
from migrator.fingerprint.registry import backend_for
from migrator.fingerprint.together import digest_tables
from tests.conftest import Database
from tests.operations.test_fingerprint import BLOG, run


@pytest.fixture
def blog(database: Database) -> Database:
    """Tables with an integer key that has gaps and goes below zero, a key of two columns, and none."""
    run(
        database,
        *BLOG,
        "INSERT INTO post (id, title, author, body) VALUES (-7, 'before', 1, NULL), (90000, 'far', 2, '')",
        "CREATE TABLE one (id INTEGER PRIMARY KEY)",
        "INSERT INTO one VALUES (5)",
        "CREATE TABLE none_at_all (id INTEGER PRIMARY KEY)",
    )
    return database


@pytest.mark.parametrize("row_limit", [0, 10, 50_000])
@pytest.mark.parametrize("still", [True, False])
def test_several_connections_find_what_one_finds(blog: Database, row_limit: int, still: bool) -> None:
    """Whether a digest per row is kept or sums only, of a copy and of a database that is in use."""
    alone = take(blog.engine, row_limit=row_limit)
    assert take(blog.engine, row_limit=row_limit, connections=3, still=still) == alone


@pytest.mark.engines("postgresql", "mysql", "mariadb")
def test_they_are_as_many_as_were_asked_for(blog: Database) -> None:
    """PostgreSQL always, MySQL and MariaDB where nobody writes."""
    for still in (True, False):
        with blog.engine.connect() as connection:
            backend = backend_for(connection)
            with backend.snapshot(connection), backend.beside(connection, 3, still=still) as others:
                wanted = 3 if still or blog.family == "postgresql" else 0
                assert len({backend.session(each) for each in others}) == wanted


@pytest.mark.engines("postgresql")
def test_all_see_the_same_while_the_application_writes(blog: Database) -> None:
    """What is committed after the first connection has looked is seen by none of the others."""
    with blog.engine.connect() as connection:
        backend = backend_for(connection)
        with backend.snapshot(connection):
            run(blog, "DELETE FROM public.post", "INSERT INTO public.one VALUES (6)")
            with backend.beside(connection, 2, still=False) as others:
                for each in others:
                    assert each.scalar(sa.text("SELECT count(*) FROM public.post")) == 302
                    assert each.scalar(sa.text("SELECT count(*) FROM public.one")) == 1


@pytest.mark.engines("postgresql")
def test_a_server_that_lets_no_more_in_is_read_all_the_same(blog: Database) -> None:
    """With the connections there are: fewer, or the first one alone."""
    alone = take(blog.engine, row_limit=10)
    guest = f"guest_{blog.name}"
    run(
        blog,
        f"CREATE ROLE {guest} LOGIN PASSWORD 'guest' CONNECTION LIMIT 1",
        f"GRANT SELECT ON ALL TABLES IN SCHEMA public TO {guest}",
    )
    url = blog.engine.url.set(username=guest, password="guest")
    try:
        engine = sa.create_engine(url, poolclass=sa.NullPool)
        assert take(engine, row_limit=10, connections=3).tables == alone.tables
    finally:
        run(blog, f"DROP OWNED BY {guest}", f"DROP ROLE {guest}")


class Slow:
    """Hashes that take an hour, and a table of which none can be had."""

    sleep = "SELECT pg_sleep(3600)"

    def part_sums(
        self, connection: Connection, shape: Shape, part_count: int, between: object = None
    ) -> Iterator[tuple[int, PartDigest]]:
        """Sleep, or fail once the others sleep."""
        if shape.name == "one":
            raise ZeroDivisionError("what came first")
        connection.exec_driver_sql(self.sleep)
        yield 0, PartDigest(0, 0, 0, ())

    def row_sums(self, *_: object) -> Iterator[RowSums]:
        """Never asked for."""
        raise AssertionError

    def ranges(self, *_: object) -> tuple[()]:
        """Each table is one piece."""
        return ()


class SlowPostgreSQL(Slow, PostgreSQL):
    """On PostgreSQL."""


class SlowMySQL(Slow, MySQL):
    """On MySQL and MariaDB."""

    sleep = "SELECT SLEEP(3600)"
    extra_settings: Mapping[str, str] = {}


@pytest.mark.engines("postgresql", "mysql", "mariadb")
def test_an_error_on_one_calls_off_the_others(blog: Database) -> None:
    """It is told at once, however long the others' statements would take, and leaves no session at work."""
    backend = SlowPostgreSQL() if blog.family == "postgresql" else SlowMySQL()
    schema = "public" if blog.family == "postgresql" else None
    shapes = [
        Shape(schema, name, (ColumnShape("id", "int4"),), (), False) for name in ("post", "post", "one")
    ]
    shapes[1] = Shape(schema, "tag", (ColumnShape("code", "text"),), (), False)
    before = threading.active_count()
    with blog.engine.connect() as connection, backend.snapshot(connection):
        with (
            backend.beside(connection, 3, still=True) as others,
            pytest.raises(ZeroDivisionError, match="what came first"),
        ):
            digest_tables(backend, connection, others, shapes, parts=7, row_limit=0)
        assert threading.active_count() <= before
