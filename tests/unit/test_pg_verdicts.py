"""What PostgreSQL's errors mean to the runner, and what a server says of itself: no server is asked."""

from __future__ import annotations

from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.dialects import postgresql

from migrator.dialects.pg_environment import server_problems
from migrator.dialects.pg_sessions import lock_key
from migrator.dialects.postgresql import PostgreSQL
from migrator.dialects.telling import Verdict
from migrator.errors import StepFailed


class DriverError(Exception):
    """An error as psycopg raises it; its text is in the server's own language."""

    def __init__(self, sqlstate: str | None) -> None:
        super().__init__("verrou non disponible")
        self.sqlstate = sqlstate


def dialect() -> PostgreSQL:
    """Ours, connected to nothing."""
    return PostgreSQL(postgresql.dialect())  # type: ignore[no-untyped-call]


@pytest.mark.parametrize(
    ("sqlstate", "wanted"),
    [
        ("55P03", "lock-timeout"),
        ("40P01", "deadlock"),
        ("40001", "deadlock"),
        ("23502", "violation"),
        ("23503", "violation"),
        ("23514", "violation"),
        ("23505", "duplicate"),
        ("42710", "duplicate"),
        ("42501", "denied"),
        ("25P04", "lost"),
        ("57P01", "lost"),
        ("08006", "lost"),
        ("57014", "other"),
        ("53100", "no-room"),
        ("42809", "other"),
    ],
)
def test_an_error_is_judged_by_its_number(sqlstate: str, wanted: Verdict) -> None:
    """Wrapped by SQLAlchemy or not."""
    error = DriverError(sqlstate)
    assert dialect().verdict(error) == wanted
    assert dialect().verdict(sa.exc.OperationalError("SELECT", {}, error)) == wanted


def test_a_connection_that_broke_without_a_word_is_lost() -> None:
    """libpq has no number for it; SQLAlchemy knows that the connection is of no more use."""
    broken = sa.exc.OperationalError("SELECT", {}, DriverError(None), connection_invalidated=True)
    assert dialect().verdict(broken) == "lost"
    assert dialect().verdict(sa.exc.OperationalError("SELECT", {}, DriverError(None))) == "other"


@pytest.mark.parametrize(
    ("changes", "wanted"),
    [
        ({}, []),
        ({"standby": True}, ["standby"]),
        ({"standby": True, "read_only": "on"}, ["standby"]),
        ({"read_only": "on"}, ["read-only"]),
        ({"replication_role": "replica"}, ["replication-role"]),
        ({"may_create": False}, ["no-create"]),
        ({"may_create": False, "schema": None}, ["no-create"]),
        ({"schema": "pg_temp_3"}, ["temporary-schema"]),
    ],
)
def test_a_server_that_cannot_be_worked_on_is_refused(changes: dict[str, Any], wanted: list[str]) -> None:
    """A standby, a read-only default, checks switched off, nowhere to put our tables."""
    server = {
        "standby": False,
        "read_only": "off",
        "replication_role": "origin",
        "role": "clerk",
        "schema": "public",
        "may_create": True,
    }
    problems = list(server_problems({**server, **changes}))
    assert [problem.slug for problem in problems] == wanted
    assert all(problem.severity == "refuse" and problem.fix for problem in problems)


def test_the_run_lock_has_one_number_for_ever() -> None:
    """Two versions of us at work on one database must find each other; it fits a signed bigint."""
    assert lock_key("run") == lock_key("run") != lock_key("walk")
    assert -(2**63) <= lock_key("run") < 2**63
    assert lock_key("post.user_id") == 9074246653789802089


def test_an_insert_of_identity_values_must_list_its_columns() -> None:
    """Or there is nowhere to put OVERRIDING."""
    with pytest.raises(StepFailed, match="list its columns"):
        dialect().insert_identity('INSERT INTO "t" DEFAULT VALUES')
