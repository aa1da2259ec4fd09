"""The time a post is written, in UTC."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from threading import Lock
from typing import Final

_TICK: Final = timedelta(microseconds=1)
_DRIFT: Final = timedelta(seconds=1)


def _read_system_clock() -> datetime:
    return datetime.now(UTC).replace(tzinfo=None)


class UtcClock:
    """A clock of which no two readings within one process are equal.

    The system clock is read in microseconds, and two posts of one flush can be written within the same
    one. Such a reading is moved on by a microsecond. When the system clock is set back by more than a
    second, the clock follows it: a post must carry the current time, not the latest ever seen.

    Readings are naive, because SQLite and MySQL keep no time zone and would hand back something else than
    they were given.
    """

    def __init__(self, source: Callable[[], datetime] = _read_system_clock) -> None:
        """Start a clock.

        Args:
            source: gives the current UTC time as a naive datetime.
        """
        self._source = source
        self._lock = Lock()
        self._latest = datetime.min

    def now(self) -> datetime:
        """Read the clock.

        Returns:
            The current UTC time, naive, with microseconds, later than the reading before it.
        """
        with self._lock:
            reading = self._source()
            if timedelta(0) <= self._latest - reading < _DRIFT:
                reading = self._latest + _TICK
            self._latest = reading
            return reading


_CLOCK: Final = UtcClock()


def utc_now() -> datetime:
    """Give the current UTC time, naive, to the microsecond, never the same twice within one process.

    Returns:
        The reading; see `UtcClock` for why it is naive.
    """
    return _CLOCK.now()
