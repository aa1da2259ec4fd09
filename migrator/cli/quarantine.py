"""`migrator quarantine`: list, show, export, restore, purge."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any, TypeVar

import click

from migrator.cli.options import (
    color_option,
    database_options,
    read_only_session,
    resolve_url,
    settings_option,
)
from migrator.cli.output import Color, draw, format_for, opened
from migrator.connect import connect
from migrator.errors import UsageError
from migrator.quarantined.holdings import Selection, holdings, parse_key
from migrator.sessions import Sessions

F = TypeVar("F", bound=Callable[..., Any])
STATES = ("held", "conflict", "restored", "healed", "superseded")
KINDS = ("null", "partial", "dangling", "dependant")


def selection_options(command: F) -> F:
    """Which rows."""
    for option in (
        click.option("--kind", "kinds", multiple=True, type=click.Choice(KINDS), help="Only these kinds."),
        click.option("--state", "states", multiple=True, type=click.Choice(STATES), help="Only in these."),
        click.option("--run", "runs", multiple=True, metavar="ID", help="Only rows that this run took; the "
                     "beginning of an id will do."),
        click.option("-r", "--reference", "references", multiple=True, metavar="REFERENCE",
                     help="Only this reference, such as 'post.user_id -> user.id'."),
    ):  # fmt: skip
        command = option(command)
    return command


def output_option(command: F) -> F:
    """`--output`."""
    path = click.Path(path_type=Path, dir_okay=False)
    return click.option("--output", type=path, metavar="FILE", help="Write here.")(command)


@click.group("quarantine")
def command() -> None:
    """What was set aside, and putting it back.

    A sweep copies every row that it changes or removes, whole, before it does. The copies stay in the
    database, in tables of their own, until a downgrade puts the rows back or they are purged.
    """


@command.command("list")
@database_options
@selection_options
@click.option("--format", "form", type=click.Choice(["text", "json"]), help="[default: text]")
@output_option
@color_option
def list_(
    url: str | None,
    config: Path | None,
    references: tuple[str, ...],
    runs: tuple[str, ...],
    states: tuple[str, ...],
    kinds: tuple[str, ...],
    form: str | None,
    output: Path | None,
    color: Color,
) -> None:
    """Count what lies in quarantine: by reference, table, run, kind, action and state, with size and age.

    \b
    Examples:
      migrator quarantine list
      migrator quarantine list -r 'post.user_id -> user.id' --state conflict --format json
    """
    from migrator.quarantined.json import entries_to_json
    from migrator.quarantined.listing import entries
    from migrator.quarantined.text import print_entries
    from migrator.report.build import database_info
    from migrator.report.json import dumps

    form = format_for(form, output, ("text", "json"))
    selection = Selection(references, runs, states, kinds)
    with read_only_session(url, config) as session:
        found = holdings(session.connection, references)
        listed = entries(session.connection, session.dialect, found, selection)
        info = database_info(session.connection, session.dialect, session.url)
    with opened(output) as out:
        if form == "json":
            out.write(dumps(entries_to_json(info, listed)))
        else:
            draw(out, color, lambda console: print_entries(listed, console))


@command.command("show")
@database_options
@selection_options
@click.option("--key", "keys", multiple=True, metavar="KEY", help="Only this row: 5, or country=A,code=7.")
@click.option("--limit", type=click.IntRange(min=1), default=50, show_default=True, help="How many rows.")
@click.option("--whole", is_flag=True, help="Every column; without it keys and reference columns only.")
@click.option("--format", "form", type=click.Choice(["text", "json"]), help="[default: text]")
@output_option
@color_option
def show(
    url: str | None,
    config: Path | None,
    references: tuple[str, ...],
    runs: tuple[str, ...],
    states: tuple[str, ...],
    kinds: tuple[str, ...],
    keys: tuple[str, ...],
    limit: int,
    whole: bool,
    form: str | None,
    output: Path | None,
    color: Color,
) -> None:
    """Show rows, each with the reason for which it was set aside; conflicts with the row in their way.

    \b
    Examples:
      migrator quarantine show --run 20250102
      migrator quarantine show --state conflict --whole --format json
    """
    from migrator.quarantined.showing import shown_rows

    form = format_for(form, output, ("text", "json"))
    selection = Selection(references, runs, states, kinds, tuple(parse_key(key) for key in keys))
    with read_only_session(url, config) as session:
        told = shown_rows(session, selection, limit=limit, whole=whole)
    with opened(output) as out:
        if form == "json":
            out.write(told.json())
        else:
            draw(out, color, told.text)


@command.command("export")
@database_options
@selection_options
@click.option("--key", "keys", multiple=True, metavar="KEY", help="Only this row: 5, or country=A,code=7.")
@click.option(
    "--format",
    "form",
    type=click.Choice(["csv", "jsonl", "sql"]),
    help="csv and jsonl hold the whole rows with run, reason and time; sql the statements that would put "
    "them back by hand.  [default: by the suffix of --output, else csv]",
)
@output_option
def export_(
    url: str | None,
    config: Path | None,
    references: tuple[str, ...],
    runs: tuple[str, ...],
    states: tuple[str, ...],
    kinds: tuple[str, ...],
    keys: tuple[str, ...],
    form: str | None,
    output: Path | None,
) -> None:
    """Write quarantined rows out whole, as they come: memory stays flat however many there are.

    In CSV an empty field is NULL and "" is an empty text. Bytes are written as hexadecimal digits.

    \b
    Examples:
      migrator quarantine export --output quarantine.csv
      migrator quarantine export --format sql --run 20250102 > back.sql
    """
    from migrator.exact import exact_for
    from migrator.quarantined.export import export

    suffix = output.suffix.lower().removeprefix(".") if output else ""
    form = form or ({"json": "jsonl"}.get(suffix, suffix) if suffix in ("jsonl", "json", "sql") else "csv")
    selection = Selection(references, runs, states, kinds, tuple(parse_key(key) for key in keys))
    with read_only_session(url, config) as session:
        exact_for(session.dialect).prepare(session.connection)
        found = holdings(session.connection, references)
        with opened(output) as out:
            count = export(out, form, session.connection, session.dialect, found, selection)
    click.echo(f"{count} row(s) exported.", err=True)


@command.command("restore")
@database_options
@selection_options
@click.option("--key", "keys", multiple=True, metavar="KEY", help="Only this row: 5, or country=A,code=7.")
@click.option("--all", "everything", is_flag=True, help="All there is.")
@click.option(
    "--on-conflict",
    type=click.Choice(["report", "skip", "newest"]),
    default="report",
    show_default=True,
    help="Where a key is taken again, or the application changed the row: report lists both versions; skip "
    "leaves it without a word; newest lets the application's newer row stand and settles the copy. No row "
    "is ever overwritten.",
)
@click.option(
    "--leave-out",
    "leave_out",
    multiple=True,
    metavar="COLUMN",
    help="Give up the values of a column that its table has lost since.",
)
@click.option("--limit", type=click.IntRange(min=0), default=100, show_default=True, help="Conflicts listed.")
@click.option("--format", "form", type=click.Choice(["text", "json"]), help="[default: text]")
@settings_option
@output_option
@color_option
@click.pass_context
def restore_(
    ctx: click.Context,
    url: str | None,
    config: Path | None,
    references: tuple[str, ...],
    runs: tuple[str, ...],
    states: tuple[str, ...],
    kinds: tuple[str, ...],
    keys: tuple[str, ...],
    everything: bool,
    on_conflict: Any,
    leave_out: tuple[str, ...],
    limit: int,
    form: str | None,
    words: tuple[str, ...],
    output: Path | None,
    color: Color,
) -> None:
    """Put rows back: those of a run, of a reference, or chosen ones. Nothing is ever overwritten.

    While the foreign key stands an orphan cannot come back, only a row whose parent is there by now; to
    take all of it back run `alembic downgrade`.

    It works in batches as a sweep does, with the same settings and throttles; `migrator status`, `pause` and
    `resume` work, Ctrl-C and SIGTERM stop it after a batch, and the same command goes on.

    \b
    Examples:
      migrator quarantine restore --run 20250102
      migrator quarantine restore -r 'post.user_id -> user.id' --key 17 --key 18
      migrator quarantine restore --all --on-conflict newest
      migrator quarantine restore --all -x pause_ms=200 -x max_replica_lag=5

    \b
    Exit codes:
      0  all selected rows are back, settled, or skipped as asked
      3  some stay in quarantine; they are listed
      4  the reference stands and all of them are orphans still; nothing was changed
      5  stopped after a batch by SIGTERM, a lock or a lost connection; the same command goes on
    130  stopped after a batch by Ctrl-C; the same command goes on
    """
    from migrator.arguments import settings_said
    from migrator.progress import telling
    from migrator.quarantined.json import outcome_to_json
    from migrator.quarantined.restoring import restore
    from migrator.quarantined.text import print_outcome
    from migrator.report.build import database_info
    from migrator.report.json import dumps

    form = format_for(form, output, ("text", "json"))
    if not (references or runs or keys or everything):
        raise UsageError("Which rows?", hint="Name a --run, a --reference or a --key, or say --all.")
    selection = Selection(references, runs, states, kinds, tuple(parse_key(key) for key in keys))
    settings, target = settings_said(words), resolve_url(url, config)
    with connect(target, must_exist=True) as engine, closing(Sessions.of(engine, settings)) as sessions:
        with telling(settings.log) as told:
            outcome = restore(
                sessions,
                selection,
                on_conflict=on_conflict,
                leave_out=frozenset(leave_out),
                limit=limit,
                progress=told,
            )
        with sessions.open() as connection:
            info = database_info(connection, sessions.dialect, target)
    with opened(output) as out:
        if form == "json":
            out.write(dumps(outcome_to_json(info, outcome)))
        else:
            draw(out, color, lambda console: print_outcome(outcome, console))
    if outcome.blocked or (outcome.conflicts and on_conflict != "skip"):
        ctx.exit(3)


@command.command("purge")
@database_options
@selection_options
@click.option("--older-than", metavar="AGE", help="Only rows set aside this long ago: 30d, 12h, 2w.")
@click.option("--all", "everything", is_flag=True, help="All there is.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.option(
    "--even-if-needed", is_flag=True, help="Also rows without which the migration cannot be rolled back."
)
@settings_option
def purge_(
    url: str | None,
    config: Path | None,
    references: tuple[str, ...],
    runs: tuple[str, ...],
    states: tuple[str, ...],
    kinds: tuple[str, ...],
    older_than: str | None,
    everything: bool,
    yes: bool,
    even_if_needed: bool,
    words: tuple[str, ...],
) -> None:
    """Remove copies for good, by age, run, reference or state.

    Refuses while a downgrade could still need them, unless --even-if-needed is given. Works in batches, and
    is paused, stopped and gone on with as a restore.

    \b
    Examples:
      migrator quarantine purge --older-than 90d
      migrator quarantine purge --state restored --state healed --yes
    """
    from migrator.arguments import settings_said
    from migrator.progress import telling
    from migrator.quarantined.purge import before_age, doomed, purge, refuse_needed

    if not (references or runs or states or kinds or older_than or everything):
        raise UsageError("Which rows?", hint="Say --older-than 90d, name a --run, or say --all.")
    before = before_age(older_than) if older_than else None
    selection, settings = Selection(references, runs, states, kinds, before=before), settings_said(words)
    target = resolve_url(url, config)
    with connect(target, must_exist=True) as engine, closing(Sessions.of(engine, settings)) as sessions:
        with sessions.open() as connection:
            what = doomed(connection, selection)
        if not even_if_needed:
            refuse_needed(what)
        if not yes:
            gone = what.needed + what.lost
            only = f", {gone:,} of which exist nowhere else" if gone else ""
            click.confirm(f"Remove {what.rows:,} row(s) for good{only}?", abort=True, err=True)
        with telling(settings.log) as told:
            done = purge(sessions, selection, progress=told)
    click.echo(f"{done.rows} row(s) purged.")
    for name in done.dropped:
        click.echo(f"{name} is empty now and was dropped.")
