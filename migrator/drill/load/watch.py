"""What the application felt: how long its operations took while something else was going on."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from migrator.drill.model import Felt

#: What an operation came to. `done`; `refused`: an order of writing that the reference is there to refuse;
#: `retried`: a deadlock or a timeout, after which an application tries again; `clash`: the row made up for it
#: did not fit beside another of ours; `error`: anything else.
DONE: Final = "done"
REFUSED: Final = "refused"
RETRIED: Final = "retried"
CLASH: Final = "clash"
ERROR: Final = "error"


@dataclass(frozen=True)
class Operation:
    """One transaction of the application's.

    Args:
        began: when, in seconds since the epoch.
        took: for how long, in seconds.
        name: what it did.
        outcome: what it came to.
        said: the error's text, where there was one.
    """

    began: float
    took: float
    name: str
    outcome: str = DONE
    said: str = ""


def measured(operations: Iterable[Operation], began: float, ended: float) -> Felt | None:
    """What those felt that were under way at some time between two moments; None when none was."""
    found = [one for one in operations if one.began < ended and one.began + one.took > began]
    if not found:
        return None
    times = sorted(one.took for one in found)
    worst = max(found, key=lambda one: one.took)
    counts = {name: sum(one.outcome == name for one in found) for name in (REFUSED, RETRIED, ERROR)}
    return Felt(
        operations=len(found),
        worst=worst.took,
        p99=times[math.ceil(0.99 * len(times)) - 1],
        name=worst.name,
        refused=counts[REFUSED],
        retried=counts[RETRIED],
        errors=counts[ERROR],
    )
