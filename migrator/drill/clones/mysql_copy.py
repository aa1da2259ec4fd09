"""A MySQL or MariaDB database copied inside the server, by statements alone.

Rows go by INSERT ... SELECT at READ COMMITTED, which reads without locks and copies every value as it is
stored: a dump through text loses digits of a FLOAT. Definitions go by SHOW CREATE, which names tables
without their database while that one is the current one.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from migrator.drill.sample import Sample
from migrator.predicate import table_clause
from migrator.reference import TableName

_SESSION: Final = (
    "SET NAMES utf8mb4",
    "SET SESSION foreign_key_checks = 0",
    "SET SESSION unique_checks = 0",
    "SET SESSION time_zone = '+00:00'",
    "SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED",
    # Rows and defaults are taken as they are: zeros in dates, zeros in AUTO_INCREMENT columns.
    "SET SESSION sql_mode = 'NO_AUTO_VALUE_ON_ZERO,ALLOW_INVALID_DATES'",
)
# MariaDB only; MySQL does not know the names. Its CHECKs may not hold for old rows, and the history of a
# system-versioned table is written only on request.
_SESSION_MARIADB: Final = (
    "SET SESSION check_constraint_checks = 0",
    "SET SESSION system_versioning_insert_history = 1",
)


@dataclass(frozen=True)
class Copy:
    """Copies everything but events.

    Args:
        connection: in autocommit mode, without parameters, closed by the caller afterwards: its session
            settings are changed.
        source: the database's name.
        name: the copy's, which is there and empty.
        sample: the rows to be copied; None for all of them.
    """

    connection: Connection
    source: str
    name: str
    sample: Sample | None = None

    def make(self) -> None:
        """Tables, rows, then what may refer to them: routines, views, triggers.

        Raises:
            sqlalchemy.exc.DBAPIError: as the server said it.
        """
        self._settings()
        tables = self._names("BASE TABLE", "SYSTEM VERSIONED")
        for sequence in self._names("SEQUENCE"):
            self._sequence(sequence)
        for table in tables:
            self._create(f"SHOW CREATE TABLE {quoted(table)}", "Create Table")
        for table in tables:
            self._rows(table)
        self._in_any_order([*self._routines(), *self._views()])
        for trigger in self._triggers():
            self._create_as(f"SHOW CREATE TRIGGER {quoted(trigger)}", "SQL Original Statement")

    def _settings(self) -> None:
        for statement in _SESSION:
            self._run(statement)
        for statement in _SESSION_MARIADB:
            self._maybe(statement)

    def _names(self, *kinds: str) -> list[str]:
        listed = ", ".join(f"'{kind}'" for kind in kinds)
        return self._ask(
            "SELECT table_name FROM information_schema.tables "
            f"WHERE table_schema = {literal(self.source)} AND table_type IN ({listed}) ORDER BY 1"
        )

    def _rows(self, table: str) -> None:
        """Every column that can be written, invisible ones too; generated ones the copy makes itself."""
        columns = self._ask(
            "SELECT column_name FROM information_schema.columns "
            f"WHERE table_schema = {literal(self.source)} AND table_name = {literal(table)} "
            "AND coalesce(generation_expression, '') = '' ORDER BY ordinal_position"
        )
        listed = ", ".join(map(quoted, columns))
        rows = table_clause(TableName(table, self.source), *columns)
        query = sa.select(*(rows.c[name] for name in columns))
        if self.sample is not None and (kept := self.sample.kept(TableName(table), rows)) is not None:
            query = query.where(kept)
        self._run(
            f"INSERT INTO {quoted(self.name)}.{quoted(table)} ({listed}) "
            f"{query.compile(dialect=self.connection.dialect)}"
        )

    def _sequence(self, name: str) -> None:
        self._create(f"SHOW CREATE SEQUENCE {quoted(name)}", "Create Table")
        nexts = self._ask(f"SELECT next_not_cached_value FROM {quoted(self.source)}.{quoted(name)}")
        self._run(f"SELECT SETVAL({quoted(self.name)}.{quoted(name)}, {nexts[0]}, 0)")

    def _routines(self) -> Iterator[Callable[[], None]]:
        for kind in ("FUNCTION", "PROCEDURE"):
            for name in self._ask(
                "SELECT routine_name FROM information_schema.routines "
                f"WHERE routine_schema = {literal(self.source)} AND routine_type = '{kind}' ORDER BY 1"
            ):
                yield self._later(f"SHOW CREATE {kind} {quoted(name)}", f"Create {kind.capitalize()}")

    def _views(self) -> Iterator[Callable[[], None]]:
        for name in self._names("VIEW"):
            yield self._later(f"SHOW CREATE VIEW {quoted(name)}", "Create View")

    def _triggers(self) -> list[str]:
        return self._ask(
            "SELECT trigger_name FROM information_schema.triggers "
            f"WHERE trigger_schema = {literal(self.source)} "
            "ORDER BY event_object_table, action_timing, event_manipulation, action_order"
        )

    def _later(self, show: str, column: str) -> Callable[[], None]:
        return lambda: self._create_as(show, column)

    def _in_any_order(self, works: list[Callable[[], None]]) -> None:
        """A view may stand on another, and on a function: round after round, until none is left."""
        while works:
            left: list[Callable[[], None]] = []
            failure: sa.exc.DBAPIError | None = None
            for work in works:
                try:
                    work()
                except sa.exc.DBAPIError as error:
                    left.append(work)
                    failure = error
            if failure is not None and len(left) == len(works):
                raise failure
            works = left

    # -- statements ------------------------------------------------------------------------------
    def _create(self, show: str, column: str) -> None:
        """Carry a definition over under our own settings."""
        self._use(self.source)
        row = self._row(show)
        self._use(self.name)
        self._run(row[column])

    def _create_as(self, show: str, column: str) -> None:
        """Carry a definition over under the settings that it was made with: they are part of it."""
        self._use(self.source)
        row = self._row(show)
        self._use(self.name)
        for setting in ("character_set_client", "collation_connection"):
            if row.get(setting):
                self._run(f"SET SESSION {setting} = {literal(row[setting])}")
        mode = row.get("sql_mode")
        try:
            if mode is not None:
                self._run(f"SET SESSION sql_mode = {literal(mode)}")
            self._run(self._unqualified(row[column]))
        finally:
            self._run(_SESSION[0])
            self._run(_SESSION[-1])

    def _unqualified(self, definition: str) -> str:
        """Written with the database's name, a trigger would be on the source's table."""
        found = re.compile(rf"(?<![\w`])`?{re.escape(self.source)}`?\s*\.\s*(?=[`\w])")
        return found.sub("", definition)

    def _use(self, database: str) -> None:
        self._run(f"USE {quoted(database)}")

    def _row(self, statement: str) -> dict[str, Any]:
        return dict(self.connection.exec_driver_sql(statement).mappings().one())

    def _ask(self, statement: str) -> list[Any]:
        return list(self.connection.exec_driver_sql(statement).scalars().all())

    def _run(self, statement: str) -> None:
        self.connection.exec_driver_sql(statement)

    def _maybe(self, statement: str) -> None:
        try:
            self._run(statement)
        except sa.exc.DBAPIError as error:
            if getattr(error.orig, "args", (0,))[0] != 1193:  # ER_UNKNOWN_SYSTEM_VARIABLE
                raise


def quoted(name: str) -> str:
    """A name as both servers quote it whatever the mode."""
    return "`" + name.replace("`", "``") + "`"


def literal(text: str) -> str:
    """A string as a literal."""
    return "'" + str(text).replace("\\", "\\\\").replace("'", "''") + "'"
