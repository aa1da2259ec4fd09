"""Statements of ours that outlive the client that sent them.

A server looks for its client when it has done with a statement, and not before: a VALIDATE goes on to its
end and is rolled back then, a CREATE INDEX CONCURRENTLY goes on and stands. So the statements of a step begin
with the step's name, and the next run finds them in `pg_stat_activity`, where the beginning of a statement is
never cut off (https://www.postgresql.org/docs/current/monitoring-stats.html).
"""

from __future__ import annotations

from dataclasses import replace
from typing import Final

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from migrator.dialects.pg_others import APPLICATION
from migrator.dialects.pg_words import LockingSql
from migrator.naming import MARKER, OWN_PREFIX
from migrator.plan import Sql

# What another role's sessions are at cannot be read: they count as anybody's.
_LEFTOVERS: Final = """
SELECT a.pid FROM pg_stat_activity a
WHERE a.datname = current_database() AND a.pid <> pg_backend_pid() AND a.backend_type = 'client backend'
  AND a.application_name = :application AND a.state = 'active'
  AND (starts_with(a.query, :step) OR starts_with(a.query, :window) OR starts_with(a.query, :whole))
ORDER BY a.pid
"""


def marked(work: Sql, name: str) -> Sql:
    """The statements of a step, known again on the server by its name."""
    mark = f"{MARKER}{name} */ "
    work = replace(work, statements=tuple(mark + statement for statement in work.statements))
    if isinstance(work, LockingSql) and work.brief is not None:
        return replace(work, brief=mark + work.brief)
    return work


def leftovers(connection: Connection) -> list[int]:
    """The other sessions of ours in this database whose server is at work on a statement of a step, or on
    filling a table of ours, as a scan does: under the run lock, those whose client is gone."""
    values = {
        "application": APPLICATION,
        "step": MARKER,
        "window": f'INSERT INTO "{OWN_PREFIX}',
        "whole": f'CREATE TABLE "{OWN_PREFIX}',
    }
    return list(connection.execute(sa.text(_LEFTOVERS), values).scalars())
