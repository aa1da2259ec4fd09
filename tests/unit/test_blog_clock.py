"""The blog's clock never gives the same reading twice, and never stops following the system's."""

from __future__ import annotations

from datetime import datetime, timedelta

from migrator.blog.clock import UtcClock

_NOON = datetime(2026, 1, 1, 12)


def _clock(*readings: datetime) -> UtcClock:
    return UtcClock(iter(readings).__next__)


def test_equal_readings_are_moved_apart_by_a_microsecond() -> None:
    """A clock that does not tick between two posts gives each its own time."""
    clock = _clock(_NOON, _NOON, _NOON, _NOON + timedelta(microseconds=1), _NOON + timedelta(seconds=1))

    moments = [clock.now() for _ in range(5)]

    assert [moment - _NOON for moment in moments[:4]] == [timedelta(microseconds=tick) for tick in range(4)]
    assert moments[4] == _NOON + timedelta(seconds=1)


def test_a_clock_set_back_is_followed() -> None:
    """An hour back is a correction, and new posts carry the corrected time."""
    earlier = _NOON - timedelta(hours=1)

    clock = _clock(_NOON, earlier, earlier)

    assert [clock.now() for _ in range(3)] == [_NOON, earlier, earlier + timedelta(microseconds=1)]
