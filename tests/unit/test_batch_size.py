"""How the size of a batch follows the time it took: up slowly, down at once, and never past its bounds."""

from __future__ import annotations

from dataclasses import replace

import pytest

from migrator.batches import BatchSize

#: A thousand rows in a second are what it aims at.
AIM = BatchSize(rows=1000, floor=50, ceiling=10_000, target=1.0)


def after(size: BatchSize, *seconds: float) -> list[int]:
    """The sizes after full batches that took so long."""
    sizes: list[int] = []
    for each in seconds:
        size = size.after(size.rows, each)
        sizes.append(size.rows)
    return sizes


@pytest.mark.parametrize("rows", [3, 7, 50, 999, 1000])
@pytest.mark.parametrize("seconds", [0.5, 0.6])
def test_it_grows_by_a_fifth_at_most_once_it_is_near(rows: int, seconds: float) -> None:
    """By one row where a fifth is less than one."""
    size = replace(AIM, rows=rows, floor=1, ceiling=10**9)
    for _ in range(20):
        bigger = size.after(size.rows, seconds)
        assert size.rows < bigger.rows <= size.rows * 1.2 + 1
        size = bigger


@pytest.mark.parametrize("rows", [1, 2, 3, 7, 50, 999, 1000])
@pytest.mark.parametrize("seconds", [0.0, 1e-9, 0.001, 0.2, 0.45])
def test_it_doubles_at_most_while_it_is_far_away(rows: int, seconds: float) -> None:
    """However fast the batches are."""
    size = replace(AIM, rows=rows, floor=1, ceiling=10**9)
    for _ in range(20):
        bigger = size.after(size.rows, seconds)
        assert size.rows * 1.2 < bigger.rows <= size.rows * 2 + 1
        size = bigger


def test_growth_may_be_set_apart() -> None:
    """A scan that reads only may grow faster, and no faster than it was told."""
    assert after(replace(AIM, growth=4.0), 0.0, 0.0) == [4001, 10_000]


def test_it_stays_below_the_ceiling() -> None:
    """It comes up to it and stands there."""
    sizes = after(AIM, *[0.0] * 40)
    assert max(sizes) == sizes[-1] == AIM.ceiling
    assert sizes == sorted(sizes)


def test_it_stays_above_the_floor() -> None:
    """A batch that takes for ever is not made smaller than that."""
    assert after(AIM, 1e9, 1e9, 1e9) == [AIM.floor] * 3


def test_it_stands_where_a_batch_takes_as_long_as_it_should() -> None:
    """No growth, no shrinking."""
    assert after(AIM, 1.0, 1.0, 1.0) == [1000] * 3


def test_the_first_slow_batch_shrinks_it_at_once() -> None:
    """Ten times too slow is a tenth of the size: there is no average yet, and no cap downward."""
    assert after(AIM, 10.0) == [100]


def test_a_slow_batch_shrinks_it_after_fast_ones_too() -> None:
    """The moving average holds what was, and lets the newest batch weigh two fifths."""
    size = AIM.after(1000, 1.0)
    slow = size.after(1000, 10.0)
    assert slow.rows == int(0.4 * 100 + 0.6 * 1000)
    assert slow.after(slow.rows, slow.rows / 100).rows < slow.rows


@pytest.mark.parametrize("seconds", [0.0, 1.0, 1e9])
def test_a_short_last_batch_says_nothing(seconds: float) -> None:
    """Fewer rows than asked for: size and average are what they were."""
    size = AIM.after(1000, 0.5)
    assert size.after(size.rows - 1, seconds) == size
    assert size.after(0, seconds) == size


def test_halved_halves_and_stops_at_the_floor() -> None:
    """A lock that could not be had; the average is not touched."""
    size = AIM.after(1000, 1.0)
    sizes = []
    for _ in range(6):
        assert size.halved().rate == size.rate
        size = size.halved()
        sizes.append(size.rows)
    assert sizes == [500, 250, 125, 62, 50, 50]


def test_halved_never_reaches_nought() -> None:
    """One row is still a batch."""
    assert replace(AIM, rows=1, floor=1).halved().rows == 1
