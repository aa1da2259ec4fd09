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

#: How many statements runs die at: see docs/lessons.md.
CRASH = os.environ.get("MIGRATOR_CRASH", "")
EVERY = CRASH == "every"
#: A verb, and where to.
Way = tuple[str, str]
UP: Way = ("upgrade", "head")
DOWN: Way = ("downgrade", "base")
#: Each revision, up and down.
WAYS = [
    *(("upgrade", revision) for revision in ("0001", "0002", "0003", "0004")),
    *(("downgrade", revision) for revision in ("0004", "0003", "0002", "0001")),
]
END = {"upgrade": "head", "downgrade": "base"}
_MOVES = ("INSERT INTO alembic_version", "UPDATE alembic_version", "DELETE FROM alembic_version")


@dataclass
class Stage:
    """A place, kept as it was before each revision went up or down, and how it all ends.

    Args:
        place, nursery: where runs die, and who has them.
        said: further arguments of every run.
        near: whether most runs go on past the revision they died in only, because what comes after it is what
            comes after it undisturbed.
        ends: what an undisturbed run leaves, by where it goes and how far.
    """

    place: Place
    nursery: Nursery
    said: tuple[str, ...] = ()
    near: bool = False
    ends: dict[tuple[str, str], Settled] = field(default_factory=dict)

    def run(self, verb: str, kill: Kill | None = None, to: str = "") -> Ended:
        """One run, to its end unless it is said where to or where to die."""
        return self.nursery.run(self.place.url, verb, to or END[verb], *self.said, kill=kill)

    def state(self) -> Settled:
        """What matters of the place."""
        return settled(self.place.engine)

    def prepare(self, statement: str = "") -> None:
        """Go up and down once, undisturbed, keeping what was there before each revision.

        Args:
            statement: what to say to the database when it is seeded.
        """
        with self.place.engine.begin() as connection:
            seed(connection, posts=20, users=4, null_share=0.2, dangling_share=0.25)
            if statement:
                connection.exec_driver_sql(statement)
        # Alembic's own table stays when all is taken back; here it is there from the start.
        self.run("stamp", to="base").check()
        start = self.state()
        for verb, revision in WAYS:
            self.place.keep(f"{verb}-{revision}")
            to = beyond(verb, revision)
            self.run(verb, to=to).check()
            self.ends[verb, to] = self.state()
        self.ends["upgrade", "head"] = self.ends["upgrade", "0004"]
        assert self.ends["downgrade", "base"].differences(start) == []

    def follow(self, ways: Iterable[Way]) -> str:
        """Go these ways, and say what is not as after an undisturbed run; "" where all is."""
        for verb, to in ways:
            ended = self.run(verb, to=to)
            if ended.error and verb == "upgrade" and "was cut short" in ended.error["error"]:
                return self.follow((DOWN, UP))  # it says that the downgrade comes first
            if ended.error:
                return f"{verb} {to} says {ended.error['error']}"
            differences = self.state().differences(self.ends[verb, to])
            if differences:
                return f"after {verb} {to} {differences}"
        return ""


def beyond(verb: str, revision: str) -> str:
    """Where Alembic stands when it has gone past a revision."""
    below = f"{int(revision) - 1:04}"
    return revision if verb == "upgrade" else "base" if below == "0000" else below


@dataclass
class Deaths:
    """What came of the runs that died.

    Args:
        kills: how many died.
        missed: how many came to their end before.
        states: how many different databases they left.
        wrong: what was not made good.
    """

    kills: int = 0
    missed: int = 0
    states: int = 0
    wrong: list[str] = field(default_factory=list)


def statements_of(stage: Stage, verb: str, revision: str) -> list[str]:
    """What a run sends from before that revision on, as far as the revision is concerned."""
    stage.place.put(f"{verb}-{revision}")
    statements = stage.run(verb, to=beyond(verb, revision)).check().statements
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
        if not ended.killed:
            # Under load a run sends a heartbeat more or less, and may have come to its end before.
            found.missed += 1
            found.wrong += [f"{kill}: {ended.error}"] if ended.error else []
            continue
        found.kills += 1
        state = stage.place.dump()
        if state in seen:
            continue
        seen.add(state)
        found.states += 1
        ways_from_here = ways_on(verb, revision, found.states, near=stage.near)
        if len(ways_from_here) > 1:
            stage.place.keep("left")
        for number, ways in enumerate(ways_from_here):
            if number:
                stage.place.put("left")
            said = stage.follow(ways)
            if said and stage.near and number == 0:
                # For the same reason it may have died past the revision.
                said = stage.follow((UP if verb == "upgrade" else DOWN,))
            found.wrong += [f"killed {kill}, then {said}"] if said else []
    return found


def ways_on(verb: str, revision: str, number: int, *, near: bool) -> list[tuple[Way, ...]]:
    """Where to go from the state of this number: on, from some of the states back again, from some back at
    once; with MIGRATOR_CRASH=every all of it from each.

    Args:
        near: go on past the revision only, where it is not back again.
    """
    there, back = (UP, DOWN) if verb == "upgrade" else (DOWN, UP)
    on: tuple[Way, ...] = ((verb, beyond(verb, revision)),) if near else (there,)
    if EVERY or number % 5 == 1:
        on = (there, back)
    return [on, (back,)] if EVERY or number % 3 == 0 else [on]
