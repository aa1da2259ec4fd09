"""The one door to a database: engines without a pool, bounded waits, failures in one line.

A pool would keep sessions, and with them session settings and advisory locks, alive behind our back;
every connection of ours is closed for real when it is closed.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

import sqlalchemy as sa
from sqlalchemy.engine import URL, Engine

from migrator.connect_failures import explain, missing_driver
from migrator.errors import ConnectionFailed

#: How long a server may take to answer the first knock, in seconds, unless the URL says otherwise.
CONNECT_TIMEOUT = 5

# What a driver calls its connect timeout and the name a session shows itself under.
_DRIVER_ARGUMENTS: dict[str, dict[str, Any]] = {
    "psycopg": {"connect_timeout": CONNECT_TIMEOUT, "application_name": "migrator"},
    "psycopg2": {"connect_timeout": CONNECT_TIMEOUT, "application_name": "migrator"},
    "pymysql": {"connect_timeout": CONNECT_TIMEOUT, "program_name": "migrator"},
    "mysqldb": {"connect_timeout": CONNECT_TIMEOUT},
    "mysqlconnector": {"connection_timeout": CONNECT_TIMEOUT},
}


_ASYNC = {
    "asyncpg": "psycopg",
    "psycopg_async": "psycopg",
    "aiomysql": "pymysql",
    "asyncmy": "pymysql",
    "aiosqlite": "pysqlite",
}


@contextmanager
def connect(url: URL | str, *, read_only: bool = False, must_exist: bool = False) -> Iterator[Engine]:
    """An engine for `url`, disposed of at the end. One connection is made and closed at once, so
    that a server that cannot be had is reported here and not in the middle of the work.

    Args:
        url: the database, as `settings.database_url` gives it.
        read_only: for reports: an SQLite file is neither created nor written to, nor is anything left
            beside it. On servers the session does that: see `Dialect.read_only`.
        must_exist: for commands that write into a database that has a history: an SQLite file is not created.

    Raises:
        ConnectionFailed: no server, refused, wrong password, unknown database, no such file, a
            directory that cannot be written to; with a way out, and without the password.
        UsageError: the URL's dialect or driver is not installed.
    """
    engine = make_engine(url, read_only=read_only, must_exist=must_exist)
    try:
        check(engine)
        yield engine
    finally:
        engine.dispose()


def make_engine(url: URL | str, *, read_only: bool = False, must_exist: bool = False) -> Engine:
    """As `connect`, without trying it out. The caller disposes of it.

    Raises:
        ConnectionFailed: an SQLite file or its directory is not there.
        UsageError: the URL's dialect or driver is not installed.
    """
    url = _synchronous(sa.make_url(url))
    is_sqlite = url.get_backend_name() == "sqlite"
    if is_sqlite:
        _check_file(url, read_only or must_exist)
    try:
        given = dict(_DRIVER_ARGUMENTS.get(url.get_driver_name(), {}))
        if read_only and url.get_driver_name() == "psycopg":
            # A pooler may give us a session in which another client prepared statements of the same names.
            given["prepare_threshold"] = None
        engine = sa.create_engine(
            url,
            poolclass=sa.NullPool,
            connect_args={name: value for name, value in given.items() if name not in url.query},
            # Statements go into error messages; their values may be anyone's data.
            hide_parameters=True,
        )
    except (ModuleNotFoundError, sa.exc.NoSuchModuleError) as error:
        raise missing_driver(url, error) from None
    if is_sqlite and read_only:
        sa.event.listen(engine, "do_connect", _open_read_only)
    return engine


def check(engine: Engine) -> None:
    """Connect once and read one thing, so that a file that is no database is found out as well.

    Raises:
        ConnectionFailed: as `connect` says.
    """
    probe = "PRAGMA schema_version" if engine.dialect.name == "sqlite" else "SELECT 1"
    try:
        with engine.connect() as connection:
            connection.exec_driver_sql(probe).all()
    except sa.exc.DBAPIError as error:
        raise explain(engine.url, error.orig or error) from None
    except (OSError, UnicodeError) as error:  # PyMySQL lets some of the socket's errors through
        raise explain(engine.url, error) from None


def shown(url: URL) -> str:
    """The URL as it may be printed: the password is left out, not starred, and so is every query
    argument, any of which may be one."""
    bare = URL.create(url.drivername, url.username, None, url.host, url.port, url.database)
    return bare.render_as_string()


def _synchronous(url: URL) -> URL:
    """The URL of an application on asyncio, with the driver that does the same without."""
    backend, _, driver = url.drivername.partition("+")
    return url.set(drivername=f"{backend}+{_ASYNC[driver]}") if driver in _ASYNC else url


def _check_file(url: URL, must_exist: bool) -> None:
    path = _sqlite_file(url)
    if path is None:
        return
    if path.is_dir():
        raise ConnectionFailed(f"{path} is a directory, not an SQLite file.", hint="Name the file in it.")
    if path.exists():
        if not os.access(path, os.R_OK):
            raise ConnectionFailed(
                f"The SQLite file {path} may not be read.", hint=f"Look at its rights: ls -l {path}"
            )
        return
    if must_exist:
        raise ConnectionFailed(
            f"There is no SQLite file {path}.",
            hint="Check the path; it is taken from the working directory unless the URL has four slashes.",
        )
    if not path.parent.is_dir():
        raise ConnectionFailed(
            f"The directory of the SQLite file {path} does not exist.", hint=f"mkdir -p {path.parent}"
        )
    if not os.access(path.parent, os.W_OK):
        raise ConnectionFailed(
            f"The SQLite file {path} cannot be created: its directory may not be written to.",
            hint=f"Name another directory, or look at its rights: ls -ld {path.parent}",
        )


def _sqlite_file(url: URL) -> Path | None:
    """The file; None for a database in memory and for a `file:` URI, which SQLite reads itself."""
    name = url.database
    if not name or name == ":memory:" or name.startswith("file:"):
        return None
    return Path(name)


def _open_read_only(dialect: Any, record: Any, arguments: list[Any], options: dict[str, Any]) -> None:
    name = str(arguments[0])
    if name == ":memory:":
        return
    if name.startswith("file:"):
        if "mode=" not in name:
            name += ("&" if "?" in name else "?") + "mode=ro"
    else:
        path = Path(name).absolute()
        name = f"file:{quote(str(path))}?{_read_only_mode(path)}"
    arguments[0] = name
    options["uri"] = True


def _read_only_mode(path: Path) -> str:
    """How to open a file so that it is as before afterwards, and so is the directory it lies in.

    A reader of a database in WAL mode needs two files beside it. A `mode=ro` connection makes them and
    may not remove them again: left there under another user's name they would lock the application out.
    A connection that may write removes them when it is closed; that it writes nothing else is seen to by
    `PRAGMA query_only` in `Dialect.read_only`. Where we may not write, nobody's files are made at all.
    """
    beside = any(path.with_name(path.name + suffix).exists() for suffix in ("-wal", "-shm"))
    with path.open("rb") as stream:
        is_wal = stream.read(20)[18:20] == b"\x02\x02"
    if beside or not is_wal:
        return "mode=ro"
    may_write = os.access(path, os.W_OK) and os.access(path.parent, os.W_OK)
    return "mode=rw" if may_write else "mode=ro&immutable=1"
