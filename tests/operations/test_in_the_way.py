"""The way back where a constraint that is not ours keeps rows out: one that was there, and NOT VALID."""

from __future__ import annotations

from dataclasses import replace

import pytest

from migrator.errors import Refused
from migrator.policy import Delete
from migrator.reference import Reference
from tests.operations.lifecycle import DOWN, FAST, UP, run
from tests.operations.postgresql_desk import Desk
from tests.servers.database import Database

ALL = replace(FAST, max_orphan_share=1.0)
REFERENCE = Reference.parse("post.author_id -> author.id")
ROWS = "SELECT array_agg(post ORDER BY id)::text FROM post"


def taken_back(database: Database, constraint: str) -> tuple[str, str]:
    """Up and down beside that constraint, as the hint says. Returns its definition before and after."""
    desk = Desk.at(
        database,
        "CREATE TABLE author (id integer PRIMARY KEY)",
        "CREATE TABLE post (id integer PRIMARY KEY, author_id integer)",
        "INSERT INTO author SELECT generate_series(1, 10)",
        "INSERT INTO post SELECT n, NULLIF(n % 14, 0) FROM generate_series(1, 100) n",
        f"ALTER TABLE post ADD CONSTRAINT standing {constraint} NOT VALID",
    )
    definition = "SELECT pg_get_constraintdef(oid) FROM pg_constraint WHERE conname = 'standing'"
    before, rows = desk.value(definition), desk.value(ROWS)
    run(desk.engine, UP, REFERENCE, Delete(), Delete())
    run(desk.engine, ("unvalidate", "release"), REFERENCE, Delete(), Delete())
    with pytest.raises(Refused, match=r"post has .* standing, which is not ours to drop") as refused:
        run(desk.engine, ("restore",), REFERENCE, Delete(), Delete())
    drop, _, again = str(refused.value.hint).rstrip(";").split("; then ")
    desk.sql(drop)
    run(desk.engine, ("restore",), REFERENCE, Delete(), Delete())
    desk.sql(again.removeprefix("put it back: "))
    assert desk.value(ROWS) == rows
    assert desk.value("SELECT to_regclass('migrator_run') IS NULL")
    return str(before), str(desk.value(definition))


@pytest.mark.engines("postgresql")
@pytest.mark.parametrize(
    "constraint",
    [
        "FOREIGN KEY (author_id) REFERENCES author",
        "FOREIGN KEY (author_id) REFERENCES author ON DELETE CASCADE DEFERRABLE INITIALLY DEFERRED",
        "CHECK (author_id IS NOT NULL)",
    ],
)
def test_what_keeps_rows_out_is_named_with_the_way_around_it(database: Database, constraint: str) -> None:
    """Nothing is changed before it is dropped by hand; then every row is back, and it is put back."""
    before, after = taken_back(database, constraint)
    assert before == after


@pytest.mark.engines("postgresql>=18")
def test_a_not_null_that_was_there_is_named_as_well(database: Database) -> None:
    """As 18 has it, NOT VALID."""
    before, after = taken_back(database, "NOT NULL author_id")
    assert before == after


@pytest.mark.engines("postgresql")
def test_a_table_that_another_search_path_finds_is_not_taken_for_ours(database: Database) -> None:
    """Two schemas with the same tables: a downgrade that finds the other ones changes nothing."""
    desk = Desk.at(database, "CREATE SCHEMA shop")
    for schema in ("public", "shop"):
        desk.sql(
            f"CREATE TABLE {schema}.author (id integer PRIMARY KEY)",
            f"CREATE TABLE {schema}.post (id integer PRIMARY KEY, author_id integer)",
            f"INSERT INTO {schema}.post VALUES (1, 1)",
        )
    run(desk.engine, UP, REFERENCE, Delete(), Delete(), settings=ALL)
    desk.sql(f'ALTER DATABASE "{database.name}" SET search_path = shop, public')
    desk.engine.dispose()
    with pytest.raises(Refused, match=r"is shop\.post here; the upgrade was run on public\.post"):
        run(desk.engine, DOWN, REFERENCE, Delete(), Delete())
    desk.sql(f'ALTER DATABASE "{database.name}" RESET search_path')
    desk.engine.dispose()
    run(desk.engine, DOWN, REFERENCE, Delete(), Delete())
    assert desk.rows("SELECT * FROM public.post") == [(1, 1)]
