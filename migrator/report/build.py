"""Reads everything a report says. One reference costs a count, and, only where orphans are there,
a few samples of each kind and the ranking of the missing parents."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime

import sqlalchemy as sa
from sqlalchemy.engine import URL, Connection

from migrator import detect
from migrator.catalog import Facts, State
from migrator.connect import shown
from migrator.dialects import Dialect
from migrator.estimate import Estimate, estimate
from migrator.known import facts_with_proof
from migrator.predicate import Kind
from migrator.references import Found
from migrator.report.findings import findings
from migrator.report.model import DatabaseInfo, ReferenceReport, Report
from migrator.typefamily import differ

Progress = Callable[[str], None]


def now() -> str:
    """The time as reports write it: UTC, whole seconds, ending in Z."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def database_info(connection: Connection, dialect: Dialect, url: URL) -> DatabaseInfo:
    """Which database answers, in words."""
    server = dialect.server(connection)
    engine = connection.dialect.name if server.family == "other" else server.family
    return DatabaseInfo(shown(url), engine, server.text or ".".join(str(part) for part in server.version))


def build_report(
    connection: Connection,
    dialect: Dialect,
    found: Sequence[Found],
    *,
    url: URL,
    limit: int = 5,
    sample: bool = False,
    progress: Progress = lambda _: None,
) -> Report:
    """Look at each reference and say what was found.

    Args:
        connection: inside `dialect.read_only`; all of the report is then one snapshot.
        dialect: ours for it.
        found: the references.
        url: shown in the report, without its password.
        limit: how many samples of each kind, and how many missing parents.
        sample: estimate the counts from sampled key ranges instead of counting.
        progress: is told what is being looked at.

    Raises:
        UnknownTableError, UnknownColumnError: a reference names what is not there.
        sqlalchemy.exc.DBAPIError: as the driver said it.
    """
    # All names are looked up before the first count: a typing error must not cost an hour.
    facts = [facts_with_proof(connection, dialect, one.reference) for one in found]
    reports = []
    for one, of in zip(found, facts, strict=True):
        progress(f"{one.reference}: {'sampling' if sample else 'counting'}")
        reports.append(_reference_report(connection, dialect, one, of, limit, sample))
    return Report(now(), database_info(connection, dialect, url), tuple(reports))


def _reference_report(
    connection: Connection, dialect: Dialect, found: Found, facts: Facts, limit: int, sample: bool
) -> ReferenceReport:
    reference = found.reference
    guess: Estimate | None = None
    counts: detect.Counts | None
    if sample:
        guess = estimate(connection, reference, facts.child)
        counts = guess.counts if guess else None
    if guess is None:
        counts = _count(connection, facts)
    samples: dict[Kind, tuple[detect.OrphanRow, ...]] = {}
    missing: tuple[detect.MissingParent, ...] = ()
    if counts is not None and guess is None and limit:
        for kind in detect.breaking_kinds(reference):
            if getattr(counts, kind):
                key = facts.child.handle
                rows = detect.orphans(connection, reference, key, kinds=(kind,), limit=limit)
                samples[kind] = tuple(rows)
        if counts.dangling:
            missing = tuple(detect.missing_parents(connection, reference, limit))
    return ReferenceReport(
        reference=reference,
        origin=found.origin,
        state=_state(facts, counts),
        counts=counts,
        estimate=guess,
        samples=samples,
        top_missing_parents=missing,
        findings=findings(facts, counts, dialect, found.origin),
    )


def _state(facts: Facts, counts: detect.Counts | None) -> State:
    """Where the server keeps no flag: the journal's proof, unless the count made just now says otherwise."""
    key = facts.foreign_key
    journaled = facts.state == "validated" and key is not None and key.validated is None
    if journaled and counts is not None and counts.orphans(facts.reference):
        return "enforced"
    return facts.state


def _count(connection: Connection, facts: Facts) -> detect.Counts | None:
    """The counts; None where the types differ so much that the server will not compare them."""
    if not differ(facts):
        return detect.count(connection, facts.reference)
    try:
        # In a savepoint: where the comparison is refused the rest of the report still has its snapshot.
        with connection.begin_nested():
            return detect.count(connection, facts.reference)
    except sa.exc.DBAPIError:
        return None
