"""The script for the mysql and mariadb clients: every statement of DDL by itself, loops in procedures."""

from __future__ import annotations

from collections.abc import Iterator

from migrator.catalog import Facts
from migrator.decisions import DecisionsFile, loading_name
from migrator.dialects import mysql_sessions
from migrator.lock import LOCK_NAME
from migrator.mirror import creation
from migrator.offline import mysql_checks as checks
from migrator.offline.decided import inserts
from migrator.offline.job import Job, ServerScript
from migrator.offline.mysql_blocks import (
    ASSERT,
    drop,
    make_assert,
    statements,
    together,
    unless,
)
from migrator.offline.mysql_restore import restore_procedure
from migrator.offline.mysql_sweep import sweep_procedure
from migrator.plan import Sql, Step, Sweep
from migrator.reference import Reference

_LOCK = f"CONCAT('migrator:', LEFT(SHA2(CONCAT(IFNULL(DATABASE(), ''), CHAR(0), '{LOCK_NAME}'), 256), 40))"


class MySQLScript(ServerScript):
    """MySQL 8.0 to 9.x, MariaDB 10.11 to 11.8."""

    def statements(self, *texts: str) -> str:
        """Each by itself."""
        return statements(*texts)

    def together(self, *texts: str) -> str:
        """START TRANSACTION to COMMIT."""
        return together(*texts)

    def opening(self) -> Iterator[str]:
        """As `mysql_sessions` sets a session up, what was there remembered; and the lock of a run."""
        yield statements(*set_up(self.job, mysql_sessions.short_seconds(self.job.settings)))
        yield make_assert()
        yield unless(f"GET_LOCK({_LOCK}, 0)", "another run is at work in this database")

    def closing(self) -> Iterator[str]:
        """All put back."""
        yield statements(f"DO RELEASE_LOCK({_LOCK})", drop(ASSERT), *put_back_settings(self.job))

    def checks(self) -> Iterator[str]:
        """The tables, and for an inverse the journal, are what this was planned from."""
        yield from checks.tables(self.job, self.job.facts)
        if self.job.inverse is not None:
            yield from checks.journal(self.job, self.job.inverse)

    def decisions(self, file: DecisionsFile) -> Iterator[str]:
        """As online: only when it is whole does the table get its name."""
        dialect, loading = self.job.words.dialect, loading_name(file.name)
        there, name = dialect.table_sql(loading), dialect.table_sql(file.name)
        yield statements(
            f"DROP TABLE IF EXISTS {there}", *file.creation(dialect, loading), "START TRANSACTION"
        )
        for statement in inserts(self.job.words, file, loading):
            yield statements(statement)
        yield statements("COMMIT", f"DROP TABLE IF EXISTS {name}", f"RENAME TABLE {there} TO {name}")

    def sql(self, step: Step, work: Sql) -> Iterator[str]:
        """The step's statements, and a look at the catalog: MyISAM takes a foreign key and forgets it. One
        that fails ends the client, and with its session every setting and table lock."""
        settings = self.job.settings
        short = mysql_sessions.short_seconds(settings)
        seconds = mysql_sessions.long_seconds(settings) if work.patience == "long" else short
        wait = "SET SESSION lock_wait_timeout = {}"
        lines = [wait.format(seconds), *work.sent, *work.settle, wait.format(short)]
        if work.mode == "transaction":
            lines = [wait.format(seconds), "START TRANSACTION", *work.sent, "COMMIT", *work.settle]
        yield statements(*lines)
        yield from checks.standing(self.job, self._after(step))

    def _after(self, step: Step) -> Facts:
        facts = self.job.facts
        for each in self.job.plan.steps:
            facts = self.job.advance(facts, each)
            if each is step:
                break
        return facts

    def sweep(self, step: Step, work: Sweep) -> Iterator[str]:
        """The tables it needs, then the loop."""
        sweeping = self.job.sweeping(work)
        worklist, dialect = sweeping.worklist, self.job.words.dialect
        yield statements(f"DROP TABLE IF EXISTS {dialect.table_sql(worklist.name)}", worklist.creation)
        if not work.scan_only:
            for mirror, source in sweeping.homes.items():
                table, index = creation(dialect, mirror, source)
                # The index in the table's own statement: MySQL has no CREATE INDEX IF NOT EXISTS.
                name = index.removeprefix("CREATE INDEX ").partition(" ON ")[0]
                key = f"KEY {name} ({dialect.columns_sql(mirror.key)})"
                yield statements(with_key(table, key), *self.job.records.mirrored(mirror))
        yield sweep_procedure(self.job, sweeping, step, work)

    def restore(self, step: Step) -> Iterator[str]:
        """One loop over each mirror."""
        yield restore_procedure(self.job, step)

    def proof(self) -> Iterator[str]:
        """A count in one statement is a snapshot."""
        yield checks.proof(self.job)

    def none_left(self, reference: Reference) -> Iterator[str]:
        """See `ServerScript.none_left`."""
        yield checks.none_left(self.job, reference)

    def drop_journal_if_idle(self) -> Iterator[str]:
        """The journal of other references stays."""
        yield checks.drop_journal_if_idle(self.job.records)


def with_key(create: str, key: str) -> str:
    """A CREATE TABLE, where the table is missing, with an index."""
    head, mark, tail = create.rpartition(") ENGINE=")
    text = f"{head}, {key}{mark}{tail}"
    words = "CREATE TABLE "
    return text if text.startswith(words + "IF") else text.replace(words, words + "IF NOT EXISTS ", 1)


def set_up(job: Job, seconds: int) -> list[str]:
    """Remember the session's settings and make ours."""
    values = _assignments(job, seconds)
    remembered = ", ".join(f"@migrator_{name} = @@SESSION.{name}" for name in values)
    return [f"SET {remembered}", "SET " + ", ".join(f"SESSION {name} = {v}" for name, v in values.items())]


def put_back_settings(job: Job) -> list[str]:
    """The session's settings as they were."""
    names = _assignments(job, 1)
    return ["SET " + ", ".join(f"SESSION {name} = @migrator_{name}" for name in names)]


def _assignments(job: Job, seconds: int) -> dict[str, str]:
    server = job.facts.server
    # MariaDB took MySQL's name for it with 11.1.
    old_name = server.family == "mariadb" and server.version < (11, 1)
    return {
        **mysql_sessions.assignments(",".join(mysql_sessions.MODES), seconds),
        "group_concat_max_len": "1048576",
        "tx_isolation" if old_name else "transaction_isolation": "'READ-COMMITTED'",
    }
