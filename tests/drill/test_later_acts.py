"""What the old release gets, the way back after the application has written, and chaos."""

from __future__ import annotations

from pathlib import Path

import pytest
import sqlalchemy as sa

from tests.conftest import Database
from tests.drill.harness import RESTORE, SWEEP, blog, environment, hold
from tests.operations.orphan_cases import key

ENFORCE = ("enforce_reference(POST_AUTHOR)", "release_reference(POST_AUTHOR)")
VALIDATE = (
    "validate_reference(POST_AUTHOR, on_null=DELETED_AUTHOR, on_dangling=DELETED_AUTHOR)",
    "unvalidate_reference(POST_AUTHOR)",
)


def test_an_old_release_is_told_what_it_gets(database: Database, tmp_path: Path) -> None:
    """Every wrong order of writing is refused by the rule that is for it, the right one is accepted, and
    nothing of the trials stays."""
    blog(database)

    result = hold(database, ini=environment(tmp_path, (SWEEP, RESTORE), ENFORCE, VALIDATE), each=False)

    assert result.exit_code == 0, result.verdict
    act = result.act("old-release")
    assert act is not None
    said = dict(note.split(": ") for note in act.notes)
    assert said == {
        "parent, then child": "accepted.",
        "child, then parent, in one transaction": "refused (foreign-key).",
        "a child without a parent (NULL)": "refused (not-null).",
        "deleting a parent that has children": "refused (foreign-key).",
    }


@pytest.mark.parametrize("policy", ["backfill", "delete"])
def test_what_the_application_wrote_survives_the_downgrade(
    database: Database, tmp_path: Path, policy: str
) -> None:
    """New rows stay, a row that the application changed or wrote anew stays as it left it and is a conflict,
    and every other row is as it was before the upgrade."""
    blog(database)

    result = hold(
        database,
        ini=environment(tmp_path, (SWEEP, RESTORE)),
        each=False,
        arguments=("pause_ms=0", f"on_null={policy}", f"on_dangling={policy}"),
    )

    act = result.act("application")
    assert act is not None
    assert act.status == "passed", (act.summary, act.differences)
    assert act.summary == "2 new rows survived, 1 conflict kept and reported, everything else as it was."


def test_rows_are_made_up_so_that_another_foreign_key_on_the_same_column_holds(
    database: Database, tmp_path: Path
) -> None:
    """A city of another region does not keep the place that belonged to its region."""
    metadata = sa.MetaData()
    region = sa.Table("region", metadata, key("a"), key("b"))
    place = sa.Table("place", metadata, key("a"), key("b"), key("c"))
    city = sa.Table(
        "city",
        metadata,
        sa.Column("id", sa.Integer, primary_key=True),
        *(sa.Column(name, sa.Integer) for name in ("a", "b", "c")),
        sa.ForeignKeyConstraint(["a", "b", "c"], ["place.a", "place.b", "place.c"], name="fk_place"),
    )
    metadata.create_all(database.engine)
    with database.engine.begin() as connection:
        connection.execute(sa.insert(region), [{"a": 1, "b": 1}, {"a": 1, "b": 2}])
        connection.execute(sa.insert(place), [{"a": 1, "b": b, "c": 5} for b in (1, 2, 3)])
        cities = [{"id": each, "a": 1, "b": each, "c": 5} for each in (1, 2, 3)]
        connection.execute(sa.insert(city), cities)
    said = "'city(a, b) -> region(a, b)'"
    up = f"sweep_orphans({said}, on_dangling=Backfill(to=(1, 1))); enforce_reference({said})"
    down = f"release_reference({said}); restore_orphans({said})"

    result = hold(database, ini=environment(tmp_path, (up, down)), each=False)

    assert [act.status for act in result.acts if act.status not in ("passed", "skipped")] == []
    act = result.act("application")
    assert act is not None
    assert act.summary == "2 new rows survived, 1 conflict kept and reported, everything else as it was."


@pytest.mark.engines("sqlite", "mysql-9.7")
def test_a_row_made_after_one_that_was_written_before_it_is_not_taken_for_lost(
    database: Database, tmp_path: Path
) -> None:
    """Of places one is written as a child and the next as a parent: both may have the same region."""
    metadata = sa.MetaData()
    region = sa.Table("region", metadata, key("a"), key("b"))
    place = sa.Table("place", metadata, key("a"), key("b"), key("c"))
    columns = (sa.Column(name, sa.Integer) for name in ("a", "b", "c"))
    city = sa.Table("city", metadata, sa.Column("id", sa.Integer, primary_key=True), *columns)
    metadata.create_all(database.engine)
    with database.engine.begin() as connection:
        connection.execute(sa.insert(region), [{"a": 1, "b": 1}])
        connection.execute(sa.insert(place), [{"a": 1, "b": 1, "c": 5}, {"a": 7, "b": 1, "c": 5}])
        connection.execute(sa.insert(city), [{"id": 1, "a": 1, "b": 1, "c": 5}])
    revisions = []
    for said in ("'place(a, b) -> region(a, b)'", "'city(a, b, c) -> place(a, b, c)'"):
        up = f"sweep_orphans({said}, on_null=Delete(), on_dangling=Delete()); enforce_reference({said})"
        revisions.append((up, f"release_reference({said}); restore_orphans({said})"))

    result = hold(
        database, ini=environment(tmp_path, *revisions), each=False, arguments=("max_orphan_share=1",)
    )

    assert result.exit_code == 0, result.verdict


def test_a_downgrade_that_loses_new_rows_is_found_out(database: Database, tmp_path: Path) -> None:
    """One that deletes what it does not know of fails in the last act: the round trip alone was identical."""
    blog(database)
    down = f"{RESTORE}; op.execute('DELETE FROM post WHERE id NOT BETWEEN 1 AND 60')"

    result = hold(database, ini=environment(tmp_path, (SWEEP, down)), each=False)

    assert (result.exit_code, result.identical) == (3, True)
    assert "Lost in the downgrade: post id = -" in result.verdict


def test_a_disturbed_migration_ends_in_the_same_place(database: Database, tmp_path: Path) -> None:
    """Killed, cut off and kept waiting in every revision, both ways: the same two ends as undisturbed."""
    blog(database)

    result = hold(database, ini=environment(tmp_path, (SWEEP, RESTORE)), each=False, chaos=True, seed=7)

    assert result.exit_code == 0, result.verdict
    act = result.act("chaos")
    assert act is not None
    assert sum("killed before statement" in note for note in act.notes) == 2
    assert any("connection cut" in note for note in act.notes) or database.family == "sqlite"


@pytest.mark.engines("sqlite", "postgresql-18")
def test_chaos_finds_a_revision_that_cannot_be_resumed(database: Database, tmp_path: Path) -> None:
    """One whose downgrade loses its memory when it dies half-way does not end in the same place."""
    blog(database)
    flaky = (
        "from pathlib import Path; from alembic import op as o\n"
        "    begun = Path(__file__).with_suffix('.begun')\n"
        "    if begun.exists(): o.execute('DELETE FROM post WHERE id = 3')\n"
        "    begun.touch(); [o.execute('SELECT 1') for _ in range(50)]; begun.unlink()"
    )

    result = hold(database, ini=environment(tmp_path, ("pass", flaky)), each=False, chaos=True, seed=1)

    assert result.exit_code == 3
    act = result.act("chaos")
    assert act is not None
    assert act.summary.startswith("Not the same as at the start, after this: process killed.")
    assert [key["id"] for one in act.differences for key in one.keys] == [3]
