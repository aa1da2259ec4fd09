"""One run: a copy of the seeded blog, the writers at work, a contestant in the middle; then the figures."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise
from typing import Any

from tests.benchmarks.contestants import Contestant, Outcome
from tests.benchmarks.reached import missing
from tests.benchmarks.writers import INTENDED, ORPHAN, Operation, application

#: Seconds of load before and after the migration.
MARGIN = 3.0


@dataclass(frozen=True)
class Phase:
    """What the writers met while one phase ran. Latencies in milliseconds."""

    name: str
    seconds: float
    operations: int
    worst_ms: float
    p99_ms: float
    p999_ms: float
    errors: dict[str, int]


@dataclass(frozen=True)
class Result:
    """One contestant's run.

    Args:
        missing: what it did not reach.
        unintended: errors of the application other than that its orphans are refused.
    """

    contestant: str
    seconds: float
    refusal: str
    memory_mb: float
    whole: Phase
    phases: tuple[Phase, ...]
    missing: str = ""
    unintended: int = 0
    trace: tuple[tuple[float, float], ...] = ()

    def to_json(self) -> dict[str, Any]:
        """All but the trace, which the plot takes."""
        found = asdict(self)
        del found["trace"]
        return found


def measure(
    contestant: Contestant, url: str, *, writers: int, posts: int, users: int, careless: bool = False
) -> Result:
    """Let the contestant migrate the database of `url` under load. The arguments are the application's."""
    with application(url, writers=writers, posts=posts, users=users, careless=careless) as running:
        time.sleep(MARGIN)
        began = time.time()
        outcome = contestant.run(url)
        ended = time.time()
        time.sleep(MARGIN)
        operations = running.stop()
    # The first moments of a connection (plans, caches) are nobody's stall.
    during = [each for each in operations if began - 1 <= each.began <= ended + 1]
    return Result(
        contestant.name,
        outcome.seconds,
        outcome.refusal,
        round(outcome.memory, 1),
        summary("whole", during, ended - began),
        tuple(_phases(outcome, operations, ended)),
        missing(url) if contestant.migrates else "",
        sum(bool(each.error) and not _is_intended(each) for each in operations),
        tuple((each.began - began, each.took * 1000) for each in operations),
    )


def _is_intended(operation: Operation) -> bool:
    return operation.name == ORPHAN and operation.error in INTENDED


def _phases(outcome: Outcome, operations: Sequence[Operation], ended: float) -> list[Phase]:
    bounds = [*outcome.phases, ("end", ended)]
    found = []
    for (name, start), (_, end) in pairwise(bounds):
        # An operation that a phase held up may have begun before it.
        mine = [each for each in operations if each.began < end and each.began + each.took > start]
        found.append(summary(name, mine, end - start))
    return found


def summary(name: str, operations: Sequence[Operation], seconds: float) -> Phase:
    """The figures of some operations."""
    latencies = sorted(each.took * 1000 for each in operations)
    return Phase(
        name,
        round(seconds, 3),
        len(operations),
        round(latencies[-1], 1) if latencies else 0.0,
        round(_quantile(latencies, 0.99), 1),
        round(_quantile(latencies, 0.999), 1),
        dict(Counter(f"{each.name}: {each.error}" for each in operations if each.error)),
    )


def _quantile(sorted_values: Sequence[float], share: float) -> float:
    if not sorted_values:
        return 0.0
    return sorted_values[min(len(sorted_values) - 1, int(share * len(sorted_values)))]
