"""The report for a terminal."""

from __future__ import annotations

from collections.abc import Iterator

from rich.console import Console, Group, RenderableType
from rich.markup import escape
from rich.padding import Padding
from rich.rule import Rule
from rich.table import Table
from rich.text import Text

from migrator.report.model import Finding, ReferenceReport, Report
from migrator.report.values import pairs

_BAR = 30
_STYLES = {"valid": "green", "null": "yellow", "partial": "magenta", "dangling": "red"}
_SEVERITY = {"high": "bold red", "medium": "yellow", "low": "cyan"}
_STATES = {
    "none": ("not enforced", "red"),
    "enforced": ("enforced for new rows, old ones not proved", "yellow"),
    "validated": ("enforced and validated", "green"),
}


def print_report(report: Report, console: Console) -> None:
    """Write the report to a terminal, or as plain text where there is none."""
    database = report.database
    console.print(
        Text.assemble(
            ("Orphan report", "bold"),
            f"  {database.url}  ",
            (f"{database.engine} {database.version}", "dim"),
        )
    )
    for one in report.references:
        console.print()
        console.print(Rule(Text(str(one.reference), style="bold"), align="left", style="dim"))
        console.print(Padding(Group(*_reference(one)), (0, 0, 0, 2), expand=False))
        for finding in one.findings:
            _print_finding(finding, console)
    console.print()
    style = "green" if report.is_clean else "bold red"
    references = _plural(len(report.references), "reference")
    console.print(
        Text.assemble(
            (_plural(report.orphans, "orphan"), style),
            f", {_plural(report.findings, 'finding')} in {references}.",
        )
    )


def _reference(one: ReferenceReport) -> Iterator[RenderableType]:
    words, style = _STATES[one.state]
    null = "NULL is right" if one.reference.nullable else "NULL is an orphan"
    yield Text.assemble((words, style), (f"; {null}", "dim"))
    if one.counts is not None:
        yield Text()
        yield _counts(one)
    if one.estimate is not None:
        guess = one.estimate
        yield Text(
            f"Estimated from {guess.rows_read:,} rows in {guess.windows} key ranges; with "
            f"{guess.confidence:.0%} confidence {guess.null.low:,} to {guess.null.high:,} null, "
            f"{guess.dangling.low:,} to {guess.dangling.high:,} dangling.",
            style="dim",
        )
    if one.top_missing_parents:
        yield Text()
        listed = Table("missing parent", ("rows"), box=None, pad_edge=False, header_style="dim")
        listed.columns[1].justify = "right"
        for missing in one.top_missing_parents:
            listed.add_row(Text(pairs(missing.value)), f"{missing.rows:,}")
        yield listed
    if any(one.samples.values()):
        yield Text()
        yield _samples(one)


def _counts(one: ReferenceReport) -> Table:
    assert one.counts is not None
    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_column()
    table.add_column(justify="right")
    table.add_column(justify="right")
    table.add_column()
    table.add_row("rows", f"{one.counts.rows:,}", "", "")
    kinds = ["valid", "null", "dangling"]
    if len(one.reference.columns) > 1:
        kinds.insert(2, "partial")
    for kind in kinds:
        rows = getattr(one.counts, kind)
        share = one.share(rows)
        # A single orphan among millions still shows: that it is there is the news.
        blocks = max(1, round(share * _BAR)) if rows else 0
        note = ""
        if kind == "dangling" and rows:
            note = "  " + _plural(one.counts.missing_parents, "missing parent")
        table.add_row(
            Text(kind, style=_STYLES[kind] if rows else "dim"),
            f"{rows:,}",
            f"{share:.2%}" if rows else "",
            Text.assemble(("█" * blocks, _STYLES[kind]), (note, "dim")),
        )
    return table


def _samples(one: ReferenceReport) -> Table:
    table = Table("sample", "row", "names", box=None, pad_edge=False, header_style="dim")
    for kind, rows in one.samples.items():
        for row in rows:
            key = Text(pairs(row.key)) if row.key else Text("no key", style="dim")
            table.add_row(Text(kind, style=_STYLES[kind]), key, Text(pairs(row.value)))
    return table


def _print_finding(finding: Finding, console: Console) -> None:
    console.print()
    told = Text.assemble(
        (finding.severity, _SEVERITY[finding.severity]), "  ", (finding.slug, "bold"), "  ", finding.message
    )
    console.print(Padding(told, (0, 0, 0, 2), expand=False))
    for what, text in (("fix", finding.fix), ("rows", finding.sql)):
        if text:
            # Not wrapped: a statement or command copied from here must be one line.
            console.print(Text.assemble((f"    {what:<6}", "dim"), text), soft_wrap=True)


def _plural(number: int, noun: str) -> str:
    return escape(f"{number:,} {noun}" + ("" if number == 1 else "s"))
