"""What is worth acting on, and the exact next statement or command, in the user's own names."""

from __future__ import annotations

import shlex
from collections.abc import Iterator

import sqlalchemy as sa

from migrator.catalog import Facts
from migrator.detect import Counts
from migrator.dialects import Dialect
from migrator.predicate import Kind, all_null, child_alias, kind, none_null, orphaned
from migrator.reference import Reference
from migrator.references import Origin
from migrator.report.model import Finding, Severity
from migrator.typefamily import pairs

_ORDER: tuple[Severity, ...] = ("high", "medium", "low")


def findings(facts: Facts, counts: Counts | None, dialect: Dialect, origin: Origin) -> tuple[Finding, ...]:
    """All findings of one reference, gravest first.

    Args:
        facts: of the reference.
        counts: what was counted; None where the two sides cannot be compared.
        dialect: for the statements shown, and for what it knows to forbid a run.
        origin: how the reference was come by.
    """
    found: dict[str, Finding] = {}
    rows = _rows(facts, counts, dialect) if counts is not None else _not_comparable(facts)
    for finding in (*rows, *_standing(facts, dialect, origin), *_preflight(facts, dialect)):
        # What the preflight says of the same thing is not said twice.
        found.setdefault(finding.slug, finding)
    return tuple(sorted(found.values(), key=lambda finding: _ORDER.index(finding.severity)))


def listing(reference: Reference, key: tuple[str, ...], what: Kind, dialect: Dialect) -> str:
    """The statement that lists the orphans of one kind, as one can paste it into the server's client."""
    child = child_alias(reference, *key)
    columns = dict.fromkeys((*key, *reference.columns))
    where = {
        "null": [all_null(reference, child)],
        "dangling": [orphaned(reference, child), none_null(reference, child)],
        "partial": [orphaned(reference, child), kind(reference, child) == sa.literal_column("'partial'")],
    }[what]
    query = sa.select(*(child.c[name] for name in columns)).select_from(child).where(*where)
    text = str(query.compile(dialect=dialect.sa, compile_kwargs={"literal_binds": True}))
    if dialect.sa.paramstyle in ("format", "pyformat"):
        text = text.replace("%%", "%")  # doubled for the driver, not for a person
    return " ".join(text.split()) + ";"


def command(verb: str, reference: Reference, *more: str) -> str:
    """A command of ours for this reference, quoted for the shell."""
    nullable = ("--nullable",) if reference.nullable else ()
    return shlex.join(["migrator", verb, "--reference", str(reference), *nullable, *more])


def _rows(facts: Facts, counts: Counts, dialect: Dialect) -> Iterator[Finding]:
    reference, key = facts.reference, facts.child.handle
    columns, parent = _names(reference.columns), reference.parent
    if counts.dangling:
        yield Finding(
            "dangling-reference",
            "high",
            f"{_count(counts.dangling, 'row')} of {reference.child} {_verb(counts.dangling, 'name')} "
            f"{_count(counts.missing_parents, 'row')} of {parent} that {_be(counts.missing_parents)} "
            "not there; the plan shows how they are set aside and mended.",
            command("plan", reference),
            listing(reference, key, "dangling", dialect),
        )
    if counts.null and not reference.nullable:
        yield Finding(
            "null-reference",
            "high",
            f"{columns} is NULL in {_count(counts.null, 'row')} of {reference.child}; "
            "a foreign key alone would let them pass. Where NULL is right, say --nullable.",
            command("plan", reference),
            listing(reference, key, "null", dialect),
        )
    if counts.partial:
        breaks = reference.match == "full" or not reference.nullable
        yield Finding(
            "partial-reference",
            "high" if breaks else "low",
            f"{_count(counts.partial, 'row')} of {reference.child} {_verb(counts.partial, 'hold')} NULL in "
            f"some of {columns} and not in all; MATCH SIMPLE does not check such rows at all.",
            "Fill in the missing part or set all of it to NULL."
            + ("" if breaks else " Declared MATCH FULL, the constraint would refuse them."),
            listing(reference, key, "partial", dialect),
        )


def _not_comparable(facts: Facts) -> Iterator[Finding]:
    reference = facts.reference
    types = ", ".join(
        f"{ours.name} {ours.type} and {theirs.name} {theirs.type}" for ours, theirs in pairs(facts)
    )
    ours, theirs = pairs(facts)[0]
    yield Finding(
        "type-mismatch",
        "high",
        f"{reference} cannot be counted: the server does not compare {types}.",
        f"Give {reference.child}.{ours.name} the type {theirs.type} of {reference.parent}.{theirs.name}.",
    )


def _standing(facts: Facts, dialect: Dialect, origin: Origin) -> Iterator[Finding]:
    reference, key = facts.reference, facts.foreign_key
    if key is None:
        looks = "it merely looks like one" if origin == "name" else "nothing stops the next orphan"
        yield Finding(
            "missing-foreign-key",
            "medium",
            f"{reference} is not declared in the database: {looks}.",
            command("revision", reference),
        )
    elif facts.state == "enforced" and (key.validated is False or facts.null_check == "not valid"):
        yield Finding(
            "not-validated",
            "medium",
            f"Constraint {key.name or reference.name} checks new rows only; "
            "old ones were never proved right.",
            f"ALTER TABLE {dialect.table_sql(reference.child)} VALIDATE CONSTRAINT "
            f"{dialect.quote(key.name or reference.name)};"
            if key.validated is False
            else command("plan", reference),
        )
    if facts.index is None and reference.index and facts.child.kind not in ("view", "foreign"):
        name = dialect.quote(reference.index_name)
        yield Finding(
            "missing-index",
            "medium",
            f"No index of {reference.child} begins with {_names(reference.columns)}: every deletion of a "
            f"{reference.parent} row reads all of {reference.child}.",
            f"CREATE INDEX {name} ON {dialect.table_sql(reference.child)} "
            f"({dialect.columns_sql(reference.columns)});",
        )


def _preflight(facts: Facts, dialect: Dialect) -> Iterator[Finding]:
    for problem in dialect.preflight(facts):
        severity: Severity = "high" if problem.severity == "refuse" else "low"
        yield Finding(problem.slug, severity, problem.message, problem.fix)


def _names(columns: tuple[str, ...]) -> str:
    return columns[0] if len(columns) == 1 else f"({', '.join(columns)})"


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}" + ("" if number == 1 else "s")


def _verb(number: int, verb: str) -> str:
    return verb + "s" if number == 1 else verb


def _be(number: int) -> str:
    return "is" if number == 1 else "are"
