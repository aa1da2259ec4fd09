"""Makes all checks of each reference."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import URL, Connection, Engine
from sqlalchemy.orm import Mapper

from migrator import detect
from migrator.catalog import Facts
from migrator.dialects import Dialect
from migrator.known import facts_with_proof
from migrator.references import Found
from migrator.report.build import database_info, now
from migrator.verify.model import Check, ReferenceChecks, Verification
from migrator.verify.orm import model_checks
from migrator.verify.probes import probe_checks, unprobed
from migrator.verify.standing import standing_checks


def verify(
    connection: Connection,
    dialect: Dialect,
    found: Sequence[Found],
    *,
    url: URL,
    writer: Callable[[], Engine] | None = None,
    mappers: Sequence[Mapper[Any]] = (),
) -> Verification:
    """Check each reference: declared, validated, no orphan, bad rows refused, index used.

    Args:
        connection: inside `dialect.read_only`.
        dialect: ours for it.
        found: the references.
        url: shown in the result, without its password.
        writer: gives an engine for the probes, each of which writes one row in a transaction that is
            rolled back, and holds a row lock meanwhile. None: no probes are made.
        mappers: models whose relationships are looked at too.

    Raises:
        UnknownTableError, UnknownColumnError: a reference names what is not there.
        sqlalchemy.exc.DBAPIError: as the driver said it.
    """
    facts = [facts_with_proof(connection, dialect, one.reference) for one in found]
    results = []
    for one, of in zip(found, facts, strict=True):
        counts = detect.count(connection, one.reference)
        checks = [
            *standing_checks(connection, dialect, of, counts),
            *_probes(dialect, of, writer),
            *model_checks(connection, one.reference, list(mappers)),
        ]
        results.append(ReferenceChecks(one.reference, one.origin, tuple(checks)))
    return Verification(now(), database_info(connection, dialect, url), tuple(results))


def _probes(dialect: Dialect, facts: Facts, writer: Callable[[], Engine] | None) -> Iterator[Check]:
    if writer is None:
        yield from unprobed(facts, "probes were not asked for")
        return
    engine = writer()
    try:
        with engine.connect() as connection:
            yield from probe_checks(connection, dialect, facts)
    except sa.exc.DBAPIError:
        yield from unprobed(facts, "no connection that may write could be had")
    finally:
        engine.dispose()
