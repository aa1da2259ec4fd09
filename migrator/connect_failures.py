"""What a driver says when it cannot connect, as one line with a way out and without the password."""

from __future__ import annotations

import re
from urllib.parse import quote, quote_plus

from sqlalchemy.engine import URL

from migrator.errors import ConnectionFailed, MigratorError, UsageError

_PACKAGES = {"psycopg": "psycopg[binary]", "pymysql": "pymysql[rsa]", "mysqldb": "mysqlclient"}

# libpq gives no SQLSTATE for a connection that was never made, so its words must do.
_BY_WORDS: tuple[tuple[str, str], ...] = (
    (r"does not exist|unknown database", "database"),
    (r"password authentication failed|no password supplied|access denied|authentication", "login"),
    (r"pg_hba\.conf|not allowed to connect|permission denied for database", "allowed"),
    (r"resolve|getaddrinfo|name or service|nodename", "host"),
    (r"refused", "refused"),
    (r"time(?:d )?out|unreachable|no route", "unreachable"),
    (r"too many (?:clients|connections)|connection slots", "full"),
    (r"ssl|tls|certificate", "tls"),
    (r"not a database|malformed", "file"),
    (r"unable to open|readonly|read-only", "rights"),
    (r"locked", "locked"),
)

# PyMySQL and mysqlclient: the server's error numbers.
_BY_NUMBER = {
    1045: "login",
    1698: "login",
    1044: "not-yours",  # also said of a database that is not there, to an account that may not know
    1130: "allowed",
    1049: "database",
    1040: "full",
    1203: "full",
    2026: "tls",
}


def explain(url: URL, error: BaseException) -> ConnectionFailed:
    """The error to show for what the driver raised.

    Args:
        url: where the connection was to go.
        error: the driver's exception.
    """
    said = without_password(url, _first_line(error))
    kind = _kind(error, said)
    where = _where(url)
    message = f"Cannot connect to {where}: {said.rstrip('.')}."
    return ConnectionFailed(message, hint=_hint(kind, url))


def missing_driver(url: URL, error: Exception) -> MigratorError:
    """The error for a dialect SQLAlchemy does not know or whose driver is not installed."""
    name = getattr(error, "name", None)
    if name:
        package = _PACKAGES.get(name.lower(), name)
        return UsageError(f"The driver {name!r} is not installed.", hint=f"pip install '{package}'")
    return UsageError(
        f"SQLAlchemy knows no database called {url.drivername!r}.",
        hint="Write postgresql://, mysql://, mariadb:// or sqlite:///; for others install their dialect.",
    )


def without_password(url: URL, text: str) -> str:
    """`text` with the URL's password, plain or percent-encoded, replaced by stars."""
    password = url.password
    # Where the password is the user's or the database's name it says nothing new, and starring it
    # would hide the very name one has to look at.
    if not password or password in (url.username, url.host, url.database):
        return text
    for spelled in {password, quote(password, safe=""), quote_plus(password)}:
        text = text.replace(spelled, "***")
    return text


def _first_line(error: BaseException) -> str:
    # PyMySQL's arguments are (number, text); the others' text is the whole.
    args: tuple[object, ...] = error.args
    text = str(args[1]) if len(args) == 2 and isinstance(args[0], int) else str(error)
    # A failed attempt per address (IPv6, IPv4) or per host makes a list; the first one is enough.
    lines = [line for line in text.splitlines() if line.strip()]
    text = lines[0] if lines else type(error).__name__
    return re.sub(r"^connection failed: ", "", " ".join(text.split())).removeprefix("- ")


def _kind(error: BaseException, said: str) -> str:
    number = error.args[0] if error.args and isinstance(error.args[0], int) else None
    if number in _BY_NUMBER:
        return _BY_NUMBER[number]
    for words, kind in _BY_WORDS:
        if re.search(words, said, re.IGNORECASE):
            return kind
    return "other"


def _where(url: URL) -> str:
    if url.get_backend_name() == "sqlite":
        return f"the SQLite file {url.database}"
    host = f"{url.host or 'localhost'}" + (f":{url.port}" if url.port else "")
    user = f" as {url.username}" if url.username else ""
    return f"{url.database or url.get_backend_name()} at {host}{user}"


def _hint(kind: str, url: URL) -> str:
    client = "psql -l" if url.get_backend_name() == "postgresql" else "mysql -e 'SHOW DATABASES'"
    if url.get_backend_name() not in ("postgresql", "mysql", "mariadb"):
        client = "the server's own client"
    return {
        "login": "Check user and password; in a URL, characters such as @ : / % are percent-encoded.",
        "database": f"Check the database's and the user's name ({client} lists what is there), or create it.",
        "allowed": "The server does not let this user in from here: ask for a grant (or a pg_hba.conf line).",
        "not-yours": f"Check the database's name ({client} lists what this user may see), or GRANT the user "
        "what `migrator plan` asks for.",
        "host": "Check the host name in the URL.",
        "refused": "Check host and port, and that the server is running and listens there.",
        "unreachable": "Check host, port and firewall; the server did not answer within the connect timeout.",
        "full": "The server has no connection to spare: close some, or raise its limit.",
        "tls": "Check the TLS options in the URL (sslmode=, ssl_ca=).",
        "file": "This is not an SQLite database: check the path.",
        "rights": "Check the rights of the file and of its directory.",
        "locked": "Another process has the file locked: wait for it, or find it with `fuser`.",
    }.get(kind, "Check the URL and that the server is running.")
