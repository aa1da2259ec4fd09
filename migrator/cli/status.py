"""`migrator status`."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

import click
from rich.console import Console
from rich.table import Table

from migrator import status
from migrator.cli.options import color_option, database_options, read_only_session
from migrator.cli.output import Color, draw


@click.command("status")
@database_options
@click.option("--format", "form", type=click.Choice(["text", "json"]), default="text", show_default=True)
@click.option("--all", "everything", is_flag=True, help="Runs that were taken back, too.")
@click.option("--watch", is_flag=True, help="Look again every two seconds until nothing runs.")
@color_option
def command(
    url: str | None, config: Path | None, form: str, everything: bool, watch: bool, color: Color
) -> None:
    """Say where a run stands: its steps, rows, rate and time left, from the journal in the database.

    \b
    Examples:
      migrator status
      migrator status --watch
    """
    while True:
        with read_only_session(url, config) as session:
            runs = status.read(session.connection, everything=everything)
        if form == "json":
            found = {"schema": status.SCHEMA, "runs": [run.to_json() for run in runs]}
            click.echo(json.dumps(found, indent=None if watch else 2))
        else:
            _draw(runs, color)
        if not watch or not any(run.state in ("running", "pausing") for run in runs):
            return
        time.sleep(2)


def _draw(runs: list[status.RunStatus], color: Color) -> None:
    draw(sys.stdout, color, lambda console: _show(console, runs))


def _show(console: Console, runs: list[status.RunStatus]) -> None:
    if not runs:
        console.print("No run is in force in this database.")
        return
    table = Table("run", "reference", "operation", "state", "step", "rows", "rate", "left", box=None)
    for run in runs:
        step = run.current
        state = "waiting" if run.waiting and run.state == "running" else run.state
        if run.silent_seconds > status.SILENT_AFTER:
            state = f"{state}, silent {run.silent_seconds:.0f} s"
        table.add_row(
            run.id,
            run.reference,
            run.operation if run.round is None else f"{run.operation}, round {run.round}",
            state,
            f"{step.name} ({step.state})" if step else "",
            _rows(step),
            f"{step.rate:,.0f}/s" if step and step.rate else "",
            f"{step.eta_seconds:.0f} s" if step and step.eta_seconds is not None else "",
        )
    console.print(table)
    for run in runs:
        if run.message:
            console.print(f"{run.id}: {run.message}")


def _rows(step: status.StepStatus | None) -> str:
    if step is None:
        return ""
    if step.done is not None and step.total:
        return f"{step.done:,} of {step.total:,}"
    return f"{step.scanned:,} looked at" if step.scanned and step.state == "running" else ""
