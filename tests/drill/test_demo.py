"""The demonstration runs through, leaves its files where it says, and needs the blog's revisions."""

from __future__ import annotations

from pathlib import Path

import pytest

from migrator import demo
from migrator.errors import UsageError
from tests.operations.reporting import run


def test_the_demonstration_ends_with_an_identical_drill(tmp_path: Path) -> None:
    """Every scene, a smaller blog; then the page is there, and a second blog is not put over the first."""
    picture = tmp_path / "demo.svg"

    found = run("demo", "--into", str(tmp_path / "demo"), "--posts", "300", "--picture", str(picture))

    assert found.code == 0, found.err
    assert (
        "Identical: after upgrade and downgrade every table, column and row is as it was before." in found.out
    )
    assert "13 of 13 checks passed." in found.out
    page = (tmp_path / "demo" / "drill.html").read_text(encoding="utf-8")
    assert page.startswith("<!doctype html>")
    assert "@font-face" not in picture.read_text(encoding="utf-8")

    again = run("demo", "--into", str(tmp_path / "demo"))
    assert again.code == 4
    assert "--into" in again.err


def test_without_the_blogs_revisions_it_says_where_they_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An installed package has no versions/: run it in a checkout."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(demo, "__file__", str(tmp_path / "site-packages" / "migrator" / "demo.py"))

    with pytest.raises(UsageError, match="versions/"):
        demo.blog_ini()
