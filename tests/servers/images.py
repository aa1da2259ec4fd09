"""Images of servers: official ones where they are here or can be pulled, else built from Debian packages."""

from __future__ import annotations

import hashlib
import os
import shutil
import socket
import subprocess
import tarfile
import tempfile
from pathlib import Path
from typing import Any, Final

from tests.servers import debian
from tests.servers.locks import machine_lock
from tests.servers.recipes import Recipe

_HERE: Final = Path(__file__).parent
_LABEL: Final = "migrator-test-recipe"
_REGISTRY: Final = ("registry-1.docker.io", 443)
# An old suite moves from the first to the second.
_MIRRORS: Final = ("http://deb.debian.org/debian", "http://archive.debian.org/debian")
_KEYRING: Final = Path("/usr/share/keyrings/debian-archive-keyring.gpg")


def image_for(recipe: Recipe, client: Any) -> str:
    """Get the image of a server.

    Args:
        recipe: which server.
        client: docker's client.

    Returns:
        The image's tag.

    Raises:
        RuntimeError: it can neither be pulled nor built; the message says why.
    """
    with machine_lock(recipe.engine_id):
        if _labels(recipe.official, client) is not None:
            return recipe.official
        if (_labels(recipe.built, client) or {}).get(_LABEL) == _digest(_HERE / recipe.family):
            return recipe.built
        reason = _pull(recipe.official, client)
        if reason is None:
            return recipe.official
        if recipe.suite is None:
            raise RuntimeError(f"{recipe.official} cannot be pulled ({reason}), and no Debian suite has it")
        arguments = {"BASE": _base(recipe.suite, client), "MAJOR": recipe.release}
        folder = _HERE / recipe.family
        _build(folder, recipe.built, _digest(folder), arguments, client)
        return recipe.built


def image_with_pgbouncer(recipe: Recipe, client: Any) -> str:
    """Get the image of a PostgreSQL server that has pgbouncer beside it: Debian's, whoever made the server's.

    Raises:
        RuntimeError: it cannot be built; the message says why.
    """
    base = image_for(recipe, client)
    folder = _HERE / "pgbouncer"
    tag = f"migrator-test-pgbouncer:{recipe.release}"
    digest = _digest(folder, client.images.get(base).id)
    with machine_lock(tag):
        if (_labels(tag, client) or {}).get(_LABEL) != digest:
            _build(folder, tag, digest, {"BASE": base}, client)
    return tag


def _labels(tag: str, client: Any) -> dict[str, str] | None:
    """The labels of an image that is here; None where it is not."""
    for image in client.images.list(name=tag):
        return dict(image.labels)
    return None


def _digest(folder: Path, base: str = "") -> str:
    """Stand for what an image is built from, so that it is built anew after a change to that."""
    files = b"".join(file.read_bytes() for file in sorted(folder.iterdir()))
    return hashlib.sha256(files + base.encode()).hexdigest()


def _pull(tag: str, client: Any) -> str | None:
    """Pull an image; gives the reason when that is not possible."""
    try:
        # Asked first, because a pull without a registry can take minutes to say so.
        socket.create_connection(_REGISTRY, timeout=3).close()
    except OSError as error:
        return f"no registry: {error}"
    try:
        client.images.pull(tag)
    except Exception as error:
        return str(error)
    return None


def _build(folder: Path, tag: str, digest: str, arguments: dict[str, str], client: Any) -> None:
    from docker.errors import BuildError  # only now: whoever gives servers by URL needs no docker

    try:
        # The host's network: in a sandbox the engine's own bridge often leads nowhere.
        client.images.build(
            path=str(folder),
            tag=tag,
            labels={_LABEL: digest},
            buildargs=arguments,
            network_mode="host",
            rm=True,
            forcerm=True,
        )
    except BuildError as error:
        said = "".join(str(line.get("stream", "")) for line in error.build_log).splitlines()
        last = "\n".join(said[-8:])
        raise RuntimeError(f"{tag} cannot be built on {arguments['BASE']}:\n{last}") from error


def _base(suite: str, client: Any) -> str:
    """Make the image of a bare Debian suite, once."""
    tag = f"migrator-test-debian:{suite}"
    with machine_lock(f"debian-{suite}"):
        if _labels(tag, client) is None:
            with tempfile.TemporaryDirectory(prefix="migrator-debian-") as folder:
                root = Path(folder, "root")
                _debootstrap(suite, root)
                archive = Path(folder, "root.tar")
                with tarfile.open(archive, "w") as tar:
                    tar.add(root, arcname=".", filter=_without_devices)
                repository, _, name = tag.partition(":")
                client.api.import_image_from_file(str(archive), repository=repository, tag=name)
    return tag


def _without_devices(entry: tarfile.TarInfo) -> tarfile.TarInfo | None:
    # Every container gets devices of its own.
    return None if entry.isdev() else entry


def _debootstrap(suite: str, root: Path) -> None:
    if shutil.which("debootstrap") is None:
        debian.install("debootstrap", "debian-archive-keyring", why="images are built with debootstrap")
    if os.geteuid() != 0:
        raise RuntimeError("no registry to pull from, and only root may build images with debootstrap")
    keyring = [f"--keyring={_KEYRING}"] if _KEYRING.exists() else []
    said = ""
    for mirror in _MIRRORS:
        done = subprocess.run(
            ["debootstrap", "--variant=minbase", *keyring, suite, str(root), mirror],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        if done.returncode == 0:
            return
        said = "\n".join(done.stdout.splitlines()[-3:])
        shutil.rmtree(root, ignore_errors=True)
    raise RuntimeError(f"debootstrap of Debian {suite} failed:\n{said}")
