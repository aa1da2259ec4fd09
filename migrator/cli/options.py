"""The options that commands share, and what they come to: a database and references."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from configparser import ConfigParser
from configparser import Error as ConfigError
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import click
from sqlalchemy.engine import URL, Connection, Engine

from migrator import references
from migrator.cli.boundary import URL_KEY
from migrator.connect import connect
from migrator.dialects import Dialect, dialect_for
from migrator.dialects.telling import Problem
from migrator.errors import UsageError
from migrator.known import from_journal
from migrator.references import Found
from migrator.settings import database_url, resolve

F = TypeVar("F", bound=Callable[..., Any])


def database_options(command: F) -> F:
    """`--url` and `--config`."""
    command = click.option(
        "--config",
        type=click.Path(path_type=Path, dir_okay=False),
        metavar="FILE",
        help="An alembic.ini whose sqlalchemy.url is used where no URL is given.  [default: alembic.ini]",
    )(command)
    return click.option(
        "--url",
        metavar="URL",
        help="The database: postgresql://user:password@host/name, mysql://..., mariadb://..., "
        "sqlite:///file.db, or any other SQLAlchemy URL.",
    )(command)


def reference_options(command: F) -> F:
    """`--reference`, `--models`, `--nullable` and `--schema`."""
    command = click.option(
        "--schema", metavar="NAME", help="Where to look for references.  [default: the server's own]"
    )(command)
    command = click.option(
        "--nullable",
        is_flag=True,
        help="In the references given with --reference NULL is right, not an orphan.",
    )(command)
    command = click.option(
        "--models",
        metavar="MODULE:BASE",
        help="Take the foreign keys that these models declare, such as blog.models:Base.",
    )(command)
    return click.option(
        "-r",
        "--reference",
        "texts",
        multiple=True,
        metavar="REFERENCE",
        help="A reference: 'post.user_id -> user.id', 'shop.order.customer -> shop.customer.id' or "
        "'city(country, region) -> region(country, code)'. May be given several times.",
    )(command)


def settings_option(command: F) -> F:
    """`-x`."""
    return click.option(
        "-x",
        "words",
        multiple=True,
        metavar="NAME=VALUE",
        help="A setting of the batches, as `alembic -x` takes it: batch_size, pause_ms, max_replica_lag and "
        "so on. MIGRATOR_BATCH_SIZE and the like say the same.",
    )(command)


def color_option(command: F) -> F:
    """`--color`."""
    return click.option(
        "--color",
        type=click.Choice(["auto", "always", "never"]),
        default="auto",
        show_default=True,
        help="Colours; NO_COLOR and FORCE_COLOR count as well.",
    )(command)


@dataclass(frozen=True)
class Session:
    """An open database.

    Args:
        url: what it is, with its password: never to be printed.
        engine: for further connections.
        connection: in one read-only snapshot.
        dialect: ours for it.
        pooled: what lies between us and the server and gives our session to others, where that was asked.
    """

    url: URL
    engine: Engine
    connection: Connection
    dialect: Dialect
    pooled: tuple[Problem, ...] = ()


def resolve_url(url: str | None, config: Path | None) -> URL:
    """The database's URL; remembered so that no error message shows its password.

    Raises:
        UsageError: it cannot be read, or there is no such configuration file.
    """
    resolved = database_url(url, _configured(config))
    context = click.get_current_context(silent=True)
    if context is not None:
        context.meta[URL_KEY] = resolved
    return resolved


@contextmanager
def read_only_session(url: str | None, config: Path | None, *, poolers: bool = False) -> Iterator[Session]:
    """The database, opened so that nothing can be written: see `connect` and `Dialect.read_only`.

    Args:
        poolers: whether to look for a pooler, which has to be done before the snapshot is taken.

    Raises:
        ConnectionFailed, UsageError.
    """
    resolved = resolve_url(url, config)
    settings = resolve()
    with connect(resolved, read_only=True) as engine, engine.connect() as connection:
        dialect = dialect_for(connection).configured(settings)
        pooler = dialect.pooler(connection) if poolers else None
        with dialect.read_only(connection):
            yield Session(resolved, engine, connection, dialect, (pooler,) if pooler else ())


def chosen(
    session: Session, texts: Sequence[str], models: str | None, nullable: bool, schema: str | None
) -> list[Found]:
    """The references to work on: those named and those of the models; without either, those that the
    journal knows and the database declares.

    Raises:
        UsageError: a reference or a name cannot be read.
    """
    found = references.named(texts, nullable=nullable)
    if models:
        found += references.from_metadata(references.load_metadata(models))
    if not texts and not models:
        found = from_journal(session.connection) + references.declared(session.connection, schema)
    return references.without_repeats(found)


def _configured(config: Path | None) -> str | None:
    """`sqlalchemy.url` of an alembic.ini."""
    path = config or Path("alembic.ini")
    if not path.is_file():
        if config is not None:
            raise UsageError(f"There is no file {config}.", hint="--config names an alembic.ini.")
        return None
    # Without interpolation: a percent sign in a password is a percent sign. What Alembic itself
    # offers, %(here)s and the doubled percent sign, is put in by hand.
    parser = ConfigParser(interpolation=None)
    try:
        parser.read(path, encoding="utf-8")
    except (ConfigError, UnicodeDecodeError) as error:
        raise UsageError(f"{path} cannot be read: {type(error).__name__}.") from None
    text = parser.get("alembic", "sqlalchemy.url", fallback=None)
    return text and text.replace("%(here)s", str(path.parent.absolute())).replace("%%", "%")
