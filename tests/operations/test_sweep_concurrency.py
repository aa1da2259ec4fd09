"""The application goes on while a sweep runs: it inserts, updates, deletes and locks between two batches, and
from other threads all the time. Nothing of its own is overwritten, nothing of anyone's is lost."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from types import SimpleNamespace
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.engine import Connection, Engine

from migrator import journal, quarantine
from migrator.dialects import dialect_of
from migrator.errors import Interrupted, LockNotObtained, PolicyChanged, Refused, StepFailed
from migrator.mirror import STATE
from migrator.policy import Backfill, Delete, Policy, Refuse
from migrator.reference import Reference
from tests.conftest import Database
from tests.operations.lifecycle import DOWN, FAST, UP, assert_same, picture, run
from tests.operations.orphan_cases import fill, key, table

REFERENCE = Reference.parse("post.author -> writer.id")
TO_ONE = Backfill(to=(1,))
SMALL = replace(FAST, batch_size=3, batch_floor=3, batch_ceiling=3)
ORPHANS = list(range(11, 31))  # the keys of the posts whose author, 99, is not there


@dataclass
class Between:
    """What the application does between two batches: called once, when the sweep has come so far.

    Args:
        act: what it does.
        rows: after how many orphans; 0 is after the scan.
    """

    act: Callable[[], None]
    rows: int = 0
    done: bool = field(default=False)

    def step(self, name: str, title: str) -> None:
        """Nothing."""

    def note(self, message: str) -> None:
        """Nothing."""

    def rows_(self, what: str, done: int, total: int | None) -> None:
        """A window was scanned, or a batch is through."""
        if not self.done and what.startswith("sweep" if self.rows else "scan") and done >= self.rows:
            self.done = True
            self.act()


class Listener:
    """`Between` as the progress protocol spells it."""

    def __init__(self, between: Between) -> None:
        self.between = between
        self.step, self.note, self.rows = between.step, between.note, between.rows_


@pytest.fixture
def blog(database: Database) -> Engine:
    """Writers 1 to 9; ten posts of theirs, and twenty of a writer who is not there. The index is there, so
    that nothing but the sweep waits for a row that the application holds."""
    engine = database.engine
    if database.family == "sqlite":

        @sa.event.listens_for(engine, "connect")
        def wait(connection: Any, _record: Any) -> None:
            connection.execute("PRAGMA busy_timeout=20000")
            connection.execute("PRAGMA foreign_keys=ON")

    fill(engine, table(engine, "writer", key("id")), [{"id": number} for number in range(1, 10)])
    rows = [{"id": number, "author": number % 9 + 1, "words": f"w{number}"} for number in range(1, 11)]
    rows += [{"id": number, "author": 99, "words": f"w{number}"} for number in ORPHANS]
    posts = table(
        engine, "post", key("id"), sa.Column("author", sa.Integer), sa.Column("words", sa.String(20))
    )
    sa.Index("by_author", posts.c.author)
    fill(engine, posts, rows)
    return engine


def say(engine: Engine, *statements: str) -> Callable[[], None]:
    """The application's own transaction."""

    def act() -> None:
        with engine.begin() as connection:
            for statement in statements:
                connection.execute(sa.text(statement))

    return act


def sweep(engine: Engine, policy: Policy, act: Callable[[], None], rows: int = 0) -> dict[str, Any]:
    """A sweep during which the application acts once."""
    between = Between(act, rows)
    (counts,) = run(engine, ("sweep",), REFERENCE, policy, policy, settings=SMALL, progress=Listener(between))
    assert between.done
    return dict(counts)


def posts(engine: Engine) -> dict[int, tuple[int | None, str]]:
    """Author and words of each post."""
    with engine.connect() as connection:
        found = connection.execute(sa.text("SELECT id, author, words FROM post"))
        return {row[0]: (row[1], row[2]) for row in found}


def set_aside(engine: Engine, *states: str) -> dict[int, int | None]:
    """Key and original author of each row in quarantine, in the given states (by default: held)."""
    with engine.connect() as connection:
        (mirror,) = quarantine.mirrors(connection, REFERENCE)
        clause = mirror.clause
        query = sa.select(clause.c["id"], clause.c["author"]).where(
            clause.c[STATE].in_([sa.literal_column(f"'{s}'") for s in states or ("held",)])
        )
        return {row[0]: row[1] for row in connection.execute(query)}


def test_rows_changed_between_scan_and_change_are_looked_at_again(blog: Engine) -> None:
    """Mended, moved to another missing author, deleted, or new: each is what the application made it."""
    act = say(
        blog,
        "UPDATE post SET author = 5, words = 'mended' WHERE id = 11",
        "UPDATE post SET author = 98, words = 'moved' WHERE id = 12",
        "DELETE FROM post WHERE id = 13",
        "INSERT INTO post (id, author, words) VALUES (50, 99, 'new')",
        "UPDATE post SET author = NULL WHERE id = 14",
    )
    sweep(blog, TO_ONE, act)
    now, aside = posts(blog), set_aside(blog)
    assert now[11] == (5, "mended")
    assert now[12] == (1, "moved")
    assert 13 not in now
    assert now[50] == (99, "new")
    assert aside[12] == 98
    assert not {11, 13, 50} & set(aside)
    # NULL is another kind than the scan had seen: left to the sweep of what slipped in.
    assert now[14] == (None, "w14")
    run(blog, ("enforce", "validate"), REFERENCE, TO_ONE, TO_ONE)
    assert {author for author, _ in posts(blog).values()} <= set(range(1, 10))
    assert set_aside(blog)[50] == 99


@pytest.mark.parametrize("policy", [TO_ONE, Delete()], ids=["backfill", "delete"])
def test_a_parent_that_appears_brings_its_rows_back(blog: Engine, policy: Policy) -> None:
    """Writer 99 is written when some of the posts were set aside: those come back, the others never go."""
    before = posts(blog)
    counts = sweep(blog, policy, say(blog, "INSERT INTO writer (id) VALUES (99)"), rows=6)
    assert posts(blog) == before
    assert counts["changed"] == counts["healed"] == 6
    assert set_aside(blog) == {}
    assert len(set_aside(blog, "healed")) == 6


def test_a_parent_that_appears_does_not_undo_what_the_application_wrote_since(blog: Engine) -> None:
    """A post was set aside, then given another author: it keeps that one when 99 appears."""
    act = say(blog, "UPDATE post SET author = 7 WHERE id = 11", "INSERT INTO writer (id) VALUES (99)")
    sweep(blog, TO_ONE, act, rows=6)
    now = posts(blog)
    assert now[11] == (7, "w11")
    assert {now[number][0] for number in ORPHANS[1:]} == {99}
    assert set_aside(blog, "conflict") == {11: 99}


def test_a_deleted_row_whose_key_is_taken_again_stays_in_quarantine(blog: Engine) -> None:
    """The application writes a new post under the old key: the downgrade restores the others and keeps
    this one, and its mirror, for a person to look at."""
    run(blog, ("sweep",), REFERENCE, Delete(), Delete())
    say(blog, "INSERT INTO post (id, author, words) VALUES (15, 2, 'mine')")()
    run(blog, ("restore",), REFERENCE)
    now = posts(blog)
    assert now[15] == (2, "mine")
    assert {now[number] for number in ORPHANS if number != 15} == {
        (99, f"w{number}") for number in ORPHANS if number != 15
    }
    assert set_aside(blog, "conflict") == {15: 99}


@pytest.mark.engines("postgresql", "mysql", "mariadb")
def test_locked_rows_are_skipped_first_and_done_later(database: Database, blog: Engine) -> None:
    """Someone holds the first three orphans: all others are settled before anyone waits for those."""
    held = blog.connect()
    held.execute(sa.text("SELECT id FROM post WHERE id IN (11, 12, 13) FOR UPDATE")).all()
    seen: list[set[int]] = []

    def release() -> None:
        seen.append(set(set_aside(blog)))
        held.rollback()

    try:
        sweep(blog, TO_ONE, release, rows=len(ORPHANS))
    finally:
        held.close()
    assert seen == [set(ORPHANS[3:])]
    assert set(set_aside(blog)) == set(ORPHANS)


# -- stopping and going on -------------------------------------------------------------------------
def stop() -> None:
    """As a signal does."""
    raise Interrupted("stopped by the test")


@pytest.mark.parametrize(("after", "changed"), [(0, 0), (6, 6)], ids=["mid-scan", "mid-batch"])
def test_a_sweep_that_was_stopped_goes_on(database: Database, blog: Engine, after: int, changed: int) -> None:
    """In the middle of the scan or of the batches: what was done is done, the rest is, and is counted, by
    the next run; and all of it is taken back."""
    before = picture(database)
    settings = replace(SMALL, scan_rows=8)
    with pytest.raises(Interrupted):
        run(
            blog,
            ("sweep",),
            REFERENCE,
            TO_ONE,
            TO_ONE,
            settings=settings,
            progress=Listener(Between(stop, after)),
        )
    assert sum(author == 1 for author, _ in posts(blog).values()) == 1 + changed
    (counts,) = run(blog, ("sweep",), REFERENCE, TO_ONE, TO_ONE, settings=settings)
    assert (counts["rows"], counts["dangling"], counts["changed"]) == (30, 20, 20)
    with blog.connect() as connection:
        assert len(journal.runs(connection)) == 1
    run(blog, ("restore",), REFERENCE)
    assert_same(before, picture(database))


def test_a_sweep_goes_on_only_with_the_policy_it_was_begun_with(database: Database, blog: Engine) -> None:
    """Rows were changed under one policy: another is refused, and told which one it was."""
    with pytest.raises(Interrupted):
        run(blog, ("sweep",), REFERENCE, TO_ONE, TO_ONE, settings=SMALL, progress=Listener(Between(stop, 6)))
    before = picture(database)
    with pytest.raises(PolicyChanged, match=r'"to": \[1\].*has changed 6 row.*Hint: Go on with the first'):
        run(blog, ("sweep",), REFERENCE, Delete(), Delete(), settings=SMALL)
    assert_same(before, picture(database))
    run(blog, ("sweep",), REFERENCE, TO_ONE, TO_ONE)
    assert {author for author, _ in posts(blog).values()} <= set(range(1, 10))


def test_a_policy_may_change_while_nothing_was_changed_under_it(blog: Engine) -> None:
    """Stopped in the scan, the run is begun anew with the policy given now."""
    with pytest.raises(Interrupted):
        run(blog, ("sweep",), REFERENCE, TO_ONE, TO_ONE, settings=SMALL, progress=Listener(Between(stop)))
    run(blog, ("sweep",), REFERENCE, Delete(), Delete(), settings=SMALL)
    assert len(posts(blog)) == 10


# -- from other threads, all the time --------------------------------------------------------------
class Application(threading.Thread):
    """Writes posts of writers who are there and of some who are not, changes and deletes them, and writes
    new writers, until told to stop; remembers what it deleted and wrote."""

    def __init__(self, engine: Engine, number: int) -> None:
        super().__init__()
        self.engine, self.number = engine, number
        self.drawn = random.Random(number)
        self.stop = threading.Event()
        self.written: set[int] = set()
        self.deleted: set[int] = set()
        self.refused = 0

    def run(self) -> None:
        """Until told to stop."""
        next_key = self.number * 100_000
        while not self.stop.wait(0.005):
            next_key += 1
            try:
                with self.engine.begin() as connection:
                    self._act(connection, next_key)
            except (sa.exc.IntegrityError, sa.exc.OperationalError):
                self.refused += 1  # the guard, the foreign key, or a deadlock: the application tries no more

    def _act(self, connection: Connection, new: int) -> None:
        chosen = self.drawn.random()
        mine = sorted(self.written - self.deleted)
        if chosen < 0.5 or not mine:
            author = self.drawn.choice([1, 2, 3, 99, 98, None])
            statement = sa.text("INSERT INTO post (id, author, words) VALUES (:id, :author, 'x')")
            connection.execute(statement, {"id": new, "author": author})
            self.written.add(new)
        elif chosen < 0.8:
            statement = sa.text("UPDATE post SET author = :author, words = 'y' WHERE id = :id")
            connection.execute(statement, {"id": self.drawn.choice(mine), "author": self.drawn.randint(1, 9)})
        elif chosen < 0.98:
            gone = self.drawn.choice(mine)
            connection.execute(sa.text("DELETE FROM post WHERE id = :id"), {"id": gone})
            self.deleted.add(gone)
        else:
            connection.execute(sa.text("INSERT INTO writer (id) VALUES (:id)"), {"id": new})


def test_an_application_at_full_swing(database: Database, blog: Engine) -> None:
    """Up to the head and down again while two threads write: no orphan at the head, every post that nobody
    deleted is in the table or in quarantine, and in the end every post is in the table."""
    workers = [Application(blog, number) for number in (1, 2)]
    for worker in workers:
        worker.start()
    try:
        run(blog, UP, REFERENCE, TO_ONE, Delete(), settings=replace(SMALL, pause_ms=5))
    finally:
        for worker in workers:
            worker.stop.set()
            worker.join()
    with blog.connect() as connection:
        facts = dialect_of(connection.dialect).facts(connection, REFERENCE)
        there = set(connection.execute(sa.text("SELECT id FROM writer")).scalars())
    assert facts.foreign_key is not None
    assert facts.not_null
    assert {author for author, _ in posts(blog).values()} <= there
    written = set(range(1, 31)).union(*(worker.written for worker in workers))
    deleted = set().union(*(worker.deleted for worker in workers))
    left = set(posts(blog)) | set(set_aside(blog, "held", "conflict"))
    assert written - deleted <= left
    run(blog, DOWN, REFERENCE)
    assert written - deleted <= set(posts(blog))


def test_a_parent_that_returns_before_the_proof_brings_its_rows_back(
    blog: Engine, database: Database
) -> None:
    """Validate looks through the quarantine as every sweep does, also where it has nothing to sweep."""
    start = picture(database)
    run(blog, ("sweep",), REFERENCE, Delete(), Delete())
    with blog.begin() as connection:
        connection.execute(sa.text("INSERT INTO writer (id) VALUES (99)"))
    counts = run(blog, ("enforce", "validate"), REFERENCE, Delete(), Delete())[-1]
    assert counts["healed"] == len(ORPHANS)
    with blog.begin() as connection:
        assert connection.scalar(sa.text("SELECT count(*) FROM post WHERE author = 99")) == len(ORPHANS)
    run(blog, DOWN, REFERENCE)
    with blog.begin() as connection:
        connection.execute(sa.text("DELETE FROM writer WHERE id = 99"))
    assert_same(start, picture(database))


@pytest.mark.engines("postgresql", "mysql", "mariadb")
def test_a_policy_that_says_no_says_it_before_not_null(blog: Engine, database: Database) -> None:
    """A row that slipped in between sweep and foreign key meets `refuse`: the state is the one before."""
    run(blog, ("sweep",), REFERENCE, Delete(), Delete())
    with blog.begin() as connection:
        connection.execute(sa.text("INSERT INTO post (id, author, words) VALUES (70, 98, 'late')"))
    run(blog, ("enforce",), REFERENCE)
    before = picture(database)
    with pytest.raises(Refused, match="the policy is to refuse"):
        run(blog, ("validate",), REFERENCE, Refuse(), Refuse())
    assert_same(before, picture(database))
    counts = run(blog, ("validate",), REFERENCE, Delete(), Delete())[-1]
    assert counts["dangling"] == 1


@pytest.mark.engines("postgresql", "mysql", "mariadb")
def test_a_refusal_after_steps_were_done_does_not_say_that_nothing_changed(
    blog: Engine, database: Database
) -> None:
    """A backfill target that is gone by the time a late orphan is met: a failed step, and the way on."""
    with blog.begin() as connection:
        connection.execute(sa.text("INSERT INTO writer (id) VALUES (50)"))
    run(blog, ("sweep",), REFERENCE, Delete(), Delete())
    with blog.begin() as connection:
        connection.execute(sa.text("INSERT INTO post (id, author, words) VALUES (70, 98, 'late')"))
    run(blog, ("enforce",), REFERENCE)
    with blog.begin() as connection:
        connection.execute(sa.text("DELETE FROM writer WHERE id = 50"))
    gone = Backfill(to=(50,))
    with pytest.raises(StepFailed, match="slipped in") as failed:
        run(blog, ("validate",), REFERENCE, gone, gone)
    assert "Nothing was changed" not in str(failed.value)
    run(blog, ("validate",), REFERENCE, Delete(), Delete())
    with blog.begin() as connection:
        assert connection.scalar(sa.text("SELECT count(*) FROM post WHERE id = 70")) == 0


@pytest.mark.engines("postgresql", "mysql", "mariadb")
def test_the_way_back_waits_for_a_row_that_somebody_holds(
    blog: Engine, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A batch that meets a lock is undone and tried again, at half the size, until it is free."""
    start = picture(database)
    settings = replace(FAST, lock_timeout_ms=100, batch_size=8, batch_floor=2)
    run(blog, ("sweep",), REFERENCE, TO_ONE, TO_ONE, settings=settings)
    holder = blog.connect()
    holder.execute(sa.text(f"SELECT id FROM post WHERE id = {ORPHANS[4]} FOR UPDATE")).all()
    rests: list[float] = []

    def rest(seconds: float) -> None:
        rests.append(seconds)
        if len(rests) == 2:
            holder.close()

    monkeypatch.setattr("migrator.patience.time", SimpleNamespace(sleep=rest))
    counts = run(blog, ("restore",), REFERENCE, settings=settings)[-1]
    assert counts["restored"] == len(ORPHANS)
    assert len(rests) >= 2
    assert_same(start, picture(database))


@pytest.mark.engines("postgresql", "mysql")
def test_the_way_back_gives_up_in_bound_and_goes_on(
    blog: Engine, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A row held throughout: told how many are left; the same command ends it once the row is free."""
    start = picture(database)
    settings = replace(FAST, lock_timeout_ms=100)
    run(blog, ("sweep",), REFERENCE, TO_ONE, TO_ONE, settings=settings)
    monkeypatch.setattr("migrator.patience.ATTEMPTS", 2)
    with blog.connect() as holder:
        holder.execute(sa.text(f"SELECT id FROM post WHERE id = {ORPHANS[0]} FOR UPDATE")).all()
        with pytest.raises(LockNotObtained, match="quarantined rows are left"):
            run(blog, ("restore",), REFERENCE, settings=settings)
    run(blog, ("restore",), REFERENCE, settings=settings)
    assert_same(start, picture(database))
