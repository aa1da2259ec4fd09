"""The one lifecycle every operation goes through: start, assert, roll back, assert that all is as it was,
start again, assert, and take everything back; and a brute-force oracle of what a sweep must leave."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from alembic import command
from alembic.config import Config
from sqlalchemy.engine import Engine

from migrator.context import Progress
from migrator.fingerprint import Fingerprint, compare, take
from migrator.operate import Policies, operate
from migrator.plan import Operation
from migrator.policy import Policy
from migrator.predicate import table_clause
from migrator.reference import Reference
from migrator.settings import Settings
from tests.conftest import Database
from tests.operations.orphan_cases import Case, Row

ROOT = Path(__file__).parents[2]
#: Small batches, so that even a small table takes several, and no rest between them.
FAST = Settings(
    batch_size=7, batch_floor=7, batch_ceiling=7, pause_ms=0, scan_rows=1000, max_orphan_share=1.0
)
UP: tuple[Operation, ...] = ("sweep", "enforce", "validate")
DOWN: tuple[Operation, ...] = ("unvalidate", "release", "restore")


# -- the two ways to run ---------------------------------------------------------------------------
def alembic(database: Database, verb: str, revision: str, *x: str) -> None:
    """`alembic -x ... upgrade head` and so on, in this process: errors arrive as they were raised."""
    said = [f"url={database.url}", "pause_ms=0", *x]
    config = Config(str(ROOT / "alembic.ini"), cmd_opts=Namespace(x=said))
    config.attributes["configure_logger"] = False
    getattr(command, verb)(config, revision)


def run(
    engine: Engine,
    operations: Sequence[Operation],
    reference: Reference,
    on_null: Policy | None = None,
    on_dangling: Policy | None = None,
    *,
    settings: Settings = FAST,
    progress: Progress | None = None,
) -> list[Mapping[str, Any]]:
    """Some of the six operations, one after the other, as plain functions; returns what each counted."""
    policies = Policies.of(reference, on_null, on_dangling)
    return [
        operate(engine, each, reference, policies=policies, settings=settings, progress=progress)
        for each in operations
    ]


@dataclass
class Told:
    """A `Progress` that keeps what it is told, and can act on it.

    Args:
        on_step: called with the name of each step that begins.
        on_note: called with each note.
    """

    on_step: Callable[[str], None] = lambda _: None
    on_note: Callable[[str], None] = lambda _: None
    steps: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def step(self, name: str, title: str) -> None:
        """A step begins."""
        self.steps.append(name)
        self.on_step(name)

    def rows(self, what: str, done: int, total: int | None) -> None:
        """Nothing."""

    def note(self, message: str) -> None:
        """Something the operator should know."""
        self.notes.append(message)
        self.on_note(message)


# -- pictures --------------------------------------------------------------------------------------
@dataclass(frozen=True)
class Picture:
    """Everything there is in a database: schema, rows, and what of it is ours."""

    fingerprint: Fingerprint
    ours: frozenset[str]


def picture(database: Database) -> Picture:
    """Taken now."""
    return Picture(take(database.engine), own_objects(database))


def assert_same(before: Picture, after: Picture) -> None:
    """Schema and data are the same, and so is what is ours."""
    assert compare(before.fingerprint, after.fingerprint) == ()
    assert before.ours == after.ours


_OWN = {
    "sqlite": "SELECT type || ' ' || name FROM sqlite_master WHERE name LIKE '%migrator%'",
    "postgresql": """
        SELECT 'relation ' || relname FROM pg_class WHERE relname LIKE '%migrator%'
        UNION ALL SELECT 'routine ' || proname FROM pg_proc WHERE proname LIKE '%migrator%'
        UNION ALL SELECT 'trigger ' || tgname FROM pg_trigger WHERE tgname LIKE '%migrator%'
        UNION ALL SELECT 'constraint ' || conname FROM pg_constraint WHERE conname LIKE '%migrator%'
        UNION ALL SELECT 'schema ' || nspname FROM pg_namespace WHERE nspname LIKE '%migrator%'""",
    "mysql": """
        SELECT CONCAT('table ', table_name) FROM information_schema.tables
          WHERE table_schema = DATABASE() AND table_name LIKE '%migrator%'
        UNION ALL SELECT CONCAT('trigger ', trigger_name) FROM information_schema.triggers
          WHERE trigger_schema = DATABASE() AND trigger_name LIKE '%migrator%'
        UNION ALL SELECT CONCAT('constraint ', constraint_name) FROM information_schema.table_constraints
          WHERE table_schema = DATABASE() AND constraint_name LIKE '%migrator%'
        UNION ALL SELECT CONCAT('routine ', routine_name) FROM information_schema.routines
          WHERE routine_schema = DATABASE() AND routine_name LIKE '%migrator%'""",
}
_OWN["mariadb"] = _OWN["mysql"]


def own_objects(database: Database) -> frozenset[str]:
    """Tables, triggers, routines, constraints and indexes of ours, whatever their state."""
    return objects_of(database.engine)


def objects_of(engine: Engine) -> frozenset[str]:
    """The same, of the database behind an engine."""
    with engine.connect() as connection:
        return frozenset(connection.execute(sa.text(_OWN[engine.dialect.name])).scalars())


# -- rows ------------------------------------------------------------------------------------------
def rows_of(engine: Engine, reference: Reference, *columns: str) -> list[Row]:
    """The child's rows, by these columns."""
    child = table_clause(reference.child, *columns)
    with engine.connect() as connection:
        found = connection.execute(sa.select(*(child.c[column] for column in columns))).all()
    return in_order([dict(zip(columns, row, strict=True)) for row in found])


def in_order(rows: list[Row]) -> list[Row]:
    """Rows in an order that does not depend on who lists them."""
    return sorted(rows, key=lambda row: repr([(type(v).__name__, v) for _, v in sorted(row.items())]))


#: What the oracle does with a kind of orphan: nothing, remove it, or give it this reference.
Fate = tuple[str, tuple[Any, ...] | None]
KEEP: Fate = ("keep", None)
DELETE: Fate = ("delete", None)


def becomes(*key: Any) -> Fate:
    """The reference that a row gets."""
    return ("change", key)


def expected_rows(case: Case, on_null: Fate, on_dangling: Fate) -> list[Row]:
    """The child's rows after a sweep, found the slow way: each row judged by itself, until none changes."""
    children, parents = list(case.children), case.parents
    while True:
        judged = Case(case.reference, case.key, parents, children)
        after: list[Row] = []
        for row in children:
            kind = judged.kind(row)
            verb, key = KEEP if kind == "valid" else on_dangling if kind == "dangling" else on_null
            if verb == "change":
                assert key is not None
                row = {**row, **dict(zip(case.reference.columns, key, strict=True))}
            if verb != "delete":
                after.append(row)
        if case.reference.is_self_reference:
            parents = after
        if len(after) == len(children):
            return in_order(after)
        children = after


@dataclass(frozen=True)
class Round:
    """One way up, and what must be there afterwards."""

    up: Callable[[], object]
    there: Callable[[], None]


def prove(database: Database, down: Callable[[], object], *rounds: Round) -> None:
    """Start, assert, roll back, assert the start; and again, in each of the ways given."""
    before = picture(database)
    for each in rounds:
        each.up()
        each.there()
        down()
        assert_same(before, picture(database))
