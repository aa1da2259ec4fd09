"""The steps an upgrade would run, as values, as text and as JSON."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from rich.console import Console
from rich.padding import Padding
from rich.rule import Rule
from rich.text import Text

from migrator.catalog import Facts
from migrator.detect import Counts
from migrator.dialects.telling import Problem
from migrator.plan import Plan, Proof, Restore, Sql, Step, Sweep
from migrator.policy import Policy
from migrator.report.findings import command
from migrator.report.json import head, side
from migrator.report.model import DatabaseInfo
from migrator.report.values import plain

SCHEMA = "migrator.plan/1"

# Statements of one step that the text shows: SQLite's rebuild has dozens.
_FEW = 4


@dataclass(frozen=True)
class PlannedReference:
    """What an upgrade would do for one reference.

    Args:
        facts: as the catalog is now.
        counts: counted now; None where they were not asked for.
        plans: sweep, enforce, validate, in the order they are run.
        problems: what forbids the run (`refuse`) or should be known (`warn`).
    """

    facts: Facts
    counts: Counts | None
    plans: tuple[Plan, ...]
    problems: tuple[Problem, ...]


@dataclass(frozen=True)
class PlanReport:
    """All of it. `generated_at` is UTC, ISO 8601, ending in Z."""

    generated_at: str
    database: DatabaseInfo
    references: tuple[PlannedReference, ...]

    @property
    def refused(self) -> bool:
        """Whether a safety check would stop the run before its first change."""
        return any(problem.severity == "refuse" for one in self.references for problem in one.problems)

    def to_json(self) -> dict[str, Any]:
        """The object of schema `migrator.plan/1`."""
        return {
            **head(SCHEMA, self.generated_at, self.database),
            "references": [_reference_json(one) for one in self.references],
            "summary": {"references": len(self.references), "refused": self.refused},
        }


def rows_expected(step: Step, one: PlannedReference) -> int | None:
    """How many rows a step will change; None where it changes none or nothing was counted."""
    if not isinstance(step.work, Sweep) or one.counts is None or step.work.delta or step.work.scan_only:
        return None
    return one.counts.orphans(one.facts.reference)


def _reference_json(one: PlannedReference) -> dict[str, Any]:
    reference = one.facts.reference
    return {
        "reference": str(reference),
        "name": reference.name,
        "child": side(reference.child, reference.columns),
        "parent": side(reference.parent, reference.parent_columns),
        "state": one.facts.state,
        "orphans": one.counts.orphans(reference) if one.counts else None,
        "problems": [
            {
                "severity": problem.severity,
                "slug": problem.slug,
                "message": problem.message,
                "fix": problem.fix,
            }
            for problem in one.problems
        ],
        "operations": [
            {"operation": plan.operation, "steps": [_step_json(step, one) for step in plan.steps]}
            for plan in one.plans
        ],
    }


def _step_json(step: Step, one: PlannedReference) -> dict[str, Any]:
    work = step.work
    found: dict[str, Any] = {
        "name": step.name,
        "title": step.title,
        # A dialect may have a kind of Sql of its own; what it knows beyond the statements is its matter.
        "kind": "sql" if isinstance(work, Sql) else type(work).__name__.lower(),
        "lock": step.lock,
        "blocks": step.blocks,
        "retryable": step.retryable,
        "done": step.done(one.facts),
        "rows": rows_expected(step, one),
    }
    if isinstance(work, Sql):
        found["sql"] = list(work.sent)
        found["mode"] = work.mode
    if isinstance(work, Sweep):
        found["on_null"] = plain(work.on_null.to_json())
        found["on_dangling"] = plain(work.on_dangling.to_json())
    return found


def print_plan(report: PlanReport, console: Console, *, all_sql: bool = False) -> None:
    """Write it to a terminal, or as plain text where there is none.

    Args:
        report: what to show.
        console: where.
        all_sql: every statement of a step, however many.
    """
    database = report.database
    console.print(
        Text.assemble(
            ("Plan", "bold"), f"  {database.url}  ", (f"{database.engine} {database.version}", "dim")
        )
    )
    for one in report.references:
        console.print()
        console.print(Rule(Text(str(one.facts.reference), style="bold"), align="left", style="dim"))
        for problem in one.problems:
            style = "bold red" if problem.severity == "refuse" else "yellow"
            told = Text.assemble(
                (problem.severity, style), "  ", (problem.slug, "bold"), "  ", problem.message
            )
            console.print(Padding(told, (0, 0, 0, 2), expand=False))
            console.print(Text.assemble(("    fix   ", "dim"), problem.fix), soft_wrap=True)
        for plan in one.plans:
            console.print()
            console.print(Text(f"  {plan.operation}", style="bold"))
            for number, step in enumerate(plan.steps, 1):
                _print_step(number, step, one, console, all_sql)
        console.print()
        following = command("revision", one.facts.reference)
        console.print(Text.assemble(("  next  ", "dim"), following), soft_wrap=True)


def _print_step(number: int, step: Step, one: PlannedReference, console: Console, all_sql: bool) -> None:
    done = step.done(one.facts)
    told = Text.assemble(
        (f"{number:>3}  ", "dim"), (step.name, "green" if done else "cyan"), f"  {step.title}"
    )
    if done:
        told.append("  (done already)", style="green")
    console.print(Padding(told, (0, 0, 0, 2), expand=False))
    print_line = _line_printer(console)
    rows = rows_expected(step, one)
    if rows is not None:
        print_line("rows", f"{rows:,}")
    if isinstance(step.work, Sweep):
        print_line(
            "policy", f"null: {_policy(step.work.on_null)}; dangling: {_policy(step.work.on_dangling)}"
        )
    print_line("lock", step.lock)
    print_line("blocks", step.blocks)
    statements = _statements(step)
    shown = statements if all_sql or len(statements) <= _FEW + 1 else statements[:_FEW]
    for statement in shown:
        print_line("sql", " ".join(statement.split()))
    if len(shown) < len(statements):
        print_line("", f"and {len(statements) - len(shown)} more: --all-sql")


def _line_printer(console: Console) -> Callable[[str, str], None]:
    return lambda what, text: console.print(
        Text.assemble((f"         {what:<7} ", "dim"), text), soft_wrap=True
    )


def _policy(policy: Policy) -> str:
    more = {name: value for name, value in policy.to_json().items() if name != "policy" and value}
    return policy.name + (f" {plain(more)}" if more else "")


def _statements(step: Step) -> tuple[str, ...]:
    work = step.work
    if isinstance(work, Sql):
        return work.sent
    assert isinstance(work, Sweep | Restore | Proof)
    return ()
