"""Drills that must fail do, and name the first table, column and keys that are not as they were."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.conftest import Database
from tests.drill.harness import (
    RESTORE,
    SWEEP,
    TOUCHING,
    blog,
    copies,
    copy_url,
    environment,
    execute,
    hold,
    orphan_keys,
    url_of,
)
from tests.operations.reporting import check_schema, run


def test_a_trigger_that_changes_another_column_is_found_out(database: Database, tmp_path: Path) -> None:
    """The sweep's UPDATE set off a trigger of the application's: table, column and every key are named."""
    blog(database)
    execute(url_of(database), *TOUCHING[database.family])
    orphans = orphan_keys(database)

    found = run(
        "drill", "--url", database.url, "--config", str(environment(tmp_path, (SWEEP, RESTORE))),
        "-x", "pause_ms=0", "--format", "json",
    )  # fmt: skip

    assert found.code == 3, found.out
    check_schema(found.json)
    assert found.json["verdict"]["identical"] is False
    compared = next(act for act in found.json["acts"] if act["slug"] == "compare")
    assert compared["status"] == "differs"
    (difference,) = compared["differences"]
    assert difference["object"].rpartition(".")[2] == "post"
    assert difference["column"] == "title"
    assert {key["id"] for key in difference["keys"]} == orphans
    assert "post.title: changed in 6 rows (id = " in found.json["verdict"]["sentence"]


def test_a_row_changed_behind_its_back_is_found_out(database: Database, tmp_path: Path) -> None:
    """Somebody writes to the copy between two acts: that one row is named."""
    blog(database)

    def meddle(told: str) -> None:
        if told == "compare with the start":
            (copy,) = copies(database)
            execute(copy_url(database, copy), "UPDATE post SET body = 'else' WHERE id = 17")

    result = hold(database, meddle, ini=environment(tmp_path, (SWEEP, RESTORE)))

    assert (result.exit_code, result.identical) == (3, False)
    assert result.verdict.endswith("post.body: changed in 1 row (id = 17).")


def test_a_downgrade_that_leaves_something_behind_is_found_out(database: Database, tmp_path: Path) -> None:
    """An index that nobody drops is a difference of the schema, named with its table; and the way down says
    after which revision it was not as on the way up."""
    blog(database)
    left = "op.create_index('left_behind', 'post', ['title'])"
    ini = environment(tmp_path, ("pass", "pass"), (left, "pass"))

    result = hold(database, ini=ini)

    assert result.exit_code == 3
    down, compared = result.act("downgrade"), result.act("compare")
    assert down is not None
    assert compared is not None
    assert down.notes == ("Taking back r2 did not lead to what r1 had left on the way up.",)
    assert compared.status == "differs"
    assert "left_behind" in compared.differences[0].object + compared.differences[0].detail
    assert "post" in result.verdict


def test_a_downgrade_that_raises_is_a_failed_act(database: Database, tmp_path: Path) -> None:
    """Exit 1 with the reason; what comes after is not reached; the copy is dropped all the same."""
    blog(database)
    ini = environment(tmp_path, ("pass", "raise RuntimeError('no way back')"))

    found = run("drill", "--url", database.url, "--config", str(ini), "--format", "json")

    assert found.code == 1, found.out
    check_schema(found.json)
    states = {act["slug"]: act["status"] for act in found.json["acts"]}
    assert (states["upgrade"], states["downgrade"], states["compare"]) == ("passed", "failed", "skipped")
    assert "RuntimeError: no way back" in found.json["verdict"]["sentence"]
    assert found.json["verdict"]["identical"] is None
    assert not copies(database)


@pytest.mark.engines("sqlite", "postgresql-18", "mysql-9.7")
def test_an_upgrade_that_writes_the_time_of_day_is_found_out(database: Database, tmp_path: Path) -> None:
    """The second upgrade does not lead where the first one led: that is a difference too."""
    blog(database)
    up = "op.execute(f\"UPDATE post SET title = '{__import__('time').monotonic_ns()}' WHERE id = 4\")"
    down = "op.execute(\"UPDATE post SET title = 'Questions' WHERE id = 4\")"
    execute(url_of(database), "UPDATE post SET title = 'Questions' WHERE id = 4")

    result = hold(database, ini=environment(tmp_path, (up, down)))

    again = result.act("again")
    assert again is not None
    assert (result.exit_code, result.identical, again.status) == (3, True, "differs")
    assert "post.title: changed in 1 row (id = 4)" in result.verdict
