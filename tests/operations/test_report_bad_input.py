"""Bad input ends in one line with the fix and its exit code, and nothing is changed or created."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import sqlalchemy as sa

from migrator.blog.seed import seed
from tests.operations.reporting import Ran, run

if TYPE_CHECKING:
    from tests.conftest import Database

BLOG = "post.user_id -> user.id"


@pytest.fixture
def blog(database: Database) -> Database:
    """A database with a small legacy blog in it."""
    with database.engine.begin() as connection:
        seed(connection, posts=20, users=5, null_share=0.1, dangling_share=0.1)
    return database


def _one_line(ran: Ran, code: int, *words: str) -> None:
    """An error of one line on stderr that holds these words, and nothing on stdout."""
    assert (ran.code, ran.out) == (code, ""), ran
    lines = ran.err.strip().splitlines()
    assert len(lines) == 1, lines
    assert lines[0].startswith("error: ")
    assert "Traceback" not in ran.err
    for word in words:
        assert word in lines[0], lines[0]


@pytest.mark.parametrize(
    ("reference", "words"),
    [
        ("posts.user_id -> user.id", ("no table posts", "Did you mean post?")),
        ("post.user_id -> users.id", ("no table users", "Did you mean user?")),
        ("zzz.user_id -> user.id", ("no table zzz", "post", "user")),
        ("post.userid -> user.id", ("post has no column 'userid'", "user_id")),
        ("post.user_id -> user.di", ("user has no column 'di'", "id")),
    ],
)
def test_an_unknown_name_is_told_with_the_nearest(
    blog: Database, reference: str, words: tuple[str, ...]
) -> None:
    """An unknown table or column names what there is."""
    _one_line(run("report", "--url", blog.url, "-r", reference), 2, *words)


@pytest.mark.engines("postgresql")
def test_an_unknown_schema_is_told(blog: Database) -> None:
    """A table of a schema that is not there is an unknown table."""
    ran = run("report", "--url", blog.url, "-r", "nowhere.post.user_id -> user.id")
    _one_line(ran, 2, "nowhere.post")


@pytest.mark.parametrize("command", ["report", "verify", "discover", "audit"])
def test_a_schema_to_look_in_that_is_not_there_is_told(blog: Database, command: str) -> None:
    """On every server in the same words, with the schemas that there are."""
    ran = run(command, "--url", blog.url, "--schema", "nowhere")
    _one_line(ran, 2, "There is no schema nowhere. Hint: There are: ")


@pytest.mark.engines("sqlite")
@pytest.mark.parametrize(
    "reference", ["", "post.user_id", "post -> user", "a.b -> c.d -> e.f", "c(x, y) -> p(z)", 'p."x -> u.i']
)
def test_a_malformed_reference_is_told_with_an_example(blog: Database, reference: str) -> None:
    """A reference that cannot be read comes with one that can."""
    _one_line(
        run("report", "--url", blog.url, "-r", reference), 2, "Hint: write it as 'post.user_id -> user.id'"
    )


@pytest.mark.engines("sqlite")
@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ("blog", "names no models"),
        ("no_such_module:Base", "cannot be imported"),
        ("migrator.blog.models:Bose", "has no 'Bose'"),
        ("migrator.blog.models:utc_now", "neither a declarative base nor a MetaData"),
    ],
)
def test_models_that_cannot_be_had_are_told(blog: Database, spec: str, words: str) -> None:
    """A wrong --models says what is wrong with it."""
    _one_line(run("report", "--url", blog.url, "--models", spec), 2, words)


def test_a_parent_key_that_is_not_unique_is_a_finding(blog: Database) -> None:
    """A reference to a column that is not unique is reported on, and the finding says it cannot be one."""
    with blog.engine.begin() as connection:
        connection.execute(sa.text("CREATE TABLE tag (id INTEGER PRIMARY KEY, post INTEGER)"))
        connection.execute(sa.text("INSERT INTO tag (id, post) VALUES (1, 1), (2, 1)"))
    ran = run("report", "--url", blog.url, "-r", "post.user_id -> tag.post", "--format", "json")
    (found,) = ran.json["references"]
    assert any("unique" in finding["slug"] for finding in found["findings"]), found["findings"]


@pytest.mark.engines("sqlite")
def test_a_missing_file_is_told_and_not_created(tmp_path: Path) -> None:
    """A report on a mistyped path leaves no empty database behind."""
    for verb in ("report", "verify", "plan", "discover"):
        ran = run(verb, "--url", f"sqlite:///{tmp_path}/nothing.db")
        _one_line(ran, 1, "There is no SQLite file", "nothing.db")
    assert os.listdir(tmp_path) == []


def test_a_file_that_is_no_database_is_told(tmp_path: Path) -> None:
    """Any other file is refused as such, and left as it is."""
    other = tmp_path / "notes.db"
    other.write_text("not a database, by a long way\n" * 100)
    _one_line(run("report", "--url", f"sqlite:///{other}"), 1, "not a database")
    _one_line(run("report", "--url", f"sqlite:///{tmp_path}"), 1, "is a directory")


@contextmanager
def _silent_port() -> Iterator[int]:
    """A port that takes connections and never says a word."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        yield listening.getsockname()[1]


@pytest.mark.parametrize("scheme", ["postgresql", "mysql", "mariadb"])
def test_a_server_that_cannot_be_had_is_told_at_once(scheme: str) -> None:
    """A refused port and an unknown host are errors of one line, without the password."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
    refused = run("report", "--url", f"{scheme}://me:s3cr3t-pw@127.0.0.1:{port}/blog")
    _one_line(refused, 1, "refused", str(port), "Hint")
    unknown = run("report", "--url", f"{scheme}://me:s3cr3t-pw@no-such-host.invalid/blog")
    _one_line(unknown, 1, "no-such-host.invalid", "host name")
    assert "s3cr3t-pw" not in refused.err + unknown.err


def test_a_server_that_does_not_answer_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """A port that takes the connection and says nothing is given up after the connect timeout."""
    with _silent_port() as port:
        ran = run("report", "--url", f"postgresql://me:s3cr3t-pw@127.0.0.1:{port}/blog?connect_timeout=2")
    _one_line(ran, 1, "imeout")
    assert "s3cr3t-pw" not in ran.err


@pytest.mark.engines("postgresql", "mysql", "mariadb")
def test_a_wrong_password_is_told_without_it(database: Database) -> None:
    """The server's refusal in one line; the password tried is not shown."""
    url = sa.make_url(database.url).set(password="wr0ng%40pw")
    ran = run("report", "--url", url.render_as_string(hide_password=False))
    _one_line(ran, 1, "password" if database.family == "postgresql" else "denied", "Check user and password")
    assert "wr0ng" not in ran.err


@pytest.mark.engines("postgresql", "mysql", "mariadb")
def test_an_unknown_database_is_told(database: Database) -> None:
    """A database that is not there is named."""
    url = sa.make_url(database.url).set(database="no_such_database")
    ran = run("report", "--url", url.render_as_string(hide_password=False))
    _one_line(ran, 1, "no_such_database", "lists what is there")


@pytest.mark.engines("postgresql", "mysql", "mariadb")
def test_a_user_that_may_not_read_is_told(blog: Database) -> None:
    """A role without SELECT gets the server's refusal in one line."""
    user = f"n{abs(hash(blog.name)) % 10**8}"
    url = sa.make_url(blog.url).set(username=user, password="nobody")
    if blog.family == "postgresql":
        make, drop = [f"CREATE ROLE {user} LOGIN PASSWORD 'nobody'"], [f"DROP ROLE {user}"]
    else:
        make = [
            f"CREATE USER {user}@'%%' IDENTIFIED BY 'nobody'",
            f"GRANT CREATE VIEW ON `{blog.name}`.* TO {user}@'%%'",
        ]
        drop = [f"DROP USER {user}@'%%'"]
    with blog.engine.begin() as connection:
        for statement in make:
            connection.exec_driver_sql(statement, ())
    try:
        ran = run("report", "--url", url.render_as_string(hide_password=False), "-r", BLOG)
    finally:
        with blog.engine.begin() as connection:
            for statement in drop:
                connection.exec_driver_sql(statement, ())
    assert ran.code in (1, 2), ran
    _one_line(ran, ran.code)
    assert "nobody" not in ran.err


@pytest.mark.engines("sqlite")
@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("what is this", "cannot be read"),
        ("nosuchdb://localhost/x", "knows no database called 'nosuchdb'"),
        ("oracle://me:s3cr3t-pw@localhost/x", "is not installed"),
        ("postgresql://me:a@s3cr3t-pw@localhost/x", "more than one @"),
        ("mysql://me:a@bc/s3cr3t-pw@localhost/x", "more than one @"),
    ],
)
def test_a_url_that_makes_no_sense_is_told(url: str, words: str) -> None:
    """A URL that cannot be read, or whose driver is not there, is a usage error without the password."""
    ran = run("report", "--url", url)
    _one_line(ran, 2, words)
    assert "s3cr3t-pw" not in ran.err


@pytest.mark.engines("sqlite")
def test_a_database_without_references_says_so(database: Database) -> None:
    """Nothing declared, nothing that looks like one: the error says how to name one."""
    with database.engine.begin() as connection:
        connection.exec_driver_sql("CREATE TABLE plain (id INTEGER PRIMARY KEY, text TEXT)")
    _one_line(run("report", "--url", database.url), 2, "--reference 'post.user_id -> user.id'")
    _one_line(run("verify", "--url", database.url), 2, "--reference 'post.user_id -> user.id'")


@pytest.mark.engines("sqlite")
def test_an_output_that_cannot_be_written_is_told(blog: Database, tmp_path: Path) -> None:
    """A directory that is not there is told, with the command that makes it."""
    ran = run("report", "--url", blog.url, "--output", str(tmp_path / "no" / "report.json"))
    _one_line(ran, 2, "is not there", "mkdir -p")


@pytest.mark.engines("sqlite")
def test_a_configuration_file_that_is_not_there_is_told(tmp_path: Path) -> None:
    """--config must exist; it is not replaced by the default."""
    _one_line(run("report", "--config", str(tmp_path / "no.ini")), 2, "no.ini")


@pytest.mark.engines("sqlite")
@pytest.mark.parametrize(
    "words", [("pause",), ("resume",), ("quarantine", "restore", "--all"), ("quarantine", "purge", "--all")]
)
def test_a_command_on_a_history_makes_no_file(tmp_path: Path, words: tuple[str, ...]) -> None:
    """Given in the wrong folder it says so; an empty database is not left there."""
    path = tmp_path / "gone.db"
    ran = run(*words, "--url", f"sqlite:///{path}")
    _one_line(ran, 1, "There is no SQLite file")
    assert not path.exists()
