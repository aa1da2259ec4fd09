"""`migrator plan`."""

from __future__ import annotations

from pathlib import Path

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
from migrator.cli.output import Color, draw, format_for, opened
from migrator.errors import UsageError
from migrator.inbound import unindexed
from migrator.known import facts_with_proof
from migrator.plan import enforce_plan, sweep_plan, validate_plan
from migrator.policy import Policy, policy_named
from migrator.policy_preflight import counted, policy_problems
from migrator.reference import Reference
from migrator.report.build import database_info, now
from migrator.report.json import dumps
from migrator.report.plan import PlannedReference, PlanReport, print_plan
from migrator.settings import Settings, resolve

FORMATS = ("text", "json")
POLICIES = ("backfill", "delete", "set-null", "refuse", "keep")
#: NULL names nobody who could be created.
DANGLING = (*POLICIES, "create-parents")


@click.command("plan")
@database_options
@reference_options
@click.option("--on-null", type=click.Choice(POLICIES), help="[default: backfill; keep with --nullable]")
@click.option("--on-dangling", type=click.Choice(DANGLING), default="backfill", show_default=True)
@click.option(
    "--count/--no-count",
    "counting",
    default=True,
    show_default=True,
    help="Whether to count the orphans; without, the plan is had at once from the catalog alone.",
)
@click.option("--all-sql", is_flag=True, help="Show every statement of a step, however many.")
@click.option("--format", "form", type=click.Choice(FORMATS), help="[default: by the suffix of --output]")
@click.option("--output", type=click.Path(path_type=Path, dir_okay=False), metavar="FILE", help="Write here.")
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
    on_null: str | None,
    on_dangling: str,
    counting: bool,
    all_sql: bool,
    form: str | None,
    output: Path | None,
    color: Color,
) -> None:
    """Show the steps an upgrade would run on this database, without running any.

    Each step with its SQL, the locks it takes, what others cannot do meanwhile, how many rows it will
    change, and whether the catalog shows it done already. The same steps are what `alembic upgrade`
    runs and what `alembic upgrade --sql` prints.

    \b
    Examples:
      migrator plan -r 'post.user_id -> user.id'
      migrator plan -r 'post.user_id -> user.id' --on-dangling delete --format json

    \b
    Exit codes:
      0  an upgrade may run
      1  failed
      2  the command makes no sense as given
      4  a safety check would refuse the upgrade; the problems are listed
    """
    form = format_for(form, output, FORMATS)
    settings = resolve()
    with read_only_session(url, config, poolers=True) as session:
        found = chosen(session, texts, models, nullable, schema)
        if not found:
            raise UsageError(
                "There is nothing to plan for.",
                hint="Name the reference: migrator plan --reference 'post.user_id -> user.id'",
            )
        planned = tuple(
            _plan(session, one.reference, policy_named(on_dangling), on_null, counting, settings)
            for one in found
        )
        info = database_info(session.connection, session.dialect, session.url)
        report = PlanReport(now(), info, planned)
    with opened(output) as out:
        if form == "json":
            out.write(dumps(report.to_json()))
        else:
            draw(out, color, lambda console: print_plan(report, console, all_sql=all_sql))
    if report.refused:
        ctx.exit(4)


def _plan(
    session: Session,
    reference: Reference,
    on_dangling: Policy,
    null_word: str | None,
    counting: bool,
    settings: Settings,
) -> PlannedReference:
    connection, dialect = session.connection, session.dialect
    on_null = policy_named(null_word or ("keep" if reference.nullable else "backfill"))
    facts = facts_with_proof(connection, dialect, reference)
    problems = [
        *session.pooled,
        *dialect.preflight(facts),
        *dialect.environment_problems(connection, facts, settings),
    ]
    refused = {problem.slug for problem in problems if problem.severity == "refuse"}
    if "not-a-table" not in refused:
        problems += unindexed(connection, dialect, facts, settings, on_null=on_null, on_dangling=on_dangling)
    # A view has no definition to plan from, and values of types that differ cannot be compared.
    plans = (
        ()
        if "not-a-table" in refused
        else (
            sweep_plan(facts, dialect, on_null, on_dangling),
            enforce_plan(facts, dialect),
            validate_plan(facts, dialect, on_null, on_dangling),
        )
    )
    counting = counting and not refused & {"not-a-table", "type-mismatch"}
    counts = detect.count(connection, reference) if counting else None
    if not refused:
        problems += policy_problems(
            connection, dialect, facts, on_null=on_null, on_dangling=on_dangling, there=counted(counts)
        )
    return PlannedReference(facts, counts, plans, tuple(problems))
