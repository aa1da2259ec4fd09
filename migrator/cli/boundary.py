"""Where every error of a command ends: one line on stderr and an exit code, never a traceback."""

from __future__ import annotations

import os
from typing import Any

import click
import sqlalchemy as sa
from alembic.util.exc import CommandError
from sqlalchemy.engine import URL

from migrator.connect_failures import without_password
from migrator.errors import MigratorError

#: Where a command keeps the URL it works on, so that no message can show its password.
URL_KEY = "migrator.url"


class Failure(click.ClickException):
    """An error as the user sees it."""

    def __init__(self, message: str, hint: str | None, exit_code: int) -> None:
        super().__init__(message)
        self.hint = hint
        self.exit_code = exit_code  # type: ignore[misc]  # declared for the class; click reads it here

    def show(self, file: Any = None) -> None:
        """One line; the hint stands on it, so that a log line holds all of it."""
        hint = f" Hint: {self.hint}" if self.hint else ""
        click.echo(f"error: {self.message}{hint}", err=True, file=file)


class Boundary(click.Group):
    """A group whose commands may raise ours and the drivers' errors."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command.

        Raises:
            click.ClickException: what went wrong, with its exit code.
        """
        if os.environ.get("MIGRATOR_DEBUG"):
            return super().invoke(ctx)
        try:
            return super().invoke(ctx)
        except MigratorError as error:
            message = _clean(ctx, error.message)
            hint = _clean(ctx, error.hint) if error.hint else None
            raise Failure(message, hint, error.exit_code) from None
        except CommandError as error:
            raise Failure(_clean(ctx, _one_line(error)), None, 1) from None
        except sa.exc.DBAPIError as error:
            raise Failure(_clean(ctx, _driver_line(error)), None, 1) from None
        except sa.exc.SQLAlchemyError as error:
            raise Failure(_clean(ctx, _one_line(error)), None, 1) from None
        except OSError as error:
            if isinstance(error, BrokenPipeError):
                raise
            raise Failure(_clean(ctx, _one_line(error)), None, 1) from None
        except (KeyboardInterrupt, click.Abort):
            click.echo("Stopped.", err=True)
            raise click.exceptions.Exit(130) from None


def _driver_line(error: sa.exc.DBAPIError) -> str:
    """The driver's own words; SQLAlchemy's would print the statement and a link."""
    original = error.orig
    args: tuple[Any, ...] = getattr(original, "args", ())
    if len(args) == 2 and isinstance(args[0], int):
        return f"The database said: {_one_line(args[1])} ({args[0]})"
    return f"The database said: {_one_line(original or error)}"


def _one_line(text: object) -> str:
    return " ".join(str(text).split())


def _clean(ctx: click.Context, text: str) -> str:
    url = ctx.meta.get(URL_KEY)
    return without_password(url, text) if isinstance(url, URL) else text
