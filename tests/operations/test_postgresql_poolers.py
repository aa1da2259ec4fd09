"""Through a real pgbouncer: what writes is refused where sessions change hands, before it leaves a lock or a
setting in one of them; what only reads goes through."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from functools import cache
from typing import Any

import psycopg
import pytest
import sqlalchemy as sa
from click.testing import CliRunner

from migrator.blog.revisions import DELETED_AUTHOR, POST_AUTHOR
from migrator.blog.seed import seed
from migrator.cli import main
from migrator.connect import connect
from migrator.errors import ConnectionFailed, PreflightRefused
from tests.operations.lifecycle import DOWN, UP, alembic, assert_same, picture, run
from tests.servers.poolers import Mode, Pooled, pooled

pytestmark = pytest.mark.engines("postgresql-15")

Made = Callable[[str], Pooled]


@pytest.fixture(scope="module")
def made() -> Iterator[Made]:
    """The server with its pooler, started for the first test that asks; the blog is in it."""
    with ExitStack() as stack:

        def start(engine_id: str) -> Pooled:
            found = stack.enter_context(pooled(engine_id))
            with found.database.engine.begin() as connection:
                seed(connection, posts=40, users=8, null_share=0.1, dangling_share=0.2)
            return found

        yield cache(start)


@pytest.fixture
def blog(engine_id: str, made: Made) -> Pooled:
    """Forty posts, twelve of them orphans; each test leaves it as it was."""
    return made(engine_id)


def left_behind(blog: Pooled, mode: Mode) -> list[tuple[Any, ...]]:
    """Advisory locks that someone holds, and what the pool's sessions have of anyone's settings."""
    locks = sa.text("SELECT pid, objid FROM pg_locks WHERE locktype = 'advisory'")
    settings = sa.text(
        "SELECT name, setting FROM pg_settings WHERE source = 'session' AND name NOT LIKE 'transaction_%' "
        "AND name <> 'application_name'"  # which the pooler itself keeps for each client
    )
    with connect(blog.url(mode), read_only=True) as engine, engine.connect() as connection:
        return [tuple(row) for query in (locks, settings) for row in connection.execute(query)]


@pytest.mark.parametrize("mode", ["transaction", "single"])
def test_nothing_is_begun_where_sessions_change_hands_after_a_transaction(blog: Pooled, mode: Mode) -> None:
    """Neither an operation, nor its inverse once it stands, nor Alembic: refused at once, also where the pool
    has one session only, with nothing of ours left in any of them."""
    database = blog.database
    before, left = picture(database), left_behind(blog, mode)
    with connect(blog.url(mode)) as engine:
        for operation in UP:
            with pytest.raises(PreflightRefused, match=r"pooler in transaction mode.*Nothing was changed"):
                run(engine, [operation], POST_AUTHOR)
        assert_same(before, picture(database))
        run(database.engine, UP, POST_AUTHOR, DELETED_AUTHOR, DELETED_AUTHOR)
        standing = picture(database)
        for operation in DOWN:
            with pytest.raises(PreflightRefused, match="pooler in transaction mode"):
                run(engine, [operation], POST_AUTHOR)
        assert_same(standing, picture(database))
    assert left_behind(blog, mode) == left == []
    run(database.engine, DOWN, POST_AUTHOR)
    assert_same(before, picture(database))


def test_alembic_is_refused_before_it_writes_where_it_stands(blog: Pooled) -> None:
    """Not even its own table is made."""
    database = blog.database
    through = replace(database, url=blog.url("transaction"))
    before = set(sa.inspect(database.engine).get_table_names())
    for verb, revision in (("upgrade", "head"), ("downgrade", "base")):
        with pytest.raises(PreflightRefused, match="pooler in transaction mode"):
            alembic(through, verb, revision)
    assert set(sa.inspect(database.engine).get_table_names()) == before


@pytest.mark.parametrize("mode", ["transaction", "single"])
def test_plan_tells_what_an_upgrade_would_be_refused_for(blog: Pooled, mode: Mode) -> None:
    """It reads all the same, through a pool of one session as well."""
    ran = CliRunner().invoke(
        main, ["plan", f"--url={blog.url(mode)}", "-r", str(POST_AUTHOR), "--format=json"]
    )
    assert ran.exit_code == 4
    assert "transaction-pooling" in ran.stdout
    ran = CliRunner().invoke(main, ["plan", f"--url={blog.url('session')}", "-r", str(POST_AUTHOR)])
    assert ran.exit_code == 0


def test_a_pool_that_knows_no_transactions_is_refused(blog: Pooled) -> None:
    """It says so itself, and we in one line."""
    with pytest.raises(ConnectionFailed, match="statement pooling mode"), connect(blog.url("statement")):
        pass


def test_a_pool_of_sessions_will_do(blog: Pooled) -> None:
    """A client keeps its session there: all the way there and back."""
    before = picture(blog.database)
    with connect(blog.url("session")) as engine:
        run(engine, UP, POST_AUTHOR, DELETED_AUTHOR, DELETED_AUTHOR)
        run(engine, DOWN, POST_AUTHOR)
    assert_same(before, picture(blog.database))


def test_what_only_reads_goes_through(blog: Pooled) -> None:
    """Whatever statements another client has prepared in the session that we are given."""
    with psycopg.connect(blog.url("single").replace("+psycopg", ""), prepare_threshold=0) as client:
        client.execute("SELECT 1")
    run(blog.database.engine, UP, POST_AUTHOR, DELETED_AUTHOR, DELETED_AUTHOR)
    children, parents = ("post.user_id", "post.id", "user.id"), ("user.id", "post.id")
    several = [
        f"--reference={child} -> {parent}" for child in children for parent in parents if child != parent
    ]
    said, codes = [], set()
    for command in (["report", *several], ["audit"], ["discover"], ["status"], ["quarantine", "list"]):
        done = CliRunner().invoke(main, [*command, f"--url={blog.url('single')}"])
        codes.add(done.exit_code)
        said += [line for line in done.stderr.splitlines() if line.startswith("error")]
    assert said == []
    assert codes <= {0, 3}
    run(blog.database.engine, DOWN, POST_AUTHOR)
