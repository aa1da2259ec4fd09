"""Decisions of a person: the CSV that `migrator report --format csv` wrote, with the new values filled in."""

from __future__ import annotations

import csv
import hashlib
import io
from collections.abc import Iterator
from dataclasses import dataclass, replace
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
#: What the names of all such tables begin with.
DECISIONS = OWN_PREFIX + "d_"


@dataclass(frozen=True)
class DecisionsFile:
    """A file as a table of ours, typed like the columns its values are for.

    Args:
        facts: whose rows it decides.
        path: where it lies.
        text: what is in it.
    """

    facts: Facts
    path: str
    text: str

    @classmethod
    def read(cls, facts: Facts, path: str) -> DecisionsFile:
        """The file as it is now.

        Raises:
            UsageError: it cannot be read.
        """
        try:
            return cls(facts, path, Path(path).read_bytes().decode("utf-8-sig"))
        except OSError as error:
            raise UsageError(f"The decisions file {path} cannot be read: {error.strerror}.") from None
        except UnicodeDecodeError:
            raise UsageError(
                f"The decisions file {path} is not UTF-8.", hint="Save it as CSV UTF-8, with commas."
            ) from None

    @property
    def name(self) -> TableName:
        """The table's: it holds the content's hash, so an edited file is another table."""
        content = self.text.encode() + str(self.facts.reference).encode()
        return TableName(short_name(OWN_PREFIX + "d", hashlib.sha256(content).hexdigest()[:12]))

    @property
    def new(self) -> tuple[str, ...]:
        """Its columns that hold the new values, in the reference's order."""
        return tuple(f"{_NEW}{at}" for at in range(len(self.facts.reference.columns)))

    @property
    def columns(self) -> tuple[str, ...]:
        """All of them, as `lines` has them."""
        return (*self.facts.child.key, *self.new)

    @property
    def source(self) -> LookedUp:
        """The table as a lookup."""
        on = tuple((column, column) for column in self.facts.child.key)
        return LookedUp(self.facts.reference, self.name, on, self.new)

    def creation(self, dialect: Dialect, name: TableName) -> tuple[str, str]:
        """The statements that make it under a name: the table, and the index that lets no row in twice."""
        child, reference = self.facts.child, self.facts.reference
        columns = [
            *(dialect.mirror_column(child.column(column)) for column in child.key),
            *(
                dialect.mirror_column(replace(child.column(column), name=new))
                for column, new in zip(reference.columns, self.new, strict=True)
            ),
        ]
        index = dialect.quote(short_name(OWN_PREFIX + "ix", name.name))
        return (
            dialect.create_mirror(name, columns),
            f"CREATE UNIQUE INDEX {index} ON {dialect.table_sql(name)} ({dialect.columns_sql(child.key)})",
        )

    @property
    def twice(self) -> Refused:
        """What to say when it decides a row twice."""
        return Refused(
            f"{self.path} decides a row of {self.facts.child.name} twice.",
            hint="Leave one line for each row.",
        )

    def lines(self) -> Iterator[list[str]]:
        """Key and new values of each line that decides something about this reference.

        Raises:
            UsageError: it lacks a column, or a line has some of the new values and not all.
        """
        return _lines(self.text, self.path, self.facts)


def decided(dialect: Dialect, connection: Connection, facts: Facts, path: str) -> LookedUp:
    """The file as a lookup, its table loaded once.

    Raises:
        UsageError: the file cannot be read, or lacks a column.
        Refused: it decides a row twice.
    """
    file = DecisionsFile.read(facts, path)
    if sa.inspect(connection).has_table(file.name.name):
        return file.source
    loading = loading_name(file.name)
    create_table, create_index = file.creation(dialect, loading)
    run_plain(connection, f"DROP TABLE IF EXISTS {dialect.table_sql(loading)}")
    run_plain(connection, create_table)
    clause = table_clause(loading, *file.columns)
    with dialect.transaction(connection):
        for line in file.lines():
            values = {column: bound(value) for column, value in zip(file.columns, line, strict=True)}
            connection.execute(sa.insert(clause).values(values))
    try:
        run_plain(connection, create_index)
    except sa.exc.IntegrityError:
        raise file.twice from None
    # Only now does it have its name: a half-loaded file is loaded again.
    run_plain(
        connection, f"ALTER TABLE {dialect.table_sql(loading)} RENAME TO {dialect.quote(file.name.name)}"
    )
    return file.source


def loading_name(name: TableName) -> TableName:
    """What the table is called until it is whole."""
    return TableName(name.name + "_l")


def drop_all(dialect: Dialect, connection: Connection) -> None:
    """Remove the tables of all decisions files."""
    for name in sa.inspect(connection).get_table_names():
        if name.startswith(DECISIONS):
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
