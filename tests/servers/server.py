"""A database server that answers, however it was had."""

from __future__ import annotations

import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Protocol

import sqlalchemy as sa
from sqlalchemy.engine import Engine, make_url
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.pool import NullPool

from tests.servers.database import Database
from tests.servers.families import BY_NAME, Family
from tests.servers.recipes import FamilyName
from tests.servers.urls import with_password

_ANSWER_WITHIN = 90.0


class Machine(Protocol):
    """What a server runs on, where it is ours to stop and start."""

    def restart(self) -> None:
        """Stop in good order, then start."""

    def kill(self) -> None:
        """Stop as a crash does."""

    def start(self) -> None:
        """Start again."""

    def remove(self) -> None:
        """Stop for good and leave nothing behind."""

    def run(self, argv: list[str], environment: dict[str, str], script: str) -> tuple[int, str, str]:
        """Run a program beside the server; gives its exit code, output and messages."""


@dataclass(frozen=True)
class Server:
    """A server.

    Args:
        engine_id: its engine.
        family: its kind.
        version: what it said its version is.
        url: the SQLAlchemy URL of a database on it from which others are made.
        machine: the container it runs in, where it is one of ours.
        dedicated: started for one test alone, which may therefore stop it.
    """

    engine_id: str
    family: FamilyName
    version: tuple[int, ...]
    url: str
    machine: Machine | None = None
    dedicated: bool = False

    @property
    def kind(self) -> Family:
        """What is particular to its family."""
        return BY_NAME[self.family]

    @contextmanager
    def new_database(self) -> Iterator[Database]:
        """Create an empty database; drop it at the end, whoever is still connected."""
        name = f"mt_{secrets.token_hex(5)}"
        with _engine(self.url, isolation_level="AUTOCOMMIT") as admin:
            url = with_password(self.kind.create(admin, name))
            try:
                with _engine(url) as engine:
                    yield Database(url, self.engine_id, self.family, self.version, name, engine, self)
            finally:
                if not self.dedicated:  # that one goes as a whole, and may be down
                    self.kind.drop(admin, name)

    def restart(self) -> None:
        """Stop in good order, start again, wait for an answer."""
        self._own().restart()
        self.await_answer()

    def kill(self) -> None:
        """End it as a crash does."""
        self._own().kill()

    def start(self) -> None:
        """Start it after `kill` and wait for an answer."""
        self._own().start()
        self.await_answer()

    def await_answer(self) -> None:
        """Wait until it takes connections, because a started server still recovers for a while."""
        deadline = time.monotonic() + _ANSWER_WITHIN
        with _engine(self.url) as engine:
            while True:
                try:
                    with engine.connect():
                        return
                except SQLAlchemyError:
                    if time.monotonic() > deadline:
                        raise
                    time.sleep(0.1)

    def remove(self) -> None:
        """Stop for good, if it is ours."""
        if self.machine is not None:
            self.machine.remove()

    def _own(self) -> Machine:
        if self.machine is None or not self.dedicated:
            raise RuntimeError("other tests use this server: ask for one of your own with `own_server`")
        return self.machine


def server_at(
    family: FamilyName, url: str, *, machine: Machine | None = None, dedicated: bool = False
) -> Server:
    """Connect to a server and learn which version it is.

    Raises:
        SQLAlchemyError: it cannot be reached.
        ValueError: it is of another family.
    """
    kind = BY_NAME[family]
    with _engine(url) as engine, engine.connect() as connection:
        version = kind.ask_version(connection)
    return Server(kind.engine_id(version), family, version, url, machine, dedicated)


@contextmanager
def _engine(url: str, **options: object) -> Iterator[Engine]:
    engine = sa.create_engine(make_url(url), poolclass=NullPool, **options)
    try:
        yield engine
    finally:
        engine.dispose()
