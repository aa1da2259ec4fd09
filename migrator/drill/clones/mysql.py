"""MySQL and MariaDB: the server's own dump program where it is there, else a copy in plain SQL."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cached_property
from pathlib import Path

import sqlalchemy as sa
from sqlalchemy.engine import URL, Connection

from migrator.connect import make_engine
from migrator.dialects.mysql_environment import free_at
from migrator.drill.clones.base import PREFIX, Cloner, Leftover, created
from migrator.drill.clones.mysql_copy import Copy, quoted
from migrator.drill.model import Sampled
from migrator.drill.room import free_beside
from migrator.drill.sample import Sample, Sampling
from migrator.errors import Refused
from migrator.saying import driver_says

#: ER_DBACCESS_DENIED_ERROR, ER_TABLEACCESS_DENIED_ERROR, ER_SPECIFIC_ACCESS_DENIED_ERROR
_DENIED = (1044, 1142, 1227)


class MySQLCloner(Cloner):
    """A scratch database on the same server.

    The binary log is left on: a replica is sent the migration of the copy too, and would stop at it if it
    had never been sent the copy.
    """

    # An event would go off in the copy as well.
    left_out = ("event",)
    samples_a_copy = False

    def clone(self, name: str) -> tuple[URL, str]:
        """See `Cloner.clone`. Reads without locking; the source must not be altered meanwhile."""
        source = str(self.source.database)
        with self._connected() as connection:
            try:
                self._create(connection, name)
                dump = self._dump_program
                if dump is not None:
                    self._by_dump(*dump, name)
                    return self.source.set(database=name), f"{os.path.basename(dump[0])} into the client"
                Copy(connection, source, name).make()
            except sa.exc.DBAPIError as error:
                raise self._not_copied(error) from error
        return self.source.set(database=name), "a copy in plain SQL, table by table"

    def free(self, connection: Connection) -> tuple[int | None, str]:
        """See `Cloner.free`. MariaDB says it with its DISKS plugin; else it is known where the server's disk
        is this machine's and its files can be seen."""
        directory = str(connection.exec_driver_sql("SELECT @@datadir").scalar_one())
        where = f"where the server keeps its data ({directory})"
        free = free_at(connection, directory)
        if free is None:
            free = free_beside(Path(directory, "auto.cnf"), holds=_uuid(connection))
        return free, where

    def sample(self, name: str, wish: Sampling) -> tuple[URL, str, Sampled]:
        """See `Cloner.sample`. Only the sample's rows are copied, in plain SQL."""
        source = str(self.source.database)
        with self._connected() as connection, self._connected() as picking:
            try:
                self._create(connection, name)
                # What is read must not be locked: one snapshot for each statement, as the copy itself does.
                picking.exec_driver_sql("SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED")
                sample = Sample(picking, schema=name)
                sample.pick(wish)
                Copy(connection, source, name, sample).make()
                sampled = sample.forget()
            except sa.exc.DBAPIError as error:
                raise self._not_copied(error) from error
        return self.source.set(database=name), "a sample, copied in plain SQL, table by table", sampled

    def drop(self, name: str) -> None:
        """See `Cloner.drop`. A session that holds a metadata lock there would keep DROP waiting."""
        others = sa.text(
            "SELECT id FROM information_schema.processlist WHERE db = :name AND id <> CONNECTION_ID()"
        )
        with self._connected() as connection:
            for session in connection.execute(others, {"name": name}).scalars().all():
                with suppress(sa.exc.DBAPIError):  # it may have left by itself meanwhile
                    connection.exec_driver_sql(f"KILL {session}")
            connection.exec_driver_sql("SET SESSION lock_wait_timeout = 60")
            connection.exec_driver_sql(f"DROP DATABASE IF EXISTS {quoted(name)}")

    def leftovers(self) -> Iterator[Leftover]:
        """See `Cloner.leftovers`."""
        query = sa.text(
            "SELECT schema_name, IS_FREE_LOCK(schema_name) FROM information_schema.schemata "
            "WHERE LEFT(schema_name, :length) = :prefix ORDER BY 1"
        )
        with self._connected() as connection:
            for name, free in connection.execute(query, {"length": len(PREFIX), "prefix": PREFIX}).all():
                yield Leftover(name, created(name), not free)

    @contextmanager
    def claim(self, name: str) -> Iterator[None]:
        """The server's lock of that name, on a connection that is kept."""
        with self._connected() as connection:
            connection.exec_driver_sql("SET SESSION wait_timeout = 604800")
            connection.execute(sa.text("SELECT GET_LOCK(:name, 0)"), {"name": name}).scalar_one()
            yield

    def _create(self, connection: Connection, name: str) -> None:
        charset, collation = connection.exec_driver_sql(
            "SELECT @@character_set_database, @@collation_database"
        ).one()
        connection.exec_driver_sql(
            f"CREATE DATABASE {quoted(name)} CHARACTER SET {charset} COLLATE {collation}"
        )

    def _not_copied(self, error: sa.exc.DBAPIError) -> Refused:
        source = str(self.source.database)
        if next(iter(getattr(error.orig, "args", ())), 0) in _DENIED:
            return Refused(
                f"This account may not make a copy of {source}: {driver_says(error)}. "
                "The source was not changed.",
                hint="GRANT ALL ON `migrator\\_drill\\_%`.* TO the account, and SELECT, SHOW VIEW, "
                f"TRIGGER ON {quoted(source)}.*.",
            )
        return Refused(f"{source} could not be copied: {driver_says(error)}. The source was not changed.")

    @contextmanager
    def _connected(self) -> Iterator[Connection]:
        engine = make_engine(self.source)
        try:
            with engine.connect() as connection:
                yield connection.execution_options(isolation_level="AUTOCOMMIT", no_parameters=True)
        finally:
            engine.dispose()

    @cached_property
    def _dump_program(self) -> tuple[str, str] | None:
        """The server's own dump program and client; another make's trips over the other's grammar."""
        with self._connected() as connection:
            mariadb = "mariadb" in str(connection.exec_driver_sql("SELECT VERSION()").scalar_one()).lower()
        names = (
            (("mariadb-dump", "mariadb"), ("mysqldump", "mysql")) if mariadb else (("mysqldump", "mysql"),)
        )
        for dump, client in names:
            found = shutil.which(dump), shutil.which(client)
            if found[0] and found[1] and _is_mariadb(found[0]) == mariadb == _is_mariadb(found[1]):
                return found[0], found[1]
        return None

    def _by_dump(self, dump: str, client: str, name: str) -> None:
        source = self.source
        # TCP even to this machine: the name localhost would mean a socket file.
        where = [
            "--no-defaults",
            "--protocol=TCP",
            "-h",
            source.host or "localhost",
            "-P",
            str(source.port or 3306),
        ]
        where += ["-u", source.username or "root", "--default-character-set=utf8mb4"]
        options = ["--single-transaction", "--routines", "--triggers", "--hex-blob", "--skip-comments"]
        options += ["--no-tablespaces"]
        if not _is_mariadb(dump):
            options += ["--set-gtid-purged=OFF", "--column-statistics=0"]
        environ = {**os.environ, "MYSQL_PWD": source.password or ""}
        with tempfile.TemporaryFile() as said:
            argv = [dump, *where, *options, str(source.database)]
            with subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=said, env=environ) as first:
                second = subprocess.run(
                    [client, *where, name], stdin=first.stdout, stderr=said, env=environ, check=False
                )
                if first.stdout:
                    first.stdout.close()
            if first.returncode or second.returncode:
                said.seek(0)
                lines = said.read().decode("utf-8", "replace").strip().splitlines()
                raise Refused(
                    f"The copy could not be made with {os.path.basename(dump)}: "
                    f"{lines[-1] if lines else 'no message'}. The source was not changed."
                )


def _uuid(connection: Connection) -> str:
    """What MySQL's auto.cnf has in it; of MariaDB, which has no such file, its version."""
    try:
        return str(connection.exec_driver_sql("SELECT @@server_uuid").scalar_one())
    except sa.exc.DBAPIError:
        return str(connection.exec_driver_sql("SELECT VERSION()").scalar_one())


def _is_mariadb(program: str) -> bool:
    said = subprocess.run([program, "--version"], capture_output=True, text=True, check=False).stdout
    return "mariadb" in said.lower()
