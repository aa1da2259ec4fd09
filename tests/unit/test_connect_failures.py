"""What a driver says becomes one line with a way out, and without the password."""

from __future__ import annotations

import pytest
import sqlalchemy as sa

from migrator.connect import make_engine, shown
from migrator.connect_failures import explain, without_password


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (Exception(1045, "Access denied for user 'me'@'h' (using password: YES)"), "Check user and password"),
        (Exception(1044, "Access denied for user 'me'@'%' to database 'blgo'"), "Check the database's name"),
        (Exception(1049, "Unknown database 'blog'"), "or create it"),
        (Exception(2003, "Can't connect to MySQL server on 'h' (timed out)"), "firewall"),
        (Exception('connection failed: FATAL:  database "blog" does not exist'), "or create it"),
        (Exception("connection is bad: Name or service not known"), "host name"),
        (Exception("FATAL: sorry, too many clients already"), "no connection to spare"),
        (Exception("something nobody has heard of"), "server is running"),
    ],
)
def test_each_failure_has_a_way_out(error: Exception, words: str) -> None:
    """By the error's number where there is one, else by its words."""
    told = str(explain(sa.make_url("mysql+pymysql://me:pw@h/blog"), error))
    assert words in told
    assert "\n" not in told


@pytest.mark.parametrize(
    ("password", "text"),
    [
        ("s3cret", "could not use s3cret here"),
        ("p@ss/w:rd", "in p%40ss%2Fw%3Ard"),
        ("two words", "in two+words"),
    ],
)
def test_the_password_is_starred_in_every_spelling(password: str, text: str) -> None:
    """Plain, percent-encoded, plus for blank."""
    url = sa.URL.create("postgresql", "me", password, "h", database="blog")
    assert "***" in without_password(url, text)


def test_a_url_is_shown_without_password_and_arguments() -> None:
    """Query arguments may hold a password as well."""
    url = sa.make_url("postgresql+psycopg://me:s3cret@h:5/blog?sslpassword=s3cret&sslmode=require")
    assert shown(url) == "postgresql+psycopg://me@h:5/blog"


def test_the_urls_own_timeout_is_kept() -> None:
    """connect_timeout in the URL beats ours; the name of the session is given in any case."""
    engine = make_engine("postgresql+psycopg://me@h/blog?connect_timeout=9")
    _, arguments = engine.dialect.create_connect_args(engine.url)
    assert arguments["connect_timeout"] == "9"
    engine.dispose()


@pytest.mark.parametrize(
    ("url", "driver"),
    [
        ("postgresql+asyncpg://me@h/blog", "psycopg"),
        ("mysql+aiomysql://me@h/blog", "pymysql"),
        ("sqlite+aiosqlite:///:memory:", "pysqlite"),
        ("postgresql+psycopg://me@h/blog", "psycopg"),
    ],
)
def test_an_asyncio_url_is_opened_without_asyncio(url: str, driver: str) -> None:
    """The URL of an application on asyncio can be given as it is."""
    engine = make_engine(url)
    assert engine.dialect.driver == driver
    engine.dispose()
