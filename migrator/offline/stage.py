"""What one script knows, from its first revision to its last.

The database is read where it can be, and only read. Where it cannot, or stands at another revision than
the script begins with, the tables are taken to be as the earlier operations would have left them; the
script then asks, before it changes anything, whether they are.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from functools import reduce
from typing import Any

import sqlalchemy as sa
from alembic.runtime.migration import MigrationContext
from sqlalchemy.engine import URL, Connection

from migrator import journal
from migrator.blog import legacy
from migrator.catalog import Facts, Server
from migrator.connect import connect
from migrator.dialects import Dialect, dialect_for, dialect_of
from migrator.dialects.telling import Problem
from migrator.errors import ConnectionFailed, MigratorError, PreflightRefused, UsageError
from migrator.mirror import Mirror
from migrator.offline.assumed import made_for, table_of
from migrator.offline.evolve import evolved
from migrator.offline.rehearsal import Rehearsal
from migrator.offline.tables import Tables
from migrator.plan import INVERSE, Operation, Plan, Sql, Step, enforce_plan, sweep_plan, validate_plan
from migrator.policy import Keep
from migrator.quarantine import mirrors
from migrator.reference import Reference, TableName
from migrator.settings import Settings, database_url

#: What each operation stands on.
_BEFORE: Mapping[Operation, tuple[Operation, ...]] = {
    "sweep": (),
    "enforce": ("sweep",),
    "validate": ("sweep", "enforce"),
    "unvalidate": ("sweep", "enforce", "validate"),
    "release": ("sweep", "enforce"),
    "restore": ("sweep",),
}
_KEY = "migrator_stage"
_LOOPS = ("scan", "sweep", "sweep-delta", "prove")
_DEFAULT_VERSIONS = {"postgresql": (15,), "mysql": (8, 0), "mariadb": (10, 11), "sqlite": (3, 40)}


class Stage:
    """The knowledge of one script.

    Args:
        context: Alembic's, in offline mode.
        arguments: what `-x` said.
    """

    def __init__(self, context: MigrationContext, arguments: Mapping[str, Any]) -> None:
        self.context = context
        self.url = self._readable_url(arguments)
        self.trusted = False
        self._facts: dict[str, Facts] = {}
        self._steps: dict[str, dict[str, dict[str, bool]]] = {}  # by reference and operation: ours?
        self._runs: dict[str, list[journal.Run]] = {}
        self._mirrors: dict[str, list[Mirror]] = {}
        self._in_force: set[tuple[str, str]] = set()
        self._undone: set[tuple[str, str]] = set()
        self._printed: dict[str, list[Operation]] = {}
        self._tables = Tables()
        self._made: list[sa.MetaData] = [legacy.Base.metadata]
        self.journal_made = False
        self.files_loaded: set[TableName] = set()
        self.rehearsal = Rehearsal()
        self.dialect = self._plain(context.dialect)
        self.server = self._server(arguments)
        if self.url is not None:
            self._peek()

    @classmethod
    def of(cls, context: MigrationContext, arguments: Mapping[str, Any]) -> Stage:
        """The one stage of a script."""
        # On the context's own options: it lives as long as the script and no longer.
        if _KEY not in context.opts:
            context.opts[_KEY] = cls(context, arguments)
        found = context.opts[_KEY]
        assert isinstance(found, Stage)
        return found

    @property
    def source(self) -> str:
        """Where the facts are from."""
        if self.url is not None:
            return "as the database has them" if self.trusted else "as the earlier revisions leave them"
        return "as SQLAlchemy creates them from the audited models, and the earlier revisions leave them"

    # -- the database ------------------------------------------------------------------------------
    @contextmanager
    def connection(self) -> Iterator[Connection | None]:
        """A connection to look with; None where there is none to be had."""
        if self.url is None:
            yield None
            return
        with connect(self.url, read_only=True) as engine, engine.connect() as connection:
            yield connection.execution_options(isolation_level="AUTOCOMMIT")

    def _readable_url(self, arguments: Mapping[str, Any]) -> URL | None:
        if str(arguments.get("peek", "yes")).lower() in ("no", "0", "false", "off"):
            return None
        config = self.context.config
        configured = config.get_main_option("sqlalchemy.url") if config is not None else None
        url = database_url(arguments.get("url"), configured)
        names = {url.get_backend_name(), "mysql" if url.get_backend_name() == "mariadb" else ""}
        # An environment with a URL of its own making: what we would read may be another database.
        return url if self.context.dialect.name in names else None

    def _peek(self) -> None:
        try:
            with self.connection() as connection:
                assert connection is not None
                self.dialect = self._plain(connection.dialect)
                self.server = dialect_for(connection).server(connection)
                self.trusted = self._revisions(connection) == set(self.context.get_current_heads())
                if self.server.family == "sqlite":
                    self.rehearsal.copy(connection)
                if journal.exists(connection):
                    self._in_force = {
                        (journal.reference_key(run.reference), run.operation)
                        for run in journal.runs(connection)
                        if run.operation in journal.FORWARD and run.state not in ("undone", "refused")
                    }
        except (ConnectionFailed, UsageError):
            self.url = None
            self.trusted = False

    def _revisions(self, connection: Connection) -> set[str]:
        name, schema = self.context.version_table, self.context.version_table_schema
        if not sa.inspect(connection).has_table(name, schema=schema):
            return set()
        table = sa.table(name, sa.column("version_num"), schema=schema)
        return set(connection.execute(sa.select(table.c.version_num)).scalars())

    def _plain(self, dialect: sa.Dialect, *, mariadb: bool = False) -> Dialect:
        """Ours, that writes percent signs as they are: no driver reads what it writes."""
        family: Any = type(dialect)
        plain = family(paramstyle="named")
        if mariadb or getattr(dialect, "is_mariadb", False):
            plain.is_mariadb = True
        return dialect_of(plain)

    def _server(self, arguments: Mapping[str, Any]) -> Server:
        family = self.dialect.family
        if family not in _DEFAULT_VERSIONS:
            raise UsageError(
                f"A script cannot be written for {family}.",
                hint="It can for SQLite, PostgreSQL, MySQL and MariaDB.",
            )
        said = str(arguments.get("server_version") or "")
        if said and not all(part.isdigit() for part in said.split(".")):
            raise UsageError(f"server_version={said} is no version.", hint="Write it as 15, or 8.0.36.")
        version = tuple(map(int, said.split("."))) if said else _DEFAULT_VERSIONS[family]
        if family == "mysql" and version >= (10,):
            # MySQL has no such version: a mysql:// URL of a MariaDB that nobody has asked.
            self.dialect = self._plain(self.context.dialect, mariadb=True)
            family = self.dialect.family
        return Server(family, version, ".".join(map(str, version)))  # type: ignore[arg-type]

    # -- facts ---------------------------------------------------------------------------------------
    def creates(self, metadata: sa.MetaData) -> None:
        """Earlier in this script, the tables of this metadata that are missing are created."""
        self._made.insert(0, metadata)
        if self.server.family == "sqlite":
            self.rehearsal.create(metadata)

    def facts(self, operation: Operation, reference: Reference) -> Facts:
        """The facts as the script will find them when it comes to this operation.

        Raises:
            MigratorError: nothing is known of the reference's tables.
            PreflightRefused: the operation cannot be done on them.
        """
        key = str(reference)
        if key not in self._facts:
            self._look(operation, reference)
        facts = replace(self._facts[key], reference=reference)
        if self.server.family == "sqlite":
            return self.rehearsal.facts(self.dialect, facts)
        return self._tables.seen_by(facts)

    def ours(self, reference: Reference) -> frozenset[str]:
        """The steps whose effect will be ours by then."""
        taken = self._steps.get(str(reference), {}).values()
        return frozenset(name for steps in taken for name, ours in steps.items() if ours)

    def steps(self, reference: Reference) -> frozenset[str]:
        """All steps in force on this reference by then, ours or found done."""
        return frozenset(name for steps in self._steps.get(str(reference), {}).values() for name in steps)

    def printed(self, reference: Reference) -> frozenset[Operation]:
        """The operations that this script itself has done before."""
        return frozenset(self._printed.get(str(reference), ()))

    def is_idle_without(self, reference: Reference, operation: Operation | None) -> bool:
        """Whether the journal, where it was read, has nothing else in force than what this script has taken
        back before, and what an inverse of this reference takes back.

        Args:
            operation: the inverse; None for that of the adoption.
        """
        if operation in journal.FORWARD:
            return False
        last = (journal.reference_key(reference), "adopt" if operation is None else INVERSE[operation])
        return self.trusted and self._in_force <= {*self._undone, last}

    def runs(self, reference: Reference) -> list[journal.Run]:
        """The runs of a reference that are in force; none where the journal was not read."""
        return self._runs.get(str(reference), [])

    def run_of(self, operation: Operation, reference: Reference) -> journal.Run | None:
        """The journal's last run of an operation that is in force; None where it was not read."""
        return next((run for run in reversed(self.runs(reference)) if run.operation == operation), None)

    def mirrors(self, reference: Reference) -> list[Mirror] | None:
        """The mirrors that the journal has of a reference, none where a restore was stopped after it had
        emptied them; None where it was not read, or a sweep of this script will have made them."""
        known = self._mirrors.get(str(reference))
        return known or None if "sweep" in self.printed(reference) else known

    def forward_plan(self, operation: Operation, facts: Facts, settings: Settings) -> Plan:
        """The plan of an operation that goes forward, for its steps of SQL."""
        dialect = self.dialect.configured(settings)
        if operation == "sweep":
            return sweep_plan(facts, dialect, Keep(), Keep())
        if operation == "enforce":
            return enforce_plan(facts, dialect)
        return validate_plan(facts, dialect, Keep(), Keep())

    def after(self, plan: Plan, facts: Facts) -> None:
        """Remember what an operation leaves.

        Args:
            plan: what was printed.
            facts: what its steps make of the facts it was planned from.
        """
        key = str(plan.facts.reference)
        self._printed.setdefault(key, []).append(plan.operation)
        if plan.operation in journal.FORWARD:
            # A step that an unfinished run had begun is ours, whatever the catalog shows of it.
            begun = self._steps.setdefault(key, {}).setdefault(plan.operation, {})
            steps = [step for step in plan.steps if isinstance(step.work, Sql)]
            begun |= {step.name: begun.get(step.name, not step.done(plan.facts)) for step in steps}
        else:
            self._steps.get(key, {}).pop(INVERSE[plan.operation], None)
            self._undone.add((journal.reference_key(plan.facts.reference), INVERSE[plan.operation]))
        self._facts[key] = facts
        self._tables.left(facts)

    def _look(self, operation: Operation, reference: Reference) -> None:
        key = str(reference)
        with self.connection() as connection:
            facts = self._read(connection, operation, reference)
            if connection is not None and self.trusted and journal.exists(connection):
                self._read_journal(connection, reference)
        self._facts[key] = facts
        if self.trusted:
            return
        for before in _BEFORE[operation]:
            plan = self.forward_plan(before, self.facts(before, reference), Settings())
            now = plan.facts
            for step in plan.steps:
                now = self.advance(now, step)
            self.after(plan, now)

    def _read_journal(self, connection: Connection, reference: Reference) -> None:
        key = str(reference)
        runs = journal.runs(connection, reference)
        self._runs[key] = [run for run in runs if run.state not in ("undone", "refused")]
        operations = {run.id: run.operation for run in self._runs[key] if run.operation in journal.FORWARD}
        step = journal.STEP.c
        query = sa.select(step.run_id, step.name, step.ours).where(
            step.run_id.in_(operations), step.name.not_in(_LOOPS)
        )
        for run_id, name, ours in connection.execute(query):
            steps = self._steps.setdefault(key, {}).setdefault(operations[run_id], {})
            steps[name] = bool(ours) or steps.get(name, False)
        self._mirrors[key] = mirrors(connection, reference)

    def foresee(self, plan: Plan) -> None:
        """Refuse a plan whose steps cannot be followed, before a word of it is printed.

        Raises:
            MigratorError: what one of them leaves cannot be told.
        """
        if self.server.family != "sqlite":
            reduce(self.advance, plan.steps, plan.facts)

    def advance(self, facts: Facts, step: Step) -> Facts:
        """The facts after a step.

        Raises:
            MigratorError: they cannot be told.
        """
        if self.server.family == "sqlite":
            return self.rehearsal.advance(self.dialect, facts, step)
        return evolved(facts, step)

    def _read(self, connection: Connection | None, operation: Operation, reference: Reference) -> Facts:
        try:
            if self.server.family == "sqlite":
                facts = self.rehearsal.read(self.dialect, reference)
            elif connection is not None:
                facts = dialect_for(connection).facts(connection, reference)
                if journal.exists(connection):
                    facts = replace(facts, ours=journal.ours(connection, reference))
            else:
                return self._assumed(reference)
        except UsageError:
            # Not there yet: this script creates it, or it stands at an earlier revision.
            if self.url is None or made_for(self._made, reference) is not None:
                return self._assumed(reference)
            raise
        if operation in journal.FORWARD:
            self._refuse(self.dialect.preflight(facts))
            if not facts.child.key:
                raise PreflightRefused(
                    f"{facts.child.name} has no key: a script cannot follow its rows, which move.",
                    hint="Give it a primary key first, or run this without --sql.",
                )
        return facts

    def _assumed(self, reference: Reference) -> Facts:
        metadata = made_for(self._made, reference)
        if metadata is None:
            raise MigratorError(
                f"A script for {reference} needs to know its tables, and the database cannot be read.",
                hint="Give its URL with -x url=..., or run this without --sql.",
            )
        if self.server.family == "sqlite":
            self.rehearsal.create(metadata)
            return self.rehearsal.read(self.dialect, reference)
        child, parent = (
            table_of(self.dialect, metadata, name, self.server.version)
            for name in (reference.child, reference.parent)
        )
        return Facts(self.server, reference, child, parent)

    def _refuse(self, problems: Iterator[Problem]) -> None:
        for problem in problems:
            if problem.severity == "refuse":
                raise PreflightRefused(problem.message, hint=problem.fix)
