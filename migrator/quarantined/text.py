"""The quarantine for a terminal."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

from rich.console import Console
from rich.table import Table
from rich.text import Text

from migrator.quarantined.conflicts import Conflict
from migrator.quarantined.listing import Entry
from migrator.quarantined.restoring import Outcome
from migrator.quarantined.rows import HeldRow
from migrator.report.values import pairs, shown

_STATES = {"held": "yellow", "conflict": "bold red", "restored": "green", "healed": "green"}


def print_entries(entries: Sequence[Entry], console: Console) -> None:
    """What lies there, counted."""
    if not entries:
        console.print("Nothing is in quarantine.")
        return
    for reference in dict.fromkeys(entry.reference for entry in entries):
        here = [entry for entry in entries if entry.reference == reference]
        stands = "a downgrade would bring it back" if here[0].in_force else "its migration was taken back"
        console.print(Text.assemble((reference, "bold"), (f"  {stands}", "dim")))
        table = Table("table", "run", "kind", "action", "state", "rows", "age", box=None, pad_edge=False)
        table.columns[5].justify = "right"
        for entry in here:
            table.add_row(
                Text(entry.table),
                entry.run,
                entry.kind,
                entry.action,
                Text(entry.state, style=_STATES.get(entry.state, "")),
                f"{entry.rows:,}",
                age(entry.since),
            )
        console.print(table)
        sizes = {entry.mirror: entry.bytes for entry in here}
        for mirror, size in sizes.items():
            console.print(Text(f"  {mirror}{f', {_size(size)}' if size is not None else ''}", style="dim"))
        console.print()


def print_rows(rows: Sequence[HeldRow], more: int, console: Console, *, whole: bool) -> None:
    """Rows with the reason; keys and references only, unless asked for the whole row."""
    table = Table("table", "row", "state", "reason", "run", box=None, pad_edge=False)
    for row in rows:
        table.add_row(
            Text(str(row.holding.mirror.source)),
            Text(pairs(row.values if whole else row.key)),
            Text(row.state, style=_STATES.get(row.state, "")),
            Text(row.reason),
            row.run,
        )
    console.print(table)
    if more:
        console.print(Text(f"and {more:,} more: --limit, or migrator quarantine export", style="dim"))


def print_conflicts(found: Sequence[Conflict], more: int, console: Console, *, whole: bool = True) -> None:
    """Both versions of each, side by side; what differs is marked.

    Args:
        whole: every column; else keys and references only.
    """
    for one in found:
        console.print()
        console.print(
            Text.assemble((one.reason, "bold red"), f"  {one.row.holding.mirror.source}  ", one.message)
        )
        table = Table("", "column", "in quarantine", "in the table", box=None, pad_edge=False)
        shown_here = one.row.values if whole else {**one.row.key, **one.row.reference_values}
        for name, value in shown_here.items():
            there = shown(one.live[name]) if name in one.live else "-"
            mine = shown(value)
            mark = "*" if one.live and there != mine else ""
            table.add_row(mark, Text(name), Text(_short(mine)), Text(_short(there)))
        console.print(table)
    if more:
        console.print(Text(f"and {more:,} more: migrator quarantine show --state conflict", style="dim"))


def print_outcome(outcome: Outcome, console: Console) -> None:
    """What became of the rows."""
    print_conflicts(outcome.listed, max(0, outcome.conflicts - len(outcome.listed)), console)
    if outcome.listed:
        console.print()
    told = [f"{outcome.restored:,} row(s) restored"]
    if outcome.parents:
        told.append(f"{outcome.parents:,} parent(s) that were created removed")
    if outcome.superseded:
        told.append(f"{outcome.superseded:,} settled in favour of the newer row")
    if outcome.conflicts:
        told.append(f"{outcome.conflicts:,} in conflict, kept in quarantine")
    if outcome.blocked:
        told.append(
            f"{outcome.blocked:,} orphans still, kept in quarantine: the reference stands "
            "(alembic downgrade brings them back)"
        )
    console.print("; ".join(told) + ".")
    for name in outcome.dropped:
        console.print(Text(f"{name} is empty now and was dropped.", style="dim"))


def age(since: str, now: datetime | None = None) -> str:
    """How long ago, in one unit."""
    then = datetime.strptime(since, "%Y-%m-%dT%H:%M:%S.%fZ").replace(tzinfo=UTC)
    seconds = int(((now or datetime.now(UTC)) - then).total_seconds())
    for unit, length in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= length:
            return f"{seconds // length} {unit}"
    return f"{max(seconds, 0)} s"


def _size(size: int) -> str:
    for unit, length in (("GB", 1 << 30), ("MB", 1 << 20), ("kB", 1 << 10)):
        if size >= length:
            return f"{size / length:.1f} {unit}"
    return f"{size} B"


def _short(text: str) -> str:
    return text if len(text) <= 60 else text[:57] + "..."
