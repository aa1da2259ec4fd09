"""Where a run dies: a database that can be kept as it is and made so again, a file's or a server's."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import sqlalchemy as sa
from sqlalchemy.engine import Engine
from sqlalchemy.pool import NullPool

from migrator.drill.clones import cloner_for
from migrator.naming import OWN_PREFIX
from tests.conftest import Database
from tests.crash.states import dump, lines_of, masked, settled


class Place(Protocol):
    """A database to die in."""

    @property
    def url(self) -> str:
        """For the runs that die."""

    @property
    def engine(self) -> Engine:
        """To look at it."""

    def keep(self, name: str) -> None:
        """Remember it under a name, as it is now."""

    def put(self, name: str) -> None:
        """Make it what was remembered under the name."""

    def dump(self) -> str:
        """All of it as text, without what is new in every run."""


@dataclass
class File:
    """An SQLite file.

    Args:
        folder: where it lies, and what is remembered of it.
    """

    folder: Path

    @property
    def _work(self) -> Path:
        return self.folder / "work.db"

    @property
    def url(self) -> str:
        """The file's."""
        return f"sqlite:///{self._work}"

    @property
    def engine(self) -> Engine:
        """See `Place`."""
        return sa.create_engine(self.url, poolclass=NullPool)

    def keep(self, name: str) -> None:
        """See `Place`."""
        self._copy(self._work, self.folder / f"{name}.db")

    def put(self, name: str) -> None:
        """See `Place`."""
        self._copy(self.folder / f"{name}.db", self._work)

    def dump(self) -> str:
        """See `Place`. Of a copy, because looking rolls back what a dead process had not committed, and that
        is for the next run to do."""
        self.keep("looked-at")
        return dump(self.folder / "looked-at.db")

    def _copy(self, source: Path, target: Path) -> None:
        """With the journal a dead process may have left beside it."""
        for ending in ("", "-journal"):
            there, here = Path(f"{source}{ending}"), Path(f"{target}{ending}")
            here.unlink(missing_ok=True)
            if there.exists():
                shutil.copy(there, here)


@dataclass
class OnServer:
    """A database on a server; copies of it lie beside it.

    Args:
        database: the one it begins with.
    """

    database: Database
    kept: set[str] = field(default_factory=set)

    @property
    def url(self) -> str:
        """The database's."""
        return self.database.url

    @property
    def engine(self) -> Engine:
        """See `Place`."""
        return self.database.engine

    def keep(self, name: str) -> None:
        """See `Place`."""
        self.kept.add(name)
        self._copy(self.database.name, self._name(name))

    def put(self, name: str) -> None:
        """See `Place`."""
        self._copy(self._name(name), self.database.name)

    def dump(self) -> str:
        """See `Place`."""
        self._alone()
        with self.engine.connect() as connection:
            tables: Iterable[str] = sa.inspect(connection).get_table_names()
            ours = [name for name in tables if name.startswith(OWN_PREFIX)]
            lines = [line for name in sorted(ours) for line in lines_of(connection, name, set())]
        return masked("\n".join([repr(settled(self.engine)), *lines]))

    def close(self) -> None:
        """Drop the copies."""
        for name in self.kept:
            self._drop(self._name(name))

    def _name(self, kept: str) -> str:
        return f"{self.database.name}_{kept.replace('-', '_')}"

    def _copy(self, source: str, target: str) -> None:
        if source == self.database.name:
            self._alone()
        self._drop(target)
        cloner_for(sa.make_url(self.url).set(database=source)).clone(target)

    def _drop(self, name: str) -> None:
        cloner_for(sa.make_url(self.database.admin_url)).drop(name)

    def _alone(self) -> None:
        """A server may need a moment to notice that a client is dead."""
        query = (
            "SELECT count(*) FROM pg_stat_activity WHERE datname = :name AND backend_type = 'client backend'"
            if self.database.family == "postgresql"
            else "SELECT count(*) FROM information_schema.processlist WHERE db = :name"
        )
        admin = sa.create_engine(self.database.admin_url, poolclass=NullPool)
        deadline = time.monotonic() + 60
        with admin.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            while connection.execute(sa.text(query), {"name": self.database.name}).scalar_one():
                assert time.monotonic() < deadline, "a dead client's session does not end"
                time.sleep(0.02)
