"""The generated parts of the documentation: `python -m tests.docs` writes them, a test compares them.

A part stands between `<!-- generated: NAME -->` and `<!-- end -->`; what is outside is written by hand.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import sqlalchemy as sa
from click.testing import CliRunner

from migrator.blog import legacy
from migrator.blog.revisions import POST_AUTHOR
from migrator.catalog import Facts, Server
from migrator.cli import main
from migrator.dialects import dialect_of
from migrator.offline.assumed import table_of
from migrator.offline.evolve import evolved
from migrator.offline.rehearsal import Rehearsal
from migrator.plan import (
    Plan,
    Sql,
    Step,
    enforce_plan,
    release_plan,
    restore_plan,
    sweep_plan,
    unvalidate_plan,
    validate_plan,
)
from migrator.policy import Backfill

DOCS = Path(__file__).resolve().parents[1] / "docs"
_PART = re.compile(r"(<!-- generated: (?P<name>[^>]+) -->\n).*?(<!-- end -->)", re.DOTALL)
_SERVERS: tuple[tuple[str, str, str, tuple[int, ...]], ...] = (
    ("PostgreSQL 18", "postgresql+psycopg://", "postgresql", (18, 0)),
    ("PostgreSQL 13 to 17", "postgresql+psycopg://", "postgresql", (15, 0)),
    ("MySQL 8.0 to 9.x", "mysql+pymysql://", "mysql", (9, 7, 0)),
    ("MariaDB", "mysql+pymysql://", "mariadb", (11, 8, 0)),
    ("SQLite", "sqlite://", "sqlite", (3, 40, 1)),
)


def rendered(text: str) -> str:
    """A page with its generated parts made anew."""
    return _PART.sub(lambda found: found[1] + _make(found["name"]) + found[3], text)


def pages() -> list[Path]:
    """The pages that have generated parts."""
    return [page for page in sorted(DOCS.rglob("*.md")) if _PART.search(page.read_text())]


def _make(name: str) -> str:
    kind, _, argument = name.partition(" ")
    makers: dict[str, Callable[[str], str]] = {"help": _help, "locks": _locks}
    return makers[kind](argument)


def _help(verb: str) -> str:
    """The help of a verb as a user sees it on an 80-column terminal: asked for on the command line."""
    asked = CliRunner().invoke(
        main, [*verb.split(), "--help"], prog_name="migrator", terminal_width=80, max_content_width=80
    )
    assert asked.exit_code == 0, asked.output
    return f"```text\n{asked.output.rstrip()}\n```\n"


def _locks(_: str) -> str:
    return "\n".join("\n".join(_server(*server)) for server in _SERVERS) + "\n"


def _server(title: str, url: str, family: str, version: tuple[int, ...]) -> Iterator[str]:
    yield f"## {title}\n"
    for heading, steps in _operations(url, family, version):
        yield f"**{heading}**\n"
        yield "| step | what it does | lock | what it blocks |"
        yield "|---|---|---|---|"
        for step in steps:
            cells = (f"`{step.name}`", step.title, step.lock, step.blocks)
            yield "| " + " | ".join(cell.replace("|", "\\|").replace("\n", " ") for cell in cells) + " |"
        statements = [each for step in steps if isinstance(step.work, Sql) for each in step.work.sent]
        if statements and family != "sqlite":
            yield "\n```sql"
            yield from (f"{statement};" for statement in statements)
            yield "```"
        yield ""


def _operations(url: str, family: str, version: tuple[int, ...]) -> Iterator[tuple[str, tuple[Step, ...]]]:
    made: Callable[..., sa.Dialect] = sa.make_url(url).get_dialect()
    engine_dialect = made(is_mariadb=family == "mariadb") if "mysql" in url else made()
    engine_dialect.server_version_info = version
    dialect = dialect_of(engine_dialect)
    rehearsal = Rehearsal()
    if family == "sqlite":
        rehearsal.create(legacy.Base.metadata)
        facts = rehearsal.read(dialect, POST_AUTHOR)
    else:
        child, parent = (
            table_of(dialect, legacy.Base.metadata, name, version)
            for name in (POST_AUTHOR.child, POST_AUTHOR.parent)
        )
        facts = Facts(Server(family, version), POST_AUTHOR, child, parent)  # type: ignore[arg-type]
    ours: set[str] = set()
    policy = Backfill()
    makers: tuple[tuple[str, Callable[[], Plan]], ...] = (
        ("0002 up: sweep", lambda: sweep_plan(facts, dialect, policy, policy)),
        ("0003 up: enforce", lambda: enforce_plan(facts, dialect)),
        ("0004 up: validate", lambda: validate_plan(facts, dialect, policy, policy)),
        ("0004 down: unvalidate", lambda: unvalidate_plan(facts, dialect, frozenset(ours))),
        ("0003 down: release", lambda: release_plan(facts, dialect, frozenset(ours))),
        ("0002 down: restore", lambda: restore_plan(facts, dialect, frozenset(ours))),
    )
    for heading, plan in makers:
        steps = plan().steps
        if " up" in heading:
            ours |= {step.name for step in steps}
        yield heading, steps
        for step in steps:
            advanced = rehearsal.advance(dialect, facts, step) if family == "sqlite" else evolved(facts, step)
            facts = advanced


if __name__ == "__main__":
    for page in pages():
        page.write_text(rendered(page.read_text()))
        print(page.name, file=sys.stderr)
