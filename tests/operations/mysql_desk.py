"""What the tests of the MySQL and MariaDB dialects work with: a database, its dialect, short verbs."""

from __future__ import annotations

import secrets
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, cast

import pytest
import sqlalchemy as sa
from sqlalchemy.engine import Connection, Engine

from migrator.catalog import Facts
from migrator.dialects import dialect_of
from migrator.dialects.mysql import MySQL
from migrator.dialects.mysql_sessions import error_number, execute
from migrator.dialects.telling import Problem
from migrator.plan import Step
from migrator.reference import Reference
from migrator.settings import Settings
from tests.servers.database import Database

BLOG = (
    "CREATE TABLE `user` (id int PRIMARY KEY AUTO_INCREMENT, name varchar(20))",
    "CREATE TABLE post (id int PRIMARY KEY AUTO_INCREMENT, user_id int NULL, title varchar(200))",
    "INSERT INTO `user` (id, name) VALUES (1, 'a'), (2, 'b'), (3, 'c'), (4, 'd')",
    "INSERT INTO post (id, user_id) VALUES (1, 1), (2, 2), (3, 1), (4, 2)",
)
REFERENCE = Reference.parse("post.user_id -> user.id")
#: Doubles the rows of `post` when it is run.
DOUBLE = "INSERT INTO post (user_id, title) SELECT user_id, REPEAT('x', 200) FROM post"
#: A rebuild that takes as long is met in its middle by whoever looks for it, however busy the machine is.
_TAKES_ITS_TIME = 1.0
#: What an account needs for all of it, SUPER not among it.
ALL = "SELECT, INSERT, UPDATE, DELETE, CREATE, DROP, ALTER, INDEX, REFERENCES, LOCK TABLES, TRIGGER ON {db}.*"


@dataclass(frozen=True)
class Desk:
    """One database and the verbs to work on it.

    Args:
        engine: connects to it.
        dialect: ours.
        settings: short patience, so that a test of a lock that is not had ends soon.
    """

    engine: Engine
    dialect: MySQL
    settings: Settings = field(default_factory=lambda: Settings(lock_timeout_ms=200))

    @classmethod
    def at(cls, database: Database, *statements: str) -> Desk:
        """A desk at a fresh database in which the statements were run."""
        with database.engine.connect():
            pass
        desk = cls(database.engine, cast(MySQL, dialect_of(database.engine.dialect)))
        desk.sql(*statements)
        return desk

    @property
    def mariadb(self) -> bool:
        """Whether the server is MariaDB."""
        return self.dialect.family == "mariadb"

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
        """Run statements in one session, each by itself."""
        with self.open() as connection:
            for statement in statements:
                execute(connection, statement)

    def fails(self, *statements: str) -> int | None:
        """Run statements in one session; the number of the last one's error."""
        with self.open() as connection:
            for statement in statements[:-1]:
                execute(connection, statement)
            with pytest.raises(sa.exc.DBAPIError) as caught:
                execute(connection, statements[-1])
        return error_number(caught.value)

    def rows(self, query: str) -> list[tuple[Any, ...]]:
        """All rows of a query."""
        with self.open() as connection:
            found = connection.exec_driver_sql(query, execution_options={"no_parameters": True})
            return [tuple(row) for row in found]

    def value(self, query: str) -> Any:
        """The one value of a query."""
        return self.rows(query)[0][0]

    def facts(self, reference: Reference = REFERENCE) -> Facts:
        """The facts now."""
        with self.open() as connection:
            return self.dialect.facts(connection, reference)

    def attempt(self, step: Step) -> None:
        """One attempt at a step."""
        with self.open() as connection:
            self.dialect.run_sql(connection, step, self.settings)

    def attempt_fails(self, step: Step) -> int | None:
        """One attempt at a step that fails; the error's number."""
        with pytest.raises(sa.exc.DBAPIError) as caught:
            self.attempt(step)
        return error_number(caught.value)

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

    def enforce(self, reference: Reference = REFERENCE) -> list[str]:
        """Index and enforce; the names of the steps run."""
        ran = self.run(self.dialect.index_steps(self.facts(reference)), reference)
        return ran + self.run(self.dialect.enforce_steps(self.facts(reference)), reference)

    def upgrade(self, reference: Reference = REFERENCE) -> frozenset[str]:
        """Index, enforce, validate; the names of the steps that were ours."""
        ran = self.enforce(reference)
        ran += self.run(self.dialect.validate_steps(self.facts(reference)), reference)
        return frozenset(ran)

    def downgrade(self, ours: frozenset[str], reference: Reference = REFERENCE) -> None:
        """The inverses, in their order."""
        self.run(self.dialect.unvalidate_steps(self.facts(reference), ours), reference)
        self.run(self.dialect.release_steps(self.facts(reference), ours), reference)
        self.run(self.dialect.drop_index_steps(self.facts(reference), ours), reference)

    def step(self, name: str, reference: Reference = REFERENCE) -> Step:
        """A step of the way there, by name."""
        there = self.facts(reference)
        steps = (
            *self.dialect.index_steps(there),
            *self.dialect.enforce_steps(there),
            *self.dialect.validate_steps(there),
        )
        return next(step for step in steps if step.name == name)

    def preflight(self, reference: Reference = REFERENCE, *, severity: str = "refuse") -> list[Problem]:
        """What the facts say against the reference."""
        found = self.dialect.preflight(self.facts(reference))
        return [problem for problem in found if problem.severity == severity]

    def environment(self, reference: Reference = REFERENCE) -> list[Problem]:
        """What account, server and other sessions say against it."""
        facts = self.facts(reference)
        with self.open() as connection:
            return list(self.dialect.environment_problems(connection, facts, self.settings))

    def schema(self) -> list[tuple[Any, ...]]:
        """Everything a migration could leave behind: columns, constraints, indexes, triggers."""
        columns = self.rows(
            "SELECT table_name, column_name, ordinal_position, column_default, is_nullable, column_type, "
            "character_set_name, collation_name, extra, column_comment, generation_expression, column_key "
            "FROM information_schema.columns WHERE table_schema = DATABASE() ORDER BY 1, 3"
        )
        tables = [row[0] for row in self.rows("SHOW FULL TABLES WHERE Table_type = 'BASE TABLE'")]
        texts = [self.rows(f"SHOW CREATE TABLE {self.dialect.quote(name)}")[0] for name in tables]
        return [*columns, *texts, *self.rows("SHOW TRIGGERS")]


def slow_to_rebuild(desk: Desk) -> None:
    """Give `post` so many rows that a rebuild of it takes its time on this machine."""
    desk.sql(*[DOUBLE] * 14)
    took = 0.0
    while took < _TAKES_ITS_TIME:
        desk.sql(DOUBLE)
        began = time.monotonic()
        desk.sql("ALTER TABLE post FORCE, ALGORITHM=INPLACE, LOCK=NONE")
        took = time.monotonic() - began


@contextmanager
def account(desk: Desk, database: Database, *grants: str) -> Iterator[Desk]:
    """The same database through an account with these privileges; `{db}` is the database."""
    name = f"mt_{secrets.token_hex(5)}"
    desk.sql(f"CREATE USER '{name}'@'%' IDENTIFIED BY 'secret'")
    try:
        for grant in grants:
            desk.sql(f"GRANT {grant.format(db='`' + database.name + '`')} TO '{name}'@'%'")
        url = sa.make_url(database.url).set(username=name, password="secret")
        engine = sa.create_engine(url, poolclass=sa.NullPool)
        with engine.connect():
            pass
        yield Desk(engine, type(desk.dialect)(engine.dialect), desk.settings)
    finally:
        desk.sql(f"DROP USER '{name}'@'%'")


def in_background(work: Any, *arguments: Any) -> threading.Thread:
    """Start something in a thread of its own."""
    thread = threading.Thread(target=work, args=arguments, daemon=True)
    thread.start()
    return thread
