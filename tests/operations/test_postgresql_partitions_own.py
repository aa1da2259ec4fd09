"""What partitions have of their own before we come: refused where it would be merged with ours, and lost."""

from __future__ import annotations

from dataclasses import replace

import pytest
import sqlalchemy as sa

from migrator.errors import PreflightRefused
from migrator.policy import Delete
from migrator.reference import Reference
from tests.operations.lifecycle import DOWN, UP, Told, run
from tests.operations.postgresql_desk import REFERENCE, Desk
from tests.operations.test_postgresql_partitions import CHILD
from tests.servers.database import Database

pytestmark = pytest.mark.engines("postgresql", "postgresql-15")

EQUAL = 'ALTER TABLE {0} ADD CONSTRAINT {1} FOREIGN KEY (user_id) REFERENCES "user"'


class _Killed(BaseException):
    """Stands for a process that dies."""


def up(database: Database, reference: Reference = REFERENCE) -> None:
    """All the way there."""
    run(database.engine, UP, reference, Delete(), Delete())


def down(database: Database, reference: Reference = REFERENCE) -> None:
    """All the way back."""
    run(database.engine, DOWN, reference, Delete(), Delete())


def refused(database: Database, match: str, reference: Reference = REFERENCE) -> str:
    """What an upgrade is refused with; the statement of its hint."""
    with pytest.raises(PreflightRefused, match=match) as error:
        up(database, reference)
    return (error.value.hint or "").partition(";")[0]


def killed(database: Database, step: str) -> None:
    """An upgrade that dies when the first step of this name is done and the next one begins."""
    seen: list[str] = []

    def die(name: str) -> None:
        if any(one.startswith(step) for one in seen):
            raise _Killed
        seen.append(name)

    with pytest.raises(_Killed):
        run(database.engine, UP, REFERENCE, Delete(), Delete(), progress=Told(on_step=die))


@pytest.mark.parametrize("partition", ["post_a", "post_b", "post_b1"])
def test_an_equal_key_of_a_partition_is_refused_with_the_statement_that_drops_it(
    database: Database, partition: str
) -> None:
    """Whether it holds rows or is partitioned itself, and whether one has such a key or all of them."""
    desk = Desk.at(database, *CHILD, EQUAL.format(partition, "own"))
    before = desk.schema()
    mend = refused(database, f"Partition public.{partition} of public.post has the equal foreign key own")
    assert desk.schema() == before
    desk.sql(mend)
    up(database)
    assert desk.facts().state == "validated"


def test_equal_keys_of_all_partitions_are_no_key_of_the_table(database: Database) -> None:
    """Each is refused by its own name."""
    leaves = ("post_a", "post_b1", '"post b2%"')
    desk = Desk.at(database, *CHILD, *(EQUAL.format(leaf, "own") for leaf in leaves))
    assert desk.facts().foreign_key is None
    assert [problem.slug for problem in desk.problems()] == ["partition-key"] * 3


def test_a_partition_attached_with_its_own_key_is_refused_before_it_is_proved(database: Database) -> None:
    """From 18 on the server has merged the two by then; before, the proof would come to a dead end."""
    desk = Desk.at(database, *CHILD)
    run(database.engine, UP[:2], REFERENCE, Delete(), Delete())
    desk.sql(
        'CREATE TABLE post_c (id bigint NOT NULL, user_id bigint REFERENCES "user", title text)',
        "ALTER TABLE post ATTACH PARTITION post_c FOR VALUES FROM (900) TO (1000)",
    )
    if desk.facts().server.version < (18,):
        with pytest.raises(PreflightRefused, match=r"post_c .* post_c_user_id_fkey of its own") as error:
            run(database.engine, UP[2:], REFERENCE, Delete(), Delete())
        desk.sql((error.value.hint or "").partition(";")[0])
    run(database.engine, UP[2:], REFERENCE, Delete(), Delete())
    assert desk.facts().state == "validated"


def test_a_key_of_a_partition_by_our_name_is_refused(database: Database) -> None:
    """Equal or not: the journal does not know it as ours."""
    for definition in ("(user_id)", "(id)"):
        desk = Desk.at(
            database,
            "DROP TABLE IF EXISTS post",
            'DROP TABLE IF EXISTS "user"',
            *CHILD,
            f'ALTER TABLE post_a ADD CONSTRAINT {REFERENCE.name} FOREIGN KEY {definition} REFERENCES "user" '
            "NOT VALID",
        )
        assert [problem.slug for problem in desk.problems()] == ["name-taken"]
    assert "DROP CONSTRAINT" in refused(
        database, f"post_a has a foreign key of its own called {REFERENCE.name}"
    )


@pytest.mark.parametrize("step", ["create-index-", "add-foreign-key", "validate-"])
def test_what_a_killed_run_left_on_partitions_is_ours(database: Database, step: str) -> None:
    """The same command goes on with it, and the way back leaves the schema as it was."""
    desk = Desk.at(database, *CHILD)
    before = desk.schema()
    if step == "validate-" and desk.facts().server.version >= (18,):
        return  # there the key is the table's own
    killed(database, step)
    up(database)
    assert desk.facts().state == "validated"
    down(database)
    assert desk.schema() == before


@pytest.mark.parametrize(
    ("statement", "what"),
    [
        ("CREATE INDEX ix_post_a_user_id ON post_a (user_id)", "another index of it"),
        ("CREATE INDEX ix_post_a_user_id ON post_a (title)", "another index of it"),
        ('CREATE INDEX ix_post_a_user_id ON "user" (name)', "something else"),
        ("CREATE TABLE ix_post_a_user_id (a int)", "something else"),
        ("CREATE INDEX ix_post_b_user_id ON ONLY post_b (user_id)", "another index of it"),
    ],
)
def test_a_name_for_a_partitions_index_that_is_taken_is_refused(
    database: Database, statement: str, what: str
) -> None:
    """With the statement that renames what has it; an index that serves would be dropped with ours."""
    desk = Desk.at(database, *CHILD, statement)
    before = desk.schema()
    (found,) = desk.environment()
    assert (found.severity, found.slug) == ("refuse", "name-taken")
    mend = refused(database, f"belongs to {what}")
    assert desk.schema() == before
    desk.sql(mend.replace("...", "other"))
    up(database)
    assert desk.facts().state == "validated"


def test_an_invalid_index_of_a_partition_is_built_again(database: Database) -> None:
    """It is told beforehand, as for a table without partitions."""
    desk = Desk.at(
        database,
        *CHILD,
        "CREATE INDEX ix_post_a_user_id ON post_a (user_id)",
        "UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'ix_post_a_user_id'::regclass",
    )
    assert [(one.severity, one.slug) for one in desk.environment()] == [("warn", "invalid-index")]
    up(database)
    assert desk.facts().index is not None


def test_indexes_of_partitions_with_like_names_are_told_apart(database: Database) -> None:
    """`post-a` and `post_a`, and names as long as names can be."""
    desk = Desk.at(
        database,
        *CHILD,
        'CREATE TABLE "post-a" PARTITION OF post FOR VALUES FROM (900) TO (910)',
        f"CREATE TABLE {'p' * 62}1 PARTITION OF post FOR VALUES FROM (910) TO (920)",
        f"CREATE TABLE {'p' * 62}2 PARTITION OF post FOR VALUES FROM (920) TO (930)",
    )
    before = desk.schema()
    assert desk.environment() == []
    up(database)
    assert desk.facts().state == "validated"
    down(database)
    assert desk.schema() == before


def test_an_index_name_that_is_a_partitions_as_well_is_refused(database: Database) -> None:
    """The reference's index would have the name of the partition's."""
    Desk.at(database, *CHILD)
    reference = replace(REFERENCE, index_name="ix_post_a_user_id")
    refused(database, r"ix_post_a_user_id would be the name of two indexes of public\.post", reference)


def test_a_child_without_partitions_goes_all_the_way_and_back(database: Database) -> None:
    """There is no partition that could bear the key before 18, and no row that would have to be proved."""
    desk = Desk.at(database, *CHILD[:2])
    before = desk.schema()
    up(database)
    assert desk.facts().state == "validated"
    down(database)
    assert desk.schema() == before


def test_a_child_that_has_lost_its_partitions_goes_back(database: Database) -> None:
    """What is detached keeps its key, and the table loses ours."""
    desk = Desk.at(database, *CHILD)
    up(database)
    desk.sql("ALTER TABLE post DETACH PARTITION post_a", "ALTER TABLE post DETACH PARTITION post_b")
    down(database)
    assert desk.facts().state == "none"


def test_a_not_null_of_a_partition_is_told_where_the_way_back_takes_it(database: Database) -> None:
    """Before 18; from then on the server remembers whose it was."""
    desk = Desk.at(database, *CHILD, "ALTER TABLE post_a ALTER user_id SET NOT NULL")
    found = desk.environment()
    up(database)
    down(database)
    with database.engine.connect() as connection:
        columns = sa.inspect(connection).get_columns("post_a")
    kept = not next(column for column in columns if column["name"] == "user_id")["nullable"]
    assert kept == (desk.facts().server.version >= (18,))
    assert [problem.slug for problem in found] == ([] if kept else ["partition-not-null"])
    desk.sql(*(problem.fix.partition(": ")[2] for problem in found))
