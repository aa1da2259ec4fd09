"""Makes an audit: of models, of a database, or of both."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import URL, Connection
from sqlalchemy.orm import Mapper, configure_mappers

from migrator.audit.defaults import frozen_defaults
from migrator.audit.model import SLUGS, Audit, Finding, Severity, in_order
from migrator.audit.relations import missing_back_references, missing_foreign_keys, undeclared
from migrator.audit.timestamps import frozen_timestamps
from migrator.dialects import Dialect
from migrator.discover import candidates
from migrator.exact import exact_for
from migrator.known import from_journal
from migrator.naming import is_own_table
from migrator.nearest import check_schema
from migrator.reference import Reference, TableName
from migrator.references import Found, declared, from_metadata, load_metadata, load_object, without_repeats
from migrator.report.build import build_report, database_info, now
from migrator.report.model import ReferenceReport
from migrator.typefamily import differ, family, pairs
from migrator.verify.orm import mappers_of

#: How grave the report's findings are here; what is not named is as grave as the report says.
_SEVERITY: dict[str, Severity] = {
    "dangling-reference": "high",
    "null-reference": "high",
    "missing-foreign-key": "high",
    "type-mismatch": "high",
}

#: How many rows of one instant make a cluster, unless asked otherwise.
CLUSTER = 10


def audit(
    models: str | None = None,
    *,
    connection: Connection | None = None,
    dialect: Dialect | None = None,
    url: URL | None = None,
    schema: str | None = None,
    slugs: Sequence[str] = SLUGS,
    cluster: int = CLUSTER,
    progress: Callable[[str], None] = lambda _: None,
) -> Audit:
    """Look at models and, where there is a connection, at its database.

    Args:
        models: `package.module:Base`.
        connection: inside `dialect.read_only`; only reads.
        dialect, url: of the connection.
        schema: where to look.
        slugs: what to look for.
        cluster: how many rows of one instant make a cluster.
        progress: is told what is being looked at.

    Raises:
        UsageError: the models cannot be had, or there is no such schema.
        sqlalchemy.exc.DBAPIError: as the driver said it.
    """
    found: list[Finding] = []
    notes: list[str] = []
    references: list[Found] = []
    said: frozenset[str] = frozenset()
    if models:
        metadata, mappers, names = _loaded(models)
        found += _of_models(metadata, mappers, names)
        references += from_metadata(metadata)
        missing_keys = [one.reference for one in undeclared(metadata, mappers)]
        references += [Found(reference, "models") for reference in missing_keys]
        said = frozenset(str(reference) for reference in missing_keys)
    if connection is None or dialect is None or url is None:
        if models:
            notes.append("Only the models were looked at: no database was given.")
        return Audit(now(), models, None, in_order(one for one in found if one.slug in slugs), tuple(notes))
    exact_for(dialect).prepare(connection)
    check_schema(connection, schema)
    tables = _tables(connection, schema)
    if not models:
        references = [*from_journal(connection), *declared(connection, schema)]
        references += [Found(one.reference, "name") for one in candidates(connection, schema=schema)]
    there = []
    for one in without_repeats(references):
        missing = [t for t in (one.reference.child, one.reference.parent) if not _has(connection, t)]
        if missing:
            notes.append(f"{one.reference} was not looked at: the database has no table {missing[0]}.")
        else:
            there.append(one)
    if {*slugs} - {"frozen-default", "missing-back-reference", "frozen-timestamp"}:
        report = build_report(connection, dialect, there, url=url, limit=0, progress=progress)
        found += [finding for one in report.references for finding in _of_reference(one, said)]
        found += [mismatch for one in there if (mismatch := _mismatch(connection, dialect, one))]
    if "frozen-timestamp" in slugs:
        progress("looking for clusters of one instant")
        found += frozen_timestamps(connection, dialect, tables, cluster)
    info = database_info(connection, dialect, url)
    return Audit(now(), models, info, in_order(one for one in found if one.slug in slugs), tuple(notes))


def _loaded(models: str) -> tuple[sa.MetaData, list[Mapper[Any]], dict[Any, str]]:
    """The metadata, its mappers, and what models call their columns."""
    metadata = load_metadata(models)
    mappers = mappers_of(load_object(models))
    configure_mappers()
    names: dict[Any, str] = {}
    for mapper in mappers:
        for attribute in mapper.column_attrs:
            for column in attribute.columns:
                names.setdefault(column, f"{mapper.class_.__name__}.{attribute.key}")
    return metadata, mappers, names


def _of_models(
    metadata: sa.MetaData, mappers: Sequence[Mapper[Any]], names: dict[Any, str]
) -> Iterator[Finding]:
    yield from frozen_defaults(metadata, names)
    yield from missing_foreign_keys(metadata, mappers, names)
    yield from missing_back_references(mappers)


def _of_reference(one: ReferenceReport, said: frozenset[str]) -> Iterator[Finding]:
    """What the orphan report finds; a foreign key that the models lack has been said already."""
    reference = one.reference
    where = _where(reference)
    for finding in one.findings:
        if finding.slug not in SLUGS or (finding.slug == "missing-foreign-key" and str(reference) in said):
            continue
        evidence: dict[str, Any] = {"reference": str(reference), "state": one.state}
        if one.counts is not None and finding.slug.endswith("-reference"):
            evidence["rows"] = getattr(one.counts, finding.slug.removesuffix("-reference"), None)
            evidence["of"] = one.counts.rows
        if finding.sql:
            evidence["sql"] = finding.sql
        severity: Severity = "high" if finding.severity == "high" else "medium"
        grave = _SEVERITY.get(finding.slug, severity)
        yield Finding(finding.slug, grave, where, finding.message, finding.fix, evidence)


def _mismatch(connection: Connection, dialect: Dialect, one: Found) -> Finding | None:
    """Types of two families, which a server may be lax enough to compare: SQLite ties any two."""
    reference, facts = one.reference, dialect.facts(connection, one.reference)
    if not differ(facts):
        return None
    ours, theirs = next(pair for pair in pairs(facts) if family(pair[0]) != family(pair[1]))
    where = _where(reference)
    return Finding(
        "type-mismatch",
        "high",
        where,
        f"{where} is {ours.type} and {reference.parent}.{theirs.name} is {theirs.type}.",
        f"Give {where} the type {theirs.type} of {reference.parent}.{theirs.name}.",
        {"reference": str(reference), "child": ours.type, "parent": theirs.type},
    )


def _where(reference: Reference) -> str:
    if len(reference.columns) == 1:
        return f"{reference.child}.{reference.columns[0]}"
    return f"{reference.child}({', '.join(reference.columns)})"


def _tables(connection: Connection, schema: str | None) -> list[TableName]:
    names = sa.inspect(connection).get_table_names(schema=schema)
    return [TableName(name, schema) for name in sorted(names) if not is_own_table(name)]


def _has(connection: Connection, table: TableName) -> bool:
    return sa.inspect(connection).has_table(table.name, schema=table.schema)
