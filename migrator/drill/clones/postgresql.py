"""PostgreSQL: CREATE DATABASE ... TEMPLATE where nobody else is connected, else pg_dump | pg_restore."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.engine import URL, Connection

from migrator.connect import make_engine
from migrator.drill.clones.base import PREFIX, Cloner, Leftover, created, maker_lives
from migrator.drill.room import free_beside
from migrator.errors import Refused

_WHO: Final = sa.text("""
    SELECT pid, coalesce(nullif(application_name, ''), backend_type) AS application, usename
    FROM pg_stat_activity
    WHERE datname = current_database() AND pid <> pg_backend_pid()
      AND backend_type NOT LIKE 'autovacuum%'
    ORDER BY backend_start
""")

_SETTINGS: Final = sa.text("""
    SELECT r.rolname, unnest(s.setconfig) AS setting
    FROM pg_db_role_setting s
    JOIN pg_database d ON d.oid = s.setdatabase AND d.datname = current_database()
    LEFT JOIN pg_roles r ON r.oid = s.setrole
    WHERE s.setrole = 0 OR r.rolname = current_user
""")

# A database in a tablespace of its own is copied there.
_DIRECTORY: Final = sa.text("""
    SELECT current_setting('data_directory'),
           extract(epoch FROM (pg_stat_file('PG_VERSION')).modification),
           (SELECT t.spcname = 'pg_default' FROM pg_database d JOIN pg_tablespace t ON t.oid = d.dattablespace
             WHERE d.datname = current_database())
""")

# Their values are lists of names already, which a literal would turn into one name.
_LISTS: Final = frozenset(
    {"search_path", "temp_tablespaces", "local_preload_libraries", "session_preload_libraries"}
)


class PostgreSQLCloner(Cloner):
    """A scratch database on the same server."""

    def clone(self, name: str) -> tuple[URL, str]:
        """See `Cloner.clone`. TEMPLATE keeps new sessions out of the source for as long as it copies."""
        with self._connected() as connection:
            others = _others(connection)
            method = None if others else self._by_template(connection, name)
            if method is None:
                method = self._by_dump(connection, name, others or _others(connection))
            self._copy_settings(connection, name)
        return self.source.set(database=name), method

    def free(self, connection: Connection) -> tuple[int | None, str]:
        """See `Cloner.free`. No SQL asks for it: known where the server's disk is this machine's, its files
        can be seen and this role may know of them."""
        try:
            directory, written, plain = connection.execute(_DIRECTORY).one()
        except sa.exc.DBAPIError:
            return None, "on the server"
        file = Path(directory, "PG_VERSION")
        free = free_beside(file, modified=float(written)) if plain else None
        return free, f"where the server keeps its data ({directory})"

    @contextmanager
    def undisturbed(self, connection: Connection) -> Iterator[None]:
        """See `Cloner.undisturbed`."""
        try:
            connection.exec_driver_sql("SET session_replication_role = replica")
        except sa.exc.DBAPIError as error:
            raise Refused(
                "This role may not switch triggers off, so a copy cannot be thinned out to a sample. "
                "The source was not changed.",
                hint="GRANT SET ON PARAMETER session_replication_role TO the role (PostgreSQL 15 and later), "
                "or drill as a superuser, or without --sample.",
            ) from error
        yield
        connection.exec_driver_sql("RESET session_replication_role")

    def pack(self, connection: Connection) -> None:
        """See `Cloner.pack`."""
        connection.exec_driver_sql("VACUUM (FULL, ANALYZE)")

    def drop(self, name: str) -> None:
        """See `Cloner.drop`."""
        with self._connected() as connection:
            connection.exec_driver_sql(f"DROP DATABASE IF EXISTS {_quoted(name)} WITH (FORCE)")

    def leftovers(self) -> Iterator[Leftover]:
        """See `Cloner.leftovers`. In use is what someone is connected to: a drill keeps a connection, but
        for the moment between making the copy and opening it."""
        query = sa.text(
            "SELECT d.datname, EXISTS (SELECT FROM pg_stat_activity a WHERE a.datid = d.oid) "
            "FROM pg_database d WHERE starts_with(d.datname, :prefix) ORDER BY d.datname"
        )
        with self._connected() as connection:
            for name, in_use in connection.execute(query, {"prefix": PREFIX}).all():
                yield Leftover(name, created(name), bool(in_use) or maker_lives(name))

    @contextmanager
    def occupy(self, name: str) -> Iterator[None]:
        """A connection to it, idle."""
        with _connection(self.source.set(database=name)):
            yield

    def _connected(self) -> Any:
        # Our own session in the source is not in TEMPLATE's way, so no other database is needed.
        return _connection(self.source)

    def _by_template(self, connection: Connection, name: str) -> str | None:
        """The method, or None when somebody came in meanwhile."""
        source = _quoted(str(self.source.database))
        try:
            connection.exec_driver_sql(f"CREATE DATABASE {_quoted(name)} TEMPLATE {source}")
        except sa.exc.DBAPIError as error:
            state = getattr(error.orig, "sqlstate", "")
            if state == "55006":  # object_in_use
                return None
            if state == "42501":  # insufficient_privilege
                raise _denied() from error
            raise
        return "CREATE DATABASE ... TEMPLATE"

    def _by_dump(self, connection: Connection, name: str, others: list[str]) -> str:
        dump, restore = shutil.which("pg_dump"), shutil.which("pg_restore")
        server = int(connection.exec_driver_sql("SHOW server_version_num").scalar_one()) // 10_000
        why = "pg_dump and pg_restore are not installed" if not (dump and restore) else ""
        if dump and _version(dump) < server:
            why = f"the pg_dump here is of version {_version(dump)} and the server of {server}"
        if why or not (dump and restore):
            raise Refused(
                f"{self.source.database} cannot be copied: {len(others)} other session(s) are connected "
                f"({'; '.join(others[:5])}), which CREATE DATABASE ... TEMPLATE does not allow, and {why}. "
                "Nothing was changed.",
                hint=f"End those sessions, or install postgresql-client-{server}.",
            )
        row = connection.exec_driver_sql(
            "SELECT pg_encoding_to_char(encoding), datcollate, datctype FROM pg_database "
            "WHERE datname = current_database()"
        ).one()
        words = [f"'{value!s}'" for value in row]
        try:
            connection.exec_driver_sql(
                f"CREATE DATABASE {_quoted(name)} TEMPLATE template0 "
                f"ENCODING {words[0]} LC_COLLATE {words[1]} LC_CTYPE {words[2]}"
            )
        except sa.exc.DBAPIError as error:
            if getattr(error.orig, "sqlstate", "") == "42501":
                raise _denied() from error
            raise
        _pipe(
            # A copied subscription would begin to replicate.
            [dump, *_where(self.source), "-Fc", "--no-subscriptions", "--no-publications"],
            [restore, *_where(self.source.set(database=name)), "--exit-on-error"],
            {"PGPASSWORD": self.source.password or ""},
        )
        return f"pg_dump | pg_restore, because {len(others)} other session(s) were connected"

    def _copy_settings(self, connection: Connection, name: str) -> None:
        """What ALTER DATABASE ... SET says (a search_path, say) is not part of a template or a dump."""
        for role, setting in connection.execute(_SETTINGS).all():
            variable, _, value = setting.partition("=")
            if not re.fullmatch(r"[A-Za-z_][\w.]*", variable):
                continue
            text = value if variable in _LISTS else "'" + value.replace("'", "''") + "'"
            whose = f"ROLE {_quoted(role)} IN DATABASE" if role else "DATABASE"
            statement = f"ALTER {whose} {_quoted(name)} SET {variable} TO {text or chr(39) * 2}"
            connection.execution_options(no_parameters=True).exec_driver_sql(statement)


def _others(connection: Connection) -> list[str]:
    return [f"{row.usename}, {row.application}, pid {row.pid}" for row in connection.execute(_WHO)]


def _denied() -> Refused:
    return Refused(
        "This role may not create databases, so no copy can be made. Nothing was changed.",
        hint="ALTER ROLE ... CREATEDB, and let the role own the database or be a superuser; or drill "
        "--in-place in a staging copy.",
    )


@contextmanager
def _connection(url: URL) -> Iterator[Connection]:
    engine = make_engine(url)
    try:
        with engine.connect() as connection:
            yield connection.execution_options(isolation_level="AUTOCOMMIT")
    finally:
        engine.dispose()


def _quoted(name: str) -> str:
    # The percent sign is psycopg's.
    return '"' + name.replace('"', '""').replace("%", "%%") + '"'


def _version(program: str) -> int:
    said = subprocess.run([program, "--version"], capture_output=True, text=True, check=False).stdout
    found = re.search(r"(\d+)(?:\.\d+)*", said)
    return int(found[1]) if found else 0


def _where(url: URL) -> list[str]:
    given = [("-h", url.host), ("-p", url.port), ("-U", url.username), ("-d", url.database)]
    return [word for name, value in given if value for word in (name, str(value))]


def _pipe(dump: list[str], restore: list[str], secrets: dict[str, str]) -> None:
    """Run one program into the other; passwords travel in the environment, where `ps` does not show them."""
    environ = {**os.environ, **secrets}
    with tempfile.TemporaryFile() as said:
        with subprocess.Popen(dump, stdout=subprocess.PIPE, stderr=said, env=environ) as first:
            second = subprocess.run(restore, stdin=first.stdout, stderr=said, env=environ, check=False)
            if first.stdout:
                first.stdout.close()
        if first.returncode or second.returncode:
            said.seek(0)
            lines = said.read().decode("utf-8", "replace").strip().splitlines()
            said_first = lines[0] if lines else "no message"
            raise Refused(
                f"The copy could not be made with pg_dump and pg_restore: {said_first}. "
                "The source was not changed.",
                hint="End the other sessions, and TEMPLATE is used instead.",
            )
