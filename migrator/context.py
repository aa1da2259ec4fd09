"""What every part of a run is given: where, which run, whom to tell, when to stop."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

from migrator.dialects import Dialect
from migrator.journal import Run
from migrator.reference import Reference
from migrator.sessions import Sessions


class Progress(Protocol):
    """Who is told how far a run is. Called between statements, never inside a transaction."""

    def step(self, name: str, title: str) -> None:
        """A step begins."""

    def rows(self, what: str, done: int, total: int | None) -> None:
        """So many rows (of so many) are through."""

    def note(self, message: str) -> None:
        """Something the operator should know."""


class Silent:
    """Tells nobody."""

    def step(self, name: str, title: str) -> None:
        """Nothing."""

    def rows(self, what: str, done: int, total: int | None) -> None:
        """Nothing."""

    def note(self, message: str) -> None:
        """Nothing."""


@dataclass(frozen=True)
class Context:
    """One run.

    Args:
        sessions: opens connections to the database.
        reference: what the run is about.
        run: its line in the journal.
        progress: whom to tell.
        check: called between batches; raises `Interrupted` when the run is to stop, returns after a
            pause. The lock is looked after here too.
        step: the step at work, in the journal; "" where its rows are not told there.
    """

    sessions: Sessions
    reference: Reference
    run: Run
    progress: Progress = field(default_factory=Silent)
    check: Callable[[], None] = field(default=lambda: None)
    step: str = ""

    @property
    def dialect(self) -> Dialect:
        """The database's peculiarities."""
        return self.sessions.dialect
