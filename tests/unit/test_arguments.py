"""What `alembic -x` may say in a project that has arguments of its own."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import sqlalchemy as sa

from migrator.arguments import check_near_names
from migrator.errors import UsageError
from migrator.settings import resolve


@pytest.mark.parametrize(
    ("said", "meant"),
    [
        ("on_nul", "on_null"),
        ("on-dangling", "on_dangling"),
        ("backfill", "backfill_to"),
        ("batchsize", "batch_size"),
        ("max_orphans_share", "max_orphan_share"),
        ("sentinal.name", "sentinel.name"),
    ],
)
def test_what_is_nearly_one_of_ours_is_refused(said: str, meant: str) -> None:
    """A typing error must not end in the default; the right name is in the hint."""
    with pytest.raises(UsageError) as caught:
        check_near_names({said: "delete"})
    assert f"-x {said}= is not known" in str(caught.value)
    assert f"-x {meant}=" in str(caught.value)


def test_the_environment_speaks_of_settings_alone() -> None:
    """Under the names that `-x` has for them; what is done to rows is refused there, not passed over."""
    assert resolve({}, {"MIGRATOR_LOCK_TIMEOUT": "777"}).lock_timeout_ms == 777
    assert resolve({"lock_timeout": "5"}, {"MIGRATOR_LOCK_TIMEOUT": "777"}).lock_timeout_ms == 5
    with pytest.raises(UsageError, match="LOCK_TIMEOUT"):
        resolve({}, {"MIGRATOR_LOCK_TIMEOUT": "garbage"})
    with pytest.raises(UsageError, match="MIGRATOR_ON_DANGLING is not read"):
        resolve({}, {"MIGRATOR_ON_DANGLING": "refuse"})


def test_what_is_ours_or_the_projects_own_passes() -> None:
    """A project's own arguments are none of our business."""
    names = ("on_null", "url", "sentinel.name", "parent.x", "tenant", "schema", "data", "env.name")
    check_near_names(dict.fromkeys(names, "x"))


def test_a_typing_error_in_a_projects_own_environment_changes_nothing(tmp_path: Path) -> None:
    """`alembic init`, `migrator revision`, and `-x on_nul=delete`: refused, and no row is touched."""
    engine = sa.create_engine(f"sqlite:///{tmp_path}/site.db")
    with engine.begin() as connection:
        for statement in (
            "CREATE TABLE p (id INTEGER PRIMARY KEY)",
            "CREATE TABLE c (id INTEGER PRIMARY KEY, p INTEGER)",
            "INSERT INTO p VALUES (1), (2)",
            "INSERT INTO c VALUES (1, 1), (2, NULL), (3, 2)",
        ):
            connection.exec_driver_sql(statement)

    def run(program: str, *words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", program, *words], cwd=tmp_path, capture_output=True, text=True, check=False
        )

    run("alembic", "init", "migrations")
    ini = tmp_path / "alembic.ini"
    ini.write_text(ini.read_text().replace("driver://user:pass@localhost/dbname", str(engine.url)))
    written = run("migrator", "revision", "-r", "c.p -> p.id", "--backfill-to", "1")
    assert written.returncode == 0, written
    ended = run("alembic", "-x", "on_nul=delete", "upgrade", "head")
    assert ended.returncode != 0
    assert "-x on_nul= is not known" in ended.stderr
    assert "Traceback" not in ended.stderr
    with engine.connect() as connection:
        assert connection.scalar(sa.text("SELECT count(*) FROM c")) == 3
        assert connection.scalar(sa.text("SELECT count(*) FROM c WHERE p IS NULL")) == 1
    engine.dispose()
