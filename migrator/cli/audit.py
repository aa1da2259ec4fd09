"""`migrator audit`."""

from __future__ import annotations

from pathlib import Path

import click

from migrator.audit.model import SLUGS
from migrator.cli.options import color_option, database_options, read_only_session, resolve_url
from migrator.cli.output import Color, draw, format_for, opened, progress
from migrator.settings import DEFAULT_URL

FORMATS = ("text", "json", "markdown")


@click.command("audit")
@database_options
@click.option("--models", metavar="MODULE:BASE", help="The models to look at, such as blog.models:Base.")
@click.option("--schema", metavar="NAME", help="Where to look.  [default: the server's own]")
@click.option("--no-database", is_flag=True, help="Look at the models only.")
@click.option("--only", multiple=True, type=click.Choice(SLUGS), help="Look for this; may be repeated.")
@click.option("--skip", multiple=True, type=click.Choice(SLUGS), help="Do not look for this.")
@click.option(
    "--cluster",
    type=click.IntRange(min=2),
    default=10,
    show_default=True,
    help="How many rows of one instant are a cluster (frozen-timestamp).",
)
@click.option("--format", "form", type=click.Choice(FORMATS), help="[default: by the suffix of --output]")
@click.option("--output", type=click.Path(path_type=Path, dir_okay=False), metavar="FILE", help="Write here.")
@click.option(
    "--fail/--no-fail", default=True, show_default=True, help="Whether findings make the exit code 3."
)
@color_option
@click.pass_context
def command(
    ctx: click.Context,
    url: str | None,
    config: Path | None,
    models: str | None,
    schema: str | None,
    no_database: bool,
    only: tuple[str, ...],
    skip: tuple[str, ...],
    cluster: int,
    form: str | None,
    output: Path | None,
    fail: bool,
    color: Color,
) -> None:
    """Findings on models and data, each with its evidence and the exact text that mends it.

    In the models: defaults computed at import, columns that name another model's key without a foreign
    key, relationships without a way back. In the database: NULL and dangling references, constraints not
    validated, missing indexes, types that differ, clusters of rows that share one instant. Reads only.

    \b
    Examples:
      migrator audit --models blog.models:Base
      migrator audit --url postgresql://me@db/blog --format markdown --output audit.md
      migrator audit --models blog.models:Base --no-database --only frozen-default

    \b
    Exit codes:
      0  no findings, or --no-fail
      1  failed
      2  the command makes no sense as given
      3  findings
    """
    from migrator.audit.run import audit
    from migrator.audit.text import print_audit, to_markdown
    from migrator.report.json import dumps

    form = format_for(form, output, FORMATS)
    slugs = [slug for slug in only or SLUGS if slug not in skip]
    if models and (no_database or _nothing_to_open(url, config)):
        found = audit(models, slugs=slugs, progress=progress())
    else:
        with read_only_session(url, config) as session:
            found = audit(
                models,
                connection=session.connection,
                dialect=session.dialect,
                url=session.url,
                schema=schema,
                slugs=slugs,
                cluster=cluster,
                progress=progress(),
            )
    with opened(output) as out:
        if form == "json":
            out.write(dumps(found.to_json()))
        elif form == "markdown":
            out.write(to_markdown(found))
        else:
            draw(out, color, lambda console: print_audit(found, console))
    if fail and found.findings:
        ctx.exit(3)


def _nothing_to_open(url: str | None, config: Path | None) -> bool:
    """Whether no database was named and the default one is not there: models can be audited without."""
    resolved = resolve_url(url, config)
    return str(resolved) == DEFAULT_URL and not Path(str(resolved.database)).exists()
