"""The audit for a terminal, and as Markdown for a ticket."""

from __future__ import annotations

from collections.abc import Iterator

from rich.console import Console
from rich.padding import Padding
from rich.text import Text

from migrator.audit.model import SEVERITIES, Audit
from migrator.report.markdown import code, escaped

_STYLES = {"critical": "bold red", "high": "red", "medium": "yellow"}


def print_audit(audit: Audit, console: Console) -> None:
    """Write the audit to a terminal, or as plain text where there is none."""
    console.print(Text.assemble(("Audit", "bold"), f"  {_what(audit)}"))
    for finding in audit.findings:
        console.print()
        told = Text.assemble(
            (finding.severity, _STYLES[finding.severity]), "  ", (finding.slug, "bold"), "  ", finding.where
        )
        console.print(told)
        console.print(Padding(Text(finding.message), (0, 0, 0, 2), expand=False))
        for at, line in enumerate(finding.fix.splitlines()):
            # Not wrapped: what is copied from here must be one line.
            console.print(Text.assemble(("  fix   " if not at else "        ", "dim"), line), soft_wrap=True)
        console.print(Text(f"  page  {finding.page}", style="dim"))
    console.print()
    for note in audit.notes:
        console.print(Text(note, style="dim"))
    console.print(_sum(audit))


def to_markdown(audit: Audit) -> str:
    """The whole audit."""
    return "\n".join(_lines(audit)) + "\n"


def _lines(audit: Audit) -> Iterator[str]:
    yield "# Audit"
    yield ""
    yield f"{escaped(_what(audit))}, {audit.generated_at}"
    for finding in audit.findings:
        yield ""
        yield f"## {finding.slug}: {code(finding.where)}"
        yield ""
        yield f"**{finding.severity}** {escaped(finding.message)}"
        yield ""
        yield "```"
        yield from finding.fix.splitlines()
        yield "```"
        yield ""
        yield f"See {finding.page}."
    for note in audit.notes:
        yield ""
        yield escaped(note)
    yield ""
    yield f"**{_sum(audit)}**"


def _what(audit: Audit) -> str:
    database = audit.database
    where = f"{database.url} ({database.engine} {database.version})" if database else ""
    return ", ".join(part for part in (audit.models or "", where) if part)


def _sum(audit: Audit) -> str:
    if not audit.findings:
        return "No findings."
    each = ", ".join(f"{audit.count(one)} {one}" for one in SEVERITIES if audit.count(one))
    number = len(audit.findings)
    return f"{number} finding{'' if number == 1 else 's'}: {each}."
