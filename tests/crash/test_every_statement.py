"""Killed at any statement, the same command ends as if nothing had happened; so does turning round.

The whole of `alembic upgrade head` and of `alembic downgrade base` on an SQLite file. A kill falls after
every statement that may have changed something, because between two such statements the file is the same;
with MIGRATOR_CRASH=every it falls before and after each statement, whatever it is, and more ways are gone.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import sqlalchemy as sa
from sqlalchemy.pool import NullPool

from migrator.blog.seed import seed
from tests.crash.dying import DRIVER_COMMIT, Nursery, kills, nursery
from tests.crash.states import Settled, dump, settled

EVERY = os.environ.get("MIGRATOR_CRASH") == "every"
WAYS = [
    *(("upgrade", revision) for revision in ("0001", "0002", "0003", "0004")),
    *(("downgrade", revision) for revision in ("0004", "0003", "0002", "0001")),
]
END = {"upgrade": "head", "downgrade": "base"}
_MOVES = ("INSERT INTO alembic_version", "UPDATE alembic_version", "DELETE FROM alembic_version")
OTHER = {"upgrade": "downgrade", "downgrade": "upgrade"}


@dataclass
class Stage:
    """The file as it was before each revision went up or down, and how it all ends."""

    folder: Path
    nursery: Nursery
    files: dict[tuple[str, str], Path] = field(default_factory=dict)
    ends: dict[str, Settled] = field(default_factory=dict)

    @property
    def work(self) -> Path:
        """The file that runs die on."""
        return self.folder / "work.db"

    def put(self, source: Path, target: Path) -> None:
        """Copy a database, with the journal a dead process may have left beside it."""
        for ending in ("", "-journal"):
            there, here = Path(f"{source}{ending}"), Path(f"{target}{ending}")
            here.unlink(missing_ok=True)
            if there.exists():
                shutil.copy(there, here)

    def state(self, path: Path) -> Settled:
        """What matters of it."""
        engine = sa.create_engine(f"sqlite:///{path}", poolclass=NullPool)
        return settled(engine)

    def follow(self, ways: Iterable[str]) -> str:
        """Go these ways, and say what is not as after an undisturbed run; "" where all is."""
        for way in ways:
            ended = self.nursery.run(f"sqlite:///{self.work}", way, END[way])
            if ended.error and way == "upgrade" and "was cut short" in ended.error["error"]:
                return self.follow(("downgrade", "upgrade"))  # it says that the downgrade comes first
            if ended.error:
                return f"{' and '.join(ways)}: {way} says {ended.error['error']}"
            differences = self.state(self.work).differences(self.ends[way])
            if differences:
                return f"{' and '.join(ways)}: after {way} {differences}"
        return ""

    def prepare(self) -> None:
        """Go up and down once, undisturbed, keeping the file before each revision."""
        engine = sa.create_engine(f"sqlite:///{self.work}", poolclass=NullPool)
        with engine.begin() as connection:
            seed(connection, posts=20, users=4, null_share=0.2, dangling_share=0.25)
        # Alembic's own table stays when all is taken back; here it is there from the start.
        self.nursery.run(f"sqlite:///{self.work}", "stamp", "base").check()
        start = self.state(self.work)
        for verb, revision in WAYS:
            kept = self.files[verb, revision] = self.folder / f"{verb}-{revision}.db"
            self.put(self.work, kept)
            to = revision if verb == "upgrade" else f"{int(revision) - 1:04}"
            self.nursery.run(f"sqlite:///{self.work}", verb, "base" if to == "0000" else to).check()
            if (verb, revision) == ("upgrade", "0004"):
                self.ends["upgrade"] = self.state(self.work)
        self.ends["downgrade"] = self.state(self.work)
        assert self.ends["downgrade"].differences(start) == []


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    """The files, and a process that forks the runs that die."""
    with nursery() as running:
        made = Stage(tmp_path_factory.mktemp("crash"), running)
        made.prepare()
        yield made


def end_of_first_revision(statements: list[str]) -> int:
    """The statement after the commit that moves Alembic on."""
    moved = [at for at, text in enumerate(statements) if text.startswith(_MOVES)]
    return next(at for at in range(moved[0], len(statements)) if statements[at] == DRIVER_COMMIT) + 1


def ways_on(verb: str, number: int) -> Iterator[tuple[str, ...]]:
    """Where to go from the state of this number: always on; from there back, and round at once, from some
    of the states, or with MIGRATOR_CRASH=every from each."""
    yield (verb, OTHER[verb]) if EVERY or number % 5 == 1 else (verb,)
    if EVERY or number % 3 == 0:
        yield (OTHER[verb],)


@pytest.mark.parametrize(("verb", "revision"), WAYS)
def test_a_kill_at_any_statement_is_made_good(stage: Stage, verb: str, revision: str) -> None:
    """The same command completes, no row is lost or doubled, and the end is that of an undisturbed run.
    From there, or at once, the other direction leads to its own undisturbed end."""
    start, url = stage.files[verb, revision], f"sqlite:///{stage.work}"
    stage.put(start, stage.work)
    statements = stage.nursery.run(url, verb, END[verb]).check().statements
    seen: set[str] = set()
    wrong: list[str] = []
    left = stage.folder / "left.db"
    for kill in kills(statements, end_of_first_revision(statements), every=EVERY):
        stage.put(start, stage.work)
        assert stage.nursery.run(url, verb, END[verb], kill=kill).killed, kill
        stage.put(stage.work, left)
        state = dump(stage.work)
        if state not in seen:
            seen.add(state)
            for ways in ways_on(verb, len(seen)):
                stage.put(left, stage.work)
                found = stage.follow(ways)
                wrong += [f"killed {kill} ({statements[kill.at]}), then {found}"] if found else []
    assert wrong == []
