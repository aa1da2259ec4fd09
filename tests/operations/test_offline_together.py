"""Several references that have a table in common, in one script."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
import sqlalchemy as sa
from alembic.runtime.migration import MigrationContext

from migrator.fingerprint import compare
from migrator.offline import write_script
from migrator.operate import Policies
from migrator.operations import OPERATIONS
from migrator.plan import Operation
from migrator.policy import Backfill, Delete, Policy
from migrator.reference import Reference
from tests.conftest import Database
from tests.operations.lifecycle import DOWN, FAST, UP, assert_same, picture, run
from tests.operations.offline_desk import printed_by, step_lines

SHAPES = {
    "one-parent": ("b.x -> a.id", "b.y -> a.id"),
    "two-parents": ("b.x -> a.id", "b.y -> z.id"),
    "two-children": ("b.x -> a.id", "c.x -> a.id"),
    "chain": ("b.x -> a.id", "c.y -> b.id"),
    "chain-upwards": ("c.y -> b.id", "b.x -> a.id"),
    "one-column": ("b.x -> a.id", "b.x -> z.id"),
    "itself": ("b.y -> b.id", "b.x -> a.id"),
}


def make(database: Database) -> None:
    """Parents 1 to 5 and 1 to 4, children that name others and nobody, and children of those."""
    metadata = sa.MetaData()
    tables = {
        name: sa.Table(
            name,
            metadata,
            sa.Column("id", sa.Integer, primary_key=True, autoincrement=False),
            *(sa.Column(column, sa.Integer) for column in columns),
        )
        for name, columns in {"a": "", "z": "", "b": "xy", "c": "xy"}.items()
    }
    metadata.create_all(database.engine)
    keys = range(1, 25)
    with database.engine.begin() as connection:
        connection.execute(tables["a"].insert(), [{"id": each} for each in range(1, 6)])
        connection.execute(tables["z"].insert(), [{"id": each} for each in range(1, 5)])
        for name in "bc":
            rows = [{"id": n, "x": n % 7 or None, "y": max(n // 2, 1) if n % 5 else n + 90} for n in keys]
            connection.execute(tables[name].insert(), rows)


def script(database: Database, operations: Sequence[tuple[Operation, Reference]]) -> str:
    """All of them, one after the other, in one script."""

    def write(context: MigrationContext) -> None:
        for each, reference in operations:
            policies = Policies.of(reference, *repair(reference))
            write_script(context, OPERATIONS[each](reference), policies, FAST, {"url": database.url})

    return printed_by(database, write)


def repair(reference: Reference) -> tuple[Policy, Policy]:
    """Delete, where no row of another table may refer to what is deleted."""
    chosen: Policy = Backfill(to=1) if reference.child.name == "b" else Delete()
    return chosen, chosen


def steps(database: Database) -> list[tuple[str, str, str, int]]:
    """Which steps each operation took, and whether they were ours."""
    keys = ("operation", "name", "state", "ours")
    return sorted(tuple(line[key] for key in keys) for line in step_lines(database))


@pytest.mark.parametrize(
    ("shape", "by_stages"),
    [
        pytest.param(shape, stages, id=f"{shape}-by-{'stages' if stages else 'references'}")
        for shape in SHAPES
        for stages in (False, True)
        if not stages or shape in ("one-parent", "chain")
    ],
)
def test_references_that_share_a_table_go_through_one_script(
    database: Database, shape: str, by_stages: bool
) -> None:
    """What it does to a table for one reference is what it takes for granted for the next: up as a script
    equals up online, and both ways back leave no trace."""
    references = [Reference.parse(text) for text in SHAPES[shape]]
    up = [(each, reference) for reference in references for each in UP]
    down = [(each, reference) for reference in reversed(references) for each in DOWN]
    if by_stages:
        up = [(each, reference) for each in UP for reference in references]
        down = [(each, reference) for each in DOWN for reference in reversed(references)]
    make(database)
    before = picture(database)
    with database.new_database() as other:
        make(other)
        for each, reference in up:
            run(other.engine, (each,), reference, *repair(reference))
        database.client(script(database, up))
        assert compare(picture(other).fingerprint, picture(database).fingerprint) == ()
        assert steps(database) == steps(other)
        other.client(script(other, down))
        assert_same(before, picture(other))
    for each, reference in down:
        run(database.engine, (each,), reference)
    assert_same(before, picture(database))
