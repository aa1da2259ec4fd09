"""`python -m tests.benchmarks`: the load proof. Prints a table and writes JSON (and, asked, a plot).

Figures of one machine; what counts are the ratios within one run, against "no migration" for stalls and
against plain Alembic for the total time.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from tests.benchmarks import contestants, sweeps
from tests.benchmarks.contestants import Contestant
from tests.benchmarks.measure import Result, measure
from tests.benchmarks.stage import build, copy_of
from tests.servers.pool import Pool


def main(arguments: Sequence[str] | None = None) -> int:
    """Run it; exit code 1 when ours did not finish, or an error of the application was not that an orphan is
    refused."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks", description=__doc__)
    parser.add_argument("--engine", default="postgresql-18", help="engine id, such as mysql-9.7")
    parser.add_argument("--posts", type=int, default=2_000_000)
    parser.add_argument("--users", type=int, default=200_000)
    parser.add_argument("--orphans", type=float, default=0.02, help="share of the posts")
    parser.add_argument("--writers", type=int, default=4)
    parser.add_argument("--careless", action="store_true", help="writers insert orphans as well")
    parser.add_argument("--only", nargs="*", help="some of: none ours plain peer")
    parser.add_argument("--baseline-seconds", type=float, default=30.0)
    parser.add_argument("--sweep-rows", type=int, default=1_000_000, help="of the quiet sweep; 0: none")
    parser.add_argument("--json", type=Path, help="write the figures here")
    parser.add_argument("--plot", type=Path, help="write the plot of (b) and (c) here; needs matplotlib")
    said = parser.parse_args(arguments)

    quiet: dict[str, Any] = {}
    with closing(Pool()) as pool:
        server = pool.get(said.engine)
        if said.sweep_rows:
            quiet = sweeps.measured(server, said.engine, said.sweep_rows, said.orphans)
        with server.new_database() as database:
            _say(f"seeding {said.posts:,} posts and {said.users:,} users on {said.engine}")
            build(database, posts=said.posts, users=said.users, share=said.orphans)
            results = []
            for name, contestant in _chosen(said.engine, said.baseline_seconds):
                if said.only and name not in said.only:
                    continue
                with copy_of(database) as url:
                    _say(contestant.name)
                    results.append(
                        measure(
                            contestant,
                            url,
                            writers=said.writers,
                            posts=said.posts,
                            users=said.users,
                            careless=said.careless,
                        )
                    )
                    _say(f"  {results[-1].seconds:.1f} s, worst stall {results[-1].whole.worst_ms:.0f} ms")
    show(results)
    if quiet:
        sweeps.show(quiet)
    figures = {
        "schema": "migrator.bench/1",
        "engine": said.engine,
        "version": ".".join(map(str, server.version)),
        "posts": said.posts,
        "users": said.users,
        "writers": said.writers,
        "results": [result.to_json() for result in results],
        "ratios": ratios(results),
        "quiet": quiet,
    }
    print(json.dumps(figures))
    if said.json:
        said.json.write_text(json.dumps(figures, indent=1) + "\n")
    if said.plot:
        from tests.benchmarks.plot import draw

        draw(results, said.plot, title=f"{said.posts:,} posts on {said.engine}")
    ours = [result for result in results if result.contestant == "migrator"]
    return int(any(result.refusal or result.missing or result.unintended for result in ours))


def _chosen(engine: str, seconds: float) -> list[tuple[str, Contestant]]:
    peer = contestants.django() if engine.startswith("postgresql") else contestants.online_schema_change()
    return [
        ("none", contestants.nobody(seconds)),
        ("ours", contestants.ours()),
        ("plain", contestants.plain()),
        ("peer", peer),
    ]


def ratios(results: Sequence[Result]) -> dict[str, float]:
    """Ours against the others of the same run."""
    by_name = {result.contestant: result for result in results}
    ours = by_name.get("migrator")
    if ours is None:
        return {}
    found: dict[str, float] = {}
    for name, result in by_name.items():
        if result is ours:
            continue
        found[f"worst stall against {name}"] = round(ours.whole.worst_ms / max(result.whole.worst_ms, 0.1), 3)
        if name != "no migration" and not result.refusal:
            found[f"total time against {name}"] = round(ours.seconds / max(result.seconds, 0.001), 3)
    return found


def show(results: Sequence[Result]) -> None:
    """The table, for people."""
    table = Table(
        "", "seconds", "operations", "worst ms", "p99.9 ms", "p99 ms", "errors", "memory MB", box=None
    )
    for result in results:
        for phase in (result.whole, *result.phases):
            whole = phase is result.whole
            table.add_row(
                f"[bold]{result.contestant}[/]" if whole else f"  {phase.name}",
                f"{result.seconds if whole else phase.seconds:.2f}",
                str(phase.operations),
                f"{phase.worst_ms:.0f}",
                f"{phase.p999_ms:.0f}",
                f"{phase.p99_ms:.0f}",
                ", ".join(f"{name} x{count}" for name, count in phase.errors.items()),
                f"{result.memory_mb:.0f}" if whole and result.memory_mb else "",
            )
        for what, said in (("refused", result.refusal), ("missing", result.missing)):
            if said:
                table.add_row("", "", "", "", "", "", f"{what}: {said}", "")
    Console(width=150).print(table)


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    raise SystemExit(main())
