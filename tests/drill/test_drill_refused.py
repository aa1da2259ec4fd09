"""Where a drill must not run it does not, and says how it could: exit 4, nothing changed."""

from __future__ import annotations

from pathlib import Path

import pytest

from migrator.drill.only import same_database
from migrator.drill.staging import MARKER, matches
from migrator.fingerprint import take
from migrator.settings import database_url
from tests.conftest import Database
from tests.drill.harness import RESTORE, SWEEP, blog, copies, copy_url, environment
from tests.operations.reporting import run


def test_in_place_wants_a_name_that_says_staging(database: Database) -> None:
    """By its name this database may be production: neither marked nor drilled in."""
    blog(database)
    before = take(database.engine)

    for arguments in (["--in-place"], ["--mark-staging"]):
        found = run("drill", "--url", database.url, *arguments, MIGRATOR_STAGING="*-stage,qa-*")
        assert found.code == 4
        assert "*-stage,qa-*" in found.err
        assert "Nothing was changed" in found.err
    assert before.identical(take(database.engine))


def test_in_place_wants_the_mark_and_leaves_all_as_it_found_it(database: Database, tmp_path: Path) -> None:
    """A name alone will not do; once marked, the drill goes up, down, up, and down again."""
    blog(database)
    staging = {"MIGRATOR_STAGING": "mt_*"}
    ini = ["--config", str(environment(tmp_path, (SWEEP, RESTORE)))]
    before = take(database.engine)

    unmarked = run("drill", "--url", database.url, "--in-place", *ini, **staging)
    assert unmarked.code == 4
    assert "migrator drill --mark-staging" in unmarked.err

    assert run("drill", "--url", database.url, "--mark-staging", **staging).code == 0
    found = run("drill", "--url", database.url, "--in-place", *ini, "--format", "json", **staging)

    assert found.code == 0, found.out
    assert found.json["place"]["mode"] == "in-place"
    assert found.json["acts"][-1]["slug"] == "leave"
    assert before.identical(take(database.engine))
    assert not copies(database)
    with database.engine.begin() as connection:
        MARKER.drop(connection)


@pytest.mark.parametrize(
    ("url", "is_staging"),
    [
        ("postgresql://me@db/blog_staging", True),
        ("postgresql://me@staging-3.example/blog", True),
        ("mysql://me@db/TESTING", True),
        ("sqlite:////srv/staging/blog.db", False),
        ("sqlite:////srv/blog-test.db", True),
        ("postgresql://staging@db/blog", False),
        ("postgresql://me@db/blog", False),
    ],
)
def test_staging_is_told_by_name_or_host(url: str, is_staging: bool) -> None:
    """Neither the user nor the directory of a file says anything."""
    assert matches(database_url(url), {}) is is_staging


@pytest.mark.engines("sqlite")
def test_an_environment_that_connects_elsewhere_is_stopped(database: Database, tmp_path: Path) -> None:
    """An env.py with a URL of its own would migrate the real database: it is refused before its first
    statement."""
    blog(database)
    before = take(database.engine)
    (tmp_path / "env.py").write_text(
        "from alembic import context\nimport sqlalchemy as sa\n"
        f"with sa.create_engine({database.url!r}).connect() as connection:\n"
        "    context.configure(connection=connection)\n"
        "    with context.begin_transaction():\n        context.run_migrations()\n",
        encoding="utf-8",
    )
    ini = environment(tmp_path, ("op.drop_table('post')", "pass"), location=str(tmp_path))

    found = run("drill", "--url", database.url, "--config", str(ini))

    assert found.code == 4
    assert "connects to" in found.err
    assert before.identical(take(database.engine))


@pytest.mark.engines("sqlite")
def test_anybodys_environment_can_be_drilled(database: Database, tmp_path: Path) -> None:
    """Alembic's own template takes the URL from the configuration; what it prints and logs stays unseen."""
    blog(database)
    (tmp_path / "env.py").write_text(
        "from logging.config import fileConfig\nfrom alembic import context\nimport sqlalchemy as sa\n"
        "config = context.config\nfileConfig(config.config_file_name)\nprint('noise')\n"
        "section = config.get_section(config.config_ini_section, {})\n"
        "engine = sa.engine_from_config(section, poolclass=sa.NullPool)\n"
        "with engine.connect() as connection:\n"
        "    context.configure(connection=connection)\n"
        "    with context.begin_transaction():\n        context.run_migrations()\n",
        encoding="utf-8",
    )
    ini = environment(tmp_path, (SWEEP, RESTORE), location=str(tmp_path))

    found = run("drill", "--url", database.url, "--config", str(ini), "--format", "json")

    assert found.code == 0, found.out
    parts = [part["name"] for act in found.json["acts"] for step in act["steps"] for part in step["parts"]]
    assert "sweep" in parts
    assert "noise" not in found.err


@pytest.mark.engines("sqlite")
@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--to", "nowhere"], "There is no way from base to nowhere"),
        (["--from", "base", "--in-place"], "--keep and --from are for a drill on a copy"),
        (["-x", "batch_size"], "cannot be used here"),
        (["--config", "gone.ini"], "There is no file gone.ini"),
    ],
)
def test_what_makes_no_sense_is_said_before_a_copy_is_made(
    database: Database, arguments: list[str], said: str
) -> None:
    """Exit 2, in one line."""
    blog(database)

    found = run("drill", "--url", database.url, *arguments)

    assert found.code == 2
    assert said in found.err


@pytest.mark.engines("sqlite")
@pytest.mark.parametrize(
    ("ini", "env", "said"),
    [
        ("[alembic]\n", "", "No 'script_location' key found"),
        (
            None,
            "raise RuntimeError('Working outside of application context.\\n\\nMore')\n",
            "RuntimeError: Working",
        ),
        (None, "from nowhere_at_all import app\n", "ModuleNotFoundError: No module named 'nowhere_at_all'"),
    ],
)
def test_an_environment_that_does_not_run_is_one_line(
    database: Database, tmp_path: Path, ini: str | None, env: str, said: str
) -> None:
    """Flask-Migrate's ini names no scripts and its env.py wants its application: exit 2, nothing copied."""
    blog(database)
    (tmp_path / "env.py").write_text(env, encoding="utf-8")
    path = environment(tmp_path, (SWEEP, RESTORE), location=str(tmp_path))
    if ini is not None:
        path.write_text(ini, encoding="utf-8")

    found = run("drill", "--url", database.url, "--config", str(path))

    assert found.code == 2
    assert said in found.err
    assert len(found.err.strip().splitlines()) == 1, found.err
    assert not copies(database)


@pytest.mark.engines("sqlite")
def test_nothing_to_upgrade_is_said_with_the_way_out(database: Database, tmp_path: Path) -> None:
    """A database at head: `--from` takes the copy down first."""
    blog(database)
    ini = ["--config", str(environment(tmp_path, ("pass", "pass")))]
    assert run("drill", "--url", database.url, *ini, "--keep", "--quick").code == 0
    (copy,) = copies(database)
    upgraded = str(copy_url(database, copy))

    assert run("drill", "--url", upgraded, *ini).code == 2
    assert run("drill", "--url", upgraded, *ini, "--from", "base").code == 0
    Path(copy_url(database, copy).database or "").unlink()


def test_two_urls_of_one_database_are_known_for_one() -> None:
    """Drivers, users and spellings of this machine do not matter; names, hosts and ports do."""
    one = database_url("postgresql://me:secret@localhost:5432/blog")
    assert same_database(one, database_url("postgresql+psycopg2://you@127.0.0.1/blog"))
    assert not same_database(one, database_url("postgresql://me@localhost:5433/blog"))
    assert not same_database(one, database_url("postgresql://me@localhost:5432/blog2"))
    assert same_database(database_url("sqlite:///a.db"), database_url(f"sqlite:///{Path('a.db').absolute()}"))
    assert not same_database(database_url("sqlite:///a.db"), one)
