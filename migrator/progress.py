"""Telling the operator how far a run is: on stderr, a line every few seconds, or nobody."""

from __future__ import annotations

import logging
import time

_LOG = logging.getLogger("migrator")
#: Seconds between two lines about the rows of one loop.
_EVERY = 5.0


class LogProgress:
    """Progress as log lines of the logger `migrator`: at a step's begin, then every few seconds with
    rows, rate and the time that is left."""

    def __init__(self) -> None:
        self._what = ""
        self._began = self._last = 0.0

    def step(self, name: str, title: str) -> None:
        """See `context.Progress.step`."""
        _LOG.info("%s: %s", name, title, extra={"step": name, "title": title})

    def rows(self, what: str, done: int, total: int | None) -> None:
        """See `context.Progress.rows`."""
        now = time.monotonic()
        if what != self._what:
            self._what, self._began, self._last = what, now, now
        last_one = total is not None and done >= total
        if now - self._last < _EVERY and not last_one:
            return
        self._last = now
        rate = done / max(now - self._began, 1e-3)
        if total is None:
            _LOG.info("%s: %s rows", what, f"{done:,}")
        else:
            left = (total - done) / max(rate, 1e-3)
            _LOG.info("%s: %s of %s rows, %.0f s left", what, f"{done:,}", f"{total:,}", left)

    def note(self, message: str) -> None:
        """See `context.Progress.note`."""
        _LOG.warning("%s", message)
