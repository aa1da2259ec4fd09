"""Before a copy is made: is there room for it?"""

from __future__ import annotations

import shutil
from collections import namedtuple
from pathlib import Path

import pytest
import sqlalchemy as sa

from migrator.drill.clones import cloner_for
from migrator.drill.room import Room, free_beside
from migrator.errors import Refused
from migrator.fingerprint import take
from tests.conftest import Database
from tests.drill.harness import RESTORE, SWEEP, blog, copies, environment
from tests.operations.reporting import run

Usage = namedtuple("Usage", "total used free")


def test_what_a_copy_needs_is_asked_of_the_server(database: Database) -> None:
    """Its bytes are known; what is free only where the server or its disk can be asked, and never made up."""
    blog(database)
    room = cloner_for(sa.make_url(database.url)).room()
    assert room.source is not None
    assert room.source > 1000
    if database.family == "sqlite":
        assert room.free is not None
        assert room.free > 0
        assert "TMPDIR" in room.where
    else:
        # The servers of the tests keep their data in containers: a path of theirs is none of ours.
        assert room.free is None
        assert "where the server keeps its data" in room.where


@pytest.mark.engines("sqlite")
def test_a_copy_without_room_is_not_begun(
    database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Exit 4, both sizes and the place are named, nothing is left."""
    blog(database)
    before = take(database.engine)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: Usage(100_000, 97_000, 3000))
    ini = environment(tmp_path, (SWEEP, RESTORE))
    found = run("drill", "--url", database.url, "--config", str(ini))
    assert found.code == 4
    assert "There is no room for a copy" in found.err
    assert "3 KB are free" in found.err
    assert "TMPDIR" in found.err
    assert "Nothing was changed" in found.err
    assert not copies(database)
    assert before.identical(take(database.engine))


def test_what_is_said_of_the_room() -> None:
    """Too little is refused; what is not known is told of a big database only."""
    assert Room(100, 120, "there").check("shop") is None
    assert Room(None, 10, "there").check("shop") is None
    assert Room(10**6, None, "there").check("shop") is None
    assert Room(5 * 10**9, None, "there").check("shop") == (
        "A copy needs about 6 GB there; how much is free there is not known: look with df."
    )
    with pytest.raises(Refused, match=r"no room for a copy of shop: .* about 6 GB there, and 2 GB are free"):
        Room(5 * 10**9, 2 * 10**9, "there").check("shop")


def test_a_disk_is_looked_at_only_where_the_file_is_the_servers(tmp_path: Path) -> None:
    """A file of that name may be there and be another server's, or not be there at all."""
    file = tmp_path / "auto.cnf"
    assert free_beside(file) is None
    file.write_text("server-uuid=1234")
    modified = file.stat().st_mtime
    assert free_beside(file, modified=modified, holds="1234") == pytest.approx(
        shutil.disk_usage(tmp_path).free, rel=0.1
    )
    assert free_beside(file, modified=modified + 60) is None
    assert free_beside(file, holds="5678") is None
