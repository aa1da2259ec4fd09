"""Installing what the tests need, where that is allowed: as root, on Debian or Ubuntu."""

from __future__ import annotations

import os
import shutil
import subprocess

_ENVIRONMENT = {"DEBIAN_FRONTEND": "noninteractive"}


def install(*packages: str, why: str) -> None:
    """Install Debian packages.

    Args:
        packages: their names; those the archive does not know are left out, as releases split them
            differently.
        why: what they are for, said when they cannot be had.

    Raises:
        RuntimeError: this is no Debian, or we are not root, or apt failed.
    """
    wanted = " ".join(packages)
    if os.geteuid() != 0 or shutil.which("apt-get") is None:
        raise RuntimeError(f"{why}; install {wanted} (root on Debian or Ubuntu would have it done here)")
    _run(["apt-get", "update"], why)
    known = [package for package in packages if _is_known(package)]
    _run(["apt-get", "install", "-y", "--no-install-recommends", *known], why)


def _is_known(package: str) -> bool:
    shown = subprocess.run(["apt-cache", "show", package], capture_output=True, check=False)
    return shown.returncode == 0 and bool(shown.stdout.strip())


def _run(argv: list[str], why: str) -> None:
    done = subprocess.run(
        argv,
        env=os.environ | _ENVIRONMENT,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        last = "\n".join(done.stdout.splitlines()[-5:])
        raise RuntimeError(f"{why}, and `{' '.join(argv)}` failed:\n{last}")
