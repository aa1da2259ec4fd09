"""What a killed container engine leaves behind is told from an engine that runs."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

from tests.servers.engine import is_running


def _pid_file(folder: Path, pid: int) -> Path:
    file = folder / "engine.pid"
    file.write_text(f"{pid}\n")
    return file


def test_a_process_of_that_name_runs(tmp_path: Path) -> None:
    """The pid file is believed when its process is the program."""
    name = Path("/proc/self/comm").read_text().strip()
    assert is_running(_pid_file(tmp_path, os.getpid()), name)


def test_another_process_has_the_pid_by_now(tmp_path: Path) -> None:
    """Pids are given out again."""
    assert not is_running(_pid_file(tmp_path, os.getpid()), "dockerd")


def test_a_dead_child_nobody_waited_for_does_not_run(tmp_path: Path) -> None:
    """It still has its entry among the processes."""
    with subprocess.Popen(["sleep", "60"]) as child:
        name = Path(f"/proc/{child.pid}/comm").read_text().strip()
        child.kill()
        os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
        assert not is_running(_pid_file(tmp_path, child.pid), name)


def test_no_pid_file_means_no_engine(tmp_path: Path) -> None:
    """Nor does an empty one."""
    assert not is_running(tmp_path / "none", "dockerd")
    (tmp_path / "empty").touch()
    assert not is_running(tmp_path / "empty", "dockerd")
