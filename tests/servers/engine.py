"""The container engine: found running, or installed and started where that is allowed."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from tests.servers import debian
from tests.servers.locks import machine_lock

_RUN: Final = Path("/var/run")
_PID_FILES: Final = (_RUN / "docker.pid", _RUN / "docker/containerd/containerd.pid")
_SOCKETS: Final = ("docker.sock", "docker/containerd/*.sock*")
# What a sandbox may lack: overlay mounts, then netfilter. Published ports work without netfilter too, through
# the daemon's own proxy.
_ATTEMPTS: Final = (
    (),
    ("--storage-driver=vfs",),
    ("--iptables=false",),
    ("--iptables=false", "--storage-driver=vfs"),
)
_COMES_UP_WITHIN = 40.0


@contextmanager
def engine() -> Iterator[Any]:
    """Connect to the container engine; gives docker's client.

    Raises:
        RuntimeError: there is no engine and none may be installed; the message says why.
    """
    client = _connect() or _started()
    try:
        yield client
    finally:
        client.close()


@contextmanager
def running_engine() -> Iterator[Any | None]:
    """Connect to the container engine if one runs; starts none."""
    client = _connect()
    try:
        yield client
    finally:
        if client is not None:
            client.close()


def runs_beside_us() -> bool:
    """Tell whether the daemon is a process of this machine, so that its ports are this machine's."""
    return is_running(_PID_FILES[0], "dockerd")


def is_running(pid_file: Path, program: str) -> bool:
    """Tell whether a pid file's process runs and is the program that wrote it."""
    try:
        status = Path("/proc", pid_file.read_text().strip(), "status").read_text()
    except (OSError, ValueError):
        return False
    fields = dict(line.split(":\t", 1) for line in status.splitlines() if ":\t" in line)
    return fields["Name"] == program and not fields["State"].startswith(("Z", "X"))


def _connect() -> Any | None:
    from testcontainers.core.docker_client import DockerClient

    try:
        client = DockerClient().client
    except Exception:  # what it raises differs by transport
        return None
    try:
        client.ping()
    except Exception:
        client.close()
        return None
    return client


def _started() -> Any:
    with machine_lock("engine"):
        client = _connect()  # another session may have started it while we waited
        if client is None:
            _start()
            client = _connect()
    if client is None:
        raise RuntimeError("the container engine started and does not answer")
    return client


def _start() -> None:
    if os.environ.get("DOCKER_HOST"):
        raise RuntimeError(f"no container engine answers at DOCKER_HOST={os.environ['DOCKER_HOST']}")
    why = "no container engine is running"
    if os.geteuid() != 0:
        raise RuntimeError(f"{why}, and only root may start one: start Docker, or give servers by URL")
    if shutil.which("dockerd") is None:
        # debootstrap too: where there is an engine to install there is mostly no registry to pull from.
        debian.install("docker.io", "docker-cli", "iptables", "debootstrap", why=why)
    log = Path(tempfile.mkdtemp(prefix="migrator-engine-"), "dockerd.log")
    for attempt in _attempts():
        _clear_leftovers()
        if _comes_up(attempt, log):
            return
    last = "\n".join(log.read_text(errors="replace").splitlines()[-5:])
    raise RuntimeError(f"dockerd did not come up ({log}):\n{last}")


def _attempts() -> Iterator[tuple[tuple[str, ...], str]]:
    yield _ATTEMPTS[0], os.environ["PATH"]
    legacy = shutil.which("iptables-legacy", path="/usr/sbin:/sbin")
    if legacy:
        # dockerd calls whatever is named iptables: older kernels want the older one of the two.
        folder = Path(tempfile.mkdtemp(prefix="migrator-iptables-"))
        for name in ("iptables", "ip6tables"):
            (folder / name).symlink_to(legacy.replace("iptables", name))
        yield _ATTEMPTS[0], f"{folder}:{os.environ['PATH']}"
    for options in _ATTEMPTS[1:]:
        yield options, os.environ["PATH"]


def _comes_up(attempt: tuple[tuple[str, ...], str], log: Path) -> bool:
    options, path = attempt
    # A session of its own: the engine outlives the tests, and an interrupt at the keyboard is not for it.
    with log.open("a") as output:
        daemon = subprocess.Popen(
            ["dockerd", *options],
            env=os.environ | {"PATH": path},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
    deadline = time.monotonic() + _COMES_UP_WITHIN
    while time.monotonic() < deadline and daemon.poll() is None:
        client = _connect()
        if client is not None:
            client.close()
            daemon.returncode = 0  # it is meant to go on without us: no warning about a child left behind
            return True
        time.sleep(0.2)
    if daemon.poll() is None:
        daemon.terminate()
        daemon.wait(timeout=30)
    return False


def _clear_leftovers() -> None:
    # A killed daemon leaves its pid files and sockets. Its successor takes a pid that exists, be it another
    # process's by now or a dead child's nobody waited for, for a sign that it still runs.
    for file, program in zip(_PID_FILES, ("dockerd", "containerd"), strict=True):
        if not is_running(file, program):
            file.unlink(missing_ok=True)
    if not any(file.exists() for file in _PID_FILES):
        for pattern in _SOCKETS:
            for leftover in _RUN.glob(pattern):
                leftover.unlink()
