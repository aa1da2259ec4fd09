"""Locks between test sessions of one machine, so that two of them never do the same set-up at once."""

from __future__ import annotations

import fcntl
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def machine_lock(name: str) -> Iterator[None]:
    """Hold a lock that one holder on this machine has at a time; the kernel frees it when a process dies."""
    path = Path(tempfile.gettempdir(), f"migrator-test-{os.geteuid()}-{name}.lock")
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
