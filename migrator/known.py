"""What the journal adds to the catalog, read only where there is a journal."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from sqlalchemy.engine import Connection

from migrator import journal
from migrator.catalog import Facts
from migrator.dialects import Dialect
from migrator.reference import Reference
from migrator.references import Found


def facts_with_proof(connection: Connection, dialect: Dialect, reference: Reference) -> Facts:
    """The facts of a reference with `proved_at` and `ours` filled in.

    Raises:
        UnknownTableError, UnknownColumnError: the reference names what is not there.
    """
    facts = dialect.facts(connection, reference)
    if journal.exists(connection):
        proved_at = journal.proved_at(connection, reference)
        return replace(facts, proved_at=proved_at, ours=journal.ours(connection, reference))
    return facts


def as_migrated(connection: Connection, found: Sequence[Found]) -> list[Found]:
    """The same references, each with NULL being right where the journal's last run that was not taken back
    says so: whoever names a reference need not know how it was migrated."""
    if not journal.exists(connection):
        return list(found)
    runs = [run for run in journal.runs(connection) if run.state not in ("undone", "refused")]
    optional = {str(run.reference): run.reference.nullable for run in runs}
    return [
        replace(one, reference=replace(one.reference, nullable=True))
        if one.origin == "argument" and optional.get(str(one.reference))
        else one
        for one in found
    ]


def from_journal(connection: Connection) -> list[Found]:
    """The references of runs that were not taken back, in the order they were first run."""
    if not journal.exists(connection):
        return []
    runs = [run for run in journal.runs(connection) if run.state != "undone"]
    return [Found(reference, "journal") for reference in dict.fromkeys(run.reference for run in runs)]
