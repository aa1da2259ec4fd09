"""One test's database, on a real server."""

from __future__ import annotations

import subprocess
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from sqlalchemy.engine import Engine, make_url

from tests.servers.clients import run_client
from tests.servers.recipes import FamilyName

if TYPE_CHECKING:
    from tests.servers.server import Server


@dataclass(frozen=True)
class Database:
    """An empty database that no other test sees and that is dropped after the test.

    Args:
        url: its SQLAlchemy URL, password included.
        engine_id: the server's engine: `postgresql-18`, `mysql-9.7`, `sqlite`.
        family: the kind of server.
        version: the server's full version.
        name: the database's name on its server; for SQLite the file's name without `.db`.
        engine: connects to it; keeps no connection open that is not in use.
        server: where it lies.
    """

    url: str
    engine_id: str
    family: FamilyName
    version: tuple[int, ...]
    name: str
    engine: Engine
    server: Server = field(repr=False)

    @property
    def admin_url(self) -> str:
        """The URL of a database on the same server from which others are created and dropped."""
        return self.server.url

    def client(self, script: str, *, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Feed a script to the engine's own client program: psql, mysql, mariadb or sqlite3.

        Args:
            script: what the program reads from its standard input.
            check: raise when it fails, its messages noted on the error.

        Returns:
            Its output, messages and exit code. It stops at the first error.
        """
        return run_client(self.server, make_url(self.url), script, check=check)

    def new_database(self) -> AbstractContextManager[Database]:
        """Another empty database on the same server, dropped at the end of the `with`."""
        return self.server.new_database()

    def restart(self) -> None:
        """Stop the server in good order and start it again."""
        self.server.restart()

    def kill(self) -> None:
        """End the server as a crash does; `start` brings it back."""
        self.server.kill()

    def start(self) -> None:
        """Start a killed server and wait until it answers."""
        self.server.start()
