"""How much to take at a time. Knows nothing of foreign keys.

The size follows a moving average toward a target time, grows slowly once it is near, halves when a lock could
not be had, and stays between a floor and a ceiling (Synapse's background updates do the like).
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from migrator.settings import Settings

# Weight of the newest batch in the moving average; growth per batch is capped, shrinking is not.
_WEIGHT = 0.4
_GROWTH = 1.2
# Where a batch took less than this share of the target, one twice as large still keeps to it.
_FAR = 0.5


@dataclass(frozen=True)
class BatchSize:
    """The size of the next batch.

    Args:
        rows: the size now.
        floor, ceiling: its bounds.
        target: how long a batch should take, in seconds.
        rate: rows per second, a moving average; 0 before the first batch.
        growth: the largest factor by which the size may grow from one batch to the next.
        far: 2 at least while a batch takes less than this share of the target, because one twice as large
            still keeps to it; 0 where somebody waits for as long as a batch takes.
    """

    rows: int
    floor: int
    ceiling: int
    target: float
    rate: float = 0.0
    growth: float = _GROWTH
    far: float = _FAR

    @classmethod
    def of(cls, settings: Settings, *, alone: bool = True) -> BatchSize:
        """As the settings have it, before the first batch.

        Args:
            alone: nobody else is known to be at work: see `far`.
        """
        bounds = (settings.batch_size, settings.batch_floor, settings.batch_ceiling)
        return cls(*bounds, target=settings.batch_target_ms / 1000, far=_FAR if alone else 0.0)

    def after(self, rows: int, seconds: float) -> BatchSize:
        """The size after a batch of `rows` that took `seconds`. A batch smaller than asked for (the
        last one) says nothing about the size and changes nothing."""
        if rows < self.rows:
            return self
        newest = rows / max(seconds, 1e-6)
        rate = newest if not self.rate else _WEIGHT * newest + (1 - _WEIGHT) * self.rate
        growth = max(self.growth, 2.0) if seconds < self.far * self.target else self.growth
        wanted = min(int(rate * self.target), int(self.rows * growth) + 1)
        return replace(self, rows=self._bounded(wanted), rate=rate)

    def halved(self) -> BatchSize:
        """The size after a lock could not be had."""
        return replace(self, rows=self._bounded(self.rows // 2))

    def half_of(self, rows: int) -> BatchSize:
        """The size after a batch of so many rows was undone whole: half of them, whatever the floor was."""
        half = max(1, rows // 2)
        return replace(self, rows=half, floor=min(half, self.floor))

    def _bounded(self, rows: int) -> int:
        return max(self.floor, min(self.ceiling, rows))
