"""An Alembic environment, the shipped one or anyone's, run on a database of our choice and in silence."""

from __future__ import annotations

import os
from argparse import Namespace
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from alembic import command
from alembic.config import Config
from alembic.runtime.environment import EnvironmentContext
from alembic.script import Script, ScriptDirectory
from alembic.script.revision import RevisionError
from alembic.util.exc import CommandError
from sqlalchemy.engine import URL
from sqlalchemy.exc import SQLAlchemyError

from migrator.drill.listen import Heard, listening
from migrator.drill.model import Direction
from migrator.drill.only import only
from migrator.errors import MigratorError, UsageError

# Where an env.py may look for the database; the configuration and `-x url=` are set as well.
_VARIABLES = ("MIGRATOR_URL", "DATABASE_URL")

BASE = "base"


@dataclass(frozen=True)
class Revision:
    """A revision on the way: its identifier, the first line of its docstring, the one below it."""

    id: str
    title: str
    below: str


@dataclass(frozen=True)
class Environment:
    """Runs one Alembic environment on one database.

    Args:
        ini: its alembic.ini.
        url: the database; a connection to any other is refused.
        arguments: further `-x name=value`.
    """

    ini: Path
    url: URL
    arguments: Mapping[str, str] = field(default_factory=dict)

    def current(self) -> str:
        """The revision the database is at, `base` where it is at none. Reads only.

        Raises:
            UsageError: it is at several, or the environment cannot be used.
        """
        seen: list[str] = []

        def look(revision: Any, _: Any) -> list[Any]:
            seen.extend([revision] if isinstance(revision, str) else revision)
            return []

        config = self._config()
        with self._usable():
            script = ScriptDirectory.from_config(config)
            with self._quietly(), EnvironmentContext(config, script, fn=look, dont_mutate=True):
                script.run_env()
        if len(seen) > 1:
            raise UsageError(
                f"The database is at {len(seen)} revisions at once: {', '.join(seen)}.",
                hint="Merge the branches first: alembic merge heads",
            )
        return seen[0] if seen else BASE

    def path(self, start: str, target: str) -> tuple[Revision, ...]:
        """The revisions between, in the order they are applied.

        Raises:
            UsageError: a revision nobody knows, several heads, a branch on the way, or nothing between.
        """
        with self._usable():
            script = ScriptDirectory.from_config(self._config())
        try:
            upper = script.get_current_head() if target in ("head", "heads") else target
            found = list(script.iterate_revisions(upper or BASE, start))
        except (CommandError, RevisionError) as error:
            raise UsageError(
                f"There is no way from {start} to {target}: {error}.",
                hint="`alembic heads` and `alembic history` say what there is; name one with --to.",
            ) from error
        found.reverse()
        return tuple(_revision(each, start) for each in found)

    def go(
        self, direction: Direction, revision: str, on_statement: Callable[[int], None] = lambda _: None
    ) -> Heard:
        """Upgrade or downgrade to `revision`.

        Args:
            on_statement: is told of each SQL statement before it is sent.

        Raises:
            MigratorError, CommandError: as the environment raised it.
            Refused: the environment connected elsewhere.
        """
        run = command.upgrade if direction == "up" else command.downgrade
        with self._quietly(on_statement) as heard:
            run(self._config(), revision)
        return heard

    @contextmanager
    def _usable(self) -> Iterator[None]:
        """What an environment's own files raise is one line; env.py and the revisions are anybody's code."""
        try:
            yield
        except (MigratorError, SQLAlchemyError):
            raise
        except Exception as error:
            if os.environ.get("MIGRATOR_DEBUG"):
                raise
            raise UsageError(
                f"The Alembic environment of {self.ini} cannot be used: {reason(error)}",
                hint="--config names an alembic.ini with a script_location, whose env.py runs by itself; "
                "Flask-Migrate's runs inside its application only, so a drill wants one beside it.",
            ) from error

    def _config(self) -> Config:
        text = self.url.render_as_string(hide_password=False)
        given = [f"{name}={value}" for name, value in self.arguments.items()]
        config = Config(str(self.ini), cmd_opts=Namespace(x=[*given, f"url={text}"]))
        config.set_main_option("sqlalchemy.url", text.replace("%", "%%"))
        config.attributes["configure_logger"] = False
        return config

    @contextmanager
    def _quietly(self, on_statement: Callable[[int], None] = lambda _: None) -> Iterator[Heard]:
        text = self.url.render_as_string(hide_password=False)
        with _variables(_VARIABLES, text), only(self.url), listening(on_statement) as heard:
            yield heard


def environment(ini: Path | None, url: URL, arguments: Sequence[str]) -> Environment:
    """The environment of an alembic.ini; by default the one in the working directory, else the checkout's.

    Args:
        ini: the file.
        url: the database to run it on.
        arguments: `name=value` each, as Alembic's `-x`.

    Raises:
        UsageError: no such file, or an argument without `=`.
    """
    given: dict[str, str] = {}
    for argument in arguments:
        name, equals, value = argument.partition("=")
        if not equals or name == "url":
            raise UsageError(
                f"-x {argument} cannot be used here.", hint="Write -x name=value; the URL is --url."
            )
        given[name] = value
    return Environment(find_ini(ini), url, given)


def find_ini(ini: Path | None = None) -> Path:
    """The alembic.ini to use.

    Raises:
        UsageError: there is none.
    """
    if ini is not None:
        if not ini.is_file():
            raise UsageError(f"There is no file {ini}.", hint="--config names an alembic.ini.")
        return ini.absolute()
    checkout = Path(__file__).resolve().parents[2]
    for folder in (Path.cwd(), checkout):
        if (folder / "alembic.ini").is_file():
            return folder / "alembic.ini"
    raise UsageError(
        "There is no alembic.ini here: the revisions are not part of the installed package.",
        hint="Run it where your alembic.ini lies, or in a checkout of migrator, or name one with --config.",
    )


def reason(error: BaseException) -> str:
    """An error as a sentence for the result: ours with its hint, others by their first line."""
    if isinstance(error, MigratorError):
        return str(error)
    text = str(error).strip().splitlines()
    return f"{type(error).__name__}: {text[0]}" if text else type(error).__name__


def _revision(script: Script, start: str) -> Revision:
    below = script.down_revision
    if isinstance(below, (tuple, list)) or script.is_branch_point or script.dependencies:
        raise UsageError(
            f"Revision {script.revision} is where branches part or meet; a drill goes along one line.",
            hint="Drill the stretch before or after it: --to names where to stop.",
        )
    return Revision(script.revision, (script.doc or "").strip(), below or start)


@contextmanager
def _variables(names: Sequence[str], value: str) -> Iterator[None]:
    before = {name: os.environ.get(name) for name in names}
    os.environ.update(dict.fromkeys(names, value))
    try:
        yield
    finally:
        for name, was in before.items():
            if was is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = was
