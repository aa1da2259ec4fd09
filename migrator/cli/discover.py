"""`migrator discover`."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.table import Table
from rich.text import Text

from migrator import detect
from migrator.cli.options import Session, color_option, database_options, read_only_session
from migrator.cli.output import Color, draw, format_for, opened, progress
from migrator.detect import Counts
from migrator.discover import Candidate, candidates
from migrator.report.build import database_info, now
from migrator.report.findings import command as command_for
from migrator.report.json import dumps, head, side

FORMATS = ("text", "json")
SCHEMA = "migrator.discover/1"

Matched = tuple[Candidate, Counts, float | None]


@click.command("discover")
@database_options
@click.option("--schema", metavar="NAME", help="Where to look.  [default: the server's own]")
@click.option(
    "--min-share",
    type=click.FloatRange(0, 1),
    default=0.5,
    show_default=True,
    help="Leave out columns of whose values a smaller share is found in the other table.",
)
@click.option("--format", "form", type=click.Choice(FORMATS), help="[default: by the suffix of --output]")
@click.option("--output", type=click.Path(path_type=Path, dir_okay=False), metavar="FILE", help="Write here.")
@click.option(
    "--fail/--no-fail", default=True, show_default=True, help="Whether a find makes the exit code 3."
)
@color_option
@click.pass_context
def command(
    ctx: click.Context,
    url: str | None,
    config: Path | None,
    schema: str | None,
    min_share: float,
    form: str | None,
    output: Path | None,
    fail: bool,
    color: Color,
) -> None:
    """Find columns that look like references and have no foreign key.

    Looks at names and types (`user_id`, `OwnerUserId`, `country_code`, `parent_id`, columns named like
    all of another table's key), then counts what share of the values is really found there. Reads only.

    \b
    Exit codes:
      0  none found, or --no-fail
      1  failed
      2  the command makes no sense as given
      3  some were found
    """
    form = format_for(form, output, FORMATS)
    with read_only_session(url, config) as session:
        say = progress()
        found = []
        for candidate in candidates(session.connection, schema=schema):
            say(f"{candidate.reference}: counting")
            counts = detect.count(session.connection, candidate.reference)
            share = _share(counts)
            # A column without values says nothing against itself.
            if share is None or share >= min_share:
                found.append((candidate, counts, share))
        with opened(output) as out:
            if form == "json":
                out.write(dumps(_json(session, found)))
            else:
                draw(out, color, lambda console: _print(found, console))
    if found and fail:
        ctx.exit(3)


def _share(counts: Counts) -> float | None:
    values = counts.valid + counts.dangling
    return counts.valid / values if values else None


def _json(session: Session, found: list[Matched]) -> dict[str, Any]:
    return {
        **head(SCHEMA, now(), database_info(session.connection, session.dialect, session.url)),
        "candidates": [
            {
                "reference": str(candidate.reference),
                "child": side(candidate.reference.child, candidate.reference.columns),
                "parent": side(candidate.reference.parent, candidate.reference.parent_columns),
                "why": candidate.why,
                "matching_share": share,
                "counts": asdict(counts),
            }
            for candidate, counts, share in found
        ],
        "summary": {"candidates": len(found)},
    }


def _print(found: list[Matched], console: Console) -> None:
    if not found:
        console.print("No column looks like a reference without a foreign key.")
        return
    table = Table("looks like a reference", "rows", "null", "found", box=None, pad_edge=False)
    for column in table.columns[1:]:
        column.justify = "right"
    table.columns[0].overflow = "fold"
    for candidate, counts, share in found:
        style = "green" if share == 1 else "yellow"
        shown = Text("no values", style="dim") if share is None else Text(f"{share:.2%}", style=style)
        table.add_row(Text(str(candidate.reference)), f"{counts.rows:,}", f"{counts.null:,}", shown)
    console.print(table)
    console.print()
    console.print(
        Text.assemble(("next  ", "dim"), command_for("report", found[0][0].reference)), soft_wrap=True
    )
