"""What the journal adds to the catalog, read only where there is a journal."""

from __future__ import annotations

from dataclasses import replace

from sqlalchemy.engine import Connection

from migrator import journal
from migrator.catalog import Facts
from migrator.dialects import Dialect
from migrator.reference import Reference
from migrator.references import Found


def facts_with_proof(connection: Connection, dialect: Dialect, reference: Reference) -> Facts:
    """The facts of a reference with `proved_at` filled in.

    Raises:
        UnknownTableError, UnknownColumnError: the reference names what is not there.
    """
    facts = dialect.facts(connection, reference)
    if journal.exists(connection):
        return replace(facts, proved_at=journal.proved_at(connection, reference))
    return facts


def from_journal(connection: Connection) -> list[Found]:
    """The references of runs that were not taken back, in the order they were first run."""
    if not journal.exists(connection):
        return []
    runs = [run for run in journal.runs(connection) if run.state != "undone"]
    return [Found(reference, "journal") for reference in dict.fromkeys(run.reference for run in runs)]
