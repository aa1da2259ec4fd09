"""`migrator pause`."""

from __future__ import annotations

from pathlib import Path

import click

from migrator import journal
from migrator.cli.options import database_options, resolve_url
from migrator.connect import connect
from migrator.errors import Refused


@click.command("pause")
@database_options
def command(url: str | None, config: Path | None) -> None:
    """Have every running sweep or restore wait after its batch. `migrator resume` lets them go on.

    The run keeps its lock and holds no row; Ctrl-C or SIGTERM still stop it.
    """
    ask(url, config, "pause", "asked to pause after its batch; `migrator resume` lets it go on")


def ask(url: str | None, config: Path | None, what: str | None, said: str) -> None:
    """Write a request into the journal of every running run.

    Raises:
        Refused: nothing runs in this database.
    """
    with connect(resolve_url(url, config), must_exist=True) as engine, engine.begin() as connection:
        asked = journal.request(connection, what) if journal.exists(connection) else []
    if not asked:
        raise Refused("Nothing runs in this database.", hint="See `migrator status --all`.")
    for run in asked:
        click.echo(f"{run.operation} of {run.reference} ({run.actor}): {said}")
