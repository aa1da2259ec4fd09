"""What tests of policies share: rows as they are, and a decisions file as a person fills it in."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping
from pathlib import Path

import sqlalchemy as sa
from sqlalchemy.engine import Engine

from migrator.cli import main as cli
from migrator.policy import Decisions
from migrator.predicate import table_clause
from migrator.reference import Reference, TableName
from tests.conftest import Database
from tests.operations.lifecycle import in_order
from tests.operations.orphan_cases import Row


def rows(engine: Engine, name: str, *columns: str) -> list[Row]:
    """A table's rows by these columns, in order."""
    clause = table_clause(TableName(name), *columns)
    with engine.connect() as connection:
        found = connection.execute(sa.select(*(clause.c[column] for column in columns))).all()
    return in_order([dict(zip(columns, row, strict=True)) for row in found])


def decide(
    reference: Reference, database: Database, path: Path, decisions: Mapping[tuple[str, ...], tuple[str, ...]]
) -> Decisions:
    """Have the report write its file, and fill in what a person would: new values by the row's key."""
    words = ["report", "--url", database.url, "-r", str(reference), "--format", "csv", "--no-fail"]
    cli([*words, "--output", str(path)], standalone_mode=False)
    reader = csv.DictReader(io.StringIO(path.read_text()))
    lines = list(reader)
    assert reader.fieldnames is not None
    for line in lines:
        named = tuple(value for name, value in line.items() if name.startswith("key:"))
        for column, value in zip(reference.columns, decisions.get(named, ()), strict=False):
            line[f"new:{column}"] = value
    with path.open("w", newline="") as out:
        writer = csv.DictWriter(out, reader.fieldnames)
        writer.writeheader()
        writer.writerows(lines)
    return Decisions(str(path))
