"""The report as Markdown, for a ticket or a pull request."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from migrator.report.model import ReferenceReport, Report
from migrator.report.values import pairs, shown


def to_markdown(report: Report) -> str:
    """The whole report."""
    return "\n".join(_lines(report)) + "\n"


def _lines(report: Report) -> Iterator[str]:
    database = report.database
    yield "# Orphan report"
    yield ""
    yield f"{code(database.url)}, {database.engine} {database.version}, {report.generated_at}"
    for one in report.references:
        yield ""
        yield f"## {code(str(one.reference))}"
        yield ""
        yield from _reference(one)
    yield ""
    references = len(report.references)
    yield f"**{report.orphans:,} orphans, {report.findings:,} findings in {references} reference(s).**"


def _reference(one: ReferenceReport) -> Iterator[str]:
    counts = one.counts
    yield f"In the database: {one.state}. NULL is {'right' if one.reference.nullable else 'an orphan'}."
    if counts is not None:
        yield ""
        kinds = ["valid", "null", *(["partial"] if len(one.reference.columns) > 1 else []), "dangling"]
        cells = [
            (kind, f"{getattr(counts, kind):,}", f"{one.share(getattr(counts, kind)):.2%}") for kind in kinds
        ]
        cells.append(("rows", f"{counts.rows:,}", ""))
        cells.append(("missing parents", f"{counts.missing_parents:,}", ""))
        yield from table(("kind", "rows", "share"), cells)
    if one.estimate:
        yield ""
        yield f"Estimated from {one.estimate.rows_read:,} rows in {one.estimate.windows} key ranges."
    if one.top_missing_parents:
        yield ""
        yield from table(
            ("missing parent", "rows"),
            [(pairs(missing.value), f"{missing.rows:,}") for missing in one.top_missing_parents],
        )
    samples = [row for rows in one.samples.values() for row in rows]
    if samples:
        yield ""
        yield from table(
            ("kind", "key", "value"),
            [
                (row.kind, pairs(row.key), ", ".join(shown(value) for value in row.value.values()))
                for row in samples
            ],
        )
    for finding in one.findings:
        yield ""
        yield f"- **{finding.slug}** ({finding.severity}): {escaped(finding.message)}"
        yield f"  Fix: {code(finding.fix)}"
        if finding.sql:
            yield f"  Rows: {code(finding.sql)}"


def table(header: Iterable[str], rows: Iterable[Iterable[str]]) -> Iterator[str]:
    """The lines of a table; cells are escaped."""
    names = list(header)
    yield "| " + " | ".join(names) + " |"
    yield "|" + "---|" * len(names)
    for row in rows:
        yield "| " + " | ".join(escaped(cell) for cell in row) + " |"


def escaped(text: str) -> str:
    """Text of which no character is taken for markup."""
    return re.sub(r"([\\`*_|<\[\]])", r"\\\1", text)


def code(text: str) -> str:
    """Text in the typewriter's type, as it is."""
    # The fence must be longer than any run of backticks within: MySQL quotes names with them.
    fence = "`" * (max((len(run) for run in re.findall(r"`+", text)), default=0) + 1)
    space = " " if "`" in text else ""
    return f"{fence}{space}{text}{space}{fence}"
