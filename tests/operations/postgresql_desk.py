"""What the tests of the PostgreSQL dialect work with: a database, its dialect and short verbs."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, cast

import sqlalchemy as sa
from sqlalchemy.engine import Connection, Engine

from migrator.catalog import Facts
from migrator.dialects import dialect_of
from migrator.dialects.pg_sessions import execute
from migrator.dialects.postgresql import PostgreSQL
from migrator.dialects.telling import Problem
from migrator.plan import Step
from migrator.reference import Reference
from migrator.settings import Settings
from tests.servers.database import Database

BLOG = (
    'CREATE TABLE "user" (id bigint PRIMARY KEY, name text)',
    "CREATE TABLE post (id bigint PRIMARY KEY, user_id bigint, title text)",
    """INSERT INTO "user" SELECT n, 'user ' || n FROM generate_series(1, 20) n""",
    "INSERT INTO post SELECT n, 1 + n % 20, 'post ' || n FROM generate_series(1, 200) n",
)
IMPATIENT = Settings(lock_timeout_ms=200, long_lock_timeout_ms=200)
REFERENCE = Reference.parse("post.user_id -> user.id")


@dataclass(frozen=True)
class Desk:
    """One database and the verbs to work on it.

    Args:
        engine: connects to it.
        dialect: ours.
        settings: short patience, so that a test of a lock that is not had ends soon.
    """

    engine: Engine
    dialect: PostgreSQL
    settings: Settings = field(default_factory=lambda: IMPATIENT)

    @classmethod
    def at(cls, database: Database, *statements: str) -> Desk:
        """A desk at a fresh database in which the statements were run."""
        with database.engine.connect():
            pass
        desk = cls(database.engine, cast(PostgreSQL, dialect_of(database.engine.dialect)))
        desk.sql(*statements)
        return desk

    @contextmanager
    def open(self) -> Iterator[Connection]:
        """A connection of its own in autocommit mode, as the runner opens them."""
        with self.engine.connect() as connection:
            yield connection.execution_options(isolation_level="AUTOCOMMIT")

    @contextmanager
    def transaction(self, *statements: str) -> Iterator[Connection]:
        """Another session with an open transaction in which the statements were run."""
        with self.engine.connect() as connection:
            for statement in statements:
                execute(connection, statement)
            yield connection
            connection.rollback()

    def sql(self, *statements: str) -> None:
        """Run statements, each by itself."""
        with self.open() as connection:
            for statement in statements:
                execute(connection, statement)

    def rows(self, query: str) -> list[tuple[Any, ...]]:
        """All rows of a query."""
        with self.open() as connection:
            return [tuple(row) for row in connection.execute(sa.text(query))]

    def value(self, query: str) -> Any:
        """The one value of a query."""
        return self.rows(query)[0][0]

    def facts(self, reference: Reference = REFERENCE) -> Facts:
        """The facts now."""
        with self.open() as connection:
            return self.dialect.facts(connection, reference)

    def attempt(self, step: Step, *, patient: bool = False) -> None:
        """One attempt at a step."""
        with self.open() as connection:
            self.dialect.run_sql(connection, step, self.settings, patient=patient)

    def run(self, steps: Iterable[Step], reference: Reference = REFERENCE) -> list[str]:
        """Run the steps that are not done, as the runner does; their names."""
        ran = []
        for step in steps:
            if step.done(self.facts(reference)):
                continue
            self.attempt(step)
            assert step.done(self.facts(reference)), step.name
            ran.append(step.name)
        return ran

    def upgrade(self, reference: Reference = REFERENCE) -> frozenset[str]:
        """Index, enforce, validate; the names of the steps that were ours."""
        ran = self.run(self.dialect.index_steps(self.facts(reference)), reference)
        ran += self.run(self.dialect.enforce_steps(self.facts(reference)), reference)
        ran += self.run(self.dialect.validate_steps(self.facts(reference)), reference)
        return frozenset(ran)

    def downgrade(self, ours: frozenset[str], reference: Reference = REFERENCE) -> None:
        """The inverses, in their order."""
        self.run(self.dialect.unvalidate_steps(self.facts(reference), ours), reference)
        self.run(self.dialect.release_steps(self.facts(reference), ours), reference)
        self.run(self.dialect.drop_index_steps(self.facts(reference), ours), reference)

    def schema(self) -> list[tuple[Any, ...]]:
        """Everything a migration could leave behind: columns, constraints, indexes, triggers, functions."""
        return self.rows(_SCHEMA)

    def problems(self, reference: Reference = REFERENCE) -> list[Problem]:
        """What the facts alone have against it."""
        return list(self.dialect.preflight(self.facts(reference)))

    def environment(self, reference: Reference = REFERENCE) -> list[Problem]:
        """What the rest of the world has against it."""
        facts = self.facts(reference)
        with self.open() as connection:
            return list(self.dialect.environment_problems(connection, facts, self.settings))


@contextmanager
def background(work: Callable[[], None]) -> Iterator[list[Exception]]:
    """Run something in a thread of its own; its error, if any, is in the list at the end."""
    errors: list[Exception] = []

    def run() -> None:
        try:
            work()
        except sa.exc.DBAPIError as error:
            errors.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield errors
    finally:
        thread.join()


def until_waiting(desk: Desk, sessions: int) -> None:
    until(lambda: desk.value("SELECT count(DISTINCT pid) FROM pg_locks WHERE NOT granted") >= sessions)


def until(condition: Callable[[], bool]) -> None:
    """Wait for another session; the suite's own time limit is the bound."""
    pause = threading.Event()
    while not condition():
        pause.wait(0.05)


_SCHEMA = """
SELECT 'column', attrelid::regclass::text, attname, format_type(atttypid, atttypmod), attnotnull::text
FROM pg_attribute JOIN pg_class c ON c.oid = attrelid
WHERE attnum > 0 AND NOT attisdropped AND c.relnamespace = 'public'::regnamespace
UNION ALL
SELECT 'constraint', conrelid::regclass::text, conname, pg_get_constraintdef(oid), convalidated::text
FROM pg_constraint WHERE connamespace = 'public'::regnamespace AND conrelid <> 0
UNION ALL
SELECT 'index', indrelid::regclass::text, indexrelid::regclass::text,
       pg_get_indexdef(indexrelid), indisvalid::text
FROM pg_index JOIN pg_class c ON c.oid = indrelid WHERE c.relnamespace = 'public'::regnamespace
UNION ALL
SELECT 'trigger', tgrelid::regclass::text, tgname, pg_get_triggerdef(oid), tgenabled::text
FROM pg_trigger WHERE NOT tgisinternal
UNION ALL
SELECT 'function', '', proname, prosrc, '' FROM pg_proc WHERE pronamespace = 'public'::regnamespace
ORDER BY 1, 2, 3
"""
