"""What the run does when the database does something else than it was told: a row that a trigger keeps, a
statement without effect, too many dependants, a row that stays locked. It stops, says so, and can go on."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from types import SimpleNamespace
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.engine import Connection, Engine

from migrator import closure, journal, quarantine
from migrator import sweep as sweeping
from migrator.dialects import dialect_of
from migrator.errors import LockNotObtained, Refused, StepFailed
from migrator.plan import Step
from migrator.policy import Backfill, Delete, Policy
from migrator.reference import Reference
from migrator.settings import Settings
from tests.conftest import Database
from tests.operations.lifecycle import DOWN, FAST, UP, assert_same, picture, run
from tests.operations.orphan_cases import fill, key, table

REFERENCE = Reference.parse("post.author -> writer.id")
TO_ONE = Backfill(to=(1,))
ORPHANS = list(range(11, 31))  # the keys of the posts whose author, 99, is not there
BATCH = FAST.batch_size
Rows = dict[int, int | None]


@dataclass
class Told:
    """What a run tells: the steps it begins and the rows of each batch of the sweep."""

    steps: list[str] = field(default_factory=list)
    through: list[int] = field(default_factory=list)

    def step(self, name: str, title: str) -> None:
        """A step begins."""
        self.steps.append(name)

    def note(self, message: str) -> None:
        """Nothing."""

    def rows(self, what: str, done: int, total: int | None) -> None:
        """A batch is through, or a window of the scan."""
        if what.startswith("sweep"):
            self.through.append(done)

    @property
    def batches(self) -> list[int]:
        """How many orphans each batch settled."""
        return [now - before for before, now in zip([0, *self.through], self.through, strict=False)]


@pytest.fixture
def blog(database: Database) -> Engine:
    """Writers 1 to 9; ten posts of theirs, and twenty of a writer who is not there."""
    engine = database.engine
    fill(engine, table(engine, "writer", key("id")), [{"id": number} for number in range(1, 10)])
    rows = [{"id": number, "author": number % 9 + 1} for number in range(1, 11)]
    rows += [{"id": number, "author": 99} for number in ORPHANS]
    fill(engine, table(engine, "post", key("id"), sa.Column("author", sa.Integer)), rows)
    return engine


def say(engine: Engine, *statements: str) -> None:
    """In one transaction."""
    with engine.begin() as connection:
        for statement in statements:
            connection.exec_driver_sql(statement)


def comments(engine: Engine, of_each: int, *, many: int = 0) -> None:
    """So many comments on each orphan, which go with it by themselves; `many` on the last one."""
    say(
        engine,
        "CREATE TABLE comment (id INTEGER PRIMARY KEY, post_id INTEGER, "
        "CONSTRAINT fk_comment FOREIGN KEY (post_id) REFERENCES post (id) ON DELETE CASCADE)",
        *(
            f"INSERT INTO comment VALUES ({orphan * 100 + number}, {orphan})"
            for orphan in ORPHANS
            for number in range(many if many and orphan == ORPHANS[-1] else of_each)
        ),
    )


def pairs(engine: Engine, name: str, column: str) -> Rows:
    """A table's rows: the key and the reference."""
    with engine.connect() as connection:
        found = connection.exec_driver_sql(f"SELECT id, {column} FROM {name}")
        return {row[0]: row[1] for row in found}


def posts(engine: Engine) -> Rows:
    """The author of each post."""
    return pairs(engine, "post", "author")


def set_aside(engine: Engine) -> dict[str, set[int]]:
    """The keys of the rows in quarantine, by the table they are of."""
    with engine.connect() as connection:
        return {
            mirror.source.name: set(connection.execute(sa.select(mirror.clause.c["id"])).scalars())
            for mirror in quarantine.mirrors(connection, REFERENCE)
        }


def sweep(engine: Engine, policy: Policy, settings: Settings = FAST, told: Told | None = None) -> Any:
    """All of it; returns what was counted."""
    (counts,) = run(engine, ("sweep",), REFERENCE, policy, policy, settings=settings, progress=told)
    return counts


# -- triggers that swallow what they are asked to let through -----------------------------------------------
def swallow(database: Database, event: str, child: str, which: int) -> Callable[[], None]:
    """Have a trigger keep one row as it is, without a word; returns what drops it."""
    if database.family == "sqlite":
        say(
            database.engine,
            f"CREATE TRIGGER keeps BEFORE {event} ON {child} WHEN OLD.id = {which} "
            "BEGIN SELECT RAISE(IGNORE); END",
        )
        return lambda: say(database.engine, "DROP TRIGGER keeps")
    say(
        database.engine,
        "CREATE FUNCTION keeps() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END'",
        f"CREATE TRIGGER keeps BEFORE {event} ON {child} FOR EACH ROW WHEN (OLD.id = {which}) "
        "EXECUTE FUNCTION keeps()",
    )
    return lambda: say(database.engine, f"DROP TRIGGER keeps ON {child}", "DROP FUNCTION keeps()")


@pytest.mark.engines("sqlite", "postgresql")
@pytest.mark.parametrize(
    ("event", "policy"), [("DELETE", Delete()), ("UPDATE", TO_ONE)], ids=["delete", "backfill"]
)
@pytest.mark.parametrize("through", [0, BATCH], ids=["first-batch", "second-batch"])
def test_a_row_that_a_trigger_keeps_undoes_its_batch(
    database: Database, blog: Engine, event: str, policy: Policy, through: int
) -> None:
    """Fewer rows changed than were copied: that batch is undone whole, those before it stand, and all is
    swept and given back once the trigger is gone."""
    before, start = posts(blog), picture(database)
    drop = swallow(database, event, "post", ORPHANS[through])
    with pytest.raises(StepFailed, match=rf"{BATCH - 1} (deleted|updated); the batch was undone.*trigger"):
        sweep(blog, policy)
    settled = set(ORPHANS[:through])
    assert set_aside(blog) == {"post": settled}
    left = posts(blog)
    assert {number: left[number] for number in before if number not in settled} == {
        number: author for number, author in before.items() if number not in settled
    }
    drop()
    assert sweep(blog, policy)["changed"] == len(ORPHANS)
    run(blog, ("restore",), REFERENCE)
    assert_same(start, picture(database))


@pytest.mark.engines("sqlite", "postgresql")
@pytest.mark.parametrize(
    ("child", "which"), [("post", ORPHANS[0]), ("comment", ORPHANS[0] * 100)], ids=["root", "dependant"]
)
def test_a_row_that_is_still_there_after_its_delete_undoes_the_batch(
    database: Database, blog: Engine, child: str, which: int
) -> None:
    """With dependants no count tells, so it is looked for; post, comment and quarantine are as they were."""
    comments(blog, 1)
    before, start = (posts(blog), pairs(blog, "comment", "post_id")), picture(database)
    drop = swallow(database, "DELETE", child, which)
    with pytest.raises(StepFailed, match=r"still there after their DELETE; the batch was undone.*trigger"):
        sweep(blog, Delete())
    assert (posts(blog), pairs(blog, "comment", "post_id")) == before
    assert set_aside(blog) == {"post": set(), "comment": set()}
    drop()
    sweep(blog, Delete())
    assert set(posts(blog)) == set(range(1, 11))
    assert pairs(blog, "comment", "post_id") == {}
    run(blog, ("restore",), REFERENCE)
    assert_same(start, picture(database))


# -- a statement that says it succeeded ---------------------------------------------------------------------
def test_a_step_without_effect_is_an_error(
    database: Database, blog: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The catalog does not show the key: the step is not journaled as done and nothing later is run; the
    same command completes once the server does what it says."""
    start = picture(database)
    sweep(blog, TO_ONE)
    family = type(dialect_of(blog.dialect))
    really = family.run_sql

    def idle(self: Any, connection: Connection, step: Step, *args: Any, **more: Any) -> None:
        if step.name != "add-foreign-key":
            really(self, connection, step, *args, **more)

    told = Told()
    with monkeypatch.context() as patch:
        patch.setattr(family, "run_sql", idle)
        with pytest.raises(
            StepFailed, match=r"add-foreign-key of .* succeeded, but the catalog does not show its effect"
        ):
            run(blog, UP[1:], REFERENCE, TO_ONE, TO_ONE, progress=told)
    assert told.steps[-1] == "add-foreign-key"
    states = enforced(blog)
    assert states.pop("add-foreign-key") != "done"
    assert set(states) == set(told.steps[:-1])
    assert set(states.values()) <= {"done"}
    run(blog, UP[1:], REFERENCE, TO_ONE, TO_ONE)
    assert set(enforced(blog).values()) == {"done"}
    with blog.connect() as connection:
        assert dialect_of(connection.dialect).facts(connection, REFERENCE).foreign_key is not None
    run(blog, DOWN, REFERENCE)
    assert_same(start, picture(database))


def enforced(engine: Engine) -> dict[str, str]:
    """The state of each step of enforce in the journal."""
    with engine.connect() as connection:
        (found,) = [each for each in journal.runs(connection, REFERENCE) if each.operation == "enforce"]
        return {step["name"]: step["state"] for step in journal.steps(connection, found)}


# -- more dependants than one transaction is to hold --------------------------------------------------------
@pytest.mark.engines("sqlite", "postgresql")
def test_orphans_with_dependants_go_in_smaller_batches(
    database: Database, blog: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two comments on each orphan and five rows at the most: never more than two orphans at a time, and
    all of it goes and comes back."""
    comments(blog, 2)
    start, told = picture(database), Told()
    monkeypatch.setattr(closure, "MOST", 5)
    assert sweep(blog, Delete(), told=told)["changed"] == len(ORPHANS)
    assert sum(told.batches) == len(ORPHANS)
    assert max(told.batches) <= 2
    assert set(posts(blog)) == set(range(1, 11))
    assert pairs(blog, "comment", "post_id") == {}
    run(blog, ("restore",), REFERENCE)
    assert_same(start, picture(database))


@pytest.mark.engines("sqlite", "postgresql")
def test_an_orphan_with_too_many_dependants_is_refused(
    database: Database, blog: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The last of the orphans pulls along one row too many: nothing at all is changed, not the others
    either, and nothing of ours is left."""
    comments(blog, 1, many=6)
    start = picture(database)
    monkeypatch.setattr(closure, "MOST", 5)
    with pytest.raises(Refused, match=r"Deleting 1 row\(s\) of .*post would pull along more than 5 rows"):
        sweep(blog, Delete())
    assert_same(start, picture(database))
    monkeypatch.setattr(closure, "MOST", 6)
    assert sweep(blog, Delete())["changed"] == len(ORPHANS)
    run(blog, ("restore",), REFERENCE)
    assert_same(start, picture(database))


# -- a row that somebody does not let go --------------------------------------------------------------------
@contextmanager
def locked(engine: Engine, *numbers: int) -> Iterator[None]:
    """Somebody holds these posts, and does not let them go."""
    with engine.connect() as connection:
        these = ", ".join(map(str, numbers))
        connection.exec_driver_sql(f"SELECT id FROM post WHERE id IN ({these}) FOR UPDATE").all()
        yield


@pytest.mark.engines("postgresql", "mysql", "mariadb")
def test_a_row_that_stays_locked_is_given_up_after_a_while(
    database: Database, blog: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All others are settled before the run gives up, and the next run does that one."""
    say(blog, "CREATE INDEX by_author ON post (author)")
    start, waits = picture(database), ORPHANS[4]
    monkeypatch.setattr("migrator.patience.ATTEMPTS", 2)
    with (
        locked(blog, waits),
        pytest.raises(LockNotObtained, match=r"post stay locked by others; \d+ orphans"),
    ):
        sweep(blog, TO_ONE, replace(FAST, lock_timeout_ms=100))
    assert set_aside(blog) == {"post": {*ORPHANS} - {waits}}
    assert [number for number, author in posts(blog).items() if author == 99] == [waits]
    assert sweep(blog, TO_ONE)["changed"] == len(ORPHANS)
    assert set_aside(blog) == {"post": {*ORPHANS}}
    run(blog, ("restore",), REFERENCE)
    assert_same(start, picture(database))


@pytest.mark.engines("postgresql", "mysql", "mariadb")
def test_giving_up_names_how_many_are_left(blog: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    """Three of them: those that were passed over and nobody has settled."""
    say(blog, "CREATE INDEX by_author ON post (author)")
    monkeypatch.setattr("migrator.patience.ATTEMPTS", 2)
    with locked(blog, *ORPHANS[4:7]), pytest.raises(LockNotObtained) as given_up:
        sweep(blog, TO_ONE, replace(FAST, lock_timeout_ms=100))
    assert "3 orphans are left" in given_up.value.message


# -- the rest between two batches ---------------------------------------------------------------------------
@pytest.mark.parametrize(("pause_ms", "rests"), [(Settings().pause_ms, 2), (0, 0)], ids=["default", "none"])
def test_the_sweep_rests_between_two_batches(
    blog: Engine, monkeypatch: pytest.MonkeyPatch, pause_ms: int, rests: int
) -> None:
    """Twenty milliseconds from the end of one to the beginning of the next, unless told otherwise: three
    batches, two rests, by a clock that stands still but for them."""
    slept: list[float] = []
    clock = SimpleNamespace(sleep=slept.append, monotonic=lambda: sum(slept))
    monkeypatch.setattr(sweeping, "time", clock)
    told = Told()
    sweep(blog, TO_ONE, replace(FAST, pause_ms=pause_ms), told)
    assert told.batches == [7, 7, 6]
    assert slept == pytest.approx([0.02] * rests)


# -- a trigger that takes the new value back ----------------------------------------------------------------
@pytest.mark.engines("postgresql", "mysql", "mariadb")
def test_a_value_that_a_trigger_takes_back_is_noticed(blog: Engine, database: Database) -> None:
    """As many rows are updated as were copied, and none of them has a parent: the batch is undone."""
    start = picture(database)
    if database.family == "postgresql":
        say(
            blog,
            "CREATE FUNCTION back() RETURNS trigger LANGUAGE plpgsql AS "
            "$$BEGIN NEW.author := OLD.author; RETURN NEW; END$$",
            "CREATE TRIGGER back BEFORE UPDATE ON post FOR EACH ROW EXECUTE FUNCTION back()",
        )
    else:
        say(blog, "CREATE TRIGGER back BEFORE UPDATE ON post FOR EACH ROW SET NEW.author = OLD.author")
    with pytest.raises(StepFailed, match="still have none") as failed:
        sweep(blog, TO_ONE)
    assert "trigger" in str(failed.value.hint)
    assert not any(set_aside(blog).values())
    say(blog, "DROP TRIGGER back ON post" if database.family == "postgresql" else "DROP TRIGGER back")
    if database.family == "postgresql":
        say(blog, "DROP FUNCTION back()")
    sweep(blog, TO_ONE)
    run(blog, ("restore",), REFERENCE)
    assert_same(start, picture(database))
