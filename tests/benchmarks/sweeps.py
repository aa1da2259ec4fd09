"""`python -m tests.benchmarks.sweeps`: what a sweep and a count cost on a quiet server.

Ours against the single statement one writes by hand, and against pt-archiver (MySQL and MariaDB) where it
is installed; the count against the bare anti-join; our memory over sizes. Ratios within one run.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from migrator.blog.revisions import POST_AUTHOR
from migrator.detect import count, count_orphans
from tests.benchmarks.contestants import ROOT
from tests.benchmarks.stage import build, copy_of
from tests.servers.pool import Pool
from tests.servers.server import Server

_COUNTS = 7


def main(arguments: Sequence[str] | None = None) -> int:
    """Run it and print; the exit code says whether our own ways got through."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.sweeps", description=__doc__)
    parser.add_argument("--engine", default="postgresql-18", help="engine id, such as mysql-9.7")
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--orphans", type=float, default=0.02, help="share of the rows")
    parser.add_argument("--memory-rows", type=int, nargs="*", default=[], help="sweep these sizes too")
    parser.add_argument(
        "--ways", nargs="*", help="some of those in ways.py; pt-archiver's defaults take long"
    )
    parser.add_argument("--json", type=Path, help="write the figures here")
    said = parser.parse_args(arguments)
    with closing(Pool()) as pool:
        figures = measured(
            pool.get(said.engine), said.engine, said.rows, said.orphans, said.memory_rows, said.ways
        )
    show(figures)
    if said.json:
        said.json.write_text(json.dumps(figures, indent=1) + "\n")
    return int(any("refusal" in each for each in figures["sweeps"] if each["way"].startswith("ours")))


def measured(
    server: Server,
    engine: str,
    rows: int,
    orphans: float,
    memory_rows: Sequence[int] = (),
    ways: Sequence[str] | None = None,
) -> dict[str, Any]:
    """The figures of one server, as JSON has them."""
    sweeps, counts = _at(server, rows, orphans, _ways(engine) if ways is None else ways)
    memory = {
        str(each): _at(server, each, orphans, ["ours-without-rest"], counting=False)[0][0]["memory_mb"]
        for each in memory_rows
    }
    return {
        "schema": "migrator.bench.sweep/1",
        "engine": engine,
        "rows": rows,
        "orphans": orphans,
        "sweeps": sweeps,
        "counts": counts,
        "memory": memory,
    }


def _ways(engine: str) -> list[str]:
    peers = [] if engine.startswith("postgresql") else ["pt-archiver", "pt-archiver-at-its-best"]
    return ["statement", "ours", "ours-without-rest", *peers]


def _at(
    server: Server, rows: int, orphans: float, ways: Sequence[str], *, counting: bool = True
) -> tuple[list[dict[str, Any]], dict[str, float]]:
    with server.new_database() as database:
        print(f"seeding {rows:,} rows", file=sys.stderr, flush=True)
        build(database, posts=rows, users=rows // 10, share=orphans)
        counts = _counted(database.engine) if counting else {}
        sweeps = []
        for way in ways:
            with copy_of(database) as url:
                _with_index(url)
                sweeps.append(_sweep(way, url))
                print(f"  {sweeps[-1]}", file=sys.stderr, flush=True)
        return sweeps, counts


def _with_index(url: str) -> None:
    """The supporting index is there before the clock runs, for every way."""
    engine = sa.create_engine(url)
    with engine.begin() as connection:
        connection.exec_driver_sql("CREATE INDEX ix_post_user_id ON post (user_id)")
    engine.dispose()


def _sweep(way: str, url: str) -> dict[str, Any]:
    command = [sys.executable, "-W", "ignore", "-m", "tests.benchmarks.ways", way, url]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode:
        return {"way": way, "refusal": (done.stderr.strip().splitlines() or ["?"])[-1][:200]}
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def _counted(engine: sa.Engine) -> dict[str, float]:
    """Medians, the three taking turns so that a slow moment of the machine meets all of them."""
    user = engine.dialect.identifier_preparer.quote("user")
    bare = f"SELECT count(*) FROM post c WHERE NOT EXISTS (SELECT 1 FROM {user} p WHERE p.id = c.user_id)"
    takes: dict[str, list[float]] = {"bare anti-join": [], "orphans": [], "every kind, rows, parents": []}
    with engine.connect() as connection:
        jobs: list[tuple[str, Callable[[], Any]]] = [
            ("bare anti-join", lambda: connection.exec_driver_sql(bare).scalar_one()),
            ("orphans", lambda: count_orphans(connection, POST_AUTHOR)),
            ("every kind, rows, parents", lambda: count(connection, POST_AUTHOR)),
        ]
        for _ in range(_COUNTS):
            for name, job in jobs:
                began = time.perf_counter()
                job()
                takes[name].append(time.perf_counter() - began)
    return {name: round(statistics.median(each), 4) for name, each in takes.items()}


def show(figures: dict[str, Any]) -> None:
    """The figures, for people."""
    print(f"{figures['engine']}, {figures['rows']:,} rows, {figures['orphans']:.0%} orphans")
    base = next((each["seconds"] for each in figures["sweeps"] if each["way"] == "statement"), None)
    for each in figures["sweeps"]:
        if "refusal" in each:
            print(f"  sweep  {each['way']:28} refused: {each['refusal']}")
            continue
        ratio = f"{each['seconds'] / base:6.2f} x statement" if base else ""
        rate = each["rows"] / each["seconds"]
        print(
            f"  sweep  {each['way']:28} {each['seconds']:8.2f} s {rate:9,.0f} rows/s {ratio} "
            f"{each['memory_mb']:6.0f} MB"
        )
    bare = figures["counts"].get("bare anti-join")
    for name, seconds in figures["counts"].items():
        print(f"  count  {name:28} {seconds:8.3f} s {seconds / bare:26.2f} x bare")
    for rows, peak in figures["memory"].items():
        print(f"  memory {int(rows):>12,} rows {peak:6.0f} MB")


if __name__ == "__main__":
    raise SystemExit(main())
