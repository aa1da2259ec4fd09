"""Scripts: what `--sql` prints, fed to the database's own client, leaves what an online run leaves."""

from __future__ import annotations

from itertools import pairwise
from threading import Timer

import pytest
import sqlalchemy as sa
from alembic.runtime.migration import MigrationContext

from migrator.errors import MigratorError
from migrator.fingerprint import compare
from migrator.offline.stage import Stage
from migrator.reference import Reference
from tests.conftest import Database
from tests.operations.lifecycle import Picture, assert_same, own_objects, picture
from tests.operations.offline_desk import (
    count,
    legacy_blog,
    mirror_lines,
    online,
    quarantined,
    run_lines,
    script,
    step_lines,
)

POLICIES = {
    "backfill": (),
    "unread": ("peek=no",),
    "delete": ("on_null=delete", "on_dangling=delete"),
    "both": ("on_dangling=delete", "backfill_to=3"),
}


def version(database: Database) -> tuple[str, ...]:
    """What a script is told of a server that it may not ask."""
    return (f"server_version={'.'.join(map(str, database.version[:3]))}",)


def seeded(database: Database) -> Picture:
    """A legacy blog, and its picture. Alembic's table is there: a script creates it, and none drops it."""
    legacy_blog(database)
    return picture(database)


@pytest.mark.parametrize("policy", POLICIES)
def test_a_script_leaves_what_an_online_run_leaves(database: Database, policy: str) -> None:
    """Schema, rows, quarantine and journal are the same, up to ids, times and who did it."""
    x = POLICIES[policy]
    legacy_blog(database)
    with database.new_database() as other:
        legacy_blog(other)
        online(other, "upgrade", "head", *x)
        said = version(database) if policy == "unread" else ()
        database.client(script(database.url, "upgrade", "head", *x, *said))
        ran, fed = picture(other), picture(database)
        assert compare(ran.fingerprint, fed.fingerprint) == ()
        # Where the server has no lock, an online run takes a lease; a script is one transaction there.
        assert {name for name in ran.ours if "lease" not in name} == fed.ours
        assert quarantined(database) == quarantined(other) != []
        assert run_lines(database) == run_lines(other)
        assert step_lines(database) == step_lines(other)
        assert mirror_lines(database) == mirror_lines(other)


@pytest.mark.parametrize("x", [(), ("on_null=delete", "on_dangling=delete")], ids=["backfill", "delete"])
def test_online_takes_back_what_a_script_did(database: Database, x: tuple[str, ...]) -> None:
    """The journal and the quarantine of a script are enough for an online downgrade."""
    before = seeded(database)
    database.client(script(database.url, "upgrade", "head", *x))
    online(database, "downgrade", "base")
    assert_same(before, picture(database))


@pytest.mark.parametrize("x", [(), ("on_null=delete", "on_dangling=delete")], ids=["backfill", "delete"])
def test_a_script_takes_back_what_was_done_online(database: Database, x: tuple[str, ...]) -> None:
    """A script written for a database that was upgraded online restores every row."""
    before = seeded(database)
    online(database, "upgrade", "head", *x)
    database.client(script(database.url, "downgrade", "head:base"))
    assert_same(before, picture(database))


def test_scripts_need_no_database_to_be_written(database: Database) -> None:
    """Up, down and up again, all three written without a look at it."""
    before = seeded(database)
    x = ("peek=no", *version(database))
    up = script(database.url, "upgrade", "head", *x)
    down = script(database.url, "downgrade", "head:base", *x)
    for _ in range(2):
        database.client(up)
        assert [run["operation"] for run in run_lines(database)] == ["adopt", "sweep", "enforce", "validate"]
        database.client(down)
        assert_same(before, picture(database))


def test_a_script_for_each_revision(database: Database) -> None:
    """Four scripts up and four down, each written when the one before has run."""
    before = seeded(database)
    revisions = ["base", "0001", "0002", "0003", "0004"]
    for lower, upper in pairwise(revisions):
        database.client(script(database.url, "upgrade", f"{lower}:{upper}"))
    assert {run["operation"] for run in run_lines(database)} == {"adopt", "sweep", "enforce", "validate"}
    for lower, upper in reversed(list(pairwise(revisions))):
        database.client(script(database.url, "downgrade", f"{upper}:{lower}"))
    assert_same(before, picture(database))


def test_an_empty_database_gets_the_blog_and_loses_it_again(database: Database) -> None:
    """What the first revision created, and is empty, its inverse drops."""
    database.client(script(database.url, "upgrade", "head"))
    assert (count(database, "post"), count(database, "user")) == (0, 0)
    database.client(script(database.url, "downgrade", "head:base"))
    with database.engine.connect() as connection:
        assert set(sa.inspect(connection).get_table_names()) == {"alembic_version"}


REFUSALS = {
    "refuse": (("on_dangling=refuse",), "the policy is to refuse"),
    "share": (("max_orphan_share=0.01",), "max_orphan_share"),
    "number": (("max_orphans=1",), "max_orphans=1"),
    "target": (("backfill_to=999999",), "backfill_to names no row"),
}


@pytest.mark.parametrize("why", REFUSALS)
def test_a_refusal_stops_before_the_first_change(database: Database, why: str) -> None:
    """The client fails with the reason; not even the index was built; online goes on from there."""
    x, message = REFUSALS[why]
    before = seeded(database)
    done = database.client(script(database.url, "upgrade", "head", *x), check=False)
    assert done.returncode != 0
    assert message in done.stderr + done.stdout
    after = picture(database)
    assert before.fingerprint == after.fingerprint
    assert all("_q_" not in name and "_w_" not in name for name in after.ours)
    online(database, "upgrade", "head")
    online(database, "downgrade", "base")
    # The one procedure by which a script stops stays behind where there are procedures.
    assert own_objects(database) - before.ours <= {"routine migrator_assert"}


def test_rows_that_refer_to_orphans_stop_a_delete(database: Database) -> None:
    """A delete that would pull other rows along is refused."""
    legacy_blog(database)
    statements = (
        "CREATE TABLE note (id INTEGER PRIMARY KEY, post_id INTEGER NOT NULL, "
        "CONSTRAINT fk_note_post FOREIGN KEY (post_id) REFERENCES post (id) ON DELETE CASCADE)",
        "INSERT INTO note (id, post_id) SELECT id, id FROM post WHERE user_id IS NULL",
    )
    with database.engine.begin() as connection:
        for statement in statements:
            connection.exec_driver_sql(statement)
    before = picture(database)
    done = database.client(script(database.url, "upgrade", "head", "on_null=delete"), check=False)
    assert done.returncode != 0
    assert "refer to orphans" in done.stderr + done.stdout
    assert before.fingerprint == picture(database).fingerprint


def test_a_script_for_other_tables_stops(database: Database) -> None:
    """Written without a look at it, for a table that has a column more: nothing is changed."""
    legacy_blog(database)
    with database.engine.begin() as connection:
        connection.exec_driver_sql("ALTER TABLE post ADD COLUMN subtitle VARCHAR(20)")
    before = picture(database)
    done = database.client(
        script(database.url, "upgrade", "head", "peek=no", *version(database)), check=False
    )
    assert done.returncode != 0
    assert "this was written for" in done.stderr + done.stdout
    assert before.fingerprint == picture(database).fingerprint


def test_a_downgrade_script_stops_where_there_is_nothing_to_take_back(database: Database) -> None:
    """The journal is asked before anything is changed."""
    legacy_blog(database)
    before = picture(database)
    down = script(database.url, "downgrade", "head:base", "peek=no", *version(database))
    done = database.client(down, check=False)
    assert done.returncode != 0
    assert before.fingerprint == picture(database).fingerprint


def test_what_a_stopped_script_left_is_taken_up_by_the_next(database: Database) -> None:
    """Cut off after the foreign key: the script written then begins behind it, and it stays ours."""
    before = seeded(database)
    whole = script(database.url, "upgrade", "head")
    marker = "-- add-null-check" if database.family == "postgresql" else "-- set-not-null"
    head, found, _ = whole.partition(marker)
    assert found
    if database.family == "sqlite":
        head += "\nROLLBACK;\n"  # the transaction that was open when the power went
    database.client(head)
    rest = script(database.url, "upgrade", "0003:head")
    database.client(rest)
    assert {run["state"] for run in run_lines(database)} == {"done"}
    online(database, "downgrade", "base")
    assert_same(before, picture(database))


def test_a_row_whose_parent_came_back_is_healed_by_the_second_sweep(database: Database) -> None:
    """Between the first sweep and the second a missing author returns: the delta sweep gives their posts
    back."""
    legacy_blog(database)
    database.client(script(database.url, "upgrade", "0002", "on_dangling=delete"))
    taken = [row for row in quarantined(database) if row[0] == "dangling"]
    author = taken[0][-1]
    with database.engine.begin() as connection:
        users = sa.table("user", sa.column("id"), sa.column("username"), sa.column("email"))
        connection.execute(sa.insert(users).values(id=author, username="back", email="back@example.com"))
    posts = count(database, "post")
    database.client(script(database.url, "upgrade", "0002:head", "on_dangling=delete"))
    back = [row for row in quarantined(database) if row[2] == "healed"]
    assert {row[-1] for row in back} == {author}
    assert count(database, "post") == posts + len(back)


@pytest.mark.engines("postgresql", "mysql", "mariadb")
def test_a_row_that_cannot_come_back_stays_in_quarantine(database: Database) -> None:
    """The key of a deleted post was taken again, another was repointed: both are kept as conflicts."""
    legacy_blog(database)
    database.client(script(database.url, "upgrade", "head", "on_dangling=delete"))
    rows = quarantined(database)
    deleted = next(row for row in rows if row[1] == "deleted")[4]
    changed = next(row for row in rows if row[1] == "changed")[4]
    with database.engine.begin() as connection:
        quote = database.engine.dialect.identifier_preparer.quote_identifier
        connection.exec_driver_sql(
            f"INSERT INTO post (id, title, body, {quote('timestamp')}, user_id) "
            f"SELECT {deleted}, title, body, {quote('timestamp')}, 1 FROM post WHERE id = {changed}"
        )
        connection.exec_driver_sql(f"UPDATE post SET user_id = 1 WHERE id = {changed}")
    database.client(script(database.url, "downgrade", "head:base"))
    kept = {row[4]: row[2] for row in quarantined(database)}
    assert {deleted, changed} == {key for key, state in kept.items() if state == "conflict"}


def test_a_script_written_blind_stops_where_others_refer_to_the_rows(database: Database) -> None:
    """Nobody told it of the table whose rows a delete would pull along."""
    legacy_blog(database)
    with database.engine.begin() as connection:
        connection.exec_driver_sql(
            "CREATE TABLE note (id INTEGER PRIMARY KEY, post_id INTEGER NOT NULL, "
            "CONSTRAINT fk_note_post FOREIGN KEY (post_id) REFERENCES post (id) ON DELETE CASCADE)"
        )
    before = picture(database)
    blind = script(database.url, "upgrade", "head", "on_null=delete", "peek=no", *version(database))
    done = database.client(blind, check=False)
    assert done.returncode != 0
    assert "refer to" in done.stderr + done.stdout
    assert before.fingerprint == picture(database).fingerprint


@pytest.mark.engines("postgresql", "mysql", "mariadb")
@pytest.mark.every_engine
def test_a_row_that_somebody_holds_is_waited_for(database: Database) -> None:
    """A batch that meets a lock is undone and tried again; nothing is lost over it. The scan and the gate
    before it read past it: on MySQL and MariaDB that takes a SELECT, see `mysql_blocks.read`."""
    legacy_blog(database)
    with database.new_database() as other:
        legacy_blog(other)
        online(other, "upgrade", "head")
        holder = database.engine.connect()
        holder.execute(sa.text("SELECT id FROM post WHERE user_id IS NULL FOR UPDATE")).all()
        timer = Timer(2.5, holder.close)
        timer.start()
        try:
            database.client(script(database.url, "upgrade", "0002"))
        finally:
            timer.join()
        database.client(script(database.url, "upgrade", "0002:head"))
        assert quarantined(database) == quarantined(other)
        assert compare(picture(database).fingerprint, picture(other).fingerprint) == ()


@pytest.mark.engines("mysql", "mariadb")
def test_the_session_is_as_it_was(database: Database) -> None:
    """Every setting is put back."""
    ask = "SELECT @@sql_mode, @@foreign_key_checks, @@lock_wait_timeout, @@time_zone, @@wait_timeout;\n"
    legacy_blog(database)
    first = "SET SESSION lock_wait_timeout = 77;\n" + ask
    done = database.client(first + script(database.url, "upgrade", "head") + ask)
    lines = [line for line in done.stdout.splitlines() if "\t" in line and "@@" not in line]
    assert lines[0] == lines[-1]
    assert "77" in lines[0].split("\t")


def test_a_reference_nobody_can_see_is_one_line() -> None:
    """No database and no model: it says so."""
    offline = MigrationContext.configure(dialect_name="postgresql", opts={"as_sql": True})
    stage = Stage(offline, {"peek": "no"})
    with pytest.raises(MigratorError, match="the database cannot be read"):
        stage.facts("sweep", Reference.parse("invoice.buyer -> customer.id"))
