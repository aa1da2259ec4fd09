"""The whole way up and down, revision by revision, and how it ends when nothing disturbs it; and what a test
of deaths on the way asks: does the same command, does turning round, end as if nothing had happened?"""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass, field

from migrator.blog.seed import seed
from tests.crash.dying import DRIVER_COMMIT, Ended, Kill, Nursery
from tests.crash.places import Place
from tests.crash.states import Settled, settled

#: How many statements runs die at: see docs/architecture.md.
CRASH = os.environ.get("MIGRATOR_CRASH", "")
EVERY = CRASH == "every"
WAYS = [
    *(("upgrade", revision) for revision in ("0001", "0002", "0003", "0004")),
    *(("downgrade", revision) for revision in ("0004", "0003", "0002", "0001")),
]
END = {"upgrade": "head", "downgrade": "base"}
OTHER = {"upgrade": "downgrade", "downgrade": "upgrade"}
_MOVES = ("INSERT INTO alembic_version", "UPDATE alembic_version", "DELETE FROM alembic_version")


@dataclass
class Stage:
    """A place, kept as it was before each revision went up or down, and how it all ends.

    Args:
        place, nursery: where runs die, and who has them.
        said: further arguments of every run.
        ends: what an undisturbed run leaves, each way.
    """

    place: Place
    nursery: Nursery
    said: tuple[str, ...] = ()
    ends: dict[str, Settled] = field(default_factory=dict)

    def run(self, verb: str, kill: Kill | None = None, to: str = "") -> Ended:
        """One run, to its end unless it is said where to or where to die."""
        return self.nursery.run(self.place.url, verb, to or END[verb], *self.said, kill=kill)

    def state(self) -> Settled:
        """What matters of the place."""
        return settled(self.place.engine)

    def prepare(self) -> None:
        """Go up and down once, undisturbed, keeping what was there before each revision."""
        with self.place.engine.begin() as connection:
            seed(connection, posts=20, users=4, null_share=0.2, dangling_share=0.25)
        # Alembic's own table stays when all is taken back; here it is there from the start.
        self.run("stamp", to="base").check()
        start = self.state()
        for verb, revision in WAYS:
            self.place.keep(f"{verb}-{revision}")
            to = revision if verb == "upgrade" else f"{int(revision) - 1:04}"
            self.run(verb, to="base" if to == "0000" else to).check()
            if (verb, revision) == ("upgrade", "0004"):
                self.ends["upgrade"] = self.state()
        self.ends["downgrade"] = self.state()
        assert self.ends["downgrade"].differences(start) == []

    def follow(self, ways: Iterable[str]) -> str:
        """Go these ways, and say what is not as after an undisturbed run; "" where all is."""
        for way in ways:
            ended = self.run(way)
            if ended.error and way == "upgrade" and "was cut short" in ended.error["error"]:
                return self.follow(("downgrade", "upgrade"))  # it says that the downgrade comes first
            if ended.error:
                return f"{' and '.join(ways)}: {way} says {ended.error['error']}"
            differences = self.state().differences(self.ends[way])
            if differences:
                return f"{' and '.join(ways)}: after {way} {differences}"
        return ""


@dataclass
class Deaths:
    """What came of the runs that died.

    Args:
        kills: how many died.
        states: how many different databases they left.
        wrong: what was not made good.
    """

    kills: int = 0
    states: int = 0
    wrong: list[str] = field(default_factory=list)


def statements_of(stage: Stage, verb: str, revision: str) -> list[str]:
    """What a run sends from before that revision on, as far as the revision is concerned."""
    stage.place.put(f"{verb}-{revision}")
    statements = stage.run(verb).check().statements
    moved = [at for at, text in enumerate(statements) if text.startswith(_MOVES)]
    committed = next(at for at in range(moved[0], len(statements)) if statements[at] == DRIVER_COMMIT)
    return statements[: committed + 1]


def die_at(stage: Stage, verb: str, revision: str, kills: Iterable[Kill]) -> Deaths:
    """Have a run die at each of them; from every state that is new, go on, back, or round at once."""
    found = Deaths()
    seen: set[str] = set()
    for kill in kills:
        stage.place.put(f"{verb}-{revision}")
        ended = stage.run(verb, kill)
        assert ended.killed, (kill, ended.error)
        found.kills += 1
        state = stage.place.dump()
        if state in seen:
            continue
        seen.add(state)
        found.states += 1
        ways_from_here = ways_on(verb, found.states)
        if len(ways_from_here) > 1:
            stage.place.keep("left")
        for number, ways in enumerate(ways_from_here):
            if number:
                stage.place.put("left")
            said = stage.follow(ways)
            found.wrong += [f"killed {kill}, then {said}"] if said else []
    return found


def ways_on(verb: str, number: int) -> list[tuple[str, ...]]:
    """Where to go from the state of this number: always on; from there back, and round at once, from some
    of the states, or with MIGRATOR_CRASH=every from each."""
    on = (verb, OTHER[verb]) if EVERY or number % 5 == 1 else (verb,)
    return [on, (OTHER[verb],)] if EVERY or number % 3 == 0 else [on]
