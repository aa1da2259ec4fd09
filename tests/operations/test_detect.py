"""Orphans are counted, listed and ranked as Python counts them by looking each parent up."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import sqlalchemy as sa

from migrator import detect
from migrator.dialects import dialect_for
from migrator.dialects.base import Dialect
from migrator.estimate import estimate
from migrator.reference import Reference, TableName
from tests.operations.orphan_cases import all_cases, fill, itself, key, simple, table
from tests.servers.datasets import dataset_folders, load_dataset, read_dataset

if TYPE_CHECKING:
    from tests.conftest import Database


def test_counts_agree_with_brute_force(database: Database) -> None:
    """Every kind is counted right for every shape of key and every kind of name."""
    cases = all_cases(database.engine)
    with database.engine.connect() as connection, dialect_for(connection).read_only(connection):
        for case in cases:
            assert detect.count(connection, case.reference) == case.counts(), case.reference
            assert case.counts().dangling > 0


def test_orphans_are_listed_by_key(database: Database) -> None:
    """Each kind is listed whole, in the order of the child's key, with its value."""
    cases = all_cases(database.engine)
    with database.engine.connect() as connection:
        for case in cases:
            for kind in ("null", "partial", "dangling"):
                rows = list(detect.orphans(connection, case.reference, case.key, kinds=(kind,)))
                assert [tuple(row.key.values()) for row in rows] == case.keys(kind), case.reference
                assert all(row.kind == kind for row in rows)


def test_missing_parents_are_ranked(database: Database) -> None:
    """The missing parents come with the rows that name them, most first."""
    cases = all_cases(database.engine)
    with database.engine.connect() as connection:
        for case in cases:
            found = detect.missing_parents(connection, case.reference, 1000)
            assert {tuple(one.value.values()): one.rows for one in found} == dict(case.missing())
            assert [one.rows for one in found] == [rows for _, rows in case.missing()]


def test_count_orphans_is_what_breaks_the_reference(database: Database) -> None:
    """Where NULL is right it is no orphan; under MATCH FULL a partial one is."""
    cases = all_cases(database.engine)
    with database.engine.connect() as connection:
        for case in cases:
            counts = case.counts()
            for reference, orphans in (
                (case.reference, counts.null + counts.partial + counts.dangling),
                (replace(case.reference, nullable=True), counts.dangling),
                (replace(case.reference, nullable=True, match="full"), counts.partial + counts.dangling),
            ):
                assert detect.count_orphans(connection, reference) == orphans
                assert counts.orphans(reference) == orphans


def test_a_self_reference_compares_two_copies_of_the_table(database: Database) -> None:
    """Both sides are aliased: rows whose parent is there are not orphans of themselves."""
    case = itself(database.engine)
    with database.engine.connect() as connection:
        assert detect.count(connection, case.reference).valid == case.counts().valid > 0


def test_empty_tables_have_no_orphans(database: Database) -> None:
    """An empty child counts nothing; an empty parent makes every child row dangle."""
    fill(database.engine, table(database.engine, "p", key("id")), [])
    fill(database.engine, table(database.engine, "c", key("id"), sa.Column("p", sa.Integer)), [])
    reference = Reference.parse("c.p -> p.id")
    with database.engine.begin() as connection:
        assert detect.count(connection, reference) == detect.Counts(0, 0, 0, 0, 0, 0)
        connection.execute(sa.text("INSERT INTO c (id, p) VALUES (1, 7), (2, 7)"))
        assert detect.count(connection, reference) == detect.Counts(2, 0, 0, 0, 2, 1)


@pytest.mark.engines("postgresql")
def test_schemas_are_kept_apart(database: Database) -> None:
    """A reference across schemas looks where it says, not along the search path."""
    with database.engine.begin() as connection:
        for statement in (
            'CREATE SCHEMA "Shop A"',
            "CREATE SCHEMA crm",
            "CREATE TABLE crm.customer (id int PRIMARY KEY)",
            "CREATE TABLE customer (id int PRIMARY KEY)",
            'CREATE TABLE "Shop A"."order" (id int PRIMARY KEY, customer int)',
            "INSERT INTO crm.customer VALUES (1)",
            "INSERT INTO customer VALUES (2)",
            'INSERT INTO "Shop A"."order" VALUES (1, 1), (2, 2), (3, NULL)',
        ):
            connection.exec_driver_sql(statement)
    reference = Reference.parse('"Shop A".order.customer -> crm.customer.id')
    with database.engine.connect() as connection:
        assert detect.count(connection, reference) == detect.Counts(3, 1, 1, 0, 1, 1)
        facts = dialect_for(connection).facts(connection, reference)
        assert facts.child.key == ("id",)


def test_the_inspector_alone_is_enough(database: Database) -> None:
    """A database we have no dialect for is reported on all the same: key and columns are found."""
    cases = all_cases(database.engine)
    with database.engine.connect() as connection:
        for case in cases:
            facts = Dialect(connection.dialect).facts(connection, case.reference)
            assert facts.child.key == case.key
            assert facts.parent.is_unique(case.reference.parent_columns)
            assert facts.state == "none"


def test_an_estimate_holds_the_truth(database: Database) -> None:
    """The interval of a sample contains the exact count, and the sample is smaller than the table."""
    parent = table(database.engine, "p", key("id"))
    child = table(database.engine, "c", key("id"), sa.Column("p", sa.Integer))
    fill(database.engine, parent, [{"id": one} for one in range(1, 11)])
    fill(database.engine, child, [])
    rows = [{"id": one, "p": None if one % 50 == 0 else 1 + (one * 7919) % 11} for one in range(1, 20_001)]
    with database.engine.begin() as connection:
        connection.execute(sa.insert(child), rows)
    reference = Reference.parse("c.p -> p.id")
    with database.engine.connect() as connection:
        facts = dialect_for(connection).facts(connection, reference)
        guess = estimate(connection, reference, facts.child, windows=32, rows_per_window=100)
        truth = detect.count(connection, reference)
    assert guess is not None
    assert guess.rows_read < truth.rows / 2
    assert guess.null.low <= truth.null <= guess.null.high
    assert guess.dangling.low <= truth.dangling <= guess.dangling.high
    assert abs(guess.counts.rows - truth.rows) < truth.rows * 0.1


def test_a_small_table_is_not_estimated(database: Database) -> None:
    """Where a sample would read all of the table it is counted instead."""
    case = simple(database.engine)
    with database.engine.connect() as connection:
        facts = dialect_for(connection).facts(connection, case.reference)
        assert estimate(connection, case.reference, facts.child) is None


_RELATIONS = [
    (folder, relation) for folder in dataset_folders() for relation in read_dataset(folder).relations
]

if _RELATIONS:

    @pytest.mark.parametrize("folder", dataset_folders(), ids=lambda folder: folder.name)
    def test_real_data_counts_as_known(database: Database, folder: Path) -> None:
        """Every relation of a real dataset has the counts that its description gives."""
        load_dataset(database.engine, folder)
        with database.engine.connect() as connection, dialect_for(connection).read_only(connection):
            for known in read_dataset(folder).relations:
                reference = Reference(
                    TableName(known.child), known.columns, TableName(known.parent), known.refs
                )
                found = detect.count(connection, reference)
                assert (
                    found.rows,
                    found.null,
                    found.partial,
                    found.dangling,
                    found.missing_parents,
                ) == (known.rows, known.null, known.partial, known.dangling, known.missing_parents), reference
