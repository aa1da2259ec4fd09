"""What the acts of a drill share: the database they work on, and what the acts before them saw."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy.engine import URL, Connection
from sqlalchemy.orm import Mapper

from migrator.catalog import Facts
from migrator.connect import make_engine
from migrator.drill.clone import fingerprint
from migrator.drill.environment import Environment, Revision
from migrator.drill.model import ActResult, Cost, Direction, Felt, RevisionStep, Sampled, SetAside, Status
from migrator.drill.rows import Sentinel
from migrator.fingerprint import Difference, Fingerprint, compare, differing_keys
from migrator.known import facts_with_proof
from migrator.references import Found
from migrator.sessions import Sessions
from migrator.verify import Check


@dataclass(frozen=True)
class Wishes:
    """What was asked for.

    Args:
        each: compare at every revision, not only at both ends.
        chaos: kill the migration on purpose as well.
        seed: of the random numbers that say where; the same number kills at the same statements.
        in_place: nothing may be left behind in the database.
        load: upgrade and downgrade once more with the application at work.
        command: the user's command that is the application; None for writers of our own.
    """

    each: bool = True
    chaos: bool = False
    seed: int = 0
    in_place: bool = False
    load: bool = False
    command: str | None = None


@dataclass
class Stage:
    """The state of a drill. The acts read and write it, in their order.

    Args:
        environment: runs the revisions.
        start: the revision at the start.
        path: the revisions from there to the target.
        wishes: what was asked for.
        mappers: the application's models.
        tell: is told what is being done.
        first: the fingerprint at the start, where it is known already.
        prints: the fingerprint after each revision on the first way up.
        own: our tables that were there at the start.
        found: the references that the upgrade worked on.
        sentinels: the parent rows that the first upgrade made.
        checks: what the verification looked at.
        size: its bytes at the start; None where that could not be asked.
        cost: of a run in production, judged by this one.
        aside: the rows set aside, and what came back of them.
        statements: how many statements each revision took, by direction and revision.
        steps: the revisions the act now running went through.
        done: the results so far.
        spare: another copy of the source, for an act that leaves rows behind, and its fingerprint.
        felt: what the application felt in all, where it was at work.
        sample: what part of the database is worked on; None for all of it.
    """

    environment: Environment
    start: str
    path: tuple[Revision, ...]
    wishes: Wishes = field(default_factory=Wishes)
    mappers: Sequence[Mapper[Any]] = ()
    tell: Callable[[str], None] = lambda _: None
    first: Fingerprint | None = None
    prints: dict[str, Fingerprint] = field(default_factory=dict)
    own: frozenset[str] = frozenset()
    found: list[Found] = field(default_factory=list)
    sentinels: list[Sentinel] = field(default_factory=list)
    checks: list[Check] = field(default_factory=list)
    size: int | None = None
    cost: Cost | None = None
    aside: list[SetAside] = field(default_factory=list)
    statements: dict[tuple[Direction, str], int] = field(default_factory=dict)
    steps: list[RevisionStep] = field(default_factory=list)
    done: list[ActResult] = field(default_factory=list)
    spare: Callable[[], AbstractContextManager[tuple[URL, Fingerprint]]] | None = None
    felt: Felt | None = None
    sample: Sampled | None = None

    @property
    def url(self) -> URL:
        """The database worked on."""
        return self.environment.url

    @property
    def target(self) -> str:
        """The revision the drill goes up to."""
        return self.path[-1].id

    def status_of(self, slug: str) -> Status | None:
        """How an act before this one went."""
        return next((act.status for act in self.done if act.slug == slug), None)

    @contextmanager
    def sessions(self) -> Iterator[Sessions]:
        """Sessions of the database worked on."""
        engine = make_engine(self.url)
        sessions = Sessions.of(engine)
        try:
            yield sessions
        finally:
            sessions.close()
            engine.dispose()

    @contextmanager
    def connected(self) -> Iterator[Connection]:
        """A connection in autocommit mode."""
        with self.sessions() as sessions, sessions.open() as connection:
            yield connection

    def facts(self) -> list[Facts]:
        """The catalog's facts of each reference, read now."""
        with self.sessions() as sessions, sessions.open() as connection:
            return [facts_with_proof(connection, sessions.dialect, one.reference) for one in self.found]

    def fingerprint(self) -> Fingerprint:
        """The database as it is now."""
        return fingerprint(self.url, still=not self.wishes.in_place)

    def compared(self, before: Fingerprint, after: Fingerprint) -> tuple[Difference, ...]:
        """What differs, rows named even where the tables are too big for each row's digest to be kept.

        Args:
            after: taken just now: the database is asked once more where rows are still to be named.
        """
        found: dict[int, Difference] = {}
        for one in compare(before, after):
            named: tuple[Difference, ...] = ()
            if one.kind == "data" and not one.keys and one.object in before.tables:
                named = self._named(before, one)
            for each in named or (one,):
                found.setdefault(hash((each.kind, each.object, each.column, each.detail)), each)
        return tuple(found.values())

    def go(self, direction: Direction, revision: Revision) -> RevisionStep:
        """One revision up or down.

        Raises:
            MigratorError, CommandError: as it failed.
        """
        goal = revision.id if direction == "up" else revision.below
        self.tell(f"{'up to' if direction == 'up' else 'down to'} {goal}")
        heard = self.environment.go(direction, goal)
        self.statements.setdefault((direction, revision.id), heard.statements)
        step = RevisionStep(
            revision.id,
            revision.title,
            direction,
            heard.seconds,
            heard.statements,
            heard.parts,
            tuple(dict.fromkeys(heard.notes)),
        )
        self.steps.append(step)
        return step

    def _named(self, before: Fingerprint, one: Difference) -> tuple[Difference, ...]:
        engine = make_engine(self.url)
        try:
            with engine.connect() as connection:
                return differing_keys(connection, before.tables[one.object], one.object)
        finally:
            engine.dispose()
