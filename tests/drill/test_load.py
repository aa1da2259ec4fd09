"""Up and down while the application is at work: what it wrote survives, and what it felt is told."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from migrator.drill.html import to_html
from migrator.drill.load import Operation, measured
from migrator.drill.markdown import to_markdown
from migrator.fingerprint import take
from tests.conftest import Database
from tests.drill.harness import RESTORE, SWEEP, blog, copies, environment, hold
from tests.operations.reporting import check_schema, run


def test_the_application_at_work_neither_stops_the_migration_nor_loses_a_row(database: Database) -> None:
    """The shipped revisions up and down under load: no transaction fails but those the reference is there
    to refuse, what was written survives, the rest is as before, and each step says what was felt."""
    blog(database, posts=200)
    before = take(database.engine)

    found = run("drill", "--url", database.url, "-x", "pause_ms=0", "--load", "--quick", "--format", "json")

    assert found.code == 0, found.out
    check_schema(found.json)
    (act,) = [act for act in found.json["acts"] if act["slug"] == "load"]
    assert act["status"] == "passed", act
    assert [step["direction"] for step in act["steps"]] == ["up"] * 4 + ["down"] * 4
    felt = [step["felt"] for step in act["steps"] if step["felt"]]
    assert felt
    assert all(one["errors"] == 0 and one["worst"] >= one["p99"] > 0 for one in felt)
    assert "new rows survived; without them everything is as before" in act["summary"]
    (watched,) = [one for one in found.json["checklist"] if one["slug"] == "performance-watched"]
    assert watched["ticked"] == "proved"
    assert "worst stall" in watched["evidence"]
    assert not copies(database)
    assert before.identical(take(database.engine), counters=True)


@pytest.mark.engines("sqlite", "mysql-9.7")
def test_a_downgrade_that_loses_what_was_written_meanwhile_is_found_out(
    database: Database, tmp_path: Path
) -> None:
    """One that deletes what it does not know of: named, though the quiet round trip was identical."""
    blog(database)
    down = f"{RESTORE}; op.execute('DELETE FROM post WHERE id NOT BETWEEN 1 AND 60')"

    result = hold(database, ini=environment(tmp_path, (SWEEP, down)), each=False, load=True)

    act = result.act("load")
    assert act is not None
    assert (result.identical, act.status) == (True, "differs")
    assert act.summary.startswith("Lost in the downgrade: ")


@pytest.mark.engines("sqlite", "postgresql-18")
def test_the_migration_breaking_the_application_is_found_out(database: Database, tmp_path: Path) -> None:
    """A revision that takes away the table for a while: the transactions that needed it are errors."""
    blog(database)
    up = (
        "import time\n"
        "    with op.get_context().autocommit_block():\n"
        "        op.rename_table('post', 'gone'); time.sleep(1); op.rename_table('gone', 'post')"
    )
    first = (SWEEP, RESTORE)

    result = hold(database, ini=environment(tmp_path, first, (up, "pass")), each=False, load=True)

    act = result.act("load")
    assert act is not None
    assert act.status == "differs"
    assert "failed that should not" in act.summary
    assert {item.slug: item.ticked for item in result.checklist}["performance-watched"] == "disproved"


_COMMAND = """\
import os, time
import sqlalchemy as sa
from migrator.settings import database_url

assert os.environ["DATABASE_URL"] == os.environ["MIGRATOR_URL"]
engine = sa.create_engine(database_url(os.environ["MIGRATOR_URL"]))
while True:
    with engine.begin() as connection:
        connection.execute(
            sa.text("INSERT INTO post (title, body, timestamp) VALUES ('mine', '', CURRENT_TIMESTAMP)")
        )
    open({marker!r}, "a").write("x")
    time.sleep({pause})
"""


# Not on SQLite: a revision that waits there keeps the whole database from the writer it waits for.
@pytest.mark.engines("mariadb-11.8")
def test_a_command_of_the_users_is_the_load(database: Database, tmp_path: Path) -> None:
    """It is given the copy's URL, is at work during the migration, and is ended afterwards."""
    blog(database)
    marker = tmp_path / "written"
    script = tmp_path / "load.py"
    script.write_text(_COMMAND.format(marker=str(marker), pause=0.05), encoding="utf-8")
    under_load = tmp_path / "under_load"
    wait = (
        "import time; from pathlib import Path as P\n"
        f"    for _ in range(600 if P({str(under_load)!r}).exists() else 0):\n"
        f"        if not P({str(marker)!r}).exists(): time.sleep(0.1)"
    )

    result = hold(
        database,
        lambda told: under_load.touch() if told.startswith("another copy") else None,
        ini=environment(tmp_path, (SWEEP, RESTORE), (wait, "pass")),
        each=False,
        load=True,
        command=f"{sys.executable} {script}",
    )

    act = result.act("load")
    assert act is not None
    assert act.status == "passed", act.summary
    assert act.summary.startswith("Up and down with the command at work.")
    assert marker.read_text()
    assert not copies(database)
    with database.engine.connect() as connection:
        assert connection.exec_driver_sql("SELECT count(*) FROM post WHERE title = 'mine'").scalar() == 0


@pytest.mark.engines("sqlite")
def test_a_load_command_that_fails_is_told(database: Database, tmp_path: Path) -> None:
    """Its exit code and its last line; the pages say so."""
    blog(database)
    command = "echo the load is broken; exit 7"

    result = hold(
        database, ini=environment(tmp_path, (SWEEP, RESTORE)), each=False, load=True, command=command
    )

    assert result.exit_code == 3
    said = "The load command ended by itself with 7: the load is broken"
    assert said in result.verdict
    assert said in to_html(result)
    assert said in to_markdown(result)


@pytest.mark.engines("sqlite")
def test_a_load_in_place_is_refused(database: Database) -> None:
    """Its rows would stay."""
    found = run("drill", "--url", database.url, "--in-place", "--load")

    assert found.code == 2
    assert "A load writes rows that stay" in found.err


def test_what_was_felt_is_of_the_operations_under_way() -> None:
    """One that began before and ended within counts; one that ended before does not."""
    before, over, inside = Operation(1, 1, "a"), Operation(2, 3, "b"), Operation(4.5, 0.1, "c")

    felt = measured([before, over, inside], 4, 5)

    assert felt is not None
    assert (felt.operations, felt.worst, felt.name) == (2, 3, "b")
    assert measured([before], 4, 5) is None
