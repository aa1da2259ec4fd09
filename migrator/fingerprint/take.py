"""A whole database's fingerprint, from one consistent snapshot."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from contextlib import ExitStack

from sqlalchemy import Connection, Engine

from migrator.fingerprint.model import DEFAULT_PARTS, DEFAULT_ROW_LIMIT, Fingerprint
from migrator.fingerprint.registry import backend_for
from migrator.fingerprint.schema import collect, named
from migrator.fingerprint.together import digest_tables
from migrator.naming import is_own_table


def take(
    source: Engine | Connection,
    *,
    schema: str | None = None,
    only_tables: Collection[str] | None = None,
    ignore: Callable[[str], bool] = is_own_table,
    parts: int = DEFAULT_PARTS,
    row_limit: int = DEFAULT_ROW_LIMIT,
    connections: int = 1,
    still: bool = False,
) -> Fingerprint:
    """Fingerprint schema and data inside one read-only snapshot, which is rolled back at the end.

    Args:
        source: an engine, from which a connection is taken for the time it lasts, or a connection. One that
            is in a transaction keeps it, sees what that transaction sees, and answers for its isolation.
        schema, ignore: see `schema_text`.
        only_tables: nothing but these, by bare name or as schema.table.
        parts, row_limit: see `data_digest`.
        connections: on so many at once, besides the first, where the server lets several see the same:
            PostgreSQL does, MySQL and MariaDB only if `still`; SQLite is read on the one. They read a big
            table in ranges: of its blocks (PostgreSQL 14 and later), of its integer key (MySQL, MariaDB).
        still: nobody writes to it: a copy, say.

    Raises:
        UsageError: an autocommit connection to PostgreSQL, or a database there is no module for.
        sqlalchemy.exc.ProgrammingError: a table that may not be read, or of which a policy would hide rows.

    Locks taken: those of plain reads, held to the end, so DDL on the tables waits: one pass over each table.
    """
    if isinstance(source, Engine):
        with source.connect() as connection:
            return take(
                connection,
                schema=schema,
                only_tables=only_tables,
                ignore=ignore,
                parts=parts,
                row_limit=row_limit,
                connections=connections,
                still=still,
            )
    backend = backend_for(source)
    with backend.snapshot(source):
        shapes = [
            shape
            for shape in backend.tables(source, schema)
            if not ignore(shape.name)
            and (only_tables is None or named(only_tables, shape.schema, shape.name))
        ]
        with ExitStack() as stack:
            others: Sequence[Connection] = ()
            if connections > 1:
                others = stack.enter_context(backend.beside(source, connections, still=still))
            tables = digest_tables(backend, source, others, shapes, parts=parts, row_limit=row_limit)
        return Fingerprint(
            dialect=backend.name,
            schema=collect(backend, source, schema=schema, ignore=ignore, only=only_tables),
            tables=tables,
            counters={
                name: value
                for name, value in backend.counters(source, schema).items()
                if not ignore(name.rpartition(".")[2])
            },
        )
