"""A copy is dropped whatever happens, and what a killed drill leaves is found by its name."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest
import sqlalchemy as sa

from migrator.drill.clone import cloned
from migrator.drill.clones import PREFIX, cloner_for
from migrator.errors import Refused
from migrator.fingerprint import take
from tests.conftest import Database
from tests.drill.harness import RESTORE, SWEEP, blog, copies, environment, hold, url_of
from tests.operations.reporting import run


def test_the_copy_goes_when_somebody_stops_the_drill(database: Database, tmp_path: Path) -> None:
    """Ctrl-C in the middle of the upgrade."""
    blog(database)
    seen: list[str] = []

    def stop(told: str) -> None:
        if told.startswith("up to"):
            seen.extend(copies(database))
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        hold(database, stop, ini=environment(tmp_path, (SWEEP, RESTORE)))

    assert len(seen) == 1
    assert seen[0].startswith(PREFIX)
    assert not copies(database)


def test_what_is_left_over_is_listed_and_swept(database: Database, tmp_path: Path) -> None:
    """A drill killed half-way leaves its copy: in use while it lived, left over afterwards, and gone with
    `--drop-leftovers`; the database itself is as it was. A copy in use, and one kept by a process that still
    lives, may stay."""
    blog(database)
    before = take(database.engine)
    ini = environment(tmp_path, ("__import__('time').sleep(120)", "pass"))
    command = [sys.executable, "-m", "migrator", "drill", "--url", database.url, "--config", str(ini)]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        said = []
        for line in process.stderr:
            said.append(line)
            if "up to r1" in line:
                break
        (copy,) = copies(database, process.pid) or pytest.fail("".join(said))
        listed = run("drill", "--url", database.url, "--leftovers").out
        assert "in use" in next(line for line in listed.splitlines() if copy in line)
        process.kill()
        process.communicate()

    # The server may take a moment to notice that its client is dead.
    for _ in range(50):
        gone = run("drill", "--url", database.url, "--drop-leftovers")
        assert gone.code == 0, gone.err
        if copy not in copies(database, process.pid):
            break
        time.sleep(0.2)

    assert f"{copy}  dropped" in gone.out
    assert copy not in copies(database, process.pid)
    assert before.identical(take(database.engine))


@pytest.mark.engines("sqlite", "postgresql-18")
def test_a_copy_is_kept_on_request(database: Database, tmp_path: Path) -> None:
    """`--keep`, and the result says what it is called."""
    blog(database)
    ini = environment(tmp_path, ("pass", "pass"))

    found = run("drill", "--url", database.url, "--config", str(ini), "--keep", "--quick", "--format", "json")

    assert found.code == 0, found.out
    (copy,) = copies(database)
    assert copy in found.json["place"]["name"]
    assert found.json["place"]["kept"] is True
    cloner_for(url_of(database)).drop(copy)
    assert not copies(database)


@pytest.mark.engines("postgresql")
def test_somebody_connected_is_named_or_worked_around(database: Database) -> None:
    """TEMPLATE wants the source alone; then pg_dump copies it, or the refusal names who is there."""
    from migrator.drill.clones.postgresql import _version

    blog(database)
    other = sa.create_engine(
        database.url, connect_args={"application_name": "the-shop"}, poolclass=sa.NullPool
    )
    try:
        client = _version("pg_dump")
    except FileNotFoundError:
        client = 0
    with other.connect():
        if client >= database.version[0]:
            with cloned(url_of(database)) as clone:
                assert clone.method.startswith("pg_dump | pg_restore")
        else:
            with pytest.raises(Refused, match="the-shop") as refused, cloned(url_of(database)):
                pass
            assert "Nothing was changed" in str(refused.value)
    other.dispose()


_INSIDE = """\
#!{python}
import os, sys
given = sys.argv[1:]
if "-P" in given:
    given[given.index("-P") + 1] = "3306"
os.execvp("docker", ["docker", "exec", "-i", "-e", "MYSQL_PWD", {container!r}, {program!r}, *given])
"""


def _programs_of_the_container(database: Database, folder: Path, *programs: str) -> bool:
    """Have the programs inside the server's container at hand; False where it is in none of ours."""
    if shutil.which("docker") is None:
        return False
    port = url_of(database).port
    listed = subprocess.run(
        ["docker", "ps", "--quiet", "--filter", f"publish={port}"],
        capture_output=True,
        text=True,
        check=False,
    )
    container = listed.stdout.strip()
    if listed.returncode or not container:
        return False
    for program in programs:
        path = folder / program
        path.write_text(_INSIDE.format(python=sys.executable, container=container, program=program))
        path.chmod(0o755)
    return True


@pytest.mark.engines("mysql", "mariadb")
def test_the_servers_own_dump_program_makes_the_copy(
    database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where it is at hand, here from inside the server's container; the copy is the same as the source."""
    names = ("mariadb-dump", "mariadb") if database.family == "mariadb" else ("mysqldump", "mysql")
    blog(database)
    if _programs_of_the_container(database, tmp_path, *names):
        monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    expected = "a copy in plain SQL, table by table"
    if shutil.which(names[0]) and shutil.which(names[1]):
        expected = f"{names[0]} into the client"

    with cloned(url_of(database)) as clone:
        assert clone.method == expected
        assert not clone.live
        assert take(database.engine).identical(clone.print)


@pytest.mark.engines("mysql", "mariadb")
def test_a_plain_copy_keeps_what_text_would_lose(database: Database) -> None:
    """Zero dates, a FLOAT's last digits, zero in an AUTO_INCREMENT column, invisible columns, a trigger
    named with its database, a view on a view with an earlier name."""
    name = database.name
    with database.engine.begin() as connection:
        for statement in (
            "SET SESSION sql_mode = 'NO_AUTO_VALUE_ON_ZERO,ALLOW_INVALID_DATES'",
            "CREATE TABLE odd (id INT AUTO_INCREMENT PRIMARY KEY, f FLOAT, d DATE, b BIT(9), j JSON, "
            "t TIMESTAMP(6) NULL, hidden INT INVISIBLE, g INT AS (hidden + 1) VIRTUAL)",
            "INSERT INTO odd (id, f, d, b, j, t, hidden) VALUES "
            "(0, 16777217.3, '0000-00-00', b'101010101', '{\"a\": [1, 2.50]}', '2024-10-27 01:30:00.12', 7), "
            "(9, 1/3, '2024-02-31', b'0', 'null', NULL, NULL)",
            "CREATE VIEW b_view AS SELECT id, f FROM odd",
            "CREATE VIEW a_view AS SELECT id FROM b_view",
            f"CREATE TRIGGER named BEFORE UPDATE ON `{name}`.odd FOR EACH ROW SET new.hidden = old.id",
        ):
            connection.exec_driver_sql(statement.replace("%", "%%"))

    with cloned(url_of(database)) as clone:
        assert not clone.live
        assert take(database.engine).identical(clone.print, counters=True)
