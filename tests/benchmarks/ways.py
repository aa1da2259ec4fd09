"""Ways to sweep a quiet database, each a program of its own so that time and memory are its own.

`python -m tests.benchmarks.ways WAY URL` prints one line of JSON: seconds, rows, and the peak of its
resident memory in megabytes. The way out of a table is the same for all: orphans are copied, then deleted.
"""

from __future__ import annotations

import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import sqlalchemy as sa

from migrator.api import sweep_orphans
from migrator.blog.revisions import POST_AUTHOR
from migrator.policy import Delete
from migrator.settings import Settings

_ORPHANS = "NOT EXISTS (SELECT 1 FROM {user} p WHERE p.id = c.user_id)"


def statement(url: str) -> int:
    """One statement, as one writes it by hand; MySQL has no RETURNING and needs two in a transaction."""
    engine = sa.create_engine(url)
    with engine.begin() as connection:
        orphans = _ORPHANS.format(user=engine.dialect.identifier_preparer.quote("user"))
        if engine.dialect.name == "postgresql":
            connection.exec_driver_sql("CREATE TABLE aside (LIKE post)")
            gone = f"DELETE FROM post c WHERE {orphans} RETURNING *"
            return connection.exec_driver_sql(
                f"WITH d AS ({gone}) INSERT INTO aside SELECT * FROM d"
            ).rowcount
        connection.exec_driver_sql("CREATE TABLE aside LIKE post")
        connection.exec_driver_sql(f"INSERT INTO aside SELECT * FROM post c WHERE {orphans}")
        return connection.exec_driver_sql(f"DELETE c FROM post c WHERE {orphans}").rowcount


def ours(url: str, settings: Settings = Settings()) -> int:  # noqa: B008 (frozen)
    """Our sweep as it ships: scan, worklist, quarantine, journal, batches with a rest between two."""
    engine = sa.create_engine(url)
    counts = sweep_orphans(
        POST_AUTHOR, on_null=Delete(), on_dangling=Delete(), bind=engine, settings=settings
    )
    return int(counts["changed"])


def ours_without_rest(url: str) -> int:
    """The same on a server that nobody else uses."""
    return ours(url, replace(Settings(), pause_ms=0))


def archiver(url: str) -> int:
    """Percona's pt-archiver with its defaults: a row at a time, each committed."""
    return _archive(url)


def archiver_at_its_best(url: str) -> int:
    """The same with the settings its manual gives for speed."""
    return _archive(url, "--limit", "1000", "--bulk-delete", "--bulk-insert", "--commit-each")


def _archive(text: str, *options: str) -> int:
    url = sa.make_url(text)
    if shutil.which("pt-archiver") is None:
        raise SystemExit("pt-archiver is not installed")
    engine = sa.create_engine(url)
    with engine.begin() as connection:
        connection.exec_driver_sql("CREATE TABLE aside LIKE post")
        connection.exec_driver_sql("SET GLOBAL local_infile = 1")
    where = "NOT EXISTS (SELECT 1 FROM `user` u WHERE u.id = post.user_id)"
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "my.cnf")
        file.write_text(f"[client]\nuser={url.username}\npassword={url.password}\n")
        file.chmod(0o600)
        place = f"F={file},h={url.host},P={url.port},D={url.database},L=1"
        done = subprocess.run(
            ["pt-archiver", "--source", f"{place},t=post", "--dest", f"{place},t=aside", "--where", where,
             "--no-check-charset", "--no-version-check", *options],
            env={**os.environ, "LC_ALL": "C"}, capture_output=True, text=True, check=False,
        )  # fmt: skip
    if done.returncode:
        raise SystemExit((done.stdout + done.stderr).strip().splitlines()[-1])
    with engine.connect() as connection:
        return int(connection.exec_driver_sql("SELECT count(*) FROM aside").scalar_one())


WAYS: dict[str, Callable[[str], int]] = {
    "statement": statement,
    "ours": ours,
    "ours-without-rest": ours_without_rest,
    "pt-archiver": archiver,
    "pt-archiver-at-its-best": archiver_at_its_best,
}


def main(way: str, url: str) -> None:
    """Sweep; print the figures."""
    began = time.perf_counter()
    rows = WAYS[way](url)
    took = time.perf_counter() - began
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(json.dumps({"way": way, "seconds": round(took, 3), "rows": rows, "memory_mb": round(peak, 1)}))


if __name__ == "__main__":
    main(*sys.argv[1:3])
