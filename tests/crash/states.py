"""What a database holds, in the forms that crashes are judged by."""

from __future__ import annotations

import re
import sqlite3
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Engine

from migrator.fingerprint import Fingerprint, compare, take
from migrator.mirror import AT, ID, RUN_ID
from migrator.naming import OWN_PREFIX
from tests.operations.lifecycle import objects_of

_CHANGING = re.compile(
    r"\d{8}T\d{6}-[0-9a-f]{8}"  # the name of a run
    r"|\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d+Z"  # the time of an entry
    r"|pid \d+|\|\d+\|\d*"  # who: in the journal, in the lease
)


def dump(path: Path) -> str:
    """All of an SQLite file as text, without what is new in every run. Opening it rolls back what a dead
    process had not committed."""
    connection = sqlite3.connect(path)
    try:
        return masked("\n".join(connection.iterdump()))
    finally:
        connection.close()


def masked(text: str) -> str:
    """Without what is new in every run."""
    return _CHANGING.sub("*", text)


@dataclass(frozen=True)
class Settled:
    """What must come out the same, however often a run died on the way.

    Args:
        user: the user's schema and rows.
        revision: where Alembic stands.
        quarantine: what is set aside and why, but for numbers, times and runs.
        objects: what there is of ours: tables, views, triggers, routines, constraints.
    """

    user: Fingerprint
    revision: tuple[str, ...]
    quarantine: tuple[str, ...]
    objects: tuple[str, ...]

    def differences(self, wanted: Settled) -> list[str]:
        """What is other than in `wanted`."""
        found = [
            f"{each.object} {each.column or ''} {each.detail}" for each in compare(wanted.user, self.user)
        ]
        for name in ("revision", "quarantine", "objects"):
            ours, theirs = getattr(self, name), getattr(wanted, name)
            found += [f"{name}: {ours} and not {theirs}"] if ours != theirs else []
        return found


def settled(engine: Engine) -> Settled:
    """Read now."""
    with engine.connect() as connection:
        tables = sa.inspect(connection).get_table_names()
        mirrors = sorted(name for name in tables if name.startswith(OWN_PREFIX + "q_"))
        held = [line for name in mirrors for line in lines_of(connection, name, {ID, RUN_ID, AT})]
        revision = lines_of(connection, "alembic_version", set()) if "alembic_version" in tables else []
    return Settled(take(engine), tuple(revision), tuple(held), tuple(sorted(objects_of(engine))))


def lines_of(connection: sa.Connection, name: str, without: set[str]) -> list[str]:
    """The rows of a table of ours as text, without some of its columns."""
    table = sa.Table(name, sa.MetaData(), autoload_with=connection)
    columns: list[Any] = [column for column in table.columns if column.name not in without]
    return sorted(f"{name} {tuple(row)!r}" for row in connection.execute(sa.select(*columns)))
