"""The documentation cannot drift from the code."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path

import pytest

from migrator.arguments import KNOWN
from migrator.cli import VERBS
from tests import docs

ROOT = docs.DOCS.parent


@pytest.mark.parametrize("page", docs.pages(), ids=lambda page: page.name)
def test_generated_parts_are_as_the_code_says(page: Path) -> None:
    """Help blocks and lock tables are what `python -m tests.docs` would write."""
    assert docs.rendered(page.read_text()) == page.read_text(), "run: python -m tests.docs"


def test_every_command_is_documented() -> None:
    """Each verb that is offered has its help in the reference."""
    text = (docs.DOCS / "reference.md").read_text()
    for verb, (module, _) in VERBS.items():
        if importlib.util.find_spec(f"migrator.cli.{module}") is not None:
            assert re.search(rf"^### migrator {verb}( |$)", text, re.MULTILINE), verb


def test_no_link_between_pages_is_dead() -> None:
    """Every relative link of README and docs leads to a file."""
    for page in [ROOT / "README.md", *docs.DOCS.rglob("*.md")]:
        for target in re.findall(r"\]\((?!https?:)([^)#]+)", page.read_text()):
            assert (page.parent / target).exists(), f"{page.name}: {target}"


def test_every_test_that_a_page_names_is_there() -> None:
    """Each `file.py::test` in the docs is a test; each lesson has one at least."""
    lessons = (docs.DOCS / "lessons.md").read_text()
    lines = re.findall(r"^\| \d+ \|.*$", lessons, re.MULTILINE)
    assert [line for line in lines if "::test_" not in line] == []
    for page in docs.DOCS.rglob("*.md"):
        for file, name in re.findall(r"`([\w/]+\.py)::(test_\w+)`", page.read_text()):
            assert f"def {name}(" in (ROOT / "tests" / file).read_text(), f"{page.name}: {file}::{name}"


def test_every_argument_is_documented() -> None:
    """What `alembic -x` takes stands in the table of the reference, the aliases included."""
    text = (docs.DOCS / "reference.md").read_text()
    table = text.partition("## Arguments of `alembic -x`")[2].partition("\n### ")[0]
    assert [name for name in KNOWN if not re.search(rf"`{name}=", table)] == []
