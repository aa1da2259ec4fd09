"""Memory stays flat however many rows are exported: they are written as a cursor gives them."""

from __future__ import annotations

import re
import subprocess
import sys

import pytest
import sqlalchemy as sa

from migrator import quarantine
from migrator.mirror import ID
from migrator.policy import Backfill, Delete
from migrator.reference import Reference
from tests.conftest import Database
from tests.operations.commands import ROOT
from tests.operations.lifecycle import run
from tests.operations.orphan_cases import fill, key, table

POST = Reference.parse("post.user_id -> user.id")
#: A process that exports in each of the forms, and says at its end how much memory it had at most.
EXPORTS = """
import sys
from migrator.cli import main
for form in ("csv", "jsonl", "sql"):
    main(["quarantine", "export", "--url", sys.argv[1], "--format", form], standalone_mode=False)
print([line for line in open("/proc/self/status") if line.startswith("VmHWM")], file=sys.stderr)
"""
#: A row's text: kept in memory, the rows of the bigger export would be eighty megabytes more.
BODY = 10_000
FEW, DOUBLED = 500, 4


def fill_quarantine(database: Database) -> None:
    """FEW rows in quarantine."""
    users = table(database.engine, "user", key("id"))
    body = sa.Column("body", sa.Text)
    posts = table(database.engine, "post", key("id"), body, sa.Column("user_id", sa.Integer))
    fill(database.engine, users, [{"id": 1}])
    fill(database.engine, posts, [{"id": at, "body": "x" * BODY, "user_id": 99} for at in range(FEW)])
    run(database.engine, ("sweep",), POST, Backfill(to=(1,)), Delete())


def double(database: Database) -> None:
    """As many again."""
    with database.engine.begin() as connection:
        (mirror,) = quarantine.mirrors(connection)
        clause = mirror.clause
        names = [column.name for column in clause.c if column.name != ID]
        copy = sa.select(*(clause.c[name] for name in names))
        connection.execute(sa.insert(clause).from_select(names, copy))


def peak(database: Database) -> tuple[int, float]:
    """Lines written in all, and megabytes used at most."""
    with subprocess.Popen(
        [sys.executable, "-c", EXPORTS, database.url],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        lines = sum(1 for _ in process.stdout)
        said = process.stderr.read().decode()
    assert process.returncode == 0, said
    found = re.search(r"VmHWM:\D*(\d+) kB", said)
    assert found is not None, said
    return lines, int(found[1]) / 1024


@pytest.mark.every_engine
@pytest.mark.engines("sqlite", "postgresql-18", "mysql", "mariadb")
def test_memory_does_not_grow_with_the_rows(database: Database) -> None:
    """Sixteen times the rows, in CSV, JSON Lines and SQL."""
    fill_quarantine(database)
    _, before = peak(database)
    for _ in range(DOUBLED):
        double(database)
    lines, after = peak(database)
    assert lines == 3 * FEW * 2**DOUBLED + 1
    assert after - before < 30, (before, after)
