"""Partitioned tables on PostgreSQL, on either side of the reference, before 18 and from 18 on."""

from __future__ import annotations

from dataclasses import replace

import pytest
import sqlalchemy as sa

from migrator.dialects.pg_words import LockingSql
from tests.operations.postgresql_desk import REFERENCE, Desk
from tests.servers.database import Database

pytestmark = pytest.mark.engines("postgresql", "postgresql-13", "postgresql-17")

CHILD = (
    'CREATE TABLE "user" (id bigint PRIMARY KEY, name text)',
    "CREATE TABLE post (id bigint PRIMARY KEY, user_id bigint, title text) PARTITION BY RANGE (id)",
    "CREATE TABLE post_a PARTITION OF post FOR VALUES FROM (0) TO (100)",
    "CREATE TABLE post_b PARTITION OF post FOR VALUES FROM (100) TO (900) PARTITION BY RANGE (id)",
    "CREATE TABLE post_b1 PARTITION OF post_b FOR VALUES FROM (100) TO (150)",
    'CREATE TABLE "post b2%" PARTITION OF post_b FOR VALUES FROM (150) TO (900)',
    """INSERT INTO "user" SELECT n, 'user ' || n FROM generate_series(1, 20) n""",
    "INSERT INTO post SELECT n, 1 + n % 20, 'post ' || n FROM generate_series(1, 200) n",
)


@pytest.mark.parametrize("nullable", [False, True], ids=["not-null", "nullable"])
def test_a_partitioned_child_goes_all_the_way_and_back(database: Database, nullable: bool) -> None:
    """Sub-partitions included; indexes, keys and guards of every level are gone at the end."""
    desk = Desk.at(database, *CHILD)
    reference = replace(REFERENCE, nullable=nullable)
    before = desk.schema()
    assert desk.problems(reference) == []
    ours = desk.upgrade(reference)
    assert desk.facts(reference).state == "validated"
    keys = desk.rows(
        "SELECT conrelid::regclass::text, convalidated FROM pg_constraint WHERE contype = 'f' ORDER BY 1"
    )
    names = ['"post b2%"', "post", "post_a", "post_b", "post_b1"]
    assert keys == [(name, True) for name in names]
    desk.downgrade(ours, reference)
    assert desk.schema() == before


def test_unvalidate_goes_back_to_a_key_on_each_partition(database: Database) -> None:
    """Exactly what enforce had left there."""
    desk = Desk.at(database, *CHILD)
    desk.run(desk.dialect.enforce_steps(desk.facts()))
    enforced = desk.schema()
    assert desk.facts().state == "enforced"
    ours = frozenset(desk.run(desk.dialect.validate_steps(desk.facts())))
    desk.run(desk.dialect.unvalidate_steps(desk.facts(), ours))
    assert desk.schema() == enforced


def test_enforced_means_that_every_partition_refuses_orphans(database: Database) -> None:
    """And NULLs."""
    desk = Desk.at(database, *CHILD)
    desk.run(desk.dialect.enforce_steps(desk.facts()))
    for key in (50, 120, 180):
        for author, state in (("77", "23503"), ("NULL", "23502")):
            with pytest.raises(sa.exc.IntegrityError) as error:
                desk.sql(f"UPDATE post SET user_id = {author} WHERE id = {key}")
            assert getattr(error.value.orig, "sqlstate", "") == state


def test_the_valid_keys_of_partitions_are_attached_without_a_scan(database: Database) -> None:
    """Not one row of any partition is read under the lock that stops writers."""
    desk = Desk.at(database, *CHILD)
    desk.run(desk.dialect.enforce_steps(desk.facts()))
    *steps, attach, _ = desk.dialect.validate_steps(desk.facts())
    if desk.facts().server.version >= (18,):
        assert attach.name == "validate"
        return
    desk.run(steps)
    assert attach.name == "attach-foreign-key"
    assert isinstance(attach.work, LockingSql)
    with desk.transaction(*attach.work.statements) as connection:
        read = connection.execute(
            sa.text("SELECT coalesce(sum(seq_tup_read + idx_tup_fetch), 0) FROM pg_stat_xact_user_tables")
        )
        assert read.scalar_one() == 0


def test_a_partition_added_meanwhile_is_not_attached_unproved(database: Database) -> None:
    """The step refuses rather than scan it; planned again, it is proved like the others."""
    desk = Desk.at(database, *CHILD)
    if desk.facts().server.version >= (18,):
        return  # there the key is the parent's, and a new partition has it from its first moment
    desk.run(desk.dialect.enforce_steps(desk.facts()))
    *steps, attach, _ = desk.dialect.validate_steps(desk.facts())
    desk.run(steps)
    desk.sql("CREATE TABLE post_c PARTITION OF post FOR VALUES FROM (900) TO (1000)")
    with pytest.raises(sa.exc.DBAPIError, match=r"a partition of .* has no valid") as error:
        desk.attempt(attach)
    assert desk.dialect.verdict(error.value) == "other"
    assert desk.facts().state == "none"
    ran = desk.run(desk.dialect.validate_steps(desk.facts()))
    assert [name.rsplit("-", 1)[0] for name in ran[:2]] == ["add-foreign-key-post-c", "validate-post-c"]
    assert desk.facts().state == "validated"


def test_an_index_begun_on_some_partitions_is_finished_or_taken_away(database: Database) -> None:
    """Whichever way the run goes on."""
    desk = Desk.at(database, *CHILD)
    before = desk.schema()
    first, *_ = desk.dialect.index_steps(desk.facts())
    ours = desk.run([first])
    desk.run(desk.dialect.drop_index_steps(desk.facts(), frozenset({*ours, "create-index"})))
    assert desk.schema() == before
    ours = desk.run([first]) + desk.run(desk.dialect.index_steps(desk.facts()))
    assert desk.facts().index is not None
    desk.run(desk.dialect.drop_index_steps(desk.facts(), frozenset(ours)))
    assert desk.schema() == before


def test_a_partitioned_parent_goes_all_the_way_and_back(database: Database) -> None:
    """Whether the key is valid is read from its top row: before 18 the rows below it never say so."""
    desk = Desk.at(
        database,
        'CREATE TABLE "user" (id bigint PRIMARY KEY, name text) PARTITION BY RANGE (id)',
        'CREATE TABLE user_a PARTITION OF "user" FOR VALUES FROM (0) TO (10)',
        'CREATE TABLE user_b PARTITION OF "user" FOR VALUES FROM (10) TO (100)',
        "CREATE TABLE post (id bigint PRIMARY KEY, user_id bigint, title text)",
        """INSERT INTO "user" SELECT n, 'user ' || n FROM generate_series(1, 20) n""",
        "INSERT INTO post SELECT n, 1 + n % 20, 'post ' || n FROM generate_series(1, 200) n",
    )
    before = desk.schema()
    assert desk.problems() == []
    ours = desk.upgrade()
    assert desk.facts().state == "validated"
    assert [fk.name for fk in desk.facts().parent.inbound] == [REFERENCE.name]
    desk.downgrade(ours)
    assert desk.schema() == before


def test_a_foreign_partition_is_refused(database: Database) -> None:
    """A foreign table can have no foreign key."""
    desk = Desk.at(
        database,
        *CHILD,
        "CREATE FOREIGN DATA WRAPPER nowhere",
        "CREATE SERVER far FOREIGN DATA WRAPPER nowhere",
        "CREATE TABLE place (id bigint, user_id bigint) PARTITION BY RANGE (id)",
        "CREATE FOREIGN TABLE place_a PARTITION OF place FOR VALUES FROM (0) TO (9) SERVER far",
    )
    reference = replace(REFERENCE, child=replace(REFERENCE.child, name="place"))
    assert "foreign-partition" in [problem.slug for problem in desk.problems(reference)]
