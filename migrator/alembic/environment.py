"""What `env.py` does, where a type checker and a test can see it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from logging.config import fileConfig
from typing import Any

import sqlalchemy as sa
from alembic import context
from alembic.util.exc import CommandError
from sqlalchemy.engine import URL, Connection

from migrator import journal, lock
from migrator.adopt import forget_unapplied
from migrator.arguments import check_names, check_values
from migrator.blog.models import Base
from migrator.connect import connect
from migrator.errors import MigratorError, Stopped
from migrator.naming import is_own_table
from migrator.operate import translate
from migrator.progress import as_json
from migrator.sessions import Sessions
from migrator.settings import asked_for_json, database_url
from migrator.stopping import resume_command
from migrator.turning import check_finished


def run() -> None:
    """Run the migrations Alembic asked for, online or as a script."""
    if context.config.config_file_name is not None and context.config.attributes.get(
        "configure_logger", True
    ):
        fileConfig(context.config.config_file_name, disable_existing_loggers=False)
    arguments = {
        name: value for name, value in context.get_x_argument(as_dictionary=True).items() if value is not None
    }
    check_names(arguments)
    if asked_for_json(arguments):
        as_json()
    check_values(arguments)
    url = database_url(arguments.get("url"), context.config.get_main_option("sqlalchemy.url"))
    if context.is_offline_mode():
        _offline(url, arguments)
        return
    given = context.config.attributes.get("connection")
    if isinstance(given, Connection):
        _online(given)
        return
    if given is not None:
        # An engine: a connection left open would keep what it has read and locked.
        with given.connect() as connection:
            _online(connection)
        return
    with connect(url) as engine, engine.connect() as connection:
        _online(connection)


def _options() -> dict[str, Any]:
    return {
        "target_metadata": Base.metadata,
        "transaction_per_migration": True,
        "compare_type": True,
        "include_name": _include_name,
        "autogenerate_plugins": ["alembic.autogenerate.*", "migrator"],
    }


def _include_name(name: str | None, kind: str, parents: Mapping[str, Any]) -> bool:
    """Our own tables never show up in autogenerate."""
    return not (kind == "table" and name is not None and is_own_table(name))


def _offline(url: URL, arguments: Mapping[str, Any]) -> None:
    # A tenth of a second, which a migration of a live database does without.
    from migrator.offline.version_table import only_if_missing

    context.configure(url=url, literal_binds=True, dialect_opts={"paramstyle": "named"}, **_options())
    only_if_missing(context.get_context())
    with context.begin_transaction():
        context.run_migrations()


def _online(connection: Connection) -> None:
    moved: list[object] = []
    context.configure(connection=connection, on_version_apply=lambda **step: moved.append(step), **_options())
    try:
        with _one_at_a_time(connection, moved), context.begin_transaction():
            context.run_migrations()
    except KeyboardInterrupt:
        raise Stopped(
            "Ctrl-C stopped between two operations; nothing is half done.",
            hint=f"It goes on with: {resume_command()}",
        ) from None
    except sa.exc.DBAPIError as error:
        raise translate(Sessions.of(connection).dialect.verdict(error), error) from error
    except CommandError as error:
        if isinstance(error, MigratorError):
            raise
        if "overlaps with other requested revisions" in str(error):
            raise MigratorError(
                f"alembic_version names a revision and one below it: {error}.",
                hint="`alembic current` lists them; `alembic stamp --purge <revision>` leaves the right one.",
            ) from error
        if "Can't locate revision" not in str(error):
            raise
        raise MigratorError(
            f"This database is at a revision that is not among these: {error}.",
            hint="Is it the right database? If it is, `alembic stamp --purge <revision>` tells Alembic "
            "where it stands.",
        ) from error


@contextmanager
def _one_at_a_time(connection: Connection, moved: Sequence[object]) -> Iterator[None]:
    """A second upgrade is refused while one runs. Commands that only look take no lock. Where there was
    nothing to do, a downgrade that was cut short is not passed over in silence."""
    try:
        context.get_revision_argument()
    except KeyError:
        yield
        return
    with lock.hold(Sessions.of(connection)):
        yield
        if not moved:
            heads = context.get_context().get_current_heads()
            check_finished(journal.runs_if_any(connection), heads)
            if not heads:
                forget_unapplied(connection)
            connection.commit()
