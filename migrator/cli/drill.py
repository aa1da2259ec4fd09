"""`migrator drill`."""

from __future__ import annotations

import random
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

import click
from sqlalchemy.engine import URL

from migrator.cli.options import color_option, database_options, resolve_url
from migrator.cli.output import Color, draw, format_for, opened
from migrator.drill.model import Drill
from migrator.errors import UsageError

FORMATS = ("text", "json", "html", "markdown")


@click.command("drill")
@database_options
@click.option(
    "--clone", "place", flag_value="clone", default=True, help="Work on a copy, dropped at the end (default)."
)
@click.option(
    "--in-place", "place", flag_value="in-place", help="Work in the database itself, a marked staging copy."
)
@click.option(
    "--mark-staging", "errand", flag_value="mark", help="Mark this database as a staging copy, and stop."
)
@click.option(
    "--leftovers", "errand", flag_value="list", help="List the copies that killed drills left, and stop."
)
@click.option("--drop-leftovers", "errand", flag_value="drop", help="Drop them, and stop.")
@click.option(
    "--sample",
    metavar="ROWS|SHARE",
    help="Work on a part that holds together: so many rows of the largest table, or such as 5%.",
)
@click.option(
    "--reference",
    "-r",
    "references",
    multiple=True,
    metavar="REFERENCE",
    help="With --sample: keep this reference whole too, whose column's name does not give it away.",
)
@click.option("--keep", is_flag=True, help="Leave the copy there.")
@click.option(
    "--to", "target", metavar="REVISION", default="head", show_default=True, help="Go up to this revision."
)
@click.option("--from", "origin", metavar="REVISION", help="Take the copy down to this revision first.")
@click.option("-x", "arguments", multiple=True, metavar="NAME=VALUE", help="Handed on to Alembic's -x.")
@click.option(
    "--models",
    metavar="MODULE:BASE",
    help="Check the relationships and defaults of these models too, such as blog.models:Base.",
)
@click.option("--chaos", is_flag=True, help="Kill the migration, cut its connection, hold locks against it.")
@click.option("--load", is_flag=True, help="Up and down once more while an application writes.")
@click.option(
    "--load-command",
    metavar="COMMAND",
    help="The same with your own load: started with the copy's URL in MIGRATOR_URL and DATABASE_URL.",
)
@click.option(
    "--seed",
    type=int,
    help="Of the random numbers that say where chaos strikes.  [default: another each time]",
)
@click.option("--quick", is_flag=True, help="Compare at both ends only, not at every revision.")
@click.option(
    "--format", "form", type=click.Choice(FORMATS), help="[default: by the suffix of --output, else text]"
)
@click.option("--output", type=click.Path(path_type=Path, dir_okay=False), metavar="FILE", help="Write here.")
@color_option
@click.pass_context
def command(
    ctx: click.Context,
    url: str | None,
    config: Path | None,
    place: str,
    errand: str | None,
    sample: str | None,
    references: tuple[str, ...],
    keep: bool,
    target: str,
    origin: str | None,
    arguments: tuple[str, ...],
    models: str | None,
    chaos: bool,
    load: bool,
    load_command: str | None,
    seed: int | None,
    quick: bool,
    form: str | None,
    output: Path | None,
    color: Color,
) -> None:
    """Upgrade, downgrade, upgrade again; compare schema and every row at each point.

    Works on a copy of the database, which is only read, with the revisions of the alembic.ini given with
    --config, else of the one here. The copy is called migrator_drill_... and is dropped at the end,
    after a failure or Ctrl-C too. Working in place wants a name or host that matches MIGRATOR_STAGING
    (by default *stag*,*test*,*drill*) and the mark that --mark-staging makes.

    \b
    Examples:
      migrator drill --url postgresql://me@db/blog
      migrator drill --url mysql://me@db/blog --config app/alembic.ini --output drill.html
      migrator drill --url mysql://me@db/blog --load-command 'locust --headless -f load.py'
      migrator drill --url postgresql://me@staging/blog --mark-staging
      migrator drill --url postgresql://me@staging/blog --in-place

    \b
    Exit codes:
      0    after the downgrade everything is as it was before, and the second upgrade led to the same
      1    an act could not be carried through: a revision failed, say
      2    the command makes no sense as given
      3    something differs, and the verdict names the first table, column and keys; or a check failed
           of several acts that did not pass, the first decides between 1 and 3
      4    refused: not a staging copy, or no copy can be made; nothing was changed
      130  stopped by Ctrl-C; the copy is dropped
    """
    found = resolve_url(url, config)
    if errand is not None:
        _ERRANDS[errand](found)
        return
    if place == "in-place" and (keep or origin):
        raise UsageError(
            "--keep and --from are for a drill on a copy.", hint="Leave them out, or leave --in-place out."
        )
    if place == "in-place" and (load or load_command):
        raise UsageError(
            "A load writes rows that stay: --load and --load-command are for a drill on a copy.",
            hint="Leave them out, or leave --in-place out.",
        )
    if sample and place == "in-place":
        raise UsageError("--sample makes a copy.", hint="Leave it out, or leave --in-place out.")
    if references and not sample:
        raise UsageError("--reference goes with --sample.", hint="A drill works on what its revisions name.")
    form = format_for(form, output, FORMATS)
    from migrator.drill.run import Request, drill
    from migrator.drill.sample import Sampling
    from migrator.references import each, load_object, named
    from migrator.verify.orm import mappers_of

    mappers = mappers_of(load_object(models)) if models else []
    request = Request(
        url=found,
        ini=config,
        arguments=arguments,
        target=target,
        origin=origin,
        in_place=place == "in-place",
        keep=keep,
        each=not quick,
        chaos=chaos,
        seed=random.randrange(10**6) if seed is None else seed,
        mappers=mappers,
        load=load or load_command is not None,
        command=load_command,
        sampling=Sampling.parse(sample, tuple(each(named(references)))) if sample else None,
    )
    with _terminated_like_interrupted(), _telling() as tell:
        result = drill(request, tell)
    with opened(output) as out:
        _WRITERS[form](result, out, color)
    if output is not None and form != "text":
        click.echo(result.verdict, err=True)
    ctx.exit(result.exit_code)


def _mark(url: URL) -> None:
    from migrator.connect import shown
    from migrator.drill.staging import mark_staging

    mark_staging(url)
    click.echo(f"{shown(url)} is marked as a staging copy: its rows may be lost in a drill.", err=True)


def _list(url: URL) -> None:
    from migrator.drill.clone import leftovers

    found = leftovers(url)
    for one in found:
        click.echo(f"{one.name}  {one.created}  {'in use' if one.in_use else 'left over'}")
    if any(not one.in_use for one in found):
        click.echo("Drop them: migrator drill --drop-leftovers with the same --url.", err=True)


def _drop(url: URL) -> None:
    from migrator.drill.clone import drop_leftovers

    for one in drop_leftovers(url):
        click.echo(f"{one.name}  dropped")


_ERRANDS: dict[str, Callable[[URL], None]] = {"mark": _mark, "list": _list, "drop": _drop}


def _text(drill: Drill, out: TextIO, color: Color) -> None:
    from migrator.drill.text import print_drill

    draw(out, color, lambda console: print_drill(drill, console))


def _json(drill: Drill, out: TextIO, color: Color) -> None:
    from migrator.report.json import dumps

    out.write(dumps(drill.to_json()))


def _html(drill: Drill, out: TextIO, color: Color) -> None:
    from migrator.drill.html import to_html

    out.write(to_html(drill))


def _markdown(drill: Drill, out: TextIO, color: Color) -> None:
    from migrator.drill.markdown import to_markdown

    out.write(to_markdown(drill))


_WRITERS: dict[str, Callable[[Drill, TextIO, Color], None]] = {
    "text": _text,
    "json": _json,
    "html": _html,
    "markdown": _markdown,
}


@contextmanager
def _telling() -> Iterator[Callable[[str], None]]:
    """Say what is being done: on a terminal in one line that changes, else a line for each."""
    stream = sys.stderr  # kept: inside an Alembic run the name leads elsewhere
    if not stream.isatty():
        yield lambda message: click.echo(f"drill: {message}", file=stream)
        return
    from rich.console import Console

    with Console(file=stream).status("drill") as status:
        yield lambda message: status.update(f"drill: {message}")


@contextmanager
def _terminated_like_interrupted() -> Iterator[None]:
    """SIGTERM ends a drill as Ctrl-C does: the copy is dropped on the way out."""

    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
