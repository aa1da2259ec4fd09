"""`migrator report`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TextIO

import click

from migrator import detect
from migrator.cli.options import (
    Session,
    chosen,
    color_option,
    database_options,
    read_only_session,
    reference_options,
)
from migrator.cli.output import Color, draw, format_for, opened, progress
from migrator.discover import candidates
from migrator.errors import UsageError
from migrator.known import facts_with_proof
from migrator.references import Found, without_repeats
from migrator.report import Report, build_report

FORMATS = ("text", "json", "csv", "html", "markdown")


@click.command("report")
@database_options
@reference_options
@click.option(
    "--format",
    "form",
    type=click.Choice(FORMATS),
    help="text, json, markdown and html hold the report; csv lists every orphan with its key, its value "
    "and a blank column for the new one.  [default: by the suffix of --output, else text]",
)
@click.option("--output", type=click.Path(path_type=Path, dir_okay=False), metavar="FILE", help="Write here.")
@click.option(
    "--limit",
    type=click.IntRange(min=0),
    help="How many samples of each kind and missing parents to show; for csv how many orphans of each "
    "reference.  [default: 5; csv: all]",
)
@click.option(
    "--estimate",
    is_flag=True,
    help="Sample key ranges and give an interval instead of counting; for very large tables whose key is "
    "one integer.",
)
@click.option(
    "--fail-on-orphans/--no-fail",
    "fail",
    default=True,
    show_default=True,
    help="Whether orphans make the exit code 3.",
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
    limit: int | None,
    estimate: bool,
    fail: bool,
    color: Color,
) -> None:
    """Count and list orphans: rows whose reference is NULL or names a row that is not there.

    Reads only. Without --reference and --models it looks at the references that the database declares
    or an earlier run knows, and at the columns whose name and type say that they are one.

    \b
    Examples:
      migrator report
      migrator report --url postgresql://me@db/blog -r 'post.user_id -> user.id'
      migrator report --models blog.models:Base --format json
      migrator report -r 'post.user_id -> user.id' --output orphans.csv

    \b
    Exit codes:
      0  no orphans, or --no-fail
      1  failed
      2  the command makes no sense as given: an unknown table or column, a malformed reference
      3  orphans are there
    """
    form = format_for(form, output, FORMATS)
    with read_only_session(url, config) as session:
        found = chosen(session, texts, models, nullable, schema)
        if not texts and not models:
            likely = [Found(one.reference, "name") for one in candidates(session.connection, schema=schema)]
            found = without_repeats([*found, *likely])
        if not found:
            raise UsageError(
                "This database declares no foreign key, and no column looks like a reference.",
                hint="Name one: migrator report --reference 'post.user_id -> user.id'",
            )
        if form == "csv":
            with opened(output) as out:
                orphans = _write_csv(session, found, out, limit)
            clean = not orphans
        else:
            report = build_report(
                session.connection,
                session.dialect,
                found,
                url=session.url,
                limit=5 if limit is None else limit,
                sample=estimate,
                progress=progress(),
            )
            with opened(output) as out:
                _WRITERS[form](report, out, color)
            clean = report.is_clean
    if fail and not clean:
        ctx.exit(3)


def _write_csv(session: Session, found: list[Found], out: TextIO, limit: int | None) -> int:
    from migrator.catalog import shown
    from migrator.report.csv import write_csv

    facts = [facts_with_proof(session.connection, session.dialect, one.reference) for one in found]
    return write_csv(
        out,
        (
            (
                of.reference,
                tuple(map(shown, of.child.handle)),
                detect.orphans(
                    session.connection,
                    of.reference,
                    of.child.handle,
                    kinds=detect.breaking_kinds(of.reference),
                    limit=limit,
                ),
            )
            for of in facts
        ),
    )


def _text(report: Report, out: TextIO, color: Color) -> None:
    from migrator.report.text import print_report

    draw(out, color, lambda console: print_report(report, console))


def _json(report: Report, out: TextIO, color: Color) -> None:
    from migrator.report.json import dumps, report_to_json

    out.write(dumps(report_to_json(report)))


def _html(report: Report, out: TextIO, color: Color) -> None:
    from migrator.report.html import to_html

    out.write(to_html(report))


def _markdown(report: Report, out: TextIO, color: Color) -> None:
    from migrator.report.markdown import to_markdown

    out.write(to_markdown(report))


_WRITERS: dict[str, Callable[[Report, TextIO, Color], None]] = {
    "text": _text,
    "json": _json,
    "html": _html,
    "markdown": _markdown,
}
