"""Deleting orphans to which other rows refer: what goes with them, what stops it, and that all comes back."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pytest
import sqlalchemy as sa

from migrator import restore_orphans, sweep_orphans
from migrator.closure import closure_of
from migrator.dialects import dialect_of
from migrator.errors import Refused, StepFailed
from migrator.policy import Backfill, Delete
from migrator.predicate import table_clause
from migrator.reference import Reference, TableName
from tests.conftest import Database
from tests.listening import before_each
from tests.operations.lifecycle import FAST, Round, assert_same, in_order, picture, prove
from tests.operations.orphan_cases import Row
from tests.operations.policy_desk import rows
from tests.operations.reporting import run

REFERENCE = Reference.parse("post.user_id -> user.id")
Rows = Mapping[str, Sequence[tuple[Any, ...]]]


def make(database: Database, *statements: str, **filled: Sequence[tuple[Any, ...]]) -> None:
    """Users 1 and 2, the tables these statements make, and rows in them; a cycle's keys come last."""
    quote = database.engine.dialect.identifier_preparer.quote_identifier
    with database.engine.begin() as connection:
        if database.family == "sqlite":
            connection.exec_driver_sql("PRAGMA defer_foreign_keys = ON")
        for statement in (f"CREATE TABLE {quote('user')} (id INTEGER PRIMARY KEY)", *statements):
            connection.exec_driver_sql(statement)
        for name, found in {"user": [(1,), (2,)], **filled}.items():
            for row in found:
                marks = ", ".join("NULL" if value is None else str(value) for value in row)
                connection.exec_driver_sql(f"INSERT INTO {quote(name)} VALUES ({marks})")


def post(*more: str) -> str:
    """The child, whose reference to the users is not declared."""
    return f"CREATE TABLE post ({', '.join(['id INTEGER PRIMARY KEY', 'user_id INTEGER', *more])})"


def refers(name: str, parent: str, action: str, *more: str, column: str = "parent_id") -> str:
    """A table with a declared foreign key."""
    columns = ["id INTEGER PRIMARY KEY", f"{column} INTEGER", *more]
    key = f"CONSTRAINT fk_{name}_{column} FOREIGN KEY ({column}) REFERENCES {parent} (id) {action}"
    return f"CREATE TABLE {name} ({', '.join([*columns, key])})"


def content(database: Database, columns: Mapping[str, Sequence[str]]) -> dict[str, list[Row]]:
    """All rows of some tables."""
    return {name: rows(database.engine, name, *names) for name, names in columns.items()}


def proved(database: Database, policy: Delete, columns: Mapping[str, Sequence[str]], after: Rows) -> None:
    """Delete what dangles; these rows are left and no other; down, and all is as it was."""
    wanted = {
        name: in_order([dict(zip(columns[name], row, strict=True)) for row in found])
        for name, found in after.items()
    }

    def there() -> None:
        assert content(database, columns) == wanted

    prove(database, lambda: down(database), Round(lambda: up(database, policy), there))


def up(database: Database, policy: Delete) -> None:
    """Sweep."""
    sweep_orphans(REFERENCE, on_null=Backfill(to=1), on_dangling=policy, bind=database.engine, settings=FAST)


def down(database: Database) -> None:
    """Restore."""
    restore_orphans(REFERENCE, bind=database.engine, settings=FAST)


def refused(database: Database, policy: Delete, words: str) -> None:
    """The sweep says no, and nothing at all is different afterwards."""
    before = picture(database)
    with pytest.raises(Refused, match=words):
        up(database, policy)
    assert_same(before, picture(database))


POST = ("id", "user_id")
CHILD = ("id", "parent_id")


# -- what the server would do by itself ------------------------------------------------------------
def test_cascade_to_any_depth(database: Database) -> None:
    """Comments of deleted posts go, and reactions to those; each is in quarantine and comes back."""
    make(
        database,
        post(),
        refers("comment", "post", "ON DELETE CASCADE"),
        refers("reaction", "comment", "ON DELETE CASCADE"),
        refers("vote", "reaction", "ON DELETE CASCADE"),
        post=[(1, 1), (2, 99), (3, None), (4, 98)],
        comment=[(10, 1), (11, 2), (12, 2), (13, 3), (14, 4), (15, None)],
        reaction=[(20, 10), (21, 11), (22, 14)],
        vote=[(30, 20), (31, 21), (32, 22), (33, 22)],
    )
    proved(
        database,
        Delete(),
        {"post": POST, "comment": CHILD, "reaction": CHILD, "vote": CHILD},
        {
            "post": [(1, 1), (3, 1)],
            "comment": [(10, 1), (13, 3), (15, None)],
            "reaction": [(20, 10)],
            "vote": [(30, 20)],
        },
    )


def test_set_null_at_every_depth(database: Database) -> None:
    """Rows that the server sets to NULL get their reference back, those of cascaded rows too."""
    make(
        database,
        post(),
        refers("comment", "post", "ON DELETE CASCADE"),
        refers("pinned", "post", "ON DELETE SET NULL"),
        refers("quote", "comment", "ON DELETE SET NULL"),
        post=[(1, 1), (2, 99)],
        comment=[(10, 1), (11, 2)],
        pinned=[(20, 1), (21, 2), (22, None)],
        quote=[(30, 10), (31, 11)],
    )
    proved(
        database,
        Delete(),
        {"post": POST, "comment": CHILD, "pinned": CHILD, "quote": CHILD},
        {
            "post": [(1, 1)],
            "comment": [(10, 1)],
            "pinned": [(20, 1), (21, None), (22, None)],
            "quote": [(30, 10), (31, None)],
        },
    )


@pytest.mark.parametrize("action", ["CASCADE", "SET NULL"])
def test_a_self_reference_of_the_child(database: Database, action: str) -> None:
    """Replies to deleted posts, and replies to those; some are orphans themselves, one is its own reply."""
    key = f"FOREIGN KEY (reply_to) REFERENCES post (id) ON DELETE {action}"
    posts = [(1, 1, None), (2, 99, None), (3, 1, 2), (4, 2, 3), (5, 99, 4), (6, 98, 6), (7, 1, 1), (8, 1, 5)]
    make(database, post("reply_to INTEGER", key), post=posts)
    left = [(1, 1, None), (7, 1, 1)]
    if action == "SET NULL":
        left += [(3, 1, None), (4, 2, 3), (8, 1, None)]
    proved(database, Delete(), {"post": ("id", "user_id", "reply_to")}, {"post": left})


def test_long_chains_against_the_order_of_keys(database: Database) -> None:
    """Each post replies to the next one: to come back, the last has to be first."""
    key = "FOREIGN KEY (reply_to) REFERENCES post (id) ON DELETE CASCADE"
    make(database, post("reply_to INTEGER", key), post=[(40, 99, None)])
    with database.engine.begin() as connection:
        clause = table_clause(TableName("post"), "id", "user_id", "reply_to")
        for number in range(39, 0, -1):
            values = {"id": number, "user_id": 99 if number % 3 else 1, "reply_to": number + 1}
            connection.execute(sa.insert(clause).values(values))
    proved(database, Delete(), {"post": ("id", "user_id", "reply_to")}, {"post": []})


def test_several_paths_to_one_row(database: Database) -> None:
    """A row that goes by two keys, or is set to NULL by one and goes by another, is one row."""
    both = "FOREIGN KEY (other_id) REFERENCES comment (id) ON DELETE CASCADE"
    nulled = "FOREIGN KEY (other_id) REFERENCES post (id) ON DELETE SET NULL"
    make(
        database,
        post(),
        refers("comment", "post", "ON DELETE CASCADE"),
        refers("mark", "post", "ON DELETE CASCADE", "other_id INTEGER", both),
        refers("mixed", "comment", "ON DELETE CASCADE", "other_id INTEGER", nulled),
        post=[(1, 1), (2, 99), (3, 98)],
        comment=[(10, 1), (11, 2), (12, 3)],
        mark=[(20, 1, 10), (21, 2, 11), (22, 1, 12), (23, 3, 10), (24, 3, None)],
        mixed=[(30, 10, 1), (31, 11, 2), (32, 10, 3), (33, 12, 1)],
    )
    pair = ("id", "parent_id", "other_id")
    proved(
        database,
        Delete(),
        {"post": POST, "comment": CHILD, "mark": pair, "mixed": pair},
        {
            "post": [(1, 1)],
            "comment": [(10, 1)],
            "mark": [(20, 1, 10)],
            "mixed": [(30, 10, 1), (32, 10, None)],
        },
    )


def two_in_a_circle(database: Database) -> None:
    """Tables a and b that refer to each other, and rows in them that do."""
    make(
        database,
        post(),
        refers("a", "post", "ON DELETE CASCADE", "b_id INTEGER"),
        refers("b", "a", "ON DELETE CASCADE"),
        post=[(1, 1), (2, 99), (3, 98)],
        a=[(10, 1, None), (11, 2, None), (12, None, None), (13, 3, None)],
        b=[(20, 10), (21, 11), (22, 12), (23, 13)],
    )
    close_the_circle(database)


def test_tables_and_rows_in_a_circle(database: Database) -> None:
    """Two tables that refer to each other, and rows in them that do."""
    two_in_a_circle(database)
    proved(
        database,
        Delete(),
        {"post": POST, "a": ("id", "parent_id", "b_id"), "b": CHILD},
        # a 12 goes with b 21, and b 22 with a 12.
        {"post": [(1, 1)], "a": [(10, 1, 20)], "b": [(20, 10)]},
    )


def test_a_circle_comes_back_by_hand(database: Database) -> None:
    """As it does with a downgrade, which then finds everything there."""
    two_in_a_circle(database)
    before, columns = picture(database), {"post": POST, "a": ("id", "parent_id", "b_id"), "b": CHILD}
    there = content(database, columns)
    up(database, Delete())
    assert content(database, columns) != there
    done = run("quarantine", "restore", "--all", "--url", database.url)
    assert (done.code, done.err) == (0, "")
    assert content(database, columns) == there
    down(database)
    assert_same(before, picture(database))


def close_the_circle(database: Database, action: str = "CASCADE") -> None:
    """A foreign key from a to b, and rows that make use of it."""
    with database.engine.begin() as connection:
        if database.family == "sqlite":
            connection.exec_driver_sql("CREATE TABLE a_rows AS SELECT * FROM a")
            connection.exec_driver_sql("DROP TABLE a")
            connection.exec_driver_sql(
                "CREATE TABLE a (id INTEGER PRIMARY KEY, parent_id INTEGER REFERENCES post (id) ON DELETE "
                f"CASCADE, b_id INTEGER REFERENCES b (id) ON DELETE {action})"
            )
            connection.exec_driver_sql("INSERT INTO a SELECT * FROM a_rows")
            connection.exec_driver_sql("DROP TABLE a_rows")
        else:
            connection.exec_driver_sql(
                f"ALTER TABLE a ADD CONSTRAINT fk_b FOREIGN KEY (b_id) REFERENCES b (id) ON DELETE {action}"
            )
        for a, b in ((10, 20), (11, 21), (12, 21), (13, 23)):
            connection.exec_driver_sql(f"UPDATE a SET b_id = {b} WHERE id = {a}")


# -- what the server would forbid --------------------------------------------------------------------
@pytest.mark.parametrize("action", ["", "ON DELETE RESTRICT"])
def test_what_forbids_the_delete(database: Database, action: str) -> None:
    """RESTRICT and NO ACTION: refused with counts per table; with dependants="delete" those go too."""
    make(
        database,
        post(),
        refers("comment", "post", action),
        refers("reaction", "comment", action),
        refers("pinned", "post", "ON DELETE SET NULL"),
        post=[(1, 1), (2, 99), (3, 98), (4, 97)],
        comment=[(10, 1), (11, 2), (12, 2), (13, 3)],
        reaction=[(20, 10), (21, 11)],
        pinned=[(30, 1), (31, 4)],
    )
    refused(database, Delete(), r"3 row.s. of \S*comment by fk_comment_parent_id .ON DELETE")
    columns = {"post": POST, "comment": CHILD, "reaction": CHILD, "pinned": CHILD}
    after: Rows = {
        "post": [(1, 1)],
        "comment": [(10, 1)],
        "reaction": [(20, 10)],
        "pinned": [(30, 1), (31, None)],
    }
    proved(database, Delete(dependants="delete"), columns, after)


def test_what_forbids_it_further_off(database: Database) -> None:
    """A row that protects a row which would be cascaded to is found before the first change."""
    make(
        database,
        post(),
        refers("comment", "post", "ON DELETE CASCADE"),
        refers("report", "comment", "ON DELETE RESTRICT"),
        post=[(1, 1), (2, 99), (3, 98)],
        comment=[(10, 1), (11, 2), (12, 3)],
        report=[(20, 10)],
    )
    columns = {"post": POST, "comment": CHILD, "report": CHILD}
    proved(database, Delete(), columns, {"post": [(1, 1)], "comment": [(10, 1)], "report": [(20, 10)]})
    with database.engine.begin() as connection:
        connection.exec_driver_sql("INSERT INTO report VALUES (21, 12)")
    refused(database, Delete(), r"1 row.s. of \S*report by fk_report_parent_id .ON DELETE RESTRICT")


def test_dependants_refused_by_policy(database: Database) -> None:
    """`refuse` stops at any row that refers to an orphan, whatever the server would do with it."""
    make(
        database,
        post(),
        refers("comment", "post", "ON DELETE CASCADE"),
        refers("pinned", "post", "ON DELETE SET NULL"),
        post=[(1, 1), (2, 99)],
        comment=[(10, 1)],
        pinned=[(30, 2)],
    )
    refused(database, Delete(dependants="refuse"), r"1 row.s. of \S*pinned by .* .ON DELETE SET NULL")
    with database.engine.begin() as connection:
        connection.exec_driver_sql("DELETE FROM pinned")
    columns = {"post": POST, "comment": CHILD}
    proved(database, Delete(dependants="refuse"), columns, {"post": [(1, 1)], "comment": [(10, 1)]})


def test_rows_in_a_circle_that_protect_each_other(database: Database) -> None:
    """None of them may go before the other: the knot is untied where a reference may be NULL."""
    make(
        database,
        post(),
        refers("a", "post", "ON DELETE CASCADE", "b_id INTEGER"),
        refers("b", "a", ""),
        post=[(1, 1), (2, 99)],
        a=[(10, 1, None), (11, 2, None), (12, None, None), (13, None, None)],
        b=[(20, 10), (21, 11), (23, 13)],
    )
    close_the_circle(database, "NO ACTION")
    proved(
        database,
        Delete(dependants="delete"),
        {"post": POST, "a": ("id", "parent_id", "b_id"), "b": CHILD},
        {"post": [(1, 1)], "a": [(10, 1, 20), (13, None, 23)], "b": [(20, 10), (23, 13)]},
    )


def test_dependants_without_a_key(database: Database) -> None:
    """Their rows cannot be named, so they could not be restored: refused before the first change."""
    key = "FOREIGN KEY (post_id) REFERENCES post (id) ON DELETE CASCADE"
    make(
        database,
        post(),
        f"CREATE TABLE visit (at INTEGER, post_id INTEGER, {key})",
        post=[(1, 1), (2, 99)],
        visit=[(5, 1), (5, 1), (6, 2)],
    )
    refused(database, Delete(), r"visit has no key by which its rows could be named")
    with database.engine.begin() as connection:
        connection.exec_driver_sql("DELETE FROM visit WHERE post_id = 2")
    columns = {"post": POST, "visit": ("at", "post_id")}
    proved(database, Delete(), columns, {"post": [(1, 1)], "visit": [(5, 1), (5, 1)]})


def test_keys_of_other_shapes(database: Database) -> None:
    """Dependants that refer by two columns to another unique key than the primary one."""
    make(
        database,
        post("x INTEGER NOT NULL", "y INTEGER NOT NULL", "UNIQUE (x, y)"),
        "CREATE TABLE odd (a INTEGER NOT NULL, b INTEGER NOT NULL, x INTEGER, y INTEGER, PRIMARY KEY (a, b), "
        "FOREIGN KEY (x, y) REFERENCES post (x, y) ON DELETE CASCADE)",
        post=[(1, 1, 5, 6), (2, 99, 6, 5), (3, 98, 7, 7)],
        odd=[(1, 1, 5, 6), (1, 2, 6, 5), (2, 1, 6, None), (2, 2, 7, 7)],
    )
    proved(
        database,
        Delete(),
        {"post": ("id", "user_id", "x", "y"), "odd": ("a", "b", "x", "y")},
        {"post": [(1, 1, 5, 6)], "odd": [(1, 1, 5, 6), (2, 1, 6, None)]},
    )


def test_the_mirrors_of_a_closure_have_names_of_their_own(database: Database) -> None:
    """A table and a column whose names together are another table's are kept apart."""
    make(
        database,
        post(),
        refers("a_b", "post", "ON DELETE CASCADE"),
        refers("a", "post", "ON DELETE SET NULL", column="b"),
        post=[(1, 1), (2, 99)],
        a_b=[(10, 2)],
        a=[(20, 2), (21, 1)],
    )
    with database.engine.connect() as connection:
        dialect = dialect_of(connection.dialect)
        facts = dialect.facts(connection, REFERENCE)
        closure = closure_of(connection, dialect, facts, "quarantine", make=False)
    assert len({edge.mirror.name for edge in closure.edges}) == 2
    proved(
        database,
        Delete(),
        {"post": POST, "a_b": CHILD, "a": ("id", "b")},
        {"post": [(1, 1)], "a_b": [], "a": [(20, None), (21, 1)]},
    )


# -- a parent that appears -------------------------------------------------------------------------
class Acts:
    """Does something, once, as soon as a batch of the sweep is through."""

    def __init__(self, act: Callable[[], None]) -> None:
        self.act: Callable[[], None] | None = act

    def step(self, name: str, title: str) -> None:
        """Nothing."""

    def rows(self, what: str, done: int, total: int | None) -> None:
        """After a batch."""
        if what.startswith("sweep") and self.act is not None:
            act, self.act = self.act, None
            act()

    def note(self, message: str) -> None:
        """Nothing."""


def forum(database: Database) -> None:
    """Two orphans with all that depends on them."""
    make(
        database,
        post("reply_to INTEGER", "FOREIGN KEY (reply_to) REFERENCES post (id) ON DELETE CASCADE"),
        refers("comment", "post", "ON DELETE CASCADE"),
        refers("reaction", "comment", "ON DELETE CASCADE"),
        refers("pinned", "comment", "ON DELETE SET NULL"),
        post=[(1, 1, None), (2, 99, None), (3, 98, None), (4, 1, 2), (5, 1, 3)],
        comment=[(10, 1), (11, 2), (12, 3), (13, 4)],
        reaction=[(20, 11), (21, 12)],
        pinned=[(30, 11), (31, 12), (32, 13)],
    )


def hires(database: Database, number: int) -> Callable[[], None]:
    """A user appears, in a session of its own."""

    def act() -> None:
        with database.engine.begin() as connection:
            connection.execute(sa.insert(table_clause(TableName("user"), "id")).values(id=number))

    return act


FORUM = {
    "post": ("id", "user_id", "reply_to"),
    "comment": CHILD,
    "reaction": CHILD,
    "pinned": CHILD,
}
HEALED: Rows = {
    "post": [(1, 1, None), (2, 99, None), (4, 1, 2)],
    "comment": [(10, 1), (11, 2), (13, 4)],
    "reaction": [(20, 11)],
    "pinned": [(30, 11), (31, None), (32, 13)],
}


def is_healed(database: Database) -> None:
    """Post 2 has its author, and everything that hangs on it is there; post 3 is gone with all that did."""
    assert content(database, FORUM) == {
        name: in_order([dict(zip(FORUM[name], row, strict=True)) for row in found])
        for name, found in HEALED.items()
    }


def test_a_parent_that_appears_later_heals_row_and_dependants(database: Database) -> None:
    """Found at the end of the run; the way back then has nothing to do with them."""
    forum(database)
    before = picture(database)
    counts = sweep_orphans(
        REFERENCE,
        on_dangling=Delete(),
        bind=database.engine,
        settings=FAST,
        progress=Acts(hires(database, 99)),
    )
    is_healed(database)
    assert counts["healed"] == 7
    down(database)
    with database.engine.begin() as connection:
        user = table_clause(TableName("user"), "id")
        connection.execute(sa.delete(user).where(user.c.id == 99))
    assert_same(before, picture(database))


@pytest.mark.engines("postgresql", "mysql", "mariadb")
def test_a_parent_that_appears_within_the_batch(database: Database) -> None:
    """The batch is undone and tried again: the row is no orphan any more, and nothing of it was touched."""
    forum(database)
    hire = hires(database, 99)
    done: list[str] = []

    def when(conn: Any, cursor: Any, statement: str, *_: Any) -> None:
        if statement.startswith("DELETE FROM") and "post" in statement and not done:
            done.append(statement)
            hire()

    with before_each(database.engine, when):
        counts = sweep_orphans(REFERENCE, on_dangling=Delete(), bind=database.engine, settings=FAST)
    assert done
    is_healed(database)
    assert counts["changed"] == 1
    assert counts["healed"] == 0


@pytest.mark.engines("postgresql", "mysql", "mariadb")
def test_a_parent_that_comes_and_goes_ends_the_run(database: Database) -> None:
    """After so many batches that had to be undone, and not never; the same command goes on from there."""
    forum(database)
    before = picture(database)
    hire = hires(database, 99)
    user = table_clause(TableName("user"), "id")
    there: list[bool] = [False]

    def when(conn: Any, cursor: Any, statement: str, *_: Any) -> None:
        if statement.startswith("DELETE FROM") and "post" in statement and not there[0]:
            there[0] = True
            hire()
        elif "FOR UPDATE" in statement and there[0]:
            there[0] = False
            with database.engine.begin() as connection:
                connection.execute(sa.delete(user).where(user.c.id == 99))

    stops = pytest.raises(StepFailed, match="comes and goes: 50 batches had to be undone")
    with before_each(database.engine, when), stops:
        sweep_orphans(REFERENCE, on_dangling=Delete(), bind=database.engine, settings=FAST)
    with database.engine.begin() as connection:
        connection.execute(sa.delete(user).where(user.c.id == 99))
    sweep_orphans(REFERENCE, on_dangling=Delete(), bind=database.engine, settings=FAST)
    down(database)
    assert_same(before, picture(database))
