"""Settings, resolved in one place: flag > MIGRATOR_* > DATABASE_URL > alembic.ini > default."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any, Literal, get_args

import sqlalchemy as sa
from sqlalchemy.engine import URL

from migrator.errors import UsageError

Parallel = Literal["quiet", "always", "never"]

DEFAULT_URL = "sqlite:///blog.db"


@dataclass(frozen=True)
class Settings:
    """What an operator may turn. Durations in seconds unless the name says milliseconds.

    Args:
        batch_size: rows per batch to begin with; it follows `batch_target_ms` from there.
        batch_floor, batch_ceiling: bounds of the batch size.
        batch_target_ms: how long a batch should take.
        pause_ms: rest between two batches, for the application.
        scan_rows: rows per scan window to begin with; 0 leaves it to the size of the table.
        max_orphan_share: above this share of orphans in all rows the run stops before the first change.
        max_orphans: above this many orphans it stops there as well; 0 is off.
        max_unindexed_rows: a table of more rows than this that refers, without an index for it, to rows which
            are to be deleted stops the run as well; 0 is off.
        lock_timeout_ms: how long a blocking step waits for its locks, per attempt.
        lock_attempts, lock_deadline: bounds of its retries.
        long_lock_timeout_ms: the same for steps that block nobody while they wait (VALIDATE).
        long_transaction: a transaction older than this stops the run before a blocking step.
        parent_first: whether a blocking step locks the parent before the child (PostgreSQL).
        max_replica_lag: a replica that is further behind than this, in seconds, holds the batches; 0 is off.
        replica_url: the replicas that are asked themselves, with white space between them: MySQL and MariaDB
            know no other way. Without it PostgreSQL is asked who follows it.
        replica_lag_query: what they are asked in place of their own status: a SELECT of seconds.
        max_active_sessions: more sessions at work than this on the server hold the batches; 0 is off.
        max_lock_waiters: more sessions waiting for a lock than this hold the batches; 0 is off.
        wait_for_autovacuum: whether an autovacuum at work on the child table holds the batches (PostgreSQL).
        parallel: when a table may be read, or an index built, by several processes of the server: `quiet`
            (while nobody else is at work), `always` or `never` (PostgreSQL).
        log: how progress is told: `auto` (bars on a terminal, else lines), `plain` (lines) or `json`.
    """

    batch_size: int = 1000
    batch_floor: int = 50
    batch_ceiling: int = 10_000
    batch_target_ms: int = 250
    pause_ms: int = 20
    scan_rows: int = 0
    max_orphan_share: float = 0.5
    max_orphans: int = 0
    max_unindexed_rows: int = 100_000
    lock_timeout_ms: int = 400
    lock_attempts: int = 30
    lock_deadline: float = 600.0
    long_lock_timeout_ms: int = 5000
    long_transaction: float = 300.0
    parent_first: bool = True
    max_replica_lag: float = 0.0
    replica_url: str = field(default="", repr=False)  # it may hold a password
    replica_lag_query: str = ""
    max_active_sessions: int = 0
    max_lock_waiters: int = 0
    wait_for_autovacuum: bool = False
    parallel: Parallel = "quiet"
    log: str = "auto"


# Where nought means none, or off.
_ZERO_IS_FINE = (
    "pause_ms",
    "scan_rows",
    "max_orphan_share",
    "max_orphans",
    "max_unindexed_rows",
    "max_replica_lag",
    "max_active_sessions",
    "max_lock_waiters",
)
_NOT_IN_THE_ENVIRONMENT = ("on_null", "on_dangling", "backfill_to", "decisions", "drop_tables")
_WORDS: Mapping[str, tuple[str, ...]] = {"log": ("auto", "plain", "json"), "parallel": get_args(Parallel)}


def resolve(flags: Mapping[str, Any] | None = None, environ: Mapping[str, str] | None = None) -> Settings:
    """The settings in force.

    Args:
        flags: what the command line (or `-x name=value`) said; None values are not said.
        environ: the environment; `MIGRATOR_BATCH_SIZE` and so on. By default the process's own.

    Raises:
        UsageError: a value is not a number of its kind, or out of its range; the environment speaks of
            policies.
    """
    environ = dict(os.environ if environ is None else environ)
    flags = dict(flags or {})
    if "lock_timeout" in flags:  # the name `-x` uses
        flags["lock_timeout_ms"] = flags.pop("lock_timeout")
    if "MIGRATOR_LOCK_TIMEOUT" in environ:
        environ.setdefault("MIGRATOR_LOCK_TIMEOUT_MS", environ["MIGRATOR_LOCK_TIMEOUT"])
    for name in _NOT_IN_THE_ENVIRONMENT:
        if environ.get(f"MIGRATOR_{name.upper()}"):
            raise UsageError(
                f"MIGRATOR_{name.upper()} is not read: what is done to rows is said where it is done.",
                hint=f"Say -x {name}=..., or state it in the revision.",
            )
    values: dict[str, Any] = {}
    for setting in fields(Settings):
        said = flags.get(setting.name)
        source = f"{setting.name}"
        if said is None:
            source = f"MIGRATOR_{setting.name.upper()}"
            said = environ.get(source)
        if said is not None:
            values[setting.name] = _value(source, said, type(setting.default))
    for name, words in _WORDS.items():
        if name in values and values[name] not in words:
            raise UsageError(f"{name} must be one of {', '.join(words)}, not {values[name]!r}.")
    for name, needed in (("replica_url", "max_replica_lag"), ("replica_lag_query", "replica_url")):
        if flags.get(name) and not values.get(needed):
            raise UsageError(f"{name} does nothing without {needed}.", hint=f"Say -x {needed}= as well.")
    return Settings(**values)


def asked_for_json(flags: Mapping[str, Any], environ: Mapping[str, str] | None = None) -> bool:
    """Whether `log` says json, whatever else is wrong with the settings."""
    environ = os.environ if environ is None else environ
    return str(flags.get("log") or environ.get("MIGRATOR_LOG", "")).strip() == "json"


def _value(source: str, said: Any, kind: type) -> Any:
    text = str(said).strip()
    if kind is str:
        return text
    if kind is bool:
        if text.lower() in ("1", "true", "yes", "on", "0", "false", "no", "off"):
            return text.lower() in ("1", "true", "yes", "on")
        raise UsageError(f"{source} must be yes or no, not {text!r}.")
    try:
        number = kind(text)
    except ValueError:
        what = "a whole number" if kind is int else "a number"
        raise UsageError(f"{source} must be {what}, not {text!r}.") from None
    zero_is_fine = source.lower().endswith(_ZERO_IS_FINE)
    if not math.isfinite(number):  # NaN is neither above nor below any bound
        raise UsageError(f"{source} must be a number, not {text!r}.")
    if number < 0 or (number == 0 and not zero_is_fine):
        raise UsageError(f"{source} must be above zero, not {text!r}.")
    if source.lower().endswith("max_orphan_share") and number > 1:
        raise UsageError(f"{source} is a share between 0 and 1, not {text!r}.")
    return number


def database_url(
    flag: str | None = None, configured: str | None = None, environ: Mapping[str, str] | None = None
) -> URL:
    """The database to work on: flag > MIGRATOR_URL > DATABASE_URL > alembic.ini > default.
    `postgres://` and `postgresql://` mean psycopg 3, `mysql://` and `mariadb://` mean PyMySQL.

    Raises:
        UsageError: the text is no URL, or its password holds an @. The message never shows it: it may hold a
            password.
    """
    environ = os.environ if environ is None else environ
    text = flag or environ.get("MIGRATOR_URL") or environ.get("DATABASE_URL") or configured or DEFAULT_URL
    try:
        url = sa.make_url(text)
    except (sa.exc.ArgumentError, ValueError):
        raise UsageError(
            "The database URL cannot be read.",
            hint="Write it as postgresql://user:password@host:5432/database, mysql://..., or sqlite:///file.db.",
        ) from None
    if _holds_an_at(url):
        # What follows the first @ would be taken for the host, and shown as one.
        raise UsageError(
            "The database URL has more than one @, so where its password ends cannot be told.",
            hint="Percent-encode the password's characters: @ as %40, : as %3A, / as %2F, % as %25.",
        )
    drivers = {
        "postgres": "postgresql+psycopg",
        "postgresql": "postgresql+psycopg",
        "mysql": "mysql+pymysql",
        "mariadb": "mariadb+pymysql",
    }
    return url.set(drivername=drivers.get(url.drivername, url.drivername))


def _holds_an_at(url: URL) -> bool:
    """Whether a piece of the password stands where the host or the database is read."""
    return "@" in (url.host or "") or (url.password is not None and "@" in (url.database or ""))
