r"""Tables kept as CSV files beside a `dataset.json`, loaded into any database.

A dataset is a folder. Its `dataset.json` lists tables with their columns, types and primary key, and the
relations between them with their known answers; each table's rows are in `<table>.csv`, with a header line
and an unquoted ``\N`` for NULL. No foreign key is created: what breaks a relation is what one loads it for.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from sqlalchemy import Column, Connection, Engine, MetaData, Table

from migrator.blog.bulk import insert_rows
from migrator.blog.columntypes import ColumnType, parse_type
from migrator.blog.csvfile import read_csv
from migrator.errors import UsageError

DESCRIPTION: Final = "dataset.json"


@dataclass(frozen=True, slots=True)
class DatasetTable:
    """One table of a dataset.

    Attributes:
        name: the table's name, in its own upper and lower case.
        columns: the columns' names and types, in order.
        primary_key: the columns of the primary key; empty if it has none.
        rows: how many rows it holds.
    """

    name: str
    columns: Mapping[str, ColumnType]
    primary_key: tuple[str, ...]
    rows: int


@dataclass(frozen=True, slots=True)
class Relation:
    """A reference of a dataset and what is known about it.

    Attributes:
        child: the referring table.
        columns: its referring columns.
        parent: the table referred to.
        refs: its key, in the order of `columns`.
        rows: rows of the child.
        null: child rows all of whose referring columns are NULL.
        partial: child rows some of whose referring columns are NULL.
        dangling: child rows without NULL in the reference whose parent is not there.
        missing_parents: distinct parents that are not there.
    """

    child: str
    columns: tuple[str, ...]
    parent: str
    refs: tuple[str, ...]
    rows: int
    null: int
    partial: int
    dangling: int
    missing_parents: int


@dataclass(frozen=True, slots=True)
class Dataset:
    """A folder's tables and relations.

    Attributes:
        name: what the dataset is called.
        folder: where its files are.
        tables: its tables, in the order they are listed.
        relations: its relations, in the order they are listed.
    """

    name: str
    folder: Path
    tables: tuple[DatasetTable, ...]
    relations: tuple[Relation, ...]


def read_dataset(folder: Path) -> Dataset:
    """Read a dataset's description.

    Args:
        folder: the folder that holds `dataset.json`.

    Returns:
        Its tables and relations; no row has been read yet.

    Raises:
        UsageError: there is no such file, it is no JSON, lacks something, or names an unknown type.
    """
    path = folder / DESCRIPTION
    try:
        raw = json.loads(path.read_text(encoding="utf-8"))
        return Dataset(
            name=raw.get("name", folder.name),
            folder=folder,
            tables=tuple(_table(name, table) for name, table in raw["tables"].items()),
            relations=tuple(_relation(relation) for relation in raw.get("relations", ())),
        )
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror}.") from error
    except KeyError as error:
        raise UsageError(f"{path}: {error} is missing.") from error
    except (ValueError, TypeError, AttributeError) as error:
        raise UsageError(f"{path} is not a dataset description: {error}.") from error


def load_dataset(engine: Engine, folder: Path) -> dict[str, int]:
    """Create a dataset's tables in a database and fill them.

    The rows are written in one transaction. Only PostgreSQL takes CREATE TABLE into it as well: elsewhere a
    load that fails leaves empty tables behind.

    Args:
        engine: the database; none of the dataset's tables may be in it.
        folder: the folder that holds `dataset.json`.

    Returns:
        The number of rows loaded into each table.

    Raises:
        UsageError: the description or a CSV file does not make sense; the message names file and line.
        sqlalchemy.exc.DBAPIError: the database refused a table or a row.
    """
    dataset = read_dataset(folder)
    with engine.begin() as connection:
        tables = _create_tables(connection, dataset)
        return {
            described.name: insert_rows(connection, table, _rows(dataset.folder, described))
            for described, table in zip(dataset.tables, tables, strict=True)
        }


def _table(name: str, raw: Mapping[str, Any]) -> DatasetTable:
    key = tuple(raw.get("pk") or ())
    columns = {
        column: parse_type(declared, key_columns=len(key) if column in key else 0)
        for column, declared in raw["columns"]
    }
    unknown = set(key) - set(columns)
    if unknown:
        raise ValueError(f"the primary key of {name} names unknown columns {', '.join(sorted(unknown))}")
    return DatasetTable(name=name, columns=columns, primary_key=key, rows=raw["rows"])


def _relation(raw: Mapping[str, Any]) -> Relation:
    return Relation(
        child=raw["child"],
        columns=tuple(raw["cols"]),
        parent=raw["parent"],
        refs=tuple(raw["refs"]),
        rows=raw["rows"],
        null=raw["null_all"],
        partial=raw["null_partial"],
        dangling=raw["dangling"],
        missing_parents=raw["dangling_distinct"],
    )


def _create_tables(connection: Connection, dataset: Dataset) -> list[Table]:
    # Text is equal when its characters are, as on PostgreSQL and SQLite: MySQL's default collation takes
    # "é" for "e", which makes duplicate keys of keys that differ, and parents of rows that are none.
    is_mariadb = getattr(connection.dialect, "is_mariadb", False)
    collation = "utf8mb4_nopad_bin" if is_mariadb else "utf8mb4_0900_bin"
    options: dict[str, Any] = {f"{name}_collate": collation for name in ("mysql", "mariadb")}
    metadata = MetaData()
    tables = [
        Table(
            described.name,
            metadata,
            *(
                # The keys are the data's own: no sequence, no AUTO_INCREMENT.
                Column(name, column.type, primary_key=name in described.primary_key, autoincrement=False)
                for name, column in described.columns.items()
            ),
            **options,
        )
        for described in dataset.tables
    ]
    metadata.create_all(connection, checkfirst=False)
    return tables


def _rows(folder: Path, table: DatasetTable) -> Iterator[list[Any]]:
    path = folder / f"{table.name}.csv"
    try:
        records = read_csv(path)
        _, header = next(records, (1, []))
        missing = [name for name in table.columns if name not in header]
        if missing:
            raise UsageError(f"{path}: the header line lacks {', '.join(missing)}.")
        # By name: a file may hold its columns in another order, or more of them.
        readers = [(header.index(name), name, column.read) for name, column in table.columns.items()]
        for line, record in records:
            if len(record) != len(header):
                raise UsageError(f"{path}, line {line}: {len(record)} fields, the header has {len(header)}.")
            yield [_value(path, line, name, read, record[place]) for place, name, read in readers]
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror}.") from error


def _value(path: Path, line: int, name: str, read: Any, field: str | None) -> Any:
    if field is None:
        return None
    try:
        return read(field)
    except (ValueError, KeyError, ArithmeticError) as error:
        raise UsageError(f"{path}, line {line}, column {name}: {field!r} cannot be read.") from error
