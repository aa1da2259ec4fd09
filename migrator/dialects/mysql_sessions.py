"""Sessions: settings, lock discipline, what an error number means.

Every setting is of the session, on a connection that is closed and not pooled. Strict mode is forced
everywhere: outside it MySQL, and MariaDB under any algorithm, answer `MODIFY ... NOT NULL` by turning
NULL into 0.

Source of the numbers: https://dev.mysql.com/doc/mysql-errors/8.4/en/server-error-reference.html,
https://mariadb.com/kb/en/mariadb-error-code-reference/, and our measurements.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import Any

import pymysql
import sqlalchemy as sa
from pymysql.constants import FIELD_TYPE
from sqlalchemy.engine import Connection

from migrator.dialects.mysql_watchdog import Patience, bounded
from migrator.dialects.telling import Verdict
from migrator.naming import MARKER
from migrator.plan import Sql, Step
from migrator.settings import Settings

# Any value that is stored can be copied: zero dates, invalid dates, a key of 0.
MODES = (
    "STRICT_ALL_TABLES",
    "STRICT_TRANS_TABLES",
    "NO_ENGINE_SUBSTITUTION",
    "NO_AUTO_VALUE_ON_ZERO",
    "ALLOW_INVALID_DATES",
    "ERROR_FOR_DIVISION_BY_ZERO",
)

# What a server or an account may set for every session, and which would cut our answers short, refuse our
# statements or begin transactions of its own. DEFAULT would mean the server's value, not the compiled one.
_WHOLE_ANSWERS = {
    "sql_select_limit": "18446744073709551615",
    "sql_big_selects": "1",
    "sql_safe_updates": "0",
    "sql_auto_is_null": "0",
    "completion_type": "0",
}

_LOCK_WAIT, _KILLED = 1205, 1317

# The rebuild's last moment wants EXCLUSIVE, and everybody queues behind it: the longer it has worked, the
# more a wait may cost the others, up to `long_lock_timeout_ms`. What the server itself allows where
# our watchdog cannot end it is a little more.
_PATIENT_SECONDS = 10
_SHARE_OF_WORK = 0.05

_VERDICTS: dict[Verdict, frozenset[int]] = {
    "lock-timeout": frozenset({1205, 3572}),  # 3572: NOWAIT
    # The online log overflowed: the rebuild may do better when it is quieter.
    "retry": frozenset({1799}),
    # 1020 and 1412: the snapshot is older than the table; 3101: group replication said no at commit.
    "deadlock": frozenset({1213, 1020, 1412, 3101}),
    "violation": frozenset({1048, 1062, 1138, 1216, 1217, 1263, 1265, 1364, 1451, 1452, 1557, 1761, 1762})
    | frozenset({3819, 4025}),
    # 0 is PyMySQL's word for a closed connection; 1927 and 4031: the server closed it.
    "lost": frozenset({0, 1053, 1080, 1152, 1158, 1159, 1160, 1161, 1184, 1927, 2002, 2003, 2006, 2013})
    | frozenset({2055, 4031}),
    "duplicate": frozenset({1050, 1060, 1061, 1022, 1359, 1826}),
    "denied": frozenset({1044, 1045, 1142, 1143, 1227, 1290, 1370, 1410, 1419, 1698, 1792, 1836}),
    # Disk (1021, 1114, 3675) and memory. MariaDB's word for a table it has no room to create, 1005, is also
    # its word for many another reason.
    "no-room": frozenset({1021, 1037, 1038, 1041, 1114, 3675}),
}
_BY_NUMBER = {number: verdict for verdict, numbers in _VERDICTS.items() for number in numbers}


def error_number(error: BaseException) -> int | None:
    """The server's or the driver's number for an error, None where it has none."""
    origin = error.orig if isinstance(error, sa.exc.DBAPIError) else error
    if origin is None or not origin.args:
        return None
    return origin.args[0] if isinstance(origin.args[0], int) else None


def verdict(error: BaseException) -> Verdict:
    """What an error means to the runner. 1317 (killed by an operator) is `other`: that someone ended our
    statement is no reason to send it again."""
    number = error_number(error)
    if isinstance(error, sa.exc.DBAPIError) and error.connection_invalidated:
        return "lost"
    return "other" if number is None else _BY_NUMBER.get(number, "other")


def execute(connection: Connection, statement: str) -> None:
    """Send a statement as it stands: a percent sign in a name is no placeholder."""
    connection.exec_driver_sql(statement, execution_options={"no_parameters": True})


def short_seconds(settings: Settings) -> int:
    """How long a step of a moment waits for its locks: the server counts in whole seconds."""
    return max(1, math.ceil(settings.lock_timeout_ms / 1000))


def long_seconds(settings: Settings) -> int:
    """How long a rebuild waits for its last lock."""
    return max(_PATIENT_SECONDS, math.ceil(settings.long_lock_timeout_ms / 1000))


def patience(settings: Settings, seconds: int, *, long: bool) -> Patience | None:
    """Bounds finer than the server's whole seconds; None where the server's is as fine.

    Args:
        settings: in force.
        seconds: the server's bound.
        long: for work that takes its time, which waits twice: at its beginning, when nothing is lost by
            giving way at once, and at its end, when all of it is.
    """
    if settings.lock_timeout_ms >= seconds * 1000:
        return None
    first = settings.lock_timeout_ms / 1000
    if not long:
        return Patience(first)
    return Patience(first, max(first, settings.long_lock_timeout_ms / 1000), _SHARE_OF_WORK)


def sql_mode(connection: Connection) -> str:
    """Ours; with ANSI_QUOTES where SQLAlchemy found it and writes names in double quotes."""
    ansi = connection.dialect.identifier_preparer.initial_quote == '"'
    return ",".join((*MODES, *(("ANSI_QUOTES",) if ansi else ())))


def assignments(mode: str, lock_seconds: int) -> dict[str, str]:
    """What every session of ours that writes begins with, by name.

    Args:
        mode: its `sql_mode`.
        lock_seconds: bound of each wait for a metadata or row lock.
    """
    return {
        "sql_mode": f"'{mode}'",
        "foreign_key_checks": "1",
        "unique_checks": "1",
        **_WHOLE_ANSWERS,
        "time_zone": "'+00:00'",
        "lock_wait_timeout": str(lock_seconds),
        "innodb_lock_wait_timeout": str(lock_seconds),
        # An operator may pause a sweep for long; hosted servers cut idle sessions after minutes.
        "wait_timeout": "86400",
    }


def whole_answers(limit: str) -> str:
    """The statement with which every session of ours begins, whatever it is for.

    Args:
        limit: the server's name for the bound of a statement's time.
    """
    values = _WHOLE_ANSWERS | {limit: "0"}
    return "SET " + ", ".join(f"SESSION {name} = {value}" for name, value in values.items())


def session_settings(connection: Connection, lock_seconds: int, more: Mapping[str, str]) -> tuple[str, ...]:
    """The statements that make them.

    Args:
        connection: whose server it is for.
        lock_seconds: see `assignments`.
        more: settings of one server only, left out where its version does not know them.
    """
    wanted = ", ".join(f"'{name}'" for name in more)
    rows = connection.exec_driver_sql(f"SHOW SESSION VARIABLES WHERE variable_name IN ({wanted})").all()
    known = {str(row[0]).lower() for row in rows}
    values = assignments(sql_mode(connection), lock_seconds)
    values |= {name: value for name, value in more.items() if name in known}
    return (
        "SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED",
        "SET " + ", ".join(f"SESSION {name} = {value}" for name, value in values.items()),
    )


def set_up(connection: Connection, settings: Sequence[str]) -> None:
    """Send session settings and leave no transaction open. A read timeout of the client's is lifted: it
    would abandon an ALTER that goes on without us. A BIT is read as the number it is: its bytes, sent back as
    part of a key, would be compared as text and found to be none (1292)."""
    driver: Any = connection.connection.dbapi_connection
    if isinstance(driver, pymysql.Connection) and isinstance(driver.decoders, dict):
        driver.decoders[FIELD_TYPE.BIT] = int.from_bytes
    if getattr(driver, "_read_timeout", None) is not None:
        driver._read_timeout = None
    for setting in settings:
        execute(connection, setting)
    connection.commit()


@contextmanager
def read_only(connection: Connection, settings: str) -> Iterator[None]:
    """One consistent snapshot in which nothing can be written; the settings are made before it begins."""
    start = "START TRANSACTION WITH CONSISTENT SNAPSHOT, READ ONLY"
    with _begun(connection, "REPEATABLE READ", start, keep=False, before=(settings,)):
        yield


@contextmanager
def transaction(connection: Connection) -> Iterator[None]:
    """One short writing transaction at READ COMMITTED."""
    with _begun(connection, "READ COMMITTED", "START TRANSACTION READ WRITE", keep=True):
        yield


@contextmanager
def _begun(
    connection: Connection, isolation: str, start: str, *, keep: bool, before: tuple[str, ...] = ()
) -> Iterator[None]:
    """A transaction, in autocommit mode one of our own making. The level is of this transaction alone,
    so nothing is left behind on a connection that goes back to a pool."""
    opening = (*before, f"SET TRANSACTION ISOLATION LEVEL {isolation}", start)
    if not is_autocommit(connection):
        with connection.begin() as outer:
            for statement in opening:
                execute(connection, statement)
            yield
            if not keep:
                outer.rollback()
        return
    for statement in opening:
        execute(connection, statement)
    try:
        yield
    except BaseException:
        keep = False
        raise
    finally:
        # A lost connection has nothing to roll back, and the error that tells of it must stand.
        if not connection.closed and not connection.invalidated:
            execute(connection, "COMMIT" if keep else "ROLLBACK")


def is_autocommit(connection: Connection) -> bool:
    """Whether the driver's connection commits each statement by itself."""
    driver: Any = connection.connection.dbapi_connection
    return bool(driver.get_autocommit())


def run(
    connection: Connection, step: Step, settings: Sequence[str], patience: Patience | None = None
) -> None:
    """Send the statements of a step, one attempt; `settle` is sent whatever happened.

    Args:
        connection: fresh, in autocommit mode.
        step: a step of SQL.
        settings: what its session begins with.
        patience: bounds of its waits finer than the server's whole seconds.

    Raises:
        sqlalchemy.exc.DBAPIError: as the driver said it; 1205 where the finer bound was passed.
    """
    work = step.work
    if not isinstance(work, Sql):
        raise TypeError(f"step {step.name} is no SQL")
    set_up(connection, settings)
    begin, end = (["START TRANSACTION"], ["COMMIT"]) if work.mode == "transaction" else ([], [])
    try:
        with _bound(connection, patience):
            for statement in (*_opening(connection, step, work), *begin, *work.statements, *end):
                execute(connection, f"{MARKER}{step.name} */ {statement}")
    finally:
        # The error that brought us here matters more, and closing the connection settles as well.
        for statement in work.settle:
            with suppress(sa.exc.SQLAlchemyError):
                if not connection.invalidated:
                    execute(connection, statement)


def _opening(connection: Connection, step: Step, work: Sql) -> tuple[str, ...]:
    """Send the courtesy; what is to be sent in its place where it is denied."""
    try:
        for statement in work.courtesy:
            execute(connection, f"{MARKER}{step.name} */ {statement}")
    except sa.exc.DBAPIError as error:
        if verdict(error) != "denied":
            raise
        return work.otherwise
    return ()


@contextmanager
def _bound(connection: Connection, patience: Patience | None) -> Iterator[None]:
    if patience is None:
        yield
        return
    told = ""
    try:
        with bounded(connection, MARKER, patience) as dog:
            try:
                yield
            finally:
                told = dog.told
    except sa.exc.DBAPIError as error:
        if not told or error_number(error) != _KILLED or error.orig is None:
            raise
        text = f"Lock wait timeout exceeded; {told}"
        raise sa.exc.OperationalError(error.statement, None, type(error.orig)(_LOCK_WAIT, text)) from error
