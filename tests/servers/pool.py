"""The servers of one test session: each started once, when the first test asks for it."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from functools import cached_property
from pathlib import Path
from tempfile import TemporaryDirectory

from sqlalchemy.exc import SQLAlchemyError

from tests.servers.recipes import FamilyName, family_of, recipe_for
from tests.servers.server import Server, server_at
from tests.servers.urls import VARIABLES, given_urls, with_password


class Pool:
    """The servers of a session.

    Args:
        environ: where given servers are named.
    """

    def __init__(self, environ: Mapping[str, str] = os.environ) -> None:
        self._environ = environ
        self._given: dict[FamilyName, dict[str, Server]] = {}
        self._unusable: dict[FamilyName, str] = {}
        self._needed: dict[str, None] = {}
        self._starting: dict[str, Future[Server]] = {}

    def given(self, family: FamilyName) -> list[str]:
        """Ask the given servers of a family for their versions; lists their engine ids.

        Raises:
            ValueError: a given server does not answer, or is another than it was given as.
        """
        if family in self._unusable:
            raise ValueError(self._unusable[family])
        if family not in self._given:
            try:
                self._given[family] = {server.engine_id: server for server in self._connect(family)}
            except ValueError as error:
                # Remembered, because a server that does not answer can take minutes not to.
                self._unusable[family] = str(error)
                raise
        return list(self._given[family])

    def _connect(self, family: FamilyName) -> Iterable[Server]:
        for url in given_urls(family, self._environ):
            try:
                yield server_at(family, with_password(url))
            except (SQLAlchemyError, ValueError) as error:
                reason = str(getattr(error, "orig", error)).strip()
                raise ValueError(f"{VARIABLES[family]} names {url!r}, which does not do: {reason}") from error

    def announce(self, engine_ids: Iterable[str]) -> None:
        """Say which engines the session needs, so that they start together when the first is asked for."""
        self._needed.update(dict.fromkeys(engine_ids))

    def get(self, engine_id: str) -> Server:
        """The server of an engine, started if it was not.

        Raises:
            RuntimeError: it cannot be had; the message says why.
        """
        if engine_id == "sqlite":
            return server_at("sqlite", f"sqlite:///{Path(self._folder.name, 'unused.db')}")
        family = family_of(engine_id)
        if engine_id in self.given(family):
            return self._given[family][engine_id]
        # Imported here rather than by the threads: two at once meet halves of modules. And only now, because
        # given servers need no container engine.
        from tests.servers.containers import start_server

        self.announce([engine_id])
        for each in self._needed:
            if each != "sqlite" and each not in self._starting and each not in self.given(family_of(each)):
                self._starting[each] = self._executor.submit(start_server, recipe_for(each))
        return self._starting[engine_id].result()

    def close(self) -> None:
        """Remove every container that was started, and SQLite's files."""
        self._folder.cleanup()
        if not self._starting:
            return
        self._executor.shutdown(cancel_futures=True)
        started = [each for each in self._starting.values() if not each.cancelled() and not each.exception()]
        with ThreadPoolExecutor() as executor:
            list(executor.map(lambda future: future.result().remove(), started))

    @cached_property
    def _folder(self) -> TemporaryDirectory[str]:
        return TemporaryDirectory(prefix="migrator-test-")

    @cached_property
    def _executor(self) -> ThreadPoolExecutor:
        # Two at a time: unpacking packages and initialising data directories is work for the processor.
        return ThreadPoolExecutor(max_workers=2)
