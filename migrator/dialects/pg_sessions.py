"""Sessions: read-only snapshots, short writing transactions, and one bounded attempt at a step.

Every setting is made on a connection that its caller closes; what is needed for one transaction
only is SET LOCAL, so that a pooled connection keeps nothing of it.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Final

import sqlalchemy as sa
from sqlalchemy.engine import Connection
from sqlalchemy.exc import DBAPIError

from migrator.dialects.pg_locks import holders
from migrator.dialects.pg_others import APPLICATION
from migrator.dialects.pg_words import LockingSql, literal, table_sql
from migrator.plan import Sql
from migrator.reference import TableName
from migrator.settings import Settings

# What a statement may take beyond its waits for locks. All our short statements are done in
# milliseconds; this only keeps a mistake of ours from scanning a table under a heavy lock.
_WORK_MS: Final = 5_000


# Which session it is, anybody may see; on which table it works, only its own role and a few others.
_BUILDERS: Final = """
SELECT pid FROM pg_stat_progress_create_index
WHERE datid = (SELECT oid FROM pg_database WHERE datname = current_database())
"""


def execute(connection: Connection, statement: str) -> None:
    """Run a statement that has no parameters: the driver then leaves its percent signs alone."""
    connection.exec_driver_sql(statement, execution_options={"no_parameters": True})


def is_autocommit(connection: Connection) -> bool:
    """Whether the driver's connection commits each statement by itself."""
    return bool(getattr(connection.connection.dbapi_connection, "autocommit", False))


def is_open(connection: Connection) -> bool:
    """Whether the server sees a transaction. SQLAlchemy's own word is no help in autocommit mode,
    where it believes in one after every statement; libpq's is (0 is idle)."""
    info = getattr(connection.connection.dbapi_connection, "info", None)
    return bool(getattr(info, "transaction_status", 0))


@contextmanager
def begun(connection: Connection, kind: str, *, keep: bool = True) -> Iterator[None]:
    """A transaction, in autocommit mode one of our own making.

    Args:
        connection: without an open transaction.
        kind: `READ COMMITTED READ WRITE` and the like, whatever the role's default is.
        keep: COMMIT at the end; else ROLLBACK, as after any error.
    """
    if not is_autocommit(connection):
        with connection.begin() as outer:
            execute(connection, f"SET TRANSACTION ISOLATION LEVEL {kind}")
            yield
            if not keep:
                outer.rollback()
        return
    execute(connection, f"BEGIN ISOLATION LEVEL {kind}")
    try:
        yield
    except BaseException:
        keep = False
        raise
    finally:
        # A lost connection has nothing to roll back, and the error that tells of it must stand.
        if not connection.closed and not connection.invalidated:
            execute(connection, "COMMIT" if keep else "ROLLBACK")


def set_all(connection: Connection, settings: Mapping[str, str | int], *, local: bool = False) -> None:
    """SET, or SET LOCAL, in one round trip."""
    calls = (
        f"set_config({literal(name)}, {literal(str(value))}, {local})" for name, value in settings.items()
    )
    execute(connection, f"SELECT {', '.join(calls)}")


def unhurried(connection: Connection) -> dict[str, str | int]:
    """What every working session of ours sets."""
    return {
        "application_name": APPLICATION,
        **session_settings(connection.dialect.server_version_info or (13,)),
    }


def one_process(connection: Connection, alone: bool) -> dict[str, str | int]:
    """What keeps a session to one process of the server, unless it is alone there.

    18 reads ahead by I/O workers, which are processes too: on two cores they and a scan wake each other
    seventy times in a millisecond, and an application waits its turn longer (docs/benchmarks.md). 0 is none
    of it (manual, effective_io_concurrency); what the operating system reads ahead stays.
    """
    if alone:
        return {}
    found: dict[str, str | int] = {
        "max_parallel_workers_per_gather": 0,
        "max_parallel_maintenance_workers": 0,
    }
    if (connection.dialect.server_version_info or (13,)) >= (18,):
        found |= {"effective_io_concurrency": 0, "maintenance_io_concurrency": 0}
    return found


def session_settings(version: tuple[int | str, ...]) -> dict[str, str | int]:
    """No time limit that a server, a database or a role may have as its default (17's
    `transaction_timeout` would kill a VALIDATE in the middle), and RLS as an error: rows it hides
    would look like missing parents."""
    found: dict[str, str | int] = {
        "row_security": "off",
        "statement_timeout": 0,
        "idle_in_transaction_session_timeout": 0,
        "default_transaction_isolation": "read committed",
    }
    if version >= (14,):
        found["idle_session_timeout"] = 0
    if version >= (17,):
        found["transaction_timeout"] = 0
    return found


@contextmanager
def snapshot(connection: Connection) -> Iterator[None]:
    """One REPEATABLE READ READ ONLY transaction; inside a transaction that is open already, that one."""
    if is_open(connection) or (connection.in_transaction() and not is_autocommit(connection)):
        yield
        return
    with begun(connection, "REPEATABLE READ READ ONLY", keep=False):
        yield


@contextmanager
def read_only(connection: Connection, alone: Callable[[Connection], bool]) -> Iterator[None]:
    """A snapshot in which nothing can be written, nothing is hidden by RLS (42501 instead) and no
    time limit ends a long count.

    Args:
        alone: whether the session need not spare the server.
    """
    with begun(connection, "REPEATABLE READ READ ONLY", keep=False):
        limits = {name: value for name, value in unhurried(connection).items() if "timeout" in name}
        spared = one_process(connection, alone(connection))
        set_all(connection, {**limits, **spared, "row_security": "off"}, local=True)
        _read_faithfully(connection, keys=False)
        yield


@contextmanager
def transaction(connection: Connection) -> Iterator[None]:
    """One short writing transaction at READ COMMITTED, whatever the role's default is."""
    with begun(connection, "READ COMMITTED READ WRITE"):
        yield


def prepare(connection: Connection, settings: Settings, alone: Callable[[Connection], bool]) -> None:
    """Settings for a session that works in batches; a batch waits for a row lock no longer than a
    blocking step waits for its table lock. Keys are told whole, and so that they are read back.

    Args:
        alone: whether the session need not spare the server; asked in the transaction that sets all this.
    """
    _read_faithfully(connection, keys=True)
    whole: dict[str, str | int] = {"extra_float_digits": 1, "datestyle": "ISO"}
    with transaction(connection):
        whole |= {"lock_timeout": settings.lock_timeout_ms, **one_process(connection, alone(connection))}
        set_all(connection, {**unhurried(connection), **whole})


def attempt(
    connection: Connection, work: Sql, settings: Settings, *, patient: bool = False, alone: bool = True
) -> None:
    """Run a step's statements once, every wait for a lock bounded.

    A blocking step waits `lock_timeout_ms` for each lock: those who come after it queue behind it.
    A step of long patience blocks nobody while it waits, and waits longer than `deadlock_timeout`,
    at which PostgreSQL sends a plain autovacuum away; it works without a time limit. So does a
    `patient` attempt wait, once, when an autovacuum is all there is in the way. Behind an index that
    somebody is building, neither waits as long: the build waits for our snapshot in its turn, and
    after `deadlock_timeout` one of us would be ended, perhaps the build.

    Args:
        connection: in autocommit mode, closed by the caller afterwards: the settings stay on it.
        alone: whether a step that reads a whole table need not spare the server.
    """
    patient = patient or work.patience == "long"
    built = patient and isinstance(work, LockingSql) and _behind_a_build(connection, work)
    limit = limits(work, settings, deadlock_timeout_ms(connection) if patient else 0, built=built)
    set_all(connection, {**unhurried(connection), **one_process(connection, alone)})
    if work.mode == "transaction":
        with transaction(connection):
            set_all(connection, limit, local=True)
            for statement in work.statements:
                if not patient and isinstance(work, LockingSql) and statement == work.brief:
                    set_all(connection, {"lock_timeout": _brief(settings)}, local=True)
                execute(connection, statement)
        return
    set_all(connection, limit)
    index = None
    if isinstance(work, LockingSql):
        index, table = work.index, work.locks[0][0] if work.locks else None
        if work.leftover is not None and table and not _was_left(connection, table, work.leftover):
            return
        if index is not None and table and _was_left(connection, table, index):
            execute(connection, f"DROP INDEX CONCURRENTLY IF EXISTS {table_sql(index)}")
    try:
        for statement in work.statements:
            execute(connection, statement)
    except DBAPIError:
        if index is not None and not connection.invalidated:
            _clear_away(connection, table_sql(index), settings)
        raise


def _brief(settings: Settings) -> int:
    """A quarter of our patience, and now and then all of it: transactions that are merely slow would
    otherwise keep us away for ever."""
    return max(1, settings.lock_timeout_ms * random.choice((1, 1, 1, 4)) // 4)


def _clear_away(connection: Connection, index: str, settings: Settings) -> None:
    """Best effort, and briefly: an INVALID index costs writers, but whoever stood in our way is
    there still, and the error that brought us here must stand."""
    with suppress(DBAPIError):
        set_all(connection, {"lock_timeout": settings.lock_timeout_ms})
        if _is_invalid(connection, index):
            execute(connection, f"DROP INDEX CONCURRENTLY IF EXISTS {index}")


def _behind_a_build(connection: Connection, work: LockingSql) -> bool:
    """Whether one of those in the way is building an index."""
    with snapshot(connection):
        builders = {str(pid) for pid in connection.execute(sa.text(_BUILDERS)).scalars()}
        return bool(builders) and any(each.pid in builders for each in holders(connection, work.locks))


def limits(work: Sql, settings: Settings, deadlock_ms: int, *, built: bool = False) -> dict[str, str | int]:
    """The limits of a step's statements.

    Args:
        deadlock_ms: the server's `deadlock_timeout` where the wait is to outlast an autovacuum, else 0.
        built: give up early all the same, because an index is being built.
    """
    long = work.patience == "long"
    wait = settings.long_lock_timeout_ms if long and not built else settings.lock_timeout_ms
    if deadlock_ms and not built:
        wait = max(wait, deadlock_ms + 500)
    return {"lock_timeout": wait, "statement_timeout": 0 if long else 3 * wait + _WORK_MS}


def _is_invalid(connection: Connection, index: str) -> bool:
    found = connection.execute(
        sa.text("SELECT indisvalid FROM pg_index WHERE indexrelid = to_regclass(:name)::oid"), {"name": index}
    ).scalar_one_or_none()
    return found is False


def _was_left(connection: Connection, table: TableName, index: TableName) -> bool:
    """Whether a failed build left this index. One that is still being built looks the same in the catalog,
    but its builder holds SHARE UPDATE EXCLUSIVE on the table to the end: so ask under that lock."""
    if not _is_invalid(connection, table_sql(index)):
        return False
    with transaction(connection):
        execute(connection, f"LOCK TABLE {table_sql(table)} IN SHARE UPDATE EXCLUSIVE MODE")
        return _is_invalid(connection, table_sql(index))


def deadlock_timeout_ms(connection: Connection) -> int:
    """The server's `deadlock_timeout`; only a superuser may change it (42501)."""
    with snapshot(connection):
        query = sa.text("SELECT setting FROM pg_settings WHERE name = 'deadlock_timeout'")
        return int(connection.execute(query).scalar_one())


def lock_key(name: str) -> int:
    """The advisory lock's number for a name: the same in every process and version of ours."""
    return int.from_bytes(hashlib.sha256(f"migrator:{name}".encode()).digest()[:8], signed=True)


def try_lock(connection: Connection, name: str) -> bool:
    """Take the session's advisory lock; it dies with the session and outlives a transaction. The session will
    be idle for as long as a step takes: no limit of the server's, the database's or the role's may end it."""
    with _own(connection):
        set_all(connection, unhurried(connection))
        query = sa.text("SELECT pg_try_advisory_lock(:key)")
        return bool(connection.execute(query, {"key": lock_key(name)}).scalar_one())


def unlock(connection: Connection, name: str) -> None:
    """Give it back."""
    with _own(connection):
        connection.execute(sa.text("SELECT pg_advisory_unlock(:key)"), {"key": lock_key(name)})


@contextmanager
def _own(connection: Connection) -> Iterator[None]:
    """Leave no transaction open that was not open before."""
    before = is_open(connection)
    yield
    if not before and connection.in_transaction():
        connection.commit()


def move_sequence(connection: Connection, table: str, column: str, beyond: int) -> bool:
    """Move the sequence a column owns past a value; False where it owns none. Never moved back."""
    sequence = "pg_get_serial_sequence(:table, :column)"
    with transaction(connection):
        query = sa.text(f"SELECT CAST({sequence} AS text)")
        if connection.execute(query, {"table": table, "column": column}).scalar_one() is None:
            return False
        # nextval() is what moves it under concurrency; setval() alone could move it back.
        query = sa.text(f"SELECT setval({sequence}, GREATEST(nextval({sequence}), :beyond))")
        connection.execute(query, {"table": table, "column": column, "beyond": beyond})
    return True


def _read_faithfully(connection: Connection, *, keys: bool) -> None:
    # It loads the driver, which `migrator --help` does without.
    from migrator.dialects.pg_values import read_as_the_server_compares

    read_as_the_server_compares(connection, keys=keys)
