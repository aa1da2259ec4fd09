"""`migrator verify`."""

from __future__ import annotations

from pathlib import Path

import click

from migrator.cli.options import chosen, color_option, database_options, read_only_session, reference_options
from migrator.cli.output import Color, draw, format_for, opened
from migrator.connect import make_engine
from migrator.errors import UsageError
from migrator.known import as_migrated
from migrator.references import load_object
from migrator.report.json import dumps
from migrator.verify import verify
from migrator.verify.orm import mappers_of
from migrator.verify.text import print_verification

FORMATS = ("text", "json")


@click.command("verify")
@database_options
@reference_options
@click.option("--format", "form", type=click.Choice(FORMATS), help="[default: by the suffix of --output]")
@click.option("--output", type=click.Path(path_type=Path, dir_okay=False), metavar="FILE", help="Write here.")
@click.option(
    "--probe/--no-probe",
    default=True,
    show_default=True,
    help="Whether to try a bad row, in a transaction that is rolled back.",
)
@click.option("--strict", is_flag=True, help="A check that could not be made counts as failed.")
@click.option(
    "--fail/--no-fail", default=True, show_default=True, help="Whether a failed check exits with 3."
)
@color_option
@click.pass_context
def command(
    ctx: click.Context,
    url: str | None,
    config: Path | None,
    texts: tuple[str, ...],
    models: str | None,
    nullable: bool,
    schema: str | None,
    form: str | None,
    output: Path | None,
    probe: bool,
    strict: bool,
    fail: bool,
    color: Color,
) -> None:
    """After deployment: prove that a reference holds.

    Looks whether the foreign key is there by definition and validated, with the actions asked for; NOT
    NULL is there; no orphan is left; a dangling row and a NULL are really refused; an index serves it
    and is used. With --models also whether the relationship resolves both ways and no default was
    frozen at import. Without --reference and --models: every reference that an earlier run knows or the
    database declares. One that was migrated with NULL allowed is looked at as such, with --nullable or not.

    \b
    Examples:
      migrator verify -r 'post.user_id -> user.id'
      migrator verify --models migrator.blog.models:Base --format json

    \b
    Exit codes:
      0  every check passed (or was skipped, and --strict was not given)
      1  failed
      2  the command makes no sense as given
      3  a check failed
    """
    form = format_for(form, output, FORMATS)
    with read_only_session(url, config) as session:
        found = as_migrated(session.connection, chosen(session, texts, models, nullable, schema))
        if not found:
            raise UsageError(
                "This database declares no foreign key and knows of no run.",
                hint="Name the reference: migrator verify --reference 'post.user_id -> user.id'",
            )
        target = session.url
        verification = verify(
            session.connection,
            session.dialect,
            found,
            url=target,
            writer=(lambda: make_engine(target)) if probe else None,
            mappers=mappers_of(load_object(models)) if models else (),
        )
    with opened(output) as out:
        if form == "json":
            out.write(dumps(verification.to_json()))
        else:
            draw(out, color, lambda console: print_verification(verification, console))
    if fail and (verification.count("failed") or (strict and verification.count("skipped"))):
        ctx.exit(3)
