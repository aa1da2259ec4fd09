"""A drill for a terminal: the verdict first, then the timeline, rows, differences and the checklist."""

from __future__ import annotations

from collections.abc import Iterator

from rich.console import Console, Group, RenderableType
from rich.padding import Padding
from rich.panel import Panel
from rich.rule import Rule
from rich.table import Table
from rich.text import Text

from migrator.drill.model import (
    ActResult,
    Cost,
    Drill,
    Felt,
    RevisionStep,
    SetAside,
    Status,
    Ticked,
    describe,
)

_MARKS: dict[Status, tuple[str, str]] = {
    "passed": ("✓", "green"),
    "differs": ("≠", "bold red"),
    "failed": ("✗", "bold red"),
    "skipped": ("–", "dim"),
}
_TICKS: dict[Ticked, tuple[str, str]] = {
    "proved": ("☑", "green"),
    "disproved": ("☒", "bold red"),
    "open": ("☐", "dim"),
}
_BAR = 24
#: How many lines of a definition's difference a terminal gets; the page and the JSON have all.
_DIFF_LINES = 12


def print_drill(drill: Drill, console: Console) -> None:
    """Write it to a terminal, or as plain text where there is none."""
    console.print(verdict(drill))
    console.print(_where(drill))
    for title, parts in (
        ("Timeline", [timeline(drill)]),
        ("Rows", [rows(drill.references)] if drill.references else []),
        ("What it would cost in production", [_cost(drill.cost)] if drill.cost else []),
        ("Differences", list(_differences(drill))),
        ("Checklist", [_checklist(drill)]),
    ):
        if parts:
            console.print()
            console.print(Rule(Text(title, style="bold"), align="left", style="dim"))
            console.print(Padding(Group(*parts), (0, 0, 0, 2), expand=False))


def verdict(drill: Drill) -> Panel:
    """The one line that matters, framed."""
    good = drill.exit_code == 0
    mark, style = ("✓", "green") if good else ("✗", "red")
    return Panel(
        Text.assemble((f"{mark} ", f"bold {style}"), (drill.verdict, "bold")),
        border_style=style,
        expand=False,
    )


def _where(drill: Drill) -> Text:
    place = drill.place
    where = "in place" if place.mode == "in-place" else f"on a copy ({place.method})"
    if place.kept and place.mode == "clone":
        where += f", kept as {place.name}"
    database = drill.database
    return Text.assemble(
        ("Rollback drill", "bold"),
        f"  {database.url}  ",
        (
            f"{database.engine} {database.version}, {drill.start} to {drill.target} {where}, "
            f"{drill.seconds:.1f} s",
            "dim",
        ),
    )


def timeline(drill: Drill, *, steps: bool = True, width: int = _BAR) -> Group:
    """The acts, with their time as a bar and what came of them.

    Args:
        steps: with the revisions that each went through, and notes.
        width: of the longest bar, in characters.
    """
    longest = max((act.seconds for act in drill.acts), default=0.0) or 1.0
    names = [step.revision for act in drill.acts for step in act.steps] if steps else []
    titles = max([len(act.title) for act in drill.acts] + [min(len(name), 28) + 4 for name in names])
    parts: list[RenderableType] = []
    for act in drill.acts:
        table = Table(box=None, show_header=False, pad_edge=False)
        table.add_column(width=1)
        table.add_column(no_wrap=True, width=titles)
        table.add_column(justify="right", no_wrap=True, width=7)
        table.add_column(no_wrap=True, width=width)
        table.add_column(overflow="fold")
        mark, style = _MARKS[act.status]
        skipped = act.status == "skipped"
        table.add_row(
            Text(mark, style=style),
            Text(act.title, style="dim" if skipped else "bold"),
            "" if skipped else f"{act.seconds:.1f} s",
            _bar(act.seconds / longest, width, style),
            Text(act.summary, style="dim" if skipped else ""),
        )
        if steps and act.slug != "chaos":
            for step in act.steps:
                table.add_row("", *_step(step, longest, width))
        parts.append(table)
        if steps:
            parts += [Padding(Text(note, style="dim"), (0, 0, 0, 5), expand=False) for note in _notes(act)]
    return Group(*parts)


def _step(step: RevisionStep, longest: float, width: int) -> tuple[RenderableType, ...]:
    arrow = "↑" if step.direction == "up" else "↓"
    parts = ", ".join(f"{part.name} {part.seconds:.1f} s" for part in step.parts if part.seconds >= 0.05)
    if step.felt is not None:
        parts = felt(step.felt)
    return (
        Text(f"  {arrow} {step.revision}", style="cyan"),
        Text(f"{step.seconds:.1f} s", style="dim"),
        _bar(step.seconds / longest, width, "cyan"),
        Text(parts, style="dim"),
    )


def felt(one: Felt) -> str:
    """What the application felt, in a line."""
    said = f"worst stall {wait(one.worst)}, p99 {wait(one.p99)}"
    counts = ((one.refused, "refused"), (one.retried, "to try again"), (one.errors, "failed"))
    return ", ".join([said, *(f"{number:,} {word}" for number, word in counts if number)])


def wait(value: float) -> str:
    """A wait as a person says it."""
    return f"{value * 1000:.0f} ms" if value < 1 else f"{value:.1f} s"


def _notes(act: ActResult) -> Iterator[str]:
    yield from act.notes
    for sentence in act.expected:
        yield f"As it must be: {sentence}"
    # What an operation says about itself is the same on the second way up.
    if act.slug in ("upgrade", "downgrade"):
        for step in act.steps:
            yield from step.notes


def _bar(share: float, width: int, style: str) -> Text:
    return Text("━" * max(1, round(share * width)) if share > 0.004 else "", style=style)


def rows(references: tuple[SetAside, ...]) -> Table:
    """What was set aside and brought back, a line for each reference."""
    table = Table(
        "reference", "rows", "set aside", "kinds", "brought back", "conflicts", box=None, pad_edge=False
    )
    for column in (1, 2, 4, 5):
        table.columns[column].justify = "right"
    for one in references:
        table.add_row(
            Text(one.reference, style="bold"),
            f"{one.rows:,}",
            f"{one.total:,}",
            Text(", ".join(f"{rows:,} {kind}" for kind, rows in sorted(one.kinds.items())), style="dim"),
            _number(one.brought_back, "green" if one.brought_back == one.total else "yellow"),
            _number(one.conflicts, "bold red" if one.conflicts else "dim"),
        )
    return table


def _cost(cost: Cost) -> Text:
    longest = "no step keeps anyone waiting"
    if cost.longest is not None:
        longest = (
            f"longest lock at most {cost.longest.seconds:.1f} s ({cost.longest.name}: {cost.longest.lock})"
        )
    disk = "" if cost.bytes is None else f", {size(cost.bytes)} of disk"
    return Text.assemble(
        f"{cost.rows:,} rows set aside, {cost.seconds:.1f} s, {longest}{disk}.\n", (cost.how, "dim")
    )


def size(number: int) -> str:
    """Bytes as a person says them."""
    for unit in ("bytes", "kB", "MB", "GB"):
        if number < 1000:
            return f"{number:,.0f} {unit}"
        number //= 1000
    return f"{number:,} TB"


def _number(value: int | None, style: str) -> Text:
    return Text("–" if value is None else f"{value:,}", style="dim" if value is None else style)


def _differences(drill: Drill) -> Iterator[RenderableType]:
    for act in drill.acts:
        for one in act.differences:
            yield Text.assemble(("≠ ", "bold red"), (f"{act.title}: ", "dim"), describe(one))
            if one.kind == "schema":
                lines = one.detail.splitlines()
                more = [f"... {len(lines) - _DIFF_LINES} more lines"] if len(lines) > _DIFF_LINES else []
                for line in [*lines[:_DIFF_LINES], *more]:
                    style = {"+": "green", "-": "red"}.get(line[:1], "dim")
                    yield Text(f"    {line}", style=style)


def _checklist(drill: Drill) -> Table:
    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_column(width=1)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for item in drill.checklist:
        tick, style = _TICKS[item.ticked]
        table.add_row(
            Text(tick, style=style),
            Text(item.text, style="" if item.ticked != "open" else "dim"),
            Text(item.evidence, style="dim"),
        )
    return table
