"""Writes the three revisions of a reference into any Alembic environment, with its own template."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, fields
from pathlib import Path

from alembic.config import Config
from alembic.script import ScriptDirectory
from alembic.util.exc import CommandError

from migrator.errors import UsageError
from migrator.policy import Backfill, Policy
from migrator.reference import Reference, short_name


@dataclass(frozen=True)
class Stage:
    """One of the three revisions.

    Args:
        message: its title, as `alembic history` shows it.
        upgrade, downgrade: the one line of each body.
    """

    message: str
    upgrade: str
    downgrade: str


def stages(reference: Reference, on_null: Policy | None, on_dangling: Policy | None) -> tuple[Stage, ...]:
    """The three revisions: sweep, enforce, validate."""
    said = reference_code(reference)
    policies = "".join(
        f", {name}={policy_code(policy)}"
        for name, policy in (("on_null", on_null), ("on_dangling", on_dangling))
        if policy is not None
    )
    what = f"{reference.child.name}.{'_'.join(reference.columns)}"
    return (
        Stage(
            f"sweep orphans of {what}", f"op.sweep_orphans({said}{policies})", f"op.restore_orphans({said})"
        ),
        Stage(f"enforce {what}", f"op.enforce_reference({said})", f"op.release_reference({said})"),
        Stage(
            f"validate {what}",
            f"op.validate_reference({said}{policies})",
            f"op.unvalidate_reference({said})",
        ),
    )


def reference_code(reference: Reference) -> str:
    """A reference as a revision spells it: its text, or `Reference.parse` with what is not the default."""
    plain = Reference.parse(str(reference))
    options = {
        field.name: getattr(reference, field.name)
        for field in fields(Reference)
        if getattr(reference, field.name) != getattr(plain, field.name)
    }
    if not options:
        return repr(str(reference))
    return f"Reference.parse({str(reference)!r}, {', '.join(f'{k}={v!r}' for k, v in options.items())})"


def policy_code(policy: Policy) -> str:
    """A policy as a revision spells it."""
    if isinstance(policy, Backfill):
        if policy.to is not None:
            return f"Backfill(to={policy.to[0] if len(policy.to) == 1 else policy.to!r})"
        return f"Backfill(sentinel={dict(policy.sentinel)!r})" if policy.sentinel else "Backfill()"
    return f"{type(policy).__name__}()"


def write(
    config: Config,
    reference: Reference,
    *,
    on_null: Policy | None = None,
    on_dangling: Policy | None = None,
    head: str = "head",
    version_path: str | None = None,
) -> list[Path]:
    """Write the three revisions on top of a head.

    Args:
        config: the environment's; its template is used, so that they look like its others.
        reference: what they are about.
        on_null, on_dangling: the policies they state.
        head: what the first follows: a revision, a branch's head, or `base` for a new branch.
        version_path: where to, when the environment has several version locations.

    Returns:
        The files, in order.

    Raises:
        UsageError: the environment cannot be read, has several heads or no such head, or has revisions for
            this reference already.
    """
    names = {type(policy).__name__ for policy in (on_null, on_dangling) if policy is not None}
    if reference_code(reference).startswith("Reference."):
        names.add("Reference")
    imports = f"from migrator import {', '.join(sorted(names))}" if names else ""
    written: list[Path] = []
    follows = head
    try:
        script, there = _scripts(config)
        taken = set(there)
        planned = stages(reference, on_null, on_dangling)
        _refuse_again(reference, planned, there.values())
        for stage in planned:
            revision = script.generate_revision(
                _identifier(reference, stage, taken),
                stage.message,
                head=follows,
                splice=False,
                version_path=version_path,
                upgrades=stage.upgrade,
                downgrades=stage.downgrade,
                imports=imports,
            )
            if revision is None:
                raise UsageError(f"Revision {stage.message!r} was written but is not found again.")
            written.append(Path(revision.path))
            follows = revision.revision
    except CommandError as error:
        if isinstance(error, UsageError):
            raise
        for path in written:
            path.unlink(missing_ok=True)
        raise UsageError(
            str(error),
            hint="Name the head with --head, or the environment with --config or --directory "
            "(Flask-Migrate: --directory migrations).",
        ) from error
    return written


def _refuse_again(reference: Reference, planned: Iterable[Stage], there: Iterable[Path]) -> None:
    """A second revision for the same would find nothing to do, and be one more to take back. Asked of all of
    them before one is written."""
    codes = {path: _plain(path.read_text(encoding="utf-8", errors="replace")) for path in there}
    for stage in planned:
        call = f"{stage.upgrade.partition('(')[0]}({reference_code(reference)}"
        for path, code in codes.items():
            if _plain(call) in code:
                raise UsageError(
                    f"{path.name} is a revision for {reference} already: {call[3:]}). Nothing was written.",
                    hint="Look at it; if it has never been run and is to be written anew, remove its files.",
                )


def _plain(code: str) -> str:
    """As any formatter leaves it."""
    return re.sub(r"\s", "", code.replace('"', "'"))


def _scripts(config: Config) -> tuple[ScriptDirectory, dict[str, Path]]:
    """The environment's scripts, and the revisions there are. They are anybody's files: what reading one
    raises is one line.

    Raises:
        UsageError: the ini or a revision cannot be read.
    """
    try:
        script = ScriptDirectory.from_config(config)
        return script, {revision.revision: Path(revision.path) for revision in script.walk_revisions()}
    except CommandError:
        raise
    except Exception as error:
        what = f"{type(error).__name__}: {error}"
        raise UsageError(
            f"The Alembic environment of {config.config_file_name} cannot be read: {what}",
            hint="`alembic history` fails in the same way; nothing was written.",
        ) from error


def _identifier(reference: Reference, stage: Stage, taken: set[str]) -> str:
    """A readable revision id within alembic_version's 32 characters, the same for the same stage."""
    verb = stage.message.split()[0]
    name = short_name(verb, reference.child.name, *reference.columns, limit=28).lower()
    found = name
    number = 2
    while found in taken:
        found = f"{name}_{number}"
        number += 1
    taken.add(found)
    return found
