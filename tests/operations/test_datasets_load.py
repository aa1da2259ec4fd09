"""Real tables, written by nobody here, arrive whole on every engine."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from sqlalchemy import MetaData, and_, func, inspect, not_, or_, select

from tests.servers.datasets import dataset_folders, load_dataset, read_dataset

if TYPE_CHECKING:
    from tests.conftest import Database

_FOLDERS = dataset_folders()

# Where no dataset is there, the tests are not: an empty parametrize would be reported as a skip.
if _FOLDERS:
    each_dataset = pytest.mark.parametrize("folder", _FOLDERS, ids=lambda folder: folder.name)

    @each_dataset
    def test_every_table_holds_the_rows_its_description_says(database: Database, folder: Path) -> None:
        """The rows in the database are as many as `dataset.json` says, table by table."""
        described = {table.name: table.rows for table in read_dataset(folder).tables}

        loaded = load_dataset(database.engine, folder)

        assert loaded == described
        metadata = MetaData()
        metadata.reflect(database.engine)
        with database.engine.connect() as connection:
            for name, rows in described.items():
                assert connection.scalar(select(func.count()).select_from(metadata.tables[name])) == rows

    @each_dataset
    def test_null_is_null_and_names_keep_their_case(database: Database, folder: Path) -> None:
        """The rows whose reference is NULL, wholly or partly, are as many as the description says."""
        load_dataset(database.engine, folder)

        metadata = MetaData()
        metadata.reflect(database.engine)
        with database.engine.connect() as connection:
            for relation in read_dataset(folder).relations:
                child = metadata.tables[relation.child]
                nulls = [child.c[name].is_(None) for name in relation.columns]
                whole = select(func.count()).select_from(child).where(and_(*nulls))
                part = select(func.count()).select_from(child).where(or_(*nulls), not_(and_(*nulls)))
                assert connection.scalar(whole) == relation.null
                assert connection.scalar(part) == relation.partial

    @each_dataset
    def test_tables_have_their_primary_key_and_no_foreign_key(database: Database, folder: Path) -> None:
        """What is created is what a database without references looks like."""
        load_dataset(database.engine, folder)

        inspector = inspect(database.engine)
        for table in read_dataset(folder).tables:
            assert inspector.get_pk_constraint(table.name)["constrained_columns"] == list(table.primary_key)
            assert inspector.get_foreign_keys(table.name) == []
            assert [column["name"] for column in inspector.get_columns(table.name)] == list(table.columns)
