"""What the catalog and a fresh count say."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from migrator.catalog import Facts, ForeignKey
from migrator.detect import Counts
from migrator.dialects import Dialect
from migrator.dialects.explain import indexes_used
from migrator.dialects.telling import Blocker
from migrator.predicate import child_alias, table_clause
from migrator.reference import Reference
from migrator.report.findings import command
from migrator.verify.model import Check

_NAMED: Final = 3


def standing_checks(
    connection: Connection, dialect: Dialect, facts: Facts, counts: Counts
) -> Iterator[Check]:
    """Constraint, validity, actions, NOT NULL, orphans, index.

    Args:
        connection: in a read-only transaction.
        dialect: ours for it.
        facts: of the reference, with the journal's proof.
        counts: made just now.
    """
    reference = facts.reference
    yield _foreign_key(facts)
    if facts.foreign_key is not None:
        unchecked = dialect.unchecked_sessions(connection)
        yield _validated(facts, facts.foreign_key, counts, dialect, unchecked)
        yield from _actions(reference, facts.foreign_key)
    if not reference.nullable:
        yield _not_null(facts)
    yield _no_orphans(reference, counts)
    if reference.index:
        yield from _index(connection, dialect, facts, counts)


def _foreign_key(facts: Facts) -> Check:
    reference, key = facts.reference, facts.foreign_key
    if key is None:
        declared = ", ".join(
            f"{one.name}({', '.join(one.columns)})" for one in facts.child.foreign_keys if one.name
        )
        others = f" It has {declared}." if declared else ""
        return Check(
            "foreign-key",
            "failed",
            f"{reference.child} has no foreign key for {reference}.{others}",
            command("plan", reference),
        )
    if key.on_partitions:
        return Check(
            "foreign-key",
            "failed",
            f"each partition of {reference.child} has {key.name}, and the table itself does not: a partition "
            "that is added will be without it",
            command("plan", reference),
        )
    return Check("foreign-key", "passed", f"{key.name or 'an unnamed constraint'} ties {reference}")


def _validated(
    facts: Facts, key: ForeignKey, counts: Counts, dialect: Dialect, unchecked: Sequence[Blocker]
) -> Check:
    """The server's word; where it keeps none, the journal's proof and the count made just now. A foreign
    key that is there proves nothing: it may have been added with the checks off."""
    reference = facts.reference
    if key.validated:
        return Check("validated", "passed", "the server says that every row was checked")
    if key.on_partitions:
        return Check(
            "validated",
            "failed",
            f"{key.name} is not declared on {reference.child}, where its proof would stand",
            command("plan", reference),
        )
    if key.validated is False:
        return Check(
            "validated",
            "failed",
            f"{key.name} checks new rows only: it is NOT VALID",
            f"ALTER TABLE {dialect.table_sql(reference.child)} VALIDATE CONSTRAINT "
            f"{dialect.quote(key.name)};",
        )
    # Named, not held against the reference: what they write is found by a count, as long as they stop.
    careless = "".join(f"; it can still write orphans: {each}" for each in unchecked)
    if counts.orphans(reference):
        since = f"validated by proof at {facts.proved_at}, and " if facts.proved_at else ""
        return Check(
            "validated", "failed", f"{since}there are orphans now{careless}", command("report", reference)
        )
    proof = f"validated by proof at {facts.proved_at}, and" if facts.proved_at else "no proof journaled, but"
    return Check("validated", "passed", f"{proof} the count below finds no orphan now{careless}")


def _actions(reference: Reference, key: ForeignKey) -> Iterator[Check]:
    for what, wanted, there in (
        ("on-delete", reference.on_delete, key.on_delete),
        ("on-update", reference.on_update, key.on_update),
    ):
        if wanted is None:
            continue
        # MySQL calls its only refusal by both names.
        same = {wanted, there} <= {"NO ACTION", "RESTRICT"} or wanted == there
        words = what.replace("-", " ").upper()
        yield Check(
            what,
            "passed" if same else "failed",
            f"{words} is {there}" + ("" if same else f", not {wanted}"),
            None if same else f"Drop {key.name} and add it again with {words} {wanted}.",
        )


def _not_null(facts: Facts) -> Check:
    reference = facts.reference
    columns = ", ".join(reference.columns)
    if facts.not_null:
        return Check("not-null", "passed", f"{columns} is NOT NULL")
    if facts.null_check == "not valid":
        message = f"{columns} refuses NULL in new rows only: old rows were never checked"
    else:
        message = f"{columns} may be NULL"
    return Check("not-null", "failed", message, command("plan", reference))


def _no_orphans(reference: Reference, counts: Counts) -> Check:
    orphans = counts.orphans(reference)
    if not orphans:
        return Check("no-orphans", "passed", f"{counts.rows:,} rows counted, no orphan among them")
    kinds = [("null", counts.null), ("partial", counts.partial), ("dangling", counts.dangling)]
    found = ", ".join(f"{rows:,} {kind}" for kind, rows in kinds if rows)
    return Check(
        "no-orphans", "failed", f"{orphans:,} of {counts.rows:,} rows: {found}", command("report", reference)
    )


def _index(connection: Connection, dialect: Dialect, facts: Facts, counts: Counts) -> Iterator[Check]:
    reference, index = facts.reference, facts.index
    if index is None:
        yield Check(
            "index",
            "failed",
            f"no index of {reference.child} begins with {', '.join(reference.columns)}: deleting a row of "
            f"{reference.parent} reads all of it",
            f"CREATE INDEX {dialect.quote(reference.index_name)} ON {dialect.table_sql(reference.child)} "
            f"({dialect.columns_sql(reference.columns)});",
        )
        return
    yield Check("index", "passed", f"{index.name} serves look-ups by {', '.join(reference.columns)}")
    used = indexes_used(dialect, connection, _lookup(reference))
    if used is None:
        yield Check("index-used", "skipped", f"the plans of {dialect.family} databases cannot be read")
        return
    serving = dialect.serving(facts.child, reference.columns)
    if used & serving:
        first, rest = sorted(used & serving)[:_NAMED], len(used & serving) - _NAMED
        more = f" and {rest} more" if rest > 0 else ""  # of as many partitions
        yield Check("index-used", "passed", f"the plan of such a look-up uses {', '.join(first)}{more}")
        return
    if not counts.valid:
        # MySQL and MariaDB see that nothing can be found and plan no look-up at all.
        yield Check("index-used", "skipped", "there is no row to look up, so the server plans none")
        return
    yield Check(
        "index-used",
        "failed",
        f"the plan of such a look-up does not use {index.name}",
        "See whether it is valid and its statistics are fresh: "
        f"ANALYZE {dialect.table_sql(reference.child)};",
    )


def _lookup(reference: Reference) -> sa.Select[tuple[str]]:
    """The look-up that a deletion of a parent row makes; the key's type comes from the parent itself."""
    child = child_alias(reference)
    parent = table_clause(reference.parent, *reference.parent_columns).alias("p")
    pairs = zip(reference.columns, reference.parent_columns, strict=True)
    return (
        sa.select(sa.literal_column("1"))
        .select_from(child)
        .where(
            *(
                # Not min(): PostgreSQL has none of a uuid.
                child.c[ours] == sa.select(parent.c[theirs]).limit(1).scalar_subquery()
                for ours, theirs in pairs
            )
        )
    )
