"""squawk finds nothing in the SQL of any shipped revision but what `.squawk.toml` gives reasons for."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.operations.offline_desk import ROOT, script

NOWHERE = "postgresql://nobody@127.0.0.1:1/none"


def squawk() -> str:
    """Its program: beside the interpreter, or on the path."""
    beside = Path(sys.executable).with_name("squawk")
    found = str(beside) if beside.exists() else shutil.which("squawk")
    assert found, "squawk-cli is a dev extra: pip install -e '.[dev]'"
    return found


@pytest.mark.parametrize("version", ["13", "15", "18"])
@pytest.mark.parametrize("on_dangling", ["backfill", "delete"])
@pytest.mark.parametrize(
    ("verb", "revisions"),
    [("upgrade", "head"), ("downgrade", "head:base")]
    + [("upgrade", f"{low}:{high}") for low, high in (("0001", "0002"), ("0002", "0003"), ("0003", "0004"))]
    + [
        ("downgrade", f"{high}:{low}") for low, high in (("0001", "0002"), ("0002", "0003"), ("0003", "0004"))
    ],
)
def test_squawk_has_no_finding(
    tmp_path: Path, version: str, on_dangling: str, verb: str, revisions: str
) -> None:
    """Up and down, whole and step by step, as each version of the server would be given it."""
    said = ("peek=no", f"server_version={version}", f"on_dangling={on_dangling}")
    assert findings(tmp_path, script(NOWHERE, verb, revisions, *said), version) == ""


@pytest.mark.parametrize("version", ["13", "18"])
@pytest.mark.parametrize(("verb", "revisions"), [("upgrade", "head"), ("downgrade", "head:base")])
def test_nor_has_it_one_where_rows_have_values_of_their_own(
    tmp_path: Path, version: str, verb: str, revisions: str
) -> None:
    """A decisions file, then parents that are created."""
    file = tmp_path / "decisions.csv"
    file.write_text("reference,key:id,new:user_id\n" + "".join(f",{number},1\n" for number in range(600)))
    said = ("peek=no", f"server_version={version}", f"decisions={file}", "on_dangling=create-parents")
    more = ("parent.username=gone-{id}", "parent.email={id}@gone.invalid")
    assert findings(tmp_path, script(NOWHERE, verb, revisions, *said, *more), version) == ""


def findings(tmp_path: Path, text: str, version: str) -> str:
    """What squawk says of a script for a version of the server."""
    written = tmp_path / "script.sql"
    written.write_text(text)
    done = subprocess.run(
        [
            squawk(),
            "--config",
            str(ROOT / ".squawk.toml"),
            f"--pg-version={version}.0",
            "--reporter",
            "gcc",
            written,
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == bool(done.stdout), done.stderr
    return done.stdout
