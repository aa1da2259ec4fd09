"""One operation of the six, printed."""

from __future__ import annotations

import importlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final, Protocol, cast

from alembic.runtime.migration import MigrationContext

from migrator.catalog import Facts
from migrator.decisions import DECISIONS, DecisionsFile
from migrator.dialects import Dialect
from migrator.errors import Refused
from migrator.journal import FORWARD
from migrator.mirror import Mirror, mirror_of
from migrator.offline.job import Job
from migrator.offline.stage import Stage
from migrator.offline.words import MySQLWords, PostgreSQLWords, Words, comment
from migrator.operate import Policies
from migrator.operations import ReferenceOperation
from migrator.parents import parents_mirror
from migrator.plan import (
    INVERSE,
    Plan,
    enforce_plan,
    release_plan,
    restore_plan,
    sweep_plan,
    unvalidate_plan,
    validate_plan,
)
from migrator.policy import CreateParents, Decisions
from migrator.reference import Reference
from migrator.renamed import no_other_name
from migrator.settings import Settings


class Script(Protocol):
    """What prints a job."""

    def __init__(self, job: Job) -> None: ...

    def parts(self) -> Iterator[str]:
        """The script, part by part."""


@dataclass(frozen=True)
class Also:
    """What an operation does as one of a set; see `Job`."""

    facts: Mapping[str, Any] = field(default_factory=dict)
    together: tuple[Job, ...] = ()
    none_left: tuple[Reference, ...] = ()


_SWEEPING = ("sweep", "validate")
_WORDS: Final[Mapping[str, type[Words]]] = {
    "sqlite": Words,
    "postgresql": PostgreSQLWords,
    "mysql": MySQLWords,
    "mariadb": MySQLWords,
}
_SCRIPTS: Final = {
    "sqlite": ("migrator.offline.sqlite", "SQLiteScript"),
    "postgresql": ("migrator.offline.postgresql", "PostgreSQLScript"),
    "mysql": ("migrator.offline.mysql", "MySQLScript"),
    "mariadb": ("migrator.offline.mysql", "MySQLScript"),
}


def words_for(dialect: Dialect) -> Words:
    """The words of a dialect's family."""
    return _WORDS[dialect.family](dialect)


def write_script(
    context: MigrationContext,
    operation: ReferenceOperation,
    policies: Policies,
    settings: Settings,
    arguments: Mapping[str, Any],
    also: Also | None = None,
) -> bool:
    """Print what an operation does, for the database's own client program.

    Args:
        context: Alembic's, in offline mode.
        operation: which of the six, on which reference.
        policies, settings: those in force.
        arguments: what `-x` said: `peek=no` keeps the database from being read, `server_version`
            says what it is.
        also: what it does as one of a set.

    Returns:
        Whether there was anything to do.

    Raises:
        MigratorError: the tables cannot be known, or the operation cannot be done on them.
    """
    stage = Stage.of(context, arguments)
    job = job_of(stage, operation, policies, settings)
    if job is not None and also is not None:
        job = replace(job, more=also.facts, together=also.together, none_left=also.none_left)
    # Alembic has begun a transaction around the migration; every step of ours is its own.
    with context.autocommit_block():
        if job is None:
            forward = INVERSE[operation.operation]
            context.impl.static_output(
                comment(f"migrator: the journal knows of no {forward} of {operation.reference} to take back")
            )
            return False
        module, name = _SCRIPTS[stage.server.family]
        script = cast(type[Script], getattr(importlib.import_module(module), name))
        stage.foresee(job.plan)
        facts = job.facts
        for part in script(job).parts():
            context.impl.static_output(part)
        for step in job.plan.steps:
            facts = stage.advance(facts, step)
        stage.after(job.plan, facts)
        stage.files_loaded.update(file.name for file in job.loads)
        stage.journal_made = True
    return True


def job_of(stage: Stage, operation: ReferenceOperation, policies: Policies, settings: Settings) -> Job | None:
    """What is to be printed; None where there is nothing to take back. Arguments as for `write_script`."""
    kind, reference = operation.operation, operation.reference
    facts = stage.facts(kind, reference)
    dialect = stage.dialect.configured(settings)
    policy: Mapping[str, Any] = policies.to_json() if kind in FORWARD else {}
    if kind not in FORWARD and stage.trusted:
        run = stage.run_of(INVERSE[kind], reference)
        if run is None and INVERSE[kind] not in stage.printed(reference):
            if kind == "release" and facts.foreign_key is not None:
                raise Refused(
                    f"The journal knows of no enforce of {reference}, but {reference.child} has the foreign "
                    f"key {facts.foreign_key.name}: it is not ours to remove.",
                    hint="`alembic stamp` past this revision to keep it.",
                )
            return None
        # The reference as it was when the upgrade ran, not as the revision says today.
        facts = replace(facts, reference=run.reference if run is not None else reference)
        if kind == "release":
            no_other_name(facts, dialect, stage.ours(reference))
    paths = [one.path for one in policies.each if isinstance(one, Decisions) and kind in _SWEEPING]
    mirrors = stage.mirrors(reference)
    files = {path: DecisionsFile.read(facts, path) for path in paths}
    return Job(
        words_for(stage.dialect),
        _plan(kind, facts, dialect, policies, stage.ours(reference)),
        settings,
        policy,
        stage.ours(reference),
        stage.steps(reference),
        _mirrors_made(facts, policies) if mirrors is None else tuple(mirrors),
        stage.is_idle_without(reference, kind),
        stage.journal_made,
        stage.advance,
        stage.source,
        files,
        tuple(file for file in files.values() if file.name not in stage.files_loaded),
        tuple(sorted(name for name in stage.rehearsal.tables() if name.startswith(DECISIONS))),
    )


def _mirrors_made(facts: Facts, policies: Policies) -> tuple[Mirror, ...]:
    """The mirrors that a sweep with these policies makes: what there is to restore, where nobody can look."""
    made = [mirror_of(facts.reference, facts.child)]
    if any(isinstance(one, CreateParents) for one in policies.each):
        made.append(parents_mirror(facts))
    return tuple(dict.fromkeys(made))


def _plan(kind: str, facts: Any, dialect: Dialect, policies: Policies, ours: frozenset[str]) -> Plan:
    null, dangling = policies.on_null, policies.on_dangling
    if kind == "sweep":
        return sweep_plan(facts, dialect, null, dangling)
    if kind == "enforce":
        return enforce_plan(facts, dialect)
    if kind == "validate":
        return validate_plan(facts, dialect, null, dangling)
    return {"unvalidate": unvalidate_plan, "release": release_plan, "restore": restore_plan}[kind](
        facts, dialect, ours
    )
