"""The drill as one HTML file that needs nothing else: no script, no font, no image from anywhere."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from jinja2 import Environment, PackageLoader, StrictUndefined

from migrator import __version__
from migrator.drill.model import Drill, describe
from migrator.drill.text import felt, size

#: What a bar in the timeline shows at least, in percent of its width.
_THINNEST = 0.4


@dataclass(frozen=True)
class Bar:
    """A stretch of the timeline: where it begins and how wide it is, in percent of the whole."""

    left: float
    width: float

    @property
    def beside(self) -> str:
        """Where a label stands: after the bar, or before it where there is more room."""
        end = self.left + self.width
        if end <= 55:
            return f"left: calc({end:.2f}% + .6rem)"
        return f"right: calc({100 - self.left:.2f}% + .6rem)"


def to_html(drill: Drill) -> str:
    """The whole page, its verdict first. Every value is escaped."""
    environment = Environment(
        loader=PackageLoader("migrator.drill"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(
        number=lambda number: "–" if number is None else f"{number:,}",
        seconds=seconds,
        describe=describe,
        size=size,
        felt=felt,
    )
    bars = dict(_bars(drill))
    return environment.get_template("drill.html.j2").render(drill=drill, bars=bars, version=__version__)


def seconds(value: float) -> str:
    """A duration as a person says it."""
    if value < 0.0005:
        return "0 s"
    if value < 1:
        return f"{value * 1000:.0f} ms"
    if value < 120:
        return f"{value:.1f} s"
    return f"{value / 60:.0f} min" if value < 7200 else f"{value / 3600:.1f} h"


def _bars(drill: Drill) -> Iterator[tuple[tuple[int, int | None], Bar]]:
    """A bar for each act, and for each revision within it; what lies between revisions is comparing."""
    whole = sum(act.seconds for act in drill.acts) or 1.0
    began = 0.0
    for number, act in enumerate(drill.acts):
        yield (number, None), _bar(began, act.seconds, whole)
        steps = sum(step.seconds for step in act.steps)
        # Only durations are known: the gaps between them are given out evenly.
        gap = max(0.0, act.seconds - steps) / (len(act.steps) or 1)
        at = began
        for place, step in enumerate(act.steps):
            yield (number, place), _bar(at, step.seconds, whole)
            at += step.seconds + gap
        began += act.seconds


def _bar(began: float, lasted: float, whole: float) -> Bar:
    width = max(_THINNEST, 100 * lasted / whole)
    return Bar(min(100 * began / whole, 100 - width), width)
