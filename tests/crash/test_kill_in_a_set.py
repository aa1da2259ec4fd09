"""Several references swept as one set, and taken back, by runs that are killed again and again."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa

from migrator import Delete, restore_set, sweep_set
from migrator.errors import Refused
from tests.conftest import Database
from tests.crash.dying import Ended, Kill, Nursery, is_write, nursery
from tests.crash.states import Settled, settled

REFERENCES = ["reply.post_id -> post.id", "post.reply_id -> reply.id", "post.user_id -> user.id"]
REVISION = f"""
from alembic import op

revision, down_revision = "0001", None
REFERENCES = {REFERENCES!r}


def upgrade() -> None:
    op.sweep_set(REFERENCES)


def downgrade() -> None:
    op.restore_set(REFERENCES)
"""
#: Nothing is declared. A post without its user orphans its replies, and these the posts that quote them.
TABLES: dict[str, tuple[tuple[str, ...], list[tuple[int, ...]]]] = {
    "user": ((), [(1,), (2,)]),
    "post": (
        ("user_id", "reply_id"),
        [(1, 1, 10), (2, 99, 10), (3, 2, 12), (4, 1, 13), (5, 1, 10), (6, 2, 15)],
    ),
    "reply": (("post_id",), [(10, 1), (11, 2), (12, 2), (13, 3), (14, 4), (15, 98), (16, 5)]),
}
ALLOWED = ("on_null=delete", "max_orphan_share=1")
#: Statements that write, from one death to the next.
STRIDE = 7


@pytest.fixture(scope="module")
def running() -> Iterator[Nursery]:
    """The process that forks the runs."""
    with nursery() as made:
        yield made


@pytest.fixture
def versions(tmp_path: Path) -> Path:
    """A folder with the one revision."""
    (tmp_path / "0001_set.py").write_text(REVISION)
    return tmp_path


class Set:
    """Runs of the revision on a database with those tables.

    Args:
        start: how the database is before.
    """

    def __init__(self, database: Database, running: Nursery, versions: Path) -> None:
        self.database, self.running, self.versions = database, running, versions
        metadata = sa.MetaData()
        with database.engine.begin() as connection:
            for name, (columns, rows) in TABLES.items():
                made = sa.Table(
                    name,
                    metadata,
                    sa.Column("id", sa.Integer, primary_key=True, autoincrement=False),
                    *(sa.Column(column, sa.Integer) for column in columns),
                )
                made.create(connection)
                connection.execute(
                    made.insert(), [dict(zip(("id", *columns), row, strict=True)) for row in rows]
                )
        self.ask("stamp", "base", None).check()
        self.start = self.state()

    def state(self) -> Settled:
        """What matters of it, now."""
        return settled(self.database.engine)

    def ask(self, verb: str, revision: str, kill: Kill | None) -> Ended:
        """One run of Alembic."""
        url = self.database.url
        return self.running.run(url, verb, revision, *ALLOWED, kill=kill, versions=self.versions)

    def run(self, verb: str, kill: Kill | None = None) -> Ended:
        """One run, up or down. A server may need a moment to notice that a client is dead."""
        deadline = time.monotonic() + 60
        while True:
            ended = self.ask(verb, "head" if verb == "upgrade" else "base", kill)
            locked = ended.error is not None and "Another run is at work" in ended.error["error"]
            if not locked or time.monotonic() > deadline:
                return ended
            time.sleep(0.1)

    def die_and_go_on(self, verb: str) -> int:
        """Repeat it, dying each time a little later, to its end; returns how often it died."""
        deaths = 0
        while True:
            kill = Kill(2 + deaths * STRIDE, "before" if deaths % 2 else "after", only_writes=True)
            ended = self.run(verb, kill)
            if not ended.killed:
                assert ended.exit == 0, (kill, ended.error)
                return deaths
            deaths += 1


def left(database: Database, name: str) -> list[int]:
    """The keys of the rows that are there."""
    with database.engine.connect() as connection:
        return sorted(connection.scalars(sa.select(sa.column("id")).select_from(sa.table(name))))


def test_a_set_that_dies_again_and_again_comes_to_its_end(
    database: Database, running: Nursery, versions: Path
) -> None:
    """Up and down: both ends are those of undisturbed runs, which are what must be."""
    with database.new_database() as other:
        undisturbed = Set(other, running, versions)
        undisturbed.run("upgrade").check()
        head = undisturbed.state()
        assert (left(other, "post"), left(other, "reply")) == ([1, 5], [10, 16])
    case = Set(database, running, versions)
    assert case.die_and_go_on("upgrade") > 5
    assert case.state().differences(head) == []
    assert case.die_and_go_on("downgrade") > 3
    assert case.state().differences(case.start) == []


@pytest.mark.parametrize("share", [0.2, 0.5, 0.8])
def test_a_set_that_died_is_taken_back_at_once(
    database: Database, running: Nursery, versions: Path, share: float
) -> None:
    """Whatever round it was in; Alembic, which has not moved, is not asked. And a way back that died is gone
    to its end before the next way up."""
    with database.new_database() as other:
        undisturbed = Set(other, running, versions)
        up = [text for text in undisturbed.run("upgrade").check().statements if is_write(text)]
        down = [text for text in undisturbed.run("downgrade").check().statements if is_write(text)]
    case = Set(database, running, versions)
    assert case.run("upgrade", Kill(int(len(up) * share), "after", only_writes=True)).killed
    restore_set(REFERENCES, bind=database.engine)
    assert case.state().differences(case.start) == []
    case.run("upgrade").check()
    assert case.run("downgrade", Kill(int(len(down) * share), "after", only_writes=True)).killed
    with pytest.raises(Refused, match="was cut short"):
        sweep_set(REFERENCES, on_dangling=Delete(), bind=database.engine)
    case.run("downgrade").check()
    assert case.state().differences(case.start) == []
