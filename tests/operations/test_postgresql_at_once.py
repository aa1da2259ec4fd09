"""A table whose size PostgreSQL knows is read in one go, and what is deleted is copied by its DELETE.

Whatever names the rows, all of them are found, set aside and given back.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from sqlalchemy.engine import Connection

from migrator.policy import Delete, Keep
from migrator.reference import Reference, TableName
from tests.listening import before_each
from tests.operations.lifecycle import FAST, assert_same, picture, run
from tests.operations.postgresql_desk import Desk
from tests.servers.database import Database

pytestmark = pytest.mark.engines("postgresql", "postgresql-13", "postgresql-17")

ROWS = (
    "SELECT {key}, CASE WHEN n % 10 = 0 THEN 99 WHEN n % 10 = 5 THEN NULL ELSE n % 3 + 1 END, 'at ' || n FROM"
)
PARENT = ("CREATE TABLE author (id integer PRIMARY KEY)", "INSERT INTO author VALUES (1), (2), (3)")
#: What makes the child, the keys of its rows, and its name.
SHAPES: dict[str, tuple[tuple[str, ...], str, str]] = {
    "no key": (("CREATE TABLE post (author_id integer, title text)",), "", "post"),
    "composite": (
        (
            'CREATE TABLE post (site text COLLATE "C", n numeric(9, 2), author_id integer, title text, '
            "PRIMARY KEY (n, site))",
        ),
        "chr(64 + n % 30), n",
        "post",
    ),
    "domain": (
        (
            "CREATE DOMAIN code AS varchar(12) CHECK (value <> '')",
            "CREATE TABLE post (id code PRIMARY KEY, author_id integer, title text)",
        ),
        "'c' || n",
        "post",
    ),
    "uuid": (
        ("CREATE TABLE post (id uuid PRIMARY KEY, author_id integer, title text)",),
        "md5(n::text)::uuid",
        "post",
    ),
    "identity": (
        (
            "CREATE TABLE post (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, author_id integer, "
            "title text, loud text GENERATED ALWAYS AS (upper(title)) STORED)",
        ),
        "",
        "post",
    ),
    "odd names": (
        ('CREATE TABLE "p%s o:st""s" ("i %(d)s:x" integer PRIMARY KEY, author_id integer, title text)',),
        "n",
        'p%s o:st"s',
    ),
    "partitions": (
        (
            "CREATE TABLE post (id integer, author_id integer, title text, PRIMARY KEY (id)) "
            "PARTITION BY RANGE (id)",
            "CREATE TABLE post_a PARTITION OF post FOR VALUES FROM (0) TO (40)",
            "CREATE TABLE post_b PARTITION OF post FOR VALUES FROM (40) TO (1000)",
        ),
        "n",
        "post",
    ),
    "a rule that adds": (
        (
            "CREATE TABLE post (id integer PRIMARY KEY, author_id integer, title text)",
            "CREATE TABLE gone (id integer)",
            "CREATE RULE audit AS ON DELETE TO post DO ALSO INSERT INTO gone VALUES (old.id)",
        ),
        "n",
        "post",
    ),
    "long names": (
        (
            f"CREATE TABLE post (id integer PRIMARY KEY, author_id integer, title text, {'x' * 62}a text, "
            f"{'x' * 62}b text)",
        ),
        "n",
        "post",
    ),
    "triggers": (
        (
            "CREATE TABLE post (id integer PRIMARY KEY, author_id integer, title text)",
            "CREATE TABLE gone (id integer)",
            "CREATE FUNCTION audit() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN "
            "INSERT INTO gone SELECT old.id WHERE tg_op = 'DELETE'; RETURN coalesce(new, old); END $$",
            "CREATE TRIGGER audit BEFORE DELETE OR UPDATE ON post FOR EACH ROW EXECUTE FUNCTION audit()",
        ),
        "n",
        "post",
    ),
}


@pytest.mark.parametrize("shape", SHAPES)
def test_every_orphan_is_found_set_aside_and_given_back(database: Database, shape: str) -> None:
    """A tenth dangles and a tenth is NULL, of a hundred rows."""
    made, key, name = SHAPES[shape]
    quoted = '"' + name.replace('"', '""') + '"'
    columns = "(author_id, title) " if not key else ""
    rows = f"{ROWS.format(key=key)} generate_series(1, 100) n".replace("SELECT ,", "SELECT ")
    desk = Desk.at(database, *PARENT, *made, f"INSERT INTO {quoted} {columns}{rows}", f"ANALYZE {quoted}")
    start, listed = picture(database), []

    def listen(_connection: Connection, _cursor: Any, statement: str, *_: Any) -> None:
        if statement.strip().startswith("CREATE TABLE") and " AS SELECT row_number()" in statement:
            listed.append(statement)

    reference = Reference(TableName(name), ("author_id",), TableName("author"), ("id",))
    with before_each(desk.engine, listen):
        (counted,) = run(
            desk.engine, ("sweep",), reference, Delete(), Delete(), settings=replace(FAST, scan_rows=0)
        )
    assert (counted["null"], counted["dangling"]) == (10, 10)
    assert desk.value(f"SELECT count(*) FROM {quoted} WHERE author_id IN (1, 2, 3)") == 80
    assert desk.value(f"SELECT count(*) FROM {quoted}") == 80
    assert listed
    assert counted["found"] == (0 if shape == "no key" else 20)  # without a key the last scan finds none
    if "gone" in " ".join(made):
        assert desk.value("SELECT count(*) FROM gone") == 20
        desk.sql("DELETE FROM gone")
    run(desk.engine, ("restore",), reference)
    assert_same(start, picture(database))


def test_where_a_list_may_not_be_made_that_way_it_is_filled(database: Database) -> None:
    """An event trigger wants a key of every new table, which CREATE TABLE AS cannot give it at once."""
    made, key, _ = SHAPES["domain"]
    wants = (
        "CREATE FUNCTION keyed() RETURNS event_trigger LANGUAGE plpgsql AS $$ BEGIN "
        "IF tg_tag = 'CREATE TABLE AS' THEN RAISE EXCEPTION 'a table wants its key'; END IF; END $$",
        "CREATE EVENT TRIGGER keyed ON ddl_command_end EXECUTE FUNCTION keyed()",
    )
    rows = f"INSERT INTO post {ROWS.format(key=key)} generate_series(1, 100) n"
    desk = Desk.at(database, *PARENT, *made, rows, "ANALYZE post", *wants)
    start = picture(database)
    reference = Reference.parse("post.author_id -> author.id")
    (counted,) = run(
        desk.engine, ("sweep",), reference, Delete(), Delete(), settings=replace(FAST, scan_rows=0)
    )
    assert (counted["rows"], counted["null"], counted["dangling"]) == (100, 10, 10)
    run(desk.engine, ("restore",), reference)
    assert_same(start, picture(database))


def test_keys_that_are_equal_to_python_are_not_taken_for_one(database: Database) -> None:
    """02:30 stands twice in the night when the clocks go back: the one that is NULL is kept, the other one
    deleted, and the one whose author is there stays."""
    night = (
        "INSERT INTO post SELECT timestamptz '2025-10-26 00:30+00' + h * interval '1 hour', n, "
        "CASE h WHEN 0 THEN {} ELSE 99 END FROM generate_series(0, 1) h, generate_series({}) n"
    )
    desk = Desk.at(
        database,
        *PARENT,
        "CREATE TABLE post (at timestamptz, n integer, author_id integer, PRIMARY KEY (at, n))",
        night.format("NULL", "1, 5"),
        night.format("1", "6, 9"),
    )
    with desk.open() as connection:
        name = connection.exec_driver_sql("SELECT current_database()").scalar_one()
        connection.exec_driver_sql(f"ALTER DATABASE {name} SET timezone = 'Europe/Berlin'")
    desk.engine.dispose()
    reference = Reference.parse("post.author_id -> author.id", nullable=True)
    run(desk.engine, ("sweep",), reference, Keep(), Delete(), settings=replace(FAST, batch_size=100))
    assert desk.value("SELECT count(*) FROM post WHERE author_id IS NULL") == 5
    assert desk.value("SELECT count(*) FROM post WHERE author_id = 99") == 0
    assert desk.value("SELECT count(*) FROM post") == 9
