"""Decisions of a person in a script: the file is read when the script is written, and its lines are INSERTs
at the head of what needs them."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice

from migrator.decisions import DecisionsFile
from migrator.offline.words import Words
from migrator.reference import TableName

# Lines in one INSERT: far below what a server takes in one packet.
_AT_ONCE = 500


def inserts(words: Words, file: DecisionsFile, name: TableName) -> Iterator[str]:
    """The statements that fill its table.

    Args:
        file: the file.
        name: what the table is called.

    Raises:
        UsageError: see `DecisionsFile.lines`.
        Refused: it decides a row twice.
    """
    dialect = words.dialect
    head = f"INSERT INTO {dialect.table_sql(name)} ({dialect.columns_sql(file.columns)}) VALUES\n"
    every = _once(file)
    while lines := list(islice(every, _AT_ONCE)):
        yield head + ",\n".join(f"({', '.join(map(words.text, line))})" for line in lines)


def _once(file: DecisionsFile) -> Iterator[list[str]]:
    seen: set[tuple[str, ...]] = set()
    for line in file.lines():
        key = tuple(line[: len(file.columns) - len(file.new)])
        if key in seen:
            raise file.twice
        seen.add(key)
        yield line


def made_anew(words: Words, file: DecisionsFile) -> list[str]:
    """Its table under its own name, empty, where DDL is part of a transaction: nobody sees it half full."""
    table, index = file.creation(words.dialect, file.name)
    return [
        if_not_exists(table),
        f"DELETE FROM {words.dialect.table_sql(file.name)}",
        if_not_exists(index),
    ]


def if_not_exists(statement: str) -> str:
    """A CREATE TABLE or CREATE INDEX for where it may be there."""
    for words in ("CREATE TABLE ", "CREATE UNIQUE INDEX ", "CREATE INDEX "):
        if statement.startswith(words) and not statement.startswith(words + "IF NOT EXISTS"):
            return statement.replace(words, words + "IF NOT EXISTS ", 1)
    return statement
