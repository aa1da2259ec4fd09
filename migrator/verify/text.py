"""A verification for a terminal."""

from __future__ import annotations

from rich.console import Console
from rich.padding import Padding
from rich.rule import Rule
from rich.text import Text

from migrator.verify.model import Check, Status, Verification

_MARKS: dict[Status, tuple[str, str]] = {
    "passed": ("✓", "green"),
    "failed": ("✗", "bold red"),
    "skipped": ("–", "yellow"),
}


def print_verification(verification: Verification, console: Console) -> None:
    """Write it to a terminal, or as plain text where there is none."""
    database = verification.database
    engine = f"{database.engine} {database.version}"
    console.print(Text.assemble(("Verification", "bold"), f"  {database.url}  ", (engine, "dim")))
    for one in verification.references:
        console.print()
        console.print(Rule(Text(str(one.reference), style="bold"), align="left", style="dim"))
        width = max(len(check.slug) for check in one.checks)
        for check in one.checks:
            _print_check(check, width, console)
    console.print()
    failed, skipped = verification.count("failed"), verification.count("skipped")
    console.print(
        Text.assemble(
            (f"{verification.count('passed')} passed", "green"),
            ", ",
            (f"{failed} failed", "bold red" if failed else "dim"),
            ", ",
            (f"{skipped} skipped", "yellow" if skipped else "dim"),
        )
    )


def _print_check(check: Check, width: int, console: Console) -> None:
    mark, style = _MARKS[check.status]
    told = Text.assemble((f"{mark} ", style), (f"{check.slug:<{width}}  ", "bold"), check.message)
    console.print(Padding(told, (0, 0, 0, 2), expand=False))
    if check.fix:
        console.print(Text.assemble((" " * (width + 6) + "fix  ", "dim"), check.fix), soft_wrap=True)
