"""The script for psql: short transactions for what locks, DO blocks that commit for what loops.

Every statement of a step stands bare, so that a reviewer, and a linter, reads what will be run; only what
needs a loop or a condition is inside a DO block. `ON_ERROR_STOP` ends the script at the first error.
"""

from __future__ import annotations

from collections.abc import Iterator

from migrator.decisions import DecisionsFile
from migrator.dialects import pg_sessions
from migrator.dialects.pg_words import LockingSql, literal, table_sql
from migrator.lock import LOCK_NAME
from migrator.mirror import creation
from migrator.offline import postgresql_checks as checks
from migrator.offline.decided import if_not_exists, inserts, made_anew
from migrator.offline.job import ServerScript
from migrator.offline.postgresql_blocks import block, refusal
from migrator.offline.postgresql_restore import restore_block
from migrator.offline.postgresql_sweep import sweep_block
from migrator.plan import Sql, Step, Sweep
from migrator.reference import Reference

__all__ = ["PostgreSQLScript"]


class PostgreSQLScript(ServerScript):
    """PostgreSQL 13 to 18."""

    def together(self, *statements: str) -> str:
        """BEGIN to COMMIT."""
        return self.statements("BEGIN", *statements, "COMMIT")

    def opening(self) -> Iterator[str]:
        """As `pg_sessions` sets a session up; and the advisory lock of a run, which the session keeps."""
        settings = pg_sessions.session_settings(self.job.facts.server.version)
        settings |= {"lock_timeout": self.job.settings.lock_timeout_ms, "client_min_messages": "warning"}
        yield self.statements(*(f"SET {name} = {literal(str(value))}" for name, value in settings.items()))
        key = pg_sessions.lock_key(LOCK_NAME)
        busy = f"IF NOT pg_try_advisory_lock({key}) THEN\n{refusal('another run is at work here')}\nEND IF;"
        yield block([], busy)

    def closing(self) -> Iterator[str]:
        """The lock given back, the settings as they were."""
        key = pg_sessions.lock_key(LOCK_NAME)
        own = ("lock_timeout", "client_min_messages")
        names = (*pg_sessions.session_settings(self.job.facts.server.version), *own)
        yield block([], f"PERFORM pg_advisory_unlock({key});")
        yield self.statements(*(f"RESET {name}" for name in names))

    def checks(self) -> Iterator[str]:
        """The tables, and for an inverse the journal, are what this was planned from."""
        yield block(["mgr_found text;"], checks.tables(self.job))
        if self.job.inverse is not None:
            yield block([], checks.journal(self.job, self.job.inverse))

    def decisions(self, file: DecisionsFile) -> Iterator[str]:
        """In one transaction: a table that is there is whole."""
        yield self.statements("BEGIN", *made_anew(self.job.words, file))
        for statement in inserts(self.job.words, file, file.name):
            yield self.statements(statement)
        yield self.statements("COMMIT")

    def sql(self, step: Step, work: Sql) -> Iterator[str]:
        """The step's statements under its limits; an index that came out INVALID stops the script."""
        limits = pg_sessions.limits(work, self.job.settings, 1000 if work.patience == "long" else 0)
        if work.mode == "transaction":
            sets = [f"SET LOCAL {name} = {literal(str(value))}" for name, value in limits.items()]
            yield self.together(*sets, *work.statements)
            return
        sets = [f"SET {name} = {literal(str(value))}" for name, value in limits.items()]
        before = f"SET lock_timeout = {literal(str(self.job.settings.lock_timeout_ms))}"
        yield self.statements(*sets, *work.statements, before, "SET statement_timeout = '0'")
        if isinstance(work, LockingSql) and work.index is not None:
            name = table_sql(work.index)
            yield block([], checks.index_is_valid(name))

    def sweep(self, step: Step, work: Sweep) -> Iterator[str]:
        """The tables it needs, then the loop."""
        sweeping = self.job.sweeping(work)
        worklist = sweeping.worklist
        needed = [if_not_exists(worklist.creation)]
        if not work.scan_only:
            for mirror, table in sweeping.homes.items():
                needed += [if_not_exists(text) for text in creation(worklist.dialect, mirror, table)]
                needed += self.job.records.mirrored(mirror)
        yield self.together(*needed)
        yield sweep_block(self.job, sweeping, step, work)

    def restore(self, step: Step) -> Iterator[str]:
        """One loop over each mirror."""
        yield restore_block(self.job, step)

    def proof(self) -> Iterator[str]:
        """A count in one statement is a snapshot."""
        yield block([], checks.proof(self.job))

    def none_left(self, reference: Reference) -> Iterator[str]:
        """See `ServerScript.none_left`."""
        yield block([], checks.none_left(self.job, reference))

    def drop_journal_if_idle(self) -> Iterator[str]:
        """The journal of other references stays."""
        yield block([], checks.drop_journal_if_idle(self.job))
