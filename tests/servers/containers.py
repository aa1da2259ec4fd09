"""Servers in containers, started through testcontainers."""

from __future__ import annotations

import io
import os
import secrets
import shlex
import socket
import tarfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import Any, Final

from docker.errors import NotFound
from testcontainers.community.mysql import MySqlContainer
from testcontainers.community.postgres import PostgresContainer
from testcontainers.core.config import ConnectionMode, testcontainers_config

from tests.servers.engine import engine, running_engine, runs_beside_us
from tests.servers.images import image_for
from tests.servers.locks import machine_lock
from tests.servers.recipes import ADMIN, DATA_DIRECTORIES, PORTS, SETTINGS, FamilyName, Recipe
from tests.servers.server import Server, server_at

LABEL: Final = "migrator-test-owner"
KEPT: Final = "kept"
# The official image starts a server without a port while it sets up; this is the one that stays.
_MYSQL_IS_READY: Final = r"ready for connections.*port: 3306"


class Container:
    """A running container, as a machine that can be stopped, started and worked in.

    Args:
        container: docker's container.
        close: lets go of the client it was had through.
    """

    def __init__(self, container: Any, close: Any = None) -> None:
        self._container = container
        self._close = close or (lambda: None)

    def restart(self) -> None:
        """Stop in good order, however long a checkpoint takes, and start."""
        self._container.restart(timeout=60)

    def kill(self) -> None:
        """SIGKILL to the server."""
        self._container.kill()
        self._container.wait()

    def start(self) -> None:
        """Start again."""
        self._container.start()

    def remove(self) -> None:
        """Remove it with its volumes."""
        self._container.remove(force=True, v=True)
        self._close()

    @property
    def address(self) -> str:
        """Where other containers find it."""
        self._container.reload()
        networks = self._container.attrs["NetworkSettings"]["Networks"]
        return next(str(each["IPAddress"]) for each in networks.values())

    def published(self, port: int) -> int:
        """The port of this machine that leads to one of its own."""
        self._container.reload()
        return int(self._container.ports[f"{port}/tcp"][0]["HostPort"])

    def run(self, argv: list[str], environment: dict[str, str], script: str) -> tuple[int, str, str]:
        """Run a program in it, fed from a file there."""
        name = f"script-{secrets.token_hex(4)}"
        self._container.put_archive("/tmp", _archive(name, script))
        command = f"{shlex.join(argv)} < /tmp/{name}; code=$?; rm /tmp/{name}; exit $code"
        code, (output, messages) = self._container.exec_run(
            ["sh", "-c", command], environment={"LANG": "C.UTF-8"} | environment, demux=True
        )
        return code, (output or b"").decode(), (messages or b"").decode()


def start_server(
    recipe: Recipe,
    *,
    settings: Sequence[str] = (),
    dedicated: bool = False,
    keep: bool = False,
    also_publish: int | None = None,
    small_disk: str | None = None,
    in_memory: bool = False,
    image_of: Callable[[Recipe, Any], str] = image_for,
) -> Server:
    """Start a server and wait until it answers.

    Args:
        recipe: which.
        settings: further options for the server's command line.
        dedicated: one test may stop it.
        keep: it outlives this process.
        also_publish: one more port of the container, for what a test starts beside the server.
        small_disk: the size of a disk of its own at /small, `1m` say.
        in_memory: its data need not survive a restart. On MySQL and MariaDB a schema change then costs a
            part of what it does with waits for the disk, which no setting turns off.
        image_of: gets its image, given docker's client.

    Raises:
        RuntimeError: it cannot be had; the message says why.
    """
    with engine() as client:
        sweep(client)
        image = image_of(recipe, client)
    _set_up_testcontainers()
    prepared = _prepare(recipe.family, image)
    prepared.with_command([*SETTINGS[recipe.family], *settings])
    # A port of our choice, because one of the engine's choice changes at every restart.
    prepared.with_bind_ports(PORTS[recipe.family], _free_port())
    if also_publish is not None:
        prepared.with_bind_ports(also_publish, _free_port())
    if small_disk is not None:
        prepared.with_tmpfs_mount("/small", f"size={small_disk},mode=1777")
    if in_memory and recipe.family in DATA_DIRECTORIES:
        prepared.with_tmpfs_mount(DATA_DIRECTORIES[recipe.family], "size=8g")
    prepared.with_kwargs(labels={LABEL: KEPT if keep else _owner()}, shm_size="256m")
    try:
        prepared.start()
        url = prepared.get_connection_url()
        machine = Container(prepared.get_wrapped_container(), prepared.get_docker_client().client.close)
        return server_at(recipe.family, url, machine=machine, dedicated=dedicated)
    except BaseException as error:
        reason = _last_words(prepared)
        prepared.stop()
        if isinstance(error, Exception):
            raise RuntimeError(f"{image} did not start: {error}\n{reason}") from error
        raise


@contextmanager
def machine_publishing(port: int) -> Iterator[Container | None]:
    """Find the container that publishes a port of this machine; None where no engine runs or none does."""
    with running_engine() as client:
        found = client.containers.list(filters={"publish": str(port)}, ignore_removed=True) if client else []
        yield Container(found[0]) if found else None


def sweep(client: Any, *, kept: bool = False) -> int:
    """Remove the containers of sessions that ended without removing theirs.

    Args:
        client: docker's client.
        kept: also those that were started to be kept.

    Returns:
        How many were removed.
    """
    # ignore_removed: other sessions remove theirs while we list.
    with machine_lock("sweep"):
        found = client.containers.list(all=True, filters={"label": LABEL}, ignore_removed=True)
        leftovers = [each for each in found if _is_orphan(each.labels[LABEL], kept=kept)]
        for container in leftovers:
            with suppress(NotFound):
                container.remove(force=True, v=True)
    return len(leftovers)


def _prepare(family: FamilyName, image: str) -> PostgresContainer | MySqlContainer:
    password = secrets.token_urlsafe(12)
    if family == "postgresql":
        postgresql = PostgresContainer(
            image, username=ADMIN[family], password=password, dbname="postgres", driver="psycopg"
        )
        return postgresql.with_env("POSTGRES_INITDB_ARGS", "--encoding=UTF8 --locale=C.UTF-8")
    mysql = MySqlContainer(
        image,
        dialect="pymysql",
        username=ADMIN[family],
        password=password,
        dbname="test",
        wait_strategy_check_string=_MYSQL_IS_READY,
    )
    # The official images would take seconds to load time zones that the built ones do without.
    return mysql.with_envs(MYSQL_INITDB_SKIP_TZINFO="1", MARIADB_INITDB_SKIP_TZINFO="1")


@cache
def _set_up_testcontainers() -> None:
    # Its reaper is an image of its own, which is not there without a registry; `sweep` does its work.
    testcontainers_config.ryuk_disabled = True
    if Path("/.dockerenv").exists() and runs_beside_us():
        # It would take us for a container of the engine's and look for servers at the engine's gateway.
        testcontainers_config.connection_mode_override = ConnectionMode.docker_host
        testcontainers_config.tc_host_override = "127.0.0.1"


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("", 0))
        return int(probe.getsockname()[1])


def _owner() -> str:
    # A number alone may be another process's by tomorrow.
    return f"{socket.gethostname()}/{os.getpid()}/{_started_at(os.getpid())}"


def _is_orphan(owner: str, *, kept: bool) -> bool:
    if owner == KEPT:
        return kept
    host, pid, started_at = owner.split("/")
    return host == socket.gethostname() and _started_at(int(pid)) != started_at


def _started_at(pid: int) -> str:
    try:
        # After the program's name in parentheses the 20th field is the start time.
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]
    except OSError:
        return ""


def _last_words(prepared: Any) -> str:
    try:
        said = prepared.get_wrapped_container().logs(tail=8)
    except Exception:
        return ""
    return bytes(said).decode(errors="replace")


def _archive(name: str, text: str) -> bytes:
    data = text.encode()
    with io.BytesIO() as file:
        with tarfile.open(fileobj=file, mode="w") as tar:
            entry = tarfile.TarInfo(name)
            entry.size = len(data)
            entry.mode = 0o600
            tar.addfile(entry, io.BytesIO(data))
        return file.getvalue()
