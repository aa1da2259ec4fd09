"""Feeding SQL scripts to the databases' own client programs."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from sqlalchemy.engine import URL

from tests.servers import debian
from tests.servers.families import Family, forget_programs
from tests.servers.recipes import PORTS

if TYPE_CHECKING:
    from tests.servers.server import Machine, Server


def run_client(server: Server, url: URL, script: str, *, check: bool) -> subprocess.CompletedProcess[str]:
    """Feed a script to the client program of a server's family.

    The program is this machine's where it has one, else the one beside the server in its container, else it
    is installed.

    Args:
        server: the server.
        url: the database on it.
        script: what the program reads.
        check: raise when it fails.

    Raises:
        subprocess.CalledProcessError: it failed and `check` is set; its messages are noted on the error.
        RuntimeError: there is no client program and none may be installed.
    """
    done = _run(server, url, script)
    if check and done.returncode != 0:
        error = subprocess.CalledProcessError(done.returncode, done.args, done.stdout, done.stderr)
        error.add_note(done.stderr)
        raise error
    return done


def _run(server: Server, url: URL, script: str) -> subprocess.CompletedProcess[str]:
    local = _local_command(server.kind, url)
    if local is not None:
        return _here(local, server.kind, url, script)
    if server.machine is not None:
        return _in_container(server.machine, server.kind, url, script)
    with _machine_behind(url) as machine:
        if machine is not None:
            return _in_container(machine, server.kind, url, script)
    return _here(_installed_command(server.kind, url), server.kind, url, script)


def _local_command(kind: Family, url: URL) -> list[str] | None:
    program = kind.program()
    return [program, *kind.options(url)] if program else None


def _installed_command(kind: Family, url: URL) -> list[str]:
    stand_in = kind.stand_in()
    if stand_in is None:
        debian.install(kind.package, why=f"{kind.name}'s client program is missing")
        forget_programs()
        local = _local_command(kind, url)
        if local is not None:
            return local
        stand_in = kind.stand_in()
    if stand_in is None:
        raise RuntimeError(f"no client program of {kind.name}'s here: install one")
    program, *needed = stand_in
    return [program, *kind.options(url), *needed]


def _here(argv: list[str], kind: Family, url: URL, script: str) -> subprocess.CompletedProcess[str]:
    environment = os.environ | kind.environment(url)
    return subprocess.run(
        argv, input=script, env=environment, capture_output=True, encoding="utf-8", check=False, timeout=600
    )


def _in_container(machine: Machine, kind: Family, url: URL, script: str) -> subprocess.CompletedProcess[str]:
    # Inside, the server listens where its family always does.
    inside = url.set(host="127.0.0.1", port=PORTS[kind.name])
    argv = [kind.name.replace("postgresql", "psql"), *kind.options(inside)]
    return subprocess.CompletedProcess(argv, *machine.run(argv, kind.environment(url), script))


@contextmanager
def _machine_behind(url: URL) -> Iterator[Machine | None]:
    if url.port is None or url.host not in ("127.0.0.1", "localhost", "::1"):
        yield None
        return
    from tests.servers.containers import machine_publishing  # only now: the rest needs no testcontainers

    with machine_publishing(url.port) as machine:
        yield machine
