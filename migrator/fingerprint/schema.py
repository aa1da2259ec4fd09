"""The schema as text: one canonical, diffable piece per object."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Collection, Mapping

from sqlalchemy import Connection

from migrator.fingerprint.backend import Backend
from migrator.fingerprint.model import Difference
from migrator.fingerprint.registry import backend_for
from migrator.naming import is_own_table


def schema_text(
    connection: Connection, *, ignore: Callable[[str], bool] = is_own_table, schema: str | None = None
) -> dict[str, str]:
    """Return everything the server knows about every object, as text that is the same for the same schema.

    Args:
        connection: see `data_digest`.
        ignore: told the name of a table, view, sequence, routine or type, decides whether to leave it out,
            with all that hangs on it. Triggers and constraints on a table that is kept are kept, whoever made
            them: a guard left behind on the application's table is exactly what must not be overlooked.
        schema: the schema to read; by default all of a PostgreSQL database but the system's own, the current
            database on MySQL and MariaDB, `main` on SQLite.

    Returns:
        Object ("table public.post", "trigger post.stamp", "function public.f(integer)") to text. Counters,
        statistics, OIDs and sizes are not in it.

    Locks taken: those of reading the catalog, on PostgreSQL ACCESS SHARE on what is described.
    """
    backend = backend_for(connection)
    with backend.snapshot(connection):
        return collect(backend, connection, schema=schema, ignore=ignore)


def collect(
    backend: Backend,
    connection: Connection,
    *,
    schema: str | None,
    ignore: Callable[[str], bool],
    only: Collection[str] | None = None,
) -> dict[str, str]:
    """Gather the facts by object inside a snapshot that is open already; `only` keeps the named tables."""
    lines: dict[str, list[str]] = {}
    for fact in backend.facts(connection, schema):
        if ignore(fact.owner) or not (only is None or named(only, fact.schema, fact.owner)):
            continue
        lines.setdefault(fact.object, []).append(fact.line)
    return {key: "\n".join(lines[key]) for key in sorted(lines)}


def named(names: Collection[str], schema: str | None, name: str) -> bool:
    """Tell whether `names` has the table, bare or with its schema."""
    return name in names or (schema is not None and f"{schema}.{name}" in names)


def schema_differences(before: Mapping[str, str], after: Mapping[str, str]) -> list[Difference]:
    """Return a difference with a unified diff for every object that is not the same text."""
    differences = []
    for key in sorted(before.keys() | after.keys()):
        old, new = before.get(key), after.get(key)
        if old == new:
            continue
        diff = difflib.unified_diff(
            (old or "").splitlines(),
            (new or "").splitlines(),
            f"{key} (before{'' if old is not None else ': not there'})",
            f"{key} (after{'' if new is not None else ': not there'})",
            lineterm="",
            n=1,
        )
        differences.append(Difference("schema", key, None, (), "\n".join(diff)))
    return differences
