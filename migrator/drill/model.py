"""What a drill says, as frozen values. The JSON is these values, written out: see `json.py`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from migrator.fingerprint import Difference
from migrator.report.model import DatabaseInfo

SCHEMA = "migrator.drill/1"

#: `passed` was shown; `differs` was shown not to be so; `failed` could not be carried through; `skipped`
#: was not tried, and the summary says why.
Status = Literal["passed", "differs", "failed", "skipped"]
Direction = Literal["up", "down"]
Ticked = Literal["proved", "disproved", "open"]


@dataclass(frozen=True)
class Felt:
    """What the application felt meanwhile, where it was at work.

    Args:
        operations: how many of its transactions were under way at some time in it.
        worst: how long the longest of them took, in seconds: the worst stall.
        p99: how long all but a hundredth of them took at most.
        name: what the longest was doing.
        refused: those that the reference is there to refuse.
        retried: deadlocks and timeouts, after which an application tries again.
        errors: any other.
    """

    operations: int
    worst: float
    p99: float
    name: str
    refused: int = 0
    retried: int = 0
    errors: int = 0


@dataclass(frozen=True)
class Part:
    """One step of a plan inside a revision.

    Args:
        name: the step's.
        title: what it does.
        seconds: how long it took.
        lock, blocks: the lock it takes and what that blocks, as its plan says; "" where that is not known.
        felt: what the application felt meanwhile; None where it was not at work.
    """

    name: str
    title: str
    seconds: float
    lock: str = ""
    blocks: str = ""
    felt: Felt | None = None


@dataclass(frozen=True)
class RevisionStep:
    """One revision, gone up or down.

    Args:
        revision: its identifier.
        title: the first line of its docstring.
        direction: whether it was applied or taken back.
        seconds: how long, the fingerprint after it not counted.
        statements: SQL statements sent meanwhile.
        parts: the steps inside, where the revision uses our operations.
        notes: what the operations had to say.
        felt: what the application felt meanwhile; None where it was not at work.
    """

    revision: str
    title: str
    direction: Direction
    seconds: float
    statements: int
    parts: tuple[Part, ...] = ()
    notes: tuple[str, ...] = ()
    felt: Felt | None = None

    @property
    def longest(self) -> Part | None:
        """The part that took longest."""
        return max(self.parts, key=lambda part: part.seconds, default=None)


@dataclass(frozen=True)
class ActResult:
    """One act.

    Args:
        slug: its name, kebab-case.
        title: what it does.
        status: how it went.
        summary: the outcome in a sentence.
        seconds: how long it took.
        steps: the revisions it went through.
        notes: further sentences.
        differences: what is not as it should be.
        expected: differences that must be there, each explained in a sentence.
    """

    slug: str
    title: str
    status: Status
    summary: str
    seconds: float = 0.0
    steps: tuple[RevisionStep, ...] = ()
    notes: tuple[str, ...] = ()
    differences: tuple[Difference, ...] = ()
    expected: tuple[str, ...] = ()


@dataclass(frozen=True)
class SetAside:
    """What the upgrade did with the rows of one reference, and the downgrade undid.

    Args:
        reference: in words.
        rows: rows of the child at the start.
        kinds: how many rows were set aside, by kind of orphan.
        changed, deleted: what was done to them in their table.
        brought_back: how many the downgrade put back; None while it has not run.
        conflicts: how many it could not.
    """

    reference: str
    rows: int
    kinds: dict[str, int]
    changed: int
    deleted: int
    brought_back: int | None = None
    conflicts: int | None = None

    @property
    def total(self) -> int:
        """All rows set aside."""
        return sum(self.kinds.values())


@dataclass(frozen=True)
class Cost:
    """What the upgrade would cost in production, judged by this run.

    Args:
        rows: set aside.
        seconds: of all revisions on the way up.
        longest: the part that took longest of those that keep readers or writers waiting.
        bytes: by which the database grew; None where that cannot be told.
        how: how this was estimated.
    """

    rows: int
    seconds: float
    longest: Part | None
    bytes: int | None
    how: str


@dataclass(frozen=True)
class Item:
    """One line of the deployment checklist; `evidence` says what this run saw."""

    slug: str
    text: str
    ticked: Ticked
    evidence: str


@dataclass(frozen=True)
class Sampled:
    """How much of the database a sample holds.

    Args:
        share: the share of each table's rows that was picked, before what they refer to was added.
        tables: rows in the sample and in the database, by table.
    """

    share: float
    tables: dict[str, tuple[int, int]]

    @property
    def rows(self) -> int:
        """In the sample."""
        return sum(kept for kept, _ in self.tables.values())

    @property
    def of(self) -> int:
        """In the database."""
        return sum(rows for _, rows in self.tables.values())

    @property
    def times(self) -> float:
        """How many times as many rows the database has."""
        return self.of / self.rows if self.rows else 1.0


@dataclass(frozen=True)
class Place:
    """Where the drill ran.

    Args:
        mode: on a copy, or in the database itself.
        name: of the database or file it ran in.
        method: how the copy was made.
        kept: whether the copy is still there.
        seconds: how long copying took.
        sample: what part of the database the copy holds; None for all of it.
    """

    mode: Literal["clone", "in-place"]
    name: str
    method: str
    kept: bool = False
    seconds: float = 0.0
    sample: Sampled | None = None


@dataclass(frozen=True)
class Drill:
    """All of it.

    Args:
        generated_at: UTC, ISO 8601, ending in Z.
        database: the database the drill was asked for; not changed unless it ran in place.
        place: where it ran.
        start: the revision it began at, "base" where there was none.
        target: the revision it went up to.
        acts: in their order.
        references: the rows set aside and brought back.
        checklist: the deployment checklist.
        cost: of a run in production; None where the upgrade was not carried through.
        seconds: all of it.
    """

    generated_at: str
    database: DatabaseInfo
    place: Place
    start: str
    target: str
    acts: tuple[ActResult, ...]
    references: tuple[SetAside, ...]
    checklist: tuple[Item, ...]
    cost: Cost | None
    seconds: float

    @property
    def exit_code(self) -> int:
        """0 when every act passed; else by the first that did not, for what comes after may only follow from
        it: 3 when something differs, 1 when it could not be carried through."""
        return {"failed": 1, "differs": 3}[self._first.status] if self._first else 0

    @property
    def _first(self) -> ActResult | None:
        return next((act for act in self.acts if act.status in ("failed", "differs")), None)

    @property
    def identical(self) -> bool | None:
        """Whether the database after the downgrade is the one before; None when that was not reached."""
        found = [act.status for act in self.acts if act.slug == "compare"]
        return {"passed": True, "differs": False}.get(found[0]) if found else None

    @property
    def differences(self) -> tuple[Difference, ...]:
        """Of all acts, in their order."""
        return tuple(difference for act in self.acts for difference in act.differences)

    @property
    def verdict(self) -> str:
        """The one line that matters."""
        act = self._first
        if act is None and self.place.sample is not None:
            sample = self.place.sample
            return (
                f"Identical on a sample of {sample.rows:,} of {sample.of:,} rows: after upgrade and "
                "downgrade every table, column and row is as it was before."
            )
        if act is None:
            return "Identical: after upgrade and downgrade every table, column and row is as it was before."
        if act.status == "failed":
            return f"Failed in “{act.title}”: {act.summary}"
        said = describe(act.differences[0]) if act.differences else act.summary
        return f"Not as it should be in “{act.title}”: {said}"

    def act(self, slug: str) -> ActResult | None:
        """The act of that name, if it is among them."""
        return next((act for act in self.acts if act.slug == slug), None)

    def to_json(self) -> dict[str, Any]:
        """The object of schema `migrator.drill/1`."""
        from migrator.drill.json import drill_to_json

        return drill_to_json(self)


def describe(difference: Difference) -> str:
    """A difference in one line: table, column, keys."""
    if difference.kind == "schema":
        return f"{difference.object} has another definition."
    where = difference.object + (f".{difference.column}" if difference.column else "")
    keys = "; ".join(
        ", ".join(f"{name} = {value}" for name, value in key.items()) for key in difference.keys[:3]
    )
    more = ", ..." if len(difference.keys) > 3 else ""
    return f"{where}: {difference.detail}" + (f" ({keys}{more})" if keys else "") + "."
