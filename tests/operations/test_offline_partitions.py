"""Scripts for partitioned tables on PostgreSQL, on either side of the reference, before 18 and from 18 on."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import sqlalchemy as sa

from migrator.catalog import Facts
from migrator.dialects import dialect_for
from migrator.errors import MigratorError
from migrator.fingerprint import compare
from migrator.offline.evolve import evolved
from migrator.plan import Operation, Sql, Step
from migrator.policy import Delete, Keep, Policy
from migrator.reference import Reference
from tests.conftest import Database
from tests.operations.lifecycle import DOWN, UP, assert_same, picture, run
from tests.operations.offline_desk import step_lines, written

# Not 17: its server gives each column an option (pg_attver) that differs between two databases, which are
# compared here.
pytestmark = pytest.mark.engines("postgresql", "postgresql-13")

CHILD = (
    "CREATE TABLE author (id int PRIMARY KEY)",
    "INSERT INTO author SELECT generate_series(1, 20)",
    "CREATE TABLE item (id int, day int, author_id int, PRIMARY KEY (id, day)) PARTITION BY RANGE (day)",
    "CREATE TABLE item_a PARTITION OF item FOR VALUES FROM (0) TO (100)",
    "CREATE TABLE item_b PARTITION OF item FOR VALUES FROM (100) TO (200) PARTITION BY HASH (id)",
    "CREATE TABLE item_b0 PARTITION OF item_b FOR VALUES WITH (MODULUS 2, REMAINDER 0)",
    'CREATE TABLE "item B1" PARTITION OF item_b FOR VALUES WITH (MODULUS 2, REMAINDER 1)',
    "CREATE TABLE item_d PARTITION OF item DEFAULT",
    """INSERT INTO item SELECT g, g, CASE WHEN g % 9 = 0 THEN NULL WHEN g % 8 = 0 THEN g + 1000
       ELSE g % 20 + 1 END FROM generate_series(1, 250) g""",
)
PARENT = (
    "CREATE TABLE author (id int PRIMARY KEY) PARTITION BY RANGE (id)",
    "CREATE TABLE author_1 PARTITION OF author FOR VALUES FROM (0) TO (10)",
    "CREATE TABLE author_2 PARTITION OF author FOR VALUES FROM (10) TO (1000)",
    "INSERT INTO author SELECT generate_series(1, 20)",
    "CREATE TABLE item (id int PRIMARY KEY, author_id int)",
    """INSERT INTO item SELECT g, CASE WHEN g % 9 = 0 THEN NULL WHEN g % 8 = 0 THEN g + 1000
       ELSE g % 20 + 1 END FROM generate_series(1, 200) g""",
)
BOTH = (*PARENT[:4], *CHILD[2:])
SHAPES = {"child": CHILD, "parent": PARENT, "both": BOTH}
REFERENCE = Reference.parse("item.author_id -> author.id")

#: What no fingerprint tells: the keys and indexes of each partition.
_TREE = """
    SELECT 'key', conrelid::regclass::text, conname::text, convalidated, conparentid <> 0
      FROM pg_constraint WHERE contype = 'f'
    UNION ALL
    SELECT 'index', indrelid::regclass::text, indexrelid::regclass::text, indisvalid, relispartition
      FROM pg_index JOIN pg_class ON oid = indexrelid WHERE relnamespace = 'public'::regnamespace
    UNION ALL
    SELECT 'column', attrelid::regclass::text, attname::text, attnotnull, false
      FROM pg_attribute WHERE attrelid::regclass::text LIKE '%item%' AND attname = 'author_id'
    ORDER BY 1, 2, 3, 4, 5"""


def make(database: Database, *statements: str) -> None:
    """The tables and their rows."""
    with database.engine.begin() as connection:
        for statement in statements:
            connection.execute(sa.text(statement))


def tree(database: Database) -> list[tuple[Any, ...]]:
    """The keys and indexes of every table and partition."""
    with database.engine.connect() as connection:
        return [tuple(row) for row in connection.execute(sa.text(_TREE))]


def facts(database: Database, reference: Reference = REFERENCE) -> Facts:
    """As the catalog has them."""
    with database.engine.connect() as connection:
        return dialect_for(connection).facts(connection, reference)


@pytest.mark.parametrize("at_once", [True, False], ids=["one-script", "one-by-one"])
@pytest.mark.parametrize("nullable", [False, True], ids=["not-null", "nullable"])
@pytest.mark.parametrize("shape", SHAPES)
def test_a_script_for_partitions_does_what_an_online_run_does(
    database: Database, shape: str, nullable: bool, at_once: bool
) -> None:
    """Up as one script or one for each operation equals up online, and either way back leaves no trace."""
    make(database, *SHAPES[shape])
    reference = replace(REFERENCE, nullable=nullable)
    null: Policy = Keep() if nullable else Delete()
    before, bare = picture(database), tree(database)

    def scripts(on: Database, operations: tuple[Operation, ...]) -> None:
        for some in [operations] if at_once else [(each,) for each in operations]:
            on.client(written(on, some, reference, null, Delete()))

    with database.new_database() as other:
        make(other, *SHAPES[shape])
        run(other.engine, UP, reference, null, Delete())
        scripts(database, UP)
        assert tree(database) == tree(other) != bare
        assert compare(picture(other).fingerprint, picture(database).fingerprint) == ()
        assert step_lines(database) == step_lines(other)
        assert facts(database, reference).state == "validated"
        scripts(other, DOWN)
        assert tree(other) == bare
        assert_same(before, picture(other))
    if at_once:
        scripts(database, DOWN)
    else:
        run(database.engine, DOWN, reference)
    assert tree(database) == bare
    assert_same(before, picture(database))


def test_a_partition_added_after_enforce_is_proved_by_the_script(database: Database) -> None:
    """It gets the key of the others first; and `unvalidate` as a script is exactly what enforce left."""
    make(database, *CHILD)
    run(database.engine, UP[:2], REFERENCE, Delete(), Delete())
    make(database, "CREATE TABLE item_c PARTITION OF item FOR VALUES FROM (300) TO (400)")
    database.client(written(database, UP[2:], REFERENCE, Delete(), Delete()))
    assert facts(database).state == "validated"
    database.client(written(database, DOWN[:1], REFERENCE, Keep(), Keep()))
    assert facts(database).state == "enforced"
    unproved = [name for what, name, _, valid, _ in tree(database) if what == "key" and not valid]
    by_itself = ['"item B1"', "item_a", "item_b0", "item_c", "item_d"]
    whole = ['"item B1"', "item", "item_a", "item_b", "item_b0", "item_c", "item_d"]
    assert unproved == (by_itself if facts(database).server.version < (18,) else whole)


def assert_stops(database: Database, script: str, says: str) -> None:
    """The script says this and has changed nothing."""
    before = picture(database)
    done = database.client(script, check=False)
    assert done.returncode != 0
    assert says in done.stderr
    assert_same(before, picture(database))


def test_a_script_stops_where_a_partition_was_added_since_it_was_written(database: Database) -> None:
    """Its index and key are not in it; nothing is changed."""
    make(database, *CHILD)
    script = written(database, UP, REFERENCE, Delete(), Delete())
    make(database, "CREATE TABLE item_c PARTITION OF item FOR VALUES FROM (300) TO (400)")
    assert_stops(database, script, "the partitions of public.item are not those this was written for")


def test_a_script_for_a_plain_table_stops_where_it_is_partitioned(database: Database) -> None:
    """The same columns, but other steps: nothing is changed."""
    columns = "(id int, day int, author_id int, PRIMARY KEY (id, day))"
    make(database, *CHILD[:2], f"CREATE TABLE item {columns}")
    script = written(database, UP, REFERENCE, Delete(), Delete())
    make(database, "DROP TABLE item", *CHILD[2:])
    assert_stops(database, script, "found: partitioned; expected: whole")


def test_a_step_that_cannot_be_followed_is_refused(database: Database) -> None:
    """One that has no known effect, and one whose effect is not that it is done."""
    make(database, *CHILD)
    for name in ("do-something-new", "set-not-null"):
        step = Step(name, "something", Sql(("SELECT 1",)))
        with pytest.raises(MigratorError, match=rf"after {name} cannot be told") as error:
            evolved(facts(database), step)
        assert "without --sql" in str(error.value.hint)
