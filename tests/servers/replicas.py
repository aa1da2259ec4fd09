"""Replicas of servers that a test has started for itself."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final, Protocol

import sqlalchemy as sa
from sqlalchemy.engine import make_url

from tests.servers.containers import Container, start_server
from tests.servers.recipes import PORTS, recipe_for
from tests.servers.server import Server
from tests.servers.urls import with_password


class Replica(Protocol):
    """A replica of a server."""

    source: Server

    @property
    def url(self) -> str:
        """Where it answers."""

    def stop(self) -> None:
        """Have it apply nothing more of what it gets."""

    def go_on(self) -> None:
        """Have it apply again."""


@contextmanager
def replicated(engine_id: str) -> Iterator[Replica]:
    """Start a server with a replica; both are removed with the `with`."""
    made = _standby(engine_id) if engine_id.startswith("postgresql") else _follower(engine_id)
    with made as replica:
        yield replica


# -- PostgreSQL ------------------------------------------------------------------------------------
_STANDBY_PORT: Final = 5433
# Beside its source in the same container: a standby of another one would need its data directory emptied
# before the server is there.
_MAKE_STANDBY: Final = f"""
set -e
cd /tmp
as_postgres="setpriv --reuid=postgres --regid=postgres --init-groups"
bin=$(dirname "$(readlink -f "$(command -v pg_ctl || ls /usr/lib/postgresql/*/bin/pg_ctl)")")
socket=/var/run/postgresql
$as_postgres "$bin/pg_basebackup" -h $socket -U postgres -D /tmp/standby -R -c fast
$as_postgres "$bin/pg_ctl" -D /tmp/standby -w -s -l /tmp/standby.log start \\
  -o "-p {_STANDBY_PORT} -c listen_addresses='*' -c fsync=off -c wal_receiver_status_interval=1s \\
      -c max_connections=200 -c max_prepared_transactions=10"
"""


@dataclass
class Standby:
    """A streaming replica of PostgreSQL."""

    source: Server
    url: str

    def stop(self) -> None:
        """Replay is paused; the log still arrives."""
        self._ask("SELECT pg_wal_replay_pause()")

    def go_on(self) -> None:
        """Replay goes on."""
        self._ask("SELECT pg_wal_replay_resume()")

    def _ask(self, statement: str) -> None:
        _ask(self.url, statement)


@contextmanager
def _standby(engine_id: str) -> Iterator[Standby]:
    server = start_server(recipe_for(engine_id), dedicated=True, also_publish=_STANDBY_PORT)
    try:
        assert isinstance(server.machine, Container)
        code, out, messages = server.machine.run(["bash", "-s"], {}, _MAKE_STANDBY)
        assert code == 0, out + messages
        port = server.machine.published(_STANDBY_PORT)
        yield Standby(server, with_password(make_url(server.url).set(port=port)))
    finally:
        server.remove()


# -- MySQL and MariaDB -----------------------------------------------------------------------------
@dataclass
class Follower:
    """A replica by GTID of MySQL or MariaDB, in a container of its own."""

    source: Server
    server: Server

    @property
    def url(self) -> str:
        """Where it answers."""
        return self.server.url

    def follow(self) -> None:
        """Begin, from the first transaction of the source."""
        machine, url = self.source.machine, make_url(self.source.url)
        assert isinstance(machine, Container)
        options = {
            "HOST": f"'{machine.address}'",
            "PORT": PORTS[self.source.family],
            "USER": f"'{url.username}'",
            "PASSWORD": f"'{url.password}'",
        }
        word = "MASTER" if self._is_mariadb else "SOURCE"
        said = ", ".join(f"{word}_{name} = {value}" for name, value in options.items())
        if self._is_mariadb:
            self.ask(f"CHANGE MASTER TO {said}, MASTER_USE_GTID = slave_pos, MASTER_SSL = 0")
        else:
            more = "SOURCE_AUTO_POSITION = 1, GET_SOURCE_PUBLIC_KEY = 1"
            self.ask(f"CHANGE REPLICATION SOURCE TO {said}, {more}")
        self.ask("START REPLICA")

    def stop(self) -> None:
        """The thread that applies is stopped; the other still fetches."""
        self.ask("STOP REPLICA SQL_THREAD")

    def go_on(self) -> None:
        """It applies again, without delay."""
        self.delay(0)

    def delay(self, seconds: int) -> None:
        """Apply what happened only so long after."""
        change = "MASTER TO MASTER_DELAY" if self._is_mariadb else "REPLICATION SOURCE TO SOURCE_DELAY"
        self.ask("STOP REPLICA", f"CHANGE {change} = {seconds}", "START REPLICA")

    def ask(self, *statements: str) -> None:
        """Statements for the replica."""
        _ask(self.url, *statements)

    @property
    def _is_mariadb(self) -> bool:
        return self.source.family == "mariadb"


@contextmanager
def _follower(engine_id: str) -> Iterator[Follower]:
    recipe = recipe_for(engine_id)
    with ThreadPoolExecutor() as executor:
        starting = [
            executor.submit(start_server, recipe, settings=[f"--server-id={number}"], dedicated=True)
            for number in (1, 2)
        ]
    servers = [each.result() for each in starting if each.exception() is None]
    try:
        source, replica = (each.result() for each in starting)
        follower = Follower(source, replica)
        follower.follow()
        yield follower
    finally:
        for server in servers:
            server.remove()


def _ask(url: str, *statements: str) -> None:
    engine = sa.create_engine(url, poolclass=sa.NullPool, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        for statement in statements:
            connection.exec_driver_sql(statement)
