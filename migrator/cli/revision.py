"""`migrator revision`."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import click
from alembic.config import Config

from migrator import revisions
from migrator.cli.plan import DANGLING, POLICIES
from migrator.errors import UsageError
from migrator.policy import Backfill, Policy, policy_named
from migrator.reference import ACTIONS, Reference


@click.command("revision")
@click.option(
    "-r", "--reference", "text", required=True, metavar="REFERENCE", help="Such as 'post.user_id -> user.id'."
)
@click.option(
    "--nullable", is_flag=True, help="NULL is right in this reference; it does not end in NOT NULL."
)
@click.option("--name", default="", help="The constraint's name.  [default: fk_<child>_<columns>_<parent>]")
@click.option("--on-delete", type=click.Choice(ACTIONS, case_sensitive=False), help="Referential action.")
@click.option("--on-update", type=click.Choice(ACTIONS, case_sensitive=False), help="Referential action.")
@click.option(
    "--index/--no-index", default=True, show_default=True, help="A supporting index on the child columns."
)
@click.option("--index-name", default="", help="Its name.  [default: ix_<child>_<columns>]")
@click.option("--on-null", type=click.Choice(POLICIES), help="What to do with NULL.")
@click.option("--on-dangling", type=click.Choice(DANGLING), help="What to do with a missing parent.")
@click.option(
    "--backfill-to", metavar="KEY", help="An existing key to backfill with; commas for a composite one."
)
@click.option(
    "--sentinel",
    multiple=True,
    metavar="COLUMN=VALUE",
    help="A stated value of the sentinel row. Repeatable.",
)
@click.option(
    "--config",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    default=Path("alembic.ini"),
    show_default=True,
    help="The environment's alembic.ini.",
)
@click.option(
    "--directory",
    metavar="DIR",
    help="The script location, where the ini names none (Flask-Migrate: migrations).",
)
@click.option("--head", default="head", show_default=True, help="What the first revision follows.")
@click.option("--version-path", metavar="DIR", help="Where to, when there are several version locations.")
@click.option("--dry-run", is_flag=True, help="Print the bodies and write nothing.")
def command(
    text: str,
    nullable: bool,
    name: str,
    on_delete: Any,
    on_update: Any,
    index: bool,
    index_name: str,
    on_null: str | None,
    on_dangling: str | None,
    backfill_to: str | None,
    sentinel: tuple[str, ...],
    config: Path,
    directory: str | None,
    head: str,
    version_path: str | None,
    dry_run: bool,
) -> None:
    """Write the three revisions for a reference into this project's or any Alembic environment.

    Sweep, enforce, validate: each is a revision of its own, so that `alembic upgrade +1` lets you stop
    between them. The operations arrive through Alembic's plugin entry point; the environment needs no
    change.

    \b
    Examples:
      migrator revision -r 'Posts.OwnerUserId -> Users.Id' --backfill-to -1
      migrator revision -r 'comment.post_id -> post.id' --on-dangling delete --config migrations/alembic.ini
    """
    if index_name and not index:
        raise UsageError("--index-name names an index that --no-index leaves out.", hint="Give one of them.")
    reference = Reference.parse(
        text,
        nullable=nullable,
        name=name,
        on_delete=on_delete,
        on_update=on_update,
        index=index,
        index_name=index_name,
    )
    _check(on_null, on_dangling, backfill_to, sentinel)
    key = None if backfill_to is None else backfill_key(backfill_to, reference)
    null = _policy(on_null, key, sentinel)
    dangling = _policy(on_dangling, key, sentinel)
    if nullable and on_null is None:
        null = None
    if dry_run:
        for stage in revisions.stages(reference, null, dangling):
            click.echo(f"# {stage.message}\nupgrade:   {stage.upgrade}\ndowngrade: {stage.downgrade}\n")
        return
    if not config.is_file() and directory is None:
        raise UsageError(
            f"There is no {config} here.", hint="Name the environment's with --config or --directory."
        )
    alembic = Config(str(config)) if config.is_file() else Config()
    if directory is not None:
        alembic.set_main_option("script_location", directory.replace("%", "%%"))
    for path in revisions.write(
        alembic, reference, on_null=null, on_dangling=dangling, head=head, version_path=version_path
    ):
        click.echo(path)
    click.echo("Look at them, then: migrator plan, alembic upgrade +1", err=True)


def backfill_key(text: str, reference: Reference) -> tuple[int | str, ...]:
    """The key that `--backfill-to` says: commas part it, unless it is one column's, which may hold a comma.

    Raises:
        UsageError: it has not as many parts as the parent's key.
    """
    parts = [text] if len(reference.parent_columns) == 1 else text.split(",")
    if len(parts) != len(reference.parent_columns):
        wanted = ",".join(f"<{column}>" for column in reference.parent_columns)
        raise UsageError(
            f"--backfill-to {text} has {len(parts)} value(s), the key of {reference.parent} has "
            f"{len(reference.parent_columns)}.",
            hint=f"Write it as --backfill-to {wanted}",
        )
    return tuple(map(_plain, parts))


def _check(on_null: str | None, on_dangling: str | None, to: str | None, sentinel: tuple[str, ...]) -> None:
    """Refuse what would be passed over in silence."""
    said = "--backfill-to" if to is not None else "--sentinel" if sentinel else None
    if to is not None and sentinel:
        raise UsageError(
            "--backfill-to names a row that is there, --sentinel describes one to be made.",
            hint="Give one of them.",
        )
    if said and on_null not in (None, "backfill") and on_dangling not in (None, "backfill"):
        raise UsageError(
            f"{said} is given, but neither --on-null nor --on-dangling backfills.",
            hint="Leave it out, or say --on-dangling backfill.",
        )


def _policy(word: str | None, key: tuple[int | str, ...] | None, sentinel: tuple[str, ...]) -> Policy | None:
    if word not in (None, "backfill"):
        return policy_named(str(word))
    if key is not None:
        return Backfill(to=key)
    if sentinel:
        pairs = [pair.partition("=") for pair in sentinel]
        if any(not column or not sep for column, sep, _ in pairs):
            raise UsageError("--sentinel wants COLUMN=VALUE.", hint="--sentinel username=deleted-author")
        return Backfill(sentinel={column: value for column, _, value in pairs})
    return policy_named(word) if word else None


def _plain(text: str) -> int | str:
    """A number as a revision would spell it; `01` is a text."""
    return int(text) if re.fullmatch(r"0|-?[1-9][0-9]*", text) else text
