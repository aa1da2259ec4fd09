"""What differs between the families of servers: versions, making and dropping databases, client programs."""

from __future__ import annotations

import contextlib
import re
import shutil
import sqlite3
import subprocess
from functools import cache
from pathlib import Path

import sqlalchemy as sa
from sqlalchemy.engine import URL, Connection, Engine
from sqlalchemy.exc import DBAPIError
from sqlalchemy.pool import NullPool

from tests.servers.recipes import FamilyName


class Family:
    """A family of servers; what is here suits most of them."""

    name: FamilyName
    package = ""  # the Debian package of the client program

    def ask_version(self, connection: Connection) -> tuple[int, ...]:
        """Ask the server which version it is."""
        raise NotImplementedError

    def engine_id(self, version: tuple[int, ...]) -> str:
        """Name the engine that a version belongs to."""
        return f"{self.name}-{'.'.join(map(str, version[:2]))}"

    def create(self, admin: Engine, name: str) -> URL:
        """Create an empty database and say where it is."""
        with admin.connect() as connection:
            connection.exec_driver_sql(f"CREATE DATABASE {name} {self._creation}")
        return admin.url.set(database=name)

    _creation = ""

    def drop(self, admin: Engine, name: str) -> None:
        """Drop a database, whoever is still connected to it."""
        raise NotImplementedError

    def program(self) -> str | None:
        """Find the family's own client program on this machine."""
        raise NotImplementedError

    def stand_in(self) -> list[str] | None:
        """Find another program that will do, and after it the options it needs for that."""
        return None

    def options(self, url: URL) -> list[str]:
        """The client's command line after the program: stop at the first error, read from standard input."""
        raise NotImplementedError

    def environment(self, url: URL) -> dict[str, str]:
        """The client's variables; the password travels here, where `ps` does not show it."""
        raise NotImplementedError


class SQLite(Family):
    """A file; the server is a folder of them."""

    name: FamilyName = "sqlite"
    package = "sqlite3"

    def ask_version(self, connection: Connection) -> tuple[int, ...]:
        """The version of the library, which is the server."""
        return sqlite3.sqlite_version_info

    def engine_id(self, version: tuple[int, ...]) -> str:
        """One id for all versions."""
        return "sqlite"

    def create(self, admin: Engine, name: str) -> URL:
        """A file that is not there yet, in the folder of the admin URL's."""
        return admin.url.set(database=str(Path(admin.url.database or "").with_name(f"{name}.db")))

    def drop(self, admin: Engine, name: str) -> None:
        """The file and what SQLite keeps beside it."""
        for leftover in Path(admin.url.database or "").parent.glob(f"{name}.db*"):
            leftover.unlink()

    def program(self) -> str | None:
        """SQLite's shell."""
        return shutil.which("sqlite3")

    def options(self, url: URL) -> list[str]:
        """The database's file."""
        return ["-bail", url.database or ""]

    def environment(self, url: URL) -> dict[str, str]:
        """Nothing."""
        return {}


class PostgreSQL(Family):
    """PostgreSQL counts one number as the version that matters."""

    name: FamilyName = "postgresql"
    package = "postgresql-client"
    # template0 because somebody connected to template1 would be in the way.
    _creation = "TEMPLATE template0 ENCODING 'UTF8'"

    def ask_version(self, connection: Connection) -> tuple[int, ...]:
        """`180006` is 18.6."""
        number = int(connection.exec_driver_sql("SHOW server_version_num").scalar_one())
        return divmod(number, 10_000)

    def engine_id(self, version: tuple[int, ...]) -> str:
        """The major version alone."""
        return f"postgresql-{version[0]}"

    def drop(self, admin: Engine, name: str) -> None:
        """FORCE ends sessions; prepared transactions and replication slots it leaves in the way."""
        slots = "SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots WHERE database = :name"
        self._roll_back_prepared(admin, name)
        with admin.connect() as connection:
            connection.execute(sa.text(slots), {"name": name})
            connection.exec_driver_sql(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")

    def _roll_back_prepared(self, admin: Engine, name: str) -> None:
        query = sa.text("SELECT gid FROM pg_prepared_xacts WHERE database = :name")
        with admin.connect() as connection:
            gids = connection.execute(query, {"name": name}).scalars().all()
        if gids:
            # Only a session of the same database may end them.
            inside = sa.create_engine(
                admin.url.set(database=name), poolclass=NullPool, isolation_level="AUTOCOMMIT"
            )
            with inside.connect() as connection:
                for gid in gids:
                    quoted = gid.replace("'", "''").replace("%", "%%")
                    connection.exec_driver_sql(f"ROLLBACK PREPARED '{quoted}'")

    def program(self) -> str | None:
        """psql."""
        return shutil.which("psql")

    def options(self, url: URL) -> list[str]:
        """No start-up file, quiet, stop at the first error."""
        where = ["-h", url.host or "", "-p", str(url.port or 5432), "-U", url.username or ""]
        return ["-v", "ON_ERROR_STOP=1", "-X", "-q", *where, "-d", url.database or ""]

    def environment(self, url: URL) -> dict[str, str]:
        """The password, and UTF-8 whatever the locale."""
        return {"PGPASSWORD": url.password or "", "PGCLIENTENCODING": "UTF8"}


class MySQL(Family):
    """MySQL, and what MariaDB shares with it."""

    name: FamilyName = "mysql"
    package = "default-mysql-client"
    _creation = "CHARACTER SET utf8mb4"

    def ask_version(self, connection: Connection) -> tuple[int, ...]:
        """`9.7.4-2` is 9.7.4."""
        text = str(connection.exec_driver_sql("SELECT VERSION()").scalar_one())
        if ("MariaDB" in text) != (self.name == "mariadb"):
            raise ValueError(f"a {self.name} server was expected, and one answered that says {text}")
        return tuple(int(number) for number in re.findall(r"\d+", text)[:3])

    def drop(self, admin: Engine, name: str) -> None:
        """End its sessions first: an open transaction holds a metadata lock that DROP would wait for."""
        query = sa.text("SELECT id FROM information_schema.processlist WHERE db = :name")
        with admin.connect() as connection:
            for session in connection.execute(query, {"name": name}).scalars().all():
                with contextlib.suppress(DBAPIError):  # it may have left by itself meanwhile
                    connection.exec_driver_sql(f"KILL {session}")
            connection.exec_driver_sql("SET SESSION lock_wait_timeout = 30")
            connection.exec_driver_sql(f"DROP DATABASE IF EXISTS {name}")

    def program(self) -> str | None:
        """MySQL's client; a MariaDB client often goes by the same name."""
        return _program_of("mysql", mariadb=False)

    def stand_in(self) -> list[str] | None:
        """MariaDB's client, told not to distrust the certificate a MySQL server makes for itself."""
        program = _program_of("mariadb", mariadb=True) or _program_of("mysql", mariadb=True)
        return [program, "--skip-ssl-verify-server-cert"] if program else None

    def options(self, url: URL) -> list[str]:
        """TCP even to this machine: the name localhost would mean a socket file."""
        where = ["-h", url.host or "", "-P", str(url.port or 3306), "-u", url.username or ""]
        settings = ["--no-defaults", "--default-character-set=utf8mb4", "--protocol=TCP"]
        return [*settings, *where, url.database or ""]

    def environment(self, url: URL) -> dict[str, str]:
        """The password."""
        return {"MYSQL_PWD": url.password or ""}


class MariaDB(MySQL):
    """MariaDB, where it differs from MySQL."""

    name: FamilyName = "mariadb"
    package = "mariadb-client"

    def program(self) -> str | None:
        """MariaDB's client, under either of its names."""
        return _program_of("mariadb", mariadb=True) or _program_of("mysql", mariadb=True)

    def stand_in(self) -> list[str] | None:
        """None: MySQL's client does not know what MariaDB's understands."""
        return None


@cache
def _program_of(name: str, *, mariadb: bool) -> str | None:
    path = shutil.which(name)
    if path is None:
        return None
    said = subprocess.run([path, "--version"], capture_output=True, text=True, check=False).stdout
    return path if ("MariaDB" in said) == mariadb else None


def forget_programs() -> None:
    """Look for the programs anew, after one was installed."""
    _program_of.cache_clear()


BY_NAME: dict[FamilyName, Family] = {
    family.name: family for family in (SQLite(), PostgreSQL(), MySQL(), MariaDB())
}
