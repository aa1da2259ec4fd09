"""Fixtures that give a test a real database: `database`, and `own_server` for tests that stop servers."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Protocol

import pytest

from tests.servers.database import Database
from tests.servers.pool import Pool
from tests.servers.recipes import recipe_for
from tests.servers.selection import NARROW_VARIABLE, Selection
from tests.servers.server import Server

__all__ = ["Database", "ServerFactory"]

_POOL = pytest.StashKey[Pool]()
_SELECTION = pytest.StashKey[Selection]()


class ServerFactory(Protocol):
    """Starts servers that belong to one test alone."""

    def __call__(self, *settings: str, engine_id: str | None = None) -> Server:
        """Start one.

        Args:
            settings: further options for the server's command line.
            engine_id: its engine; by default the one the test is being run for.
        """


def pytest_configure(config: pytest.Config) -> None:
    """Set up what the session's tests share; nothing is started or asked yet."""
    pool = config.stash[_POOL] = Pool()
    config.stash[_SELECTION] = Selection(pool.given, os.environ.get(NARROW_VARIABLE))


def pytest_unconfigure(config: pytest.Config) -> None:
    """Remove the session's containers."""
    config.stash[_POOL].close()


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run a test that asks for a database once for each engine."""
    if "engine_id" not in metafunc.fixturenames:
        return
    names = [name for mark in metafunc.definition.iter_markers("engines") for name in mark.args]
    try:
        ids = metafunc.config.stash[_SELECTION].engines(names)
    except ValueError as error:
        raise pytest.UsageError(str(error)) from error
    if "own_server" in metafunc.fixturenames:
        ids = [each for each in ids if each != "sqlite"]
    metafunc.parametrize("engine_id", ids)


def pytest_collection_finish(session: pytest.Session) -> None:
    """Tell the pool what the session needs."""
    params = [item.callspec.params for item in session.items if hasattr(item, "callspec")]
    wanted = [str(each["engine_id"]) for each in params if "engine_id" in each]
    session.config.stash[_POOL].announce(wanted)


@pytest.fixture
def server(engine_id: str, request: pytest.FixtureRequest) -> Server:
    """The session's server of the engine."""
    try:
        return request.config.stash[_POOL].get(engine_id)
    except RuntimeError as error:
        pytest.fail(f"no {engine_id} server: {error}", pytrace=False)


@pytest.fixture
def database(server: Server) -> Iterator[Database]:
    """An empty database of the test's own, on each engine in turn."""
    with server.new_database() as made:
        yield made


@pytest.fixture
def own_server(engine_id: str) -> Iterator[ServerFactory]:
    """Starts containers for this test alone, which it may restart and kill."""
    from tests.servers.containers import start_server

    started: list[Server] = []

    own_engine = engine_id

    def start(*settings: str, engine_id: str | None = None) -> Server:
        server = start_server(recipe_for(engine_id or own_engine), settings=settings, dedicated=True)
        started.append(server)
        return server

    yield start
    for server in started:
        server.remove()
