"""The drill as Markdown, for a ticket or a pull request."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from migrator.drill.model import ActResult, Cost, Drill, RevisionStep, Status, Ticked, describe
from migrator.drill.text import felt, size
from migrator.report.markdown import code, escaped, table

_MARKS: dict[Status, str] = {"passed": "✓", "differs": "≠", "failed": "✗", "skipped": "–"}
_TICKS: dict[Ticked, str] = {"proved": "[x]", "disproved": "[ ] ✗", "open": "[ ]"}


def to_markdown(drill: Drill) -> str:
    """The whole drill, its verdict first."""
    return "\n".join(_lines(drill)) + "\n"


def _lines(drill: Drill) -> Iterator[str]:
    database, place = drill.database, drill.place
    where = "in place" if place.mode == "in-place" else f"on a copy ({place.method})"
    yield f"# {escaped(drill.verdict)}"
    yield ""
    yield (
        f"Rollback drill of {code(database.url)}, {database.engine} {database.version}, revisions "
        f"{code(drill.start)} to {code(drill.target)}, {where}, {drill.seconds:.1f} s, {drill.generated_at}"
    )
    yield from ("", "## Timeline", "")
    yield from table(("", "act", "seconds", "outcome"), _timeline(drill.acts))
    if drill.references:
        yield from ("", "## Rows", "")
        yield from table(
            ("reference", "rows", "set aside", "brought back", "conflicts"),
            (
                (one.reference, *(_number(n) for n in (one.rows, one.total, one.brought_back, one.conflicts)))
                for one in drill.references
            ),
        )
    if drill.differences:
        yield from ("", "## Differences")
        for act in drill.acts:
            for one in act.differences:
                yield ""
                yield f"- {escaped(act.title)}: {escaped(describe(one))}"
                if one.kind == "schema":
                    yield from ("", "  ```diff", *(f"  {line}" for line in one.detail.splitlines()), "  ```")
    if drill.cost is not None:
        yield from ("", "## What it would cost in production", "")
        yield from _cost(drill.cost)
        yield from ("", *table(("step", "took", "lock", "keeps waiting"), _locks(drill.acts)))
    yield from ("", "## Checklist", "")
    for item in drill.checklist:
        yield f"- {_TICKS[item.ticked]} **{item.text}**: {escaped(item.evidence)}"


def _cost(cost: Cost) -> Iterator[str]:
    rows = [("rows set aside", f"{cost.rows:,}"), ("time", f"{cost.seconds:.1f} s")]
    if cost.longest is not None:
        longest = cost.longest
        rows.append(("longest lock", f"at most {longest.seconds:.1f} s ({longest.name}: {longest.lock})"))
    if cost.bytes is not None:
        rows.append(("disk", size(cost.bytes)))
    yield from table(("what", "how much"), rows)
    yield from ("", escaped(cost.how))


def _locks(acts: Iterable[ActResult]) -> Iterator[tuple[str, ...]]:
    """What each step of the first way up took."""
    for act in acts:
        for step in act.steps if act.slug == "upgrade" else ():
            for part in step.parts:
                yield f"{step.revision} {part.name}", f"{part.seconds:.1f} s", part.lock, part.blocks


def _timeline(acts: Iterable[ActResult]) -> Iterator[tuple[str, ...]]:
    for act in acts:
        said = [act.summary, *act.notes, *(f"As it must be: {one}" for one in act.expected)]
        yield _MARKS[act.status], act.title, f"{act.seconds:.1f}", " ".join(said)
        for step in act.steps:
            yield (
                "",
                f"{'↑' if step.direction == 'up' else '↓'} {step.revision}",
                f"{step.seconds:.1f}",
                _told(step),
            )


def _told(step: RevisionStep) -> str:
    parts = ", ".join(f"{part.name} {part.seconds:.1f} s" for part in step.parts)
    stall = [felt(step.felt)] if step.felt else []
    return "; ".join([*stall, *([parts] if parts else []), *step.notes])


def _number(value: int | None) -> str:
    return "" if value is None else f"{value:,}"
