"""Fixtures that give a test a real database: `database`, and `own_server` for tests that stop servers."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Protocol
from zlib import crc32

import pytest

from tests.servers.database import Database
from tests.servers.pool import Pool
from tests.servers.recipes import recipe_for
from tests.servers.selection import NARROW_VARIABLE, Selection
from tests.servers.server import Server

__all__ = ["Database", "ServerFactory"]

#: `rotating`: a test without a mark of its own runs on SQLite and one server; else on every engine.
MATRIX_VARIABLE = "MIGRATOR_TEST_MATRIX"

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
        raise pytest.Collector.CollectError(str(error)) from None
    if os.environ.get(MATRIX_VARIABLE) == "rotating" and all(name.isalpha() for name in names):
        ids = _rotating(metafunc.definition, ids)
    if "own_server" in metafunc.fixturenames:
        ids = [each for each in ids if each != "sqlite"]
    metafunc.parametrize("engine_id", ids)


def _rotating(definition: pytest.Item, ids: list[str]) -> list[str]:
    """SQLite and one of the servers, another for each test: all engines meet all rooms, in half the time.
    Of a test for one family: one of its versions. A test marked `every_engine`, or for a version by name, is
    run on all of them all the same."""
    if definition.get_closest_marker("every_engine") is not None:
        return ids
    servers = [each for each in ids if each != "sqlite"]
    chosen = [servers[crc32(definition.nodeid.encode()) % len(servers)]] if servers else []
    return [*(each for each in ids if each == "sqlite"), *chosen]


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out the tests whose every engine was narrowed away: pytest would call them skipped."""
    left_out = [item for item in items if _engine_id(item) == ""]
    if left_out:
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if item not in left_out]


def pytest_collection_finish(session: pytest.Session) -> None:
    """Tell the pool what the session needs."""
    wanted = [_engine_id(item) for item in session.items]
    session.config.stash[_POOL].announce(engine_id for engine_id in wanted if engine_id)


def _engine_id(item: pytest.Item) -> str | None:
    """The engine a test is run on; empty where all were narrowed away, None where it wants none."""
    params = item.callspec.params if hasattr(item, "callspec") else {}
    if "engine_id" not in params:
        return None
    return params["engine_id"] if isinstance(params["engine_id"], str) else ""


@pytest.fixture
def server(engine_id: str, request: pytest.FixtureRequest) -> Server:
    """The session's server of the engine."""
    try:
        return request.config.stash[_POOL].get(engine_id)
    except RuntimeError as error:
        reason = f"no {engine_id} server: {error}"
    pytest.fail(reason, pytrace=False)


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
