"""Several references swept as one set by a script, and taken back by another."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from alembic.operations import Operations
from alembic.runtime.migration import MigrationContext

from migrator import restore_set, sweep_set
from migrator.fingerprint import compare
from migrator.offline import write_restore_set, write_sweep_set
from migrator.operate import Policies
from migrator.policy import Backfill, Delete
from migrator.reference import Reference
from migrator.set_operations import RestoreSet, SweepSet
from tests.conftest import Database
from tests.operations.lifecycle import FAST, assert_same, picture
from tests.operations.offline_desk import printed_by, quarantined, run_lines, step_lines
from tests.operations.test_sweep_set import POST, REACTION, REPLY, forum, make, there

CIRCLE = ("a.b_id -> b.id", "b.a_id -> a.id")


def up(database: Database, references: Sequence[str], policies: dict[str, Policies] | None = None) -> str:
    """The sweeps of a set as a script; by default both kinds are deleted."""

    def write(context: MigrationContext) -> None:
        operation = SweepSet(references, policies or {})
        write_sweep_set(context, operation, chosen, FAST, {"url": database.url})

    def chosen(reference: Reference) -> Policies:
        return (policies or {}).get(str(reference), Policies(Delete(), Delete()))

    return printed_by(database, write)


def down(database: Database, references: Sequence[str]) -> str:
    """Their inverse."""

    def write(context: MigrationContext) -> None:
        write_restore_set(context, RestoreSet(references), Policies.of, FAST, {"url": database.url})

    return printed_by(database, write)


def same(database: Database, references: Sequence[str], other: Database) -> None:
    """Rows, quarantine and journal of a script are those of an online run."""
    assert compare(picture(other).fingerprint, picture(database).fingerprint) == ()
    for reference in map(Reference.parse, references):
        assert quarantined(database, reference) == quarantined(other, reference)
    assert run_lines(database) == run_lines(other)
    assert sorted(step_lines(database), key=repr) == sorted(step_lines(other), key=repr)


def test_a_set_as_a_script_is_what_it_is_online(database: Database) -> None:
    """A post goes, then its replies, then their reactions, in the rounds of an online run; and all come back,
    whoever took them."""
    forum(database)
    before = picture(database)
    references = (REACTION, POST, REPLY)
    with database.new_database() as other:
        forum(other)
        sweep_set(references, bind=other.engine, on_null=Delete(), on_dangling=Delete(), settings=FAST)
        database.client(up(database, references))
        same(database, references, other)
        other.client(down(other, references))
        assert compare(before.fingerprint, picture(other).fingerprint) == ()
    restore_set(references, bind=database.engine, settings=FAST)
    after = picture(database)
    assert compare(before.fingerprint, after.fingerprint) == ()
    assert after.ours - before.ours <= {"routine migrator_assert"}


def test_a_row_that_one_reference_made_and_another_changed(database: Database) -> None:
    """Replies get a sentinel post, which has no author and gets one in the next round; back again, it is
    nobody's and goes."""
    forum(database)
    before = picture(database)
    policies = {
        POST: Policies(Backfill(to=1), Backfill(to=2)),
        REPLY: Policies(Delete(), Backfill(sentinel={"id": 50})),
    }
    database.client(up(database, (POST, REPLY), policies))
    there(
        database,
        {
            "post.user_id": [(1, 1), (2, 2), (3, 1), (4, 2), (50, 1)],
            "reply.post_id": [(10, 1), (11, 2), (12, 50), (13, 4), (14, 3)],
        },
    )
    database.client(down(database, (POST, REPLY)))
    assert_same(before, picture(database))


def test_a_circle_goes_link_by_link(database: Database) -> None:
    """As many rounds as a script has are enough for a short chain of rows; after a longer one it stops and
    says so, what was done stands, and the next script goes on."""
    links = range(1, 31)
    make(
        database,
        ["a.b_id", "b.a_id"],
        a=[(number, number + 100) for number in links] + [(77, 177)],
        b=[(number + 100, number + 1) for number in links] + [(177, 77)],
    )
    before = picture(database)
    done = database.client(up(database, CIRCLE), check=False)
    assert done.returncode != 0
    assert "write the script again" in done.stderr + done.stdout
    for _ in range(3):
        done = database.client(up(database, CIRCLE), check=False)
    assert done.returncode == 0, done.stderr
    there(database, {"a.b_id": [(77, 177)], "b.a_id": [(177, 77)]})
    rounds = [line["facts"]["set"]["round"] for line in run_lines(database)]
    assert rounds == [each for number in range(1, len(rounds) // 2 + 1) for each in (number, number)]
    database.client(down(database, CIRCLE))
    assert_same(before, picture(database))


@pytest.mark.engines("sqlite")
def test_a_migration_that_sweeps_a_set_can_be_written_as_a_script(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`op.sweep_set` and `op.restore_set` print where Alembic prints."""
    forum(database)
    before = picture(database)
    monkeypatch.setenv("MIGRATOR_URL", database.url)

    def upgrade(context: MigrationContext) -> None:
        given = {"on_null": Delete(), "on_dangling": Delete(), "max_orphan_share": 1.0}
        Operations(context).sweep_set([POST, REPLY], **given)  # type: ignore[attr-defined]

    def downgrade(context: MigrationContext) -> None:
        Operations(context).restore_set([POST, REPLY])  # type: ignore[attr-defined]

    database.client(printed_by(database, upgrade))
    there(database, {"post.user_id": [(1, 1), (4, 2)], "reply.post_id": [(10, 1), (13, 4)]})
    database.client(printed_by(database, downgrade))
    assert_same(before, picture(database))
