"""Decisions of a person: the CSV that `migrator report --format csv` wrote, with the new values filled in."""

from __future__ import annotations

import csv
import hashlib
import io
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from migrator.catalog import Facts
from migrator.dialects import Dialect
from migrator.errors import Refused, UsageError
from migrator.naming import OWN_PREFIX
from migrator.plainsql import run_plain
from migrator.predicate import table_clause
from migrator.reference import TableName, short_name
from migrator.values import LookedUp
from migrator.worklist import bound

_NEW = "new_"


def decided(dialect: Dialect, connection: Connection, facts: Facts, path: str) -> LookedUp:
    """The file as a lookup: its lines in a table of ours, typed like the columns they are for. Loaded
    once; the table's name holds the content's hash, so an edited file is another table.

    Raises:
        UsageError: the file cannot be read, or lacks a column.
        Refused: it decides a row twice.
    """
    reference, child = facts.reference, facts.child
    try:
        content = Path(path).read_bytes()
    except OSError as error:
        raise UsageError(f"The decisions file {path} cannot be read: {error.strerror}.") from None
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise UsageError(
            f"The decisions file {path} is not UTF-8.", hint="Save it as CSV UTF-8, with commas."
        ) from None
    digest = hashlib.sha256(content + str(reference).encode()).hexdigest()[:12]
    name = TableName(short_name(OWN_PREFIX + "d", digest))
    new = tuple(f"{_NEW}{at}" for at in range(len(reference.columns)))
    found = LookedUp(reference, name, tuple((column, column) for column in child.key), new)
    if sa.inspect(connection).has_table(name.name):
        return found
    loading = TableName(name.name + "_l")
    columns = [
        *(dialect.mirror_column(child.column(column)) for column in child.key),
        *(
            dialect.mirror_column(replace(child.column(column), name=new[at]))
            for at, column in enumerate(reference.columns)
        ),
    ]
    run_plain(connection, f"DROP TABLE IF EXISTS {dialect.table_sql(loading)}")
    run_plain(connection, dialect.create_mirror(loading, columns))
    clause = table_clause(loading, *child.key, *new)
    with dialect.transaction(connection):
        for line in _lines(text, path, facts):
            values = {column: bound(value) for column, value in zip([*child.key, *new], line, strict=True)}
            connection.execute(sa.insert(clause).values(values))
    index = dialect.quote(short_name(OWN_PREFIX + "ix", loading.name))
    try:
        run_plain(
            connection,
            f"CREATE UNIQUE INDEX {index} ON {dialect.table_sql(loading)} ({dialect.columns_sql(child.key)})",
        )
    except sa.exc.IntegrityError:
        raise Refused(
            f"{path} decides a row of {child.name} twice.", hint="Leave one line for each row."
        ) from None
    # Only now does it have its name: a half-loaded file is loaded again.
    run_plain(connection, f"ALTER TABLE {dialect.table_sql(loading)} RENAME TO {dialect.quote(name.name)}")
    return found


def drop_all(dialect: Dialect, connection: Connection) -> None:
    """Remove the tables of all decisions files."""
    for name in sa.inspect(connection).get_table_names():
        if name.startswith(OWN_PREFIX + "d_"):
            run_plain(connection, f"DROP TABLE {dialect.quote(name)}")


def _lines(text: str, path: str, facts: Facts) -> Iterator[list[str]]:
    """Key and new values of each line that decides something about this reference."""
    reference = facts.reference
    reader = csv.DictReader(io.StringIO(text, newline=""))
    wanted = [
        *(f"key:{column}" for column in facts.child.key),
        *(f"new:{column}" for column in reference.columns),
    ]
    missing = [column for column in wanted if column not in (reader.fieldnames or ())]
    if missing:
        raise UsageError(
            f"{path} has no column {missing[0]!r}.",
            hint=f"Start from: migrator report -r '{reference}' --format csv --output {path}",
        )
    for row in reader:
        if row.get("reference") not in (None, "", str(reference)):
            continue
        values = [row[column] or "" for column in wanted]
        new = values[len(facts.child.key) :]
        if any(new) and not all(new):
            raise UsageError(
                f"{path}, line {reader.line_num}: a new value for some columns of {reference}, not for all."
            )
        if all(new):
            yield values
