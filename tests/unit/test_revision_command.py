"""What `migrator revision` writes, and what it refuses to write."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from alembic.command import init
from alembic.config import Config

from tests.operations.reporting import run

COMPOSITE = "city(country, region) -> region(country, code)"


@pytest.mark.parametrize(
    ("reference", "said", "written"),
    [
        ("post.user_id -> user.id", "-1", "Backfill(to=-1)"),
        ("city.region -> region.code", "01", "Backfill(to='01')"),
        ("book.author -> author.name", "Smith, J", "Backfill(to='Smith, J')"),
        (COMPOSITE, "CA,01", "Backfill(to=('CA', '01'))"),
        (COMPOSITE, "CA,10", "Backfill(to=('CA', 10))"),
    ],
)
def test_a_backfill_key_is_written_as_it_was_said(reference: str, said: str, written: str) -> None:
    """A leading zero stays, and a comma parts the key only where the key has several columns."""
    ran = run("revision", "-r", reference, "--backfill-to", said, "--dry-run")
    assert (ran.code, written in ran.out) == (0, True), ran


def test_a_revision_may_create_the_parents_of_dangling_rows() -> None:
    """The policy is stated for them alone: NULL names nobody."""
    words = ("revision", "-r", "a.b -> c.d", "--on-null", "delete", "--dry-run", "--on-dangling")
    ran = run(*words, "create-parents")
    assert (ran.code, "on_null=Delete(), on_dangling=CreateParents()" in ran.out) == (0, True), ran
    assert run(*words, "keep", "--on-null", "create-parents").code == 2


def test_the_index_may_have_the_name_that_the_model_gives_it() -> None:
    """What is not the default stands in each of the three."""
    ran = run("revision", "-r", "shop.a.b -> c.d", "--index-name", "ix_shop_a_b", "--nullable", "--dry-run")
    assert (ran.code, ran.out.count("index_name='ix_shop_a_b'")) == (0, 6), ran


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("-r", COMPOSITE, "--backfill-to", "CA"), "has 1 value.*--backfill-to <country>,<code>"),
        (("-r", COMPOSITE, "--backfill-to", "CA,1,2"), "has 3 value"),
        (
            ("-r", "a.b -> c.d", "--backfill-to", "1", "--on-null", "delete", "--on-dangling", "delete"),
            "--backfill-to is given, but neither",
        ),
        (
            ("-r", "a.b -> c.d", "--sentinel", "n=x", "--on-null", "keep", "--on-dangling", "delete"),
            "--sentinel is given, but neither",
        ),
        (("-r", "a.b -> c.d", "--sentinel", "n=x", "--backfill-to", "1"), "Give one of them"),
    ],
)
def test_options_that_contradict_each_other_are_refused(words: tuple[str, ...], says: str) -> None:
    """Nothing that was said is passed over in silence."""
    ran = run("revision", *words, "--dry-run")
    assert ran.code == 2, ran
    assert re.search(says, ran.err), ran.err


def test_an_ini_that_names_no_scripts_says_where_they_are_named(tmp_path: Path) -> None:
    """Flask-Migrate's alembic.ini has no script_location; the line names the option that stands for it."""
    ini = tmp_path / "alembic.ini"
    ini.write_text("[alembic]\n", encoding="utf-8")
    ran = run("revision", "-r", "post.user_id -> user.id", "--config", str(ini))
    assert (ran.code, "--directory migrations" in ran.err) == (2, True), ran


@pytest.mark.parametrize(
    ("ini", "revision", "said"),
    [
        ("[alembic\n", "", "MissingSectionHeaderError"),
        (None, "revision = 'a'\ndown_revision = None\ndef upgrade(:\n", "SyntaxError"),
        (None, "import nowhere_at_all\n", "ModuleNotFoundError"),
    ],
)
def test_an_environment_that_cannot_be_read_is_one_line(
    tmp_path: Path, ini: str | None, revision: str, said: str
) -> None:
    """A broken ini or somebody's broken revision: exit 2, no traceback, nothing written."""
    versions = tmp_path / "versions"
    versions.mkdir()
    (versions / "a.py").write_text(revision, encoding="utf-8")
    path = tmp_path / "alembic.ini"
    path.write_text(ini or f"[alembic]\nscript_location = {tmp_path}\n", encoding="utf-8")
    ran = run("revision", "-r", "post.user_id -> user.id", "--config", str(path))
    assert (ran.code, said in ran.err, len(ran.err.splitlines())) == (2, True, 1), ran
    assert [file.name for file in versions.glob("*.py")] == ["a.py"]


def test_a_reference_that_has_revisions_gets_no_more(tmp_path: Path) -> None:
    """They would find nothing to do. However their file is formatted; another reference gets its own, also
    one whose table has the same name in another schema."""
    config = Config(str(tmp_path / "alembic.ini"))
    init(config, str(tmp_path / "migrations"))
    words = ("revision", "--config", str(tmp_path / "alembic.ini"), "-r")
    assert run(*words, "post.user_id -> user.id").code == 0
    there = sorted((tmp_path / "migrations" / "versions").glob("*.py"))
    for path in there:
        text = path.read_text().replace("('post.user_id -> user.id'", '(\n        "post.user_id -> user.id"')
        path.write_text(text)
    ran = run(*words, "post.user_id -> user.id", "--on-null", "delete", "--on-dangling", "delete")
    assert (ran.code, len(there)) == (2, 3)
    assert "is a revision for post.user_id -> user.id already: sweep_orphans(" in ran.err
    assert sorted((tmp_path / "migrations" / "versions").glob("*.py")) == there
    assert run(*words, "old.post.user_id -> old.user.id").code == 0
    assert len(list((tmp_path / "migrations" / "versions").glob("*.py"))) == 6


def test_where_the_last_of_three_is_there_the_first_is_not_written(tmp_path: Path) -> None:
    """All are looked for before one is written: nothing was written, as it says."""
    config = Config(str(tmp_path / "alembic.ini"))
    init(config, str(tmp_path / "migrations"))
    versions = tmp_path / "migrations" / "versions"
    words = ("revision", "--config", str(tmp_path / "alembic.ini"), "-r", "post.user_id -> user.id")
    assert run(*words).code == 0
    (last,) = (path for path in versions.glob("*.py") if path.name.startswith("validate_"))
    for path in versions.glob("*.py"):
        if path != last:
            path.unlink()
    last.write_text(re.sub(r"(?m)^(down_revision\b.*=).*$", r"\1 None", last.read_text()))
    ran = run(*words)
    assert (ran.code, list(versions.glob("*.py"))) == (2, [last]), ran
