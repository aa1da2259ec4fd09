"""`migrator resume`."""

from __future__ import annotations

from pathlib import Path

import click

from migrator.cli.options import database_options
from migrator.cli.pause import ask


@click.command("resume")
@database_options
def command(url: str | None, config: Path | None) -> None:
    """Let a paused run go on. A run that was stopped goes on with the command that began it."""
    ask(url, config, None, "goes on")
