"""A PostgreSQL server with pgbouncer in front of it, in every mode it has."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final, Literal

from sqlalchemy.engine import make_url

from tests.servers.containers import Container, start_server
from tests.servers.database import Database
from tests.servers.images import image_with_pgbouncer
from tests.servers.recipes import recipe_for
from tests.servers.urls import with_password

#: The pools of one database: of five sessions and of a single one that change hands after each transaction,
#: of sessions that a client keeps, and of sessions that change hands after each statement.
Mode = Literal["transaction", "single", "session", "statement"]

_PORT: Final = 6432
_START: Final = """
set -e
cat > /tmp/pgbouncer.ini <<'END'
[databases]
transaction = {database} pool_mode=transaction pool_size=5
single = {database} pool_mode=transaction pool_size=1
session = {database} pool_mode=session pool_size=20
statement = {database} pool_mode=statement pool_size=5
[pgbouncer]
listen_addr = 0.0.0.0
listen_port = {port}
unix_socket_dir =
auth_type = any
logfile = /tmp/pgbouncer.log
pidfile = /tmp/pgbouncer.pid
END
touch /tmp/pgbouncer.log
chown postgres /tmp/pgbouncer.*
pgbouncer -q -d -u postgres /tmp/pgbouncer.ini || {{ cat /tmp/pgbouncer.log; exit 1; }}
"""


@dataclass(frozen=True)
class Pooled:
    """A database and the ways to it.

    Args:
        database: as the server itself gives it.
        port: where the pooler listens on this machine.
    """

    database: Database
    port: int

    def url(self, mode: Mode) -> str:
        """The way through a pool."""
        direct = make_url(self.database.url)
        return with_password(direct.set(password=None, port=self.port, database=mode))


@contextmanager
def pooled(engine_id: str) -> Iterator[Pooled]:
    """Start a server with a pooler; both are removed with the `with`."""
    server = start_server(
        recipe_for(engine_id), dedicated=True, also_publish=_PORT, image_of=image_with_pgbouncer
    )
    try:
        assert isinstance(server.machine, Container)
        with server.new_database() as database:
            # By its socket, where the server trusts everybody.
            where = f"host=/var/run/postgresql dbname={database.name} user=postgres"
            script = _START.format(database=where, port=_PORT)
            code, out, messages = server.machine.run(["bash", "-s"], {}, script)
            assert code == 0, out + messages
            yield Pooled(database, server.machine.published(_PORT))
    finally:
        server.remove()
