"""A table whose size PostgreSQL knows is read in one go, and what is deleted is copied by its DELETE.

Whatever names the rows, all of them are found, set aside and given back.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.engine import Connection

from migrator.policy import Delete
from migrator.reference import Reference, TableName
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
    sa.event.listen(desk.engine, "before_cursor_execute", listen)
    try:
        (counted,) = run(
            desk.engine, ("sweep",), reference, Delete(), Delete(), settings=replace(FAST, scan_rows=0)
        )
    finally:
        sa.event.remove(desk.engine, "before_cursor_execute", listen)
    assert (counted["null"], counted["dangling"]) == (10, 10)
    assert desk.value(f"SELECT count(*) FROM {quoted} WHERE author_id IN (1, 2, 3)") == 80
    assert desk.value(f"SELECT count(*) FROM {quoted}") == 80
    assert listed
    if "gone" in " ".join(made):
        assert desk.value("SELECT count(*) FROM gone") == 20
        desk.sql("DELETE FROM gone")
    run(desk.engine, ("restore",), reference)
    assert_same(start, picture(database))
