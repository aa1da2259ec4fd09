"""What an act is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from migrator.drill.model import Status
from migrator.drill.stage import Stage
from migrator.fingerprint import Difference


@dataclass(frozen=True)
class Outcome:
    """How an act went; see `ActResult`, which adds its name, its time and the revisions it went through."""

    status: Status
    summary: str
    notes: tuple[str, ...] = ()
    differences: tuple[Difference, ...] = ()
    expected: tuple[str, ...] = ()


def wanted(_: Stage) -> bool:
    """For an act that is part of every drill."""
    return True


@dataclass(frozen=True)
class Act:
    """One act.

    Args:
        slug: its name.
        title: what it does.
        play: does it. What it raises is the act's failure.
        needs: acts that must have been carried through, whatever they found.
        wanted: whether it is part of this drill.
    """

    slug: str
    title: str
    play: Callable[[Stage], Outcome]
    needs: tuple[str, ...] = ()
    wanted: Callable[[Stage], bool] = wanted


def plural(number: int, noun: str) -> str:
    """`1 row`, `2 rows`."""
    return f"{number:,} {noun}" + ("" if number == 1 else "s")
