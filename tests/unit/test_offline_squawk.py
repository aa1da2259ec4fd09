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
    written = tmp_path / "script.sql"
    said = ("peek=no", f"server_version={version}", f"on_dangling={on_dangling}")
    written.write_text(script(NOWHERE, verb, revisions, *said))
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
    assert (done.stdout, done.returncode) == ("", 0), done.stderr
