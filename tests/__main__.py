"""`python -m tests`: what `make test` runs. Servers are started once, and a few test processes share them.

A session of pytest alone starts its own servers; with several processes each would, so here they are
started first and named in the environment. Arguments are pytest's.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

from tests.servers.containers import start_server
from tests.servers.recipes import RECIPES, Recipe
from tests.servers.selection import NARROW_VARIABLE
from tests.servers.server import Server
from tests.servers.urls import VARIABLES


def main(arguments: Sequence[str]) -> int:
    """Start what is missing, run pytest, remove what was started; pytest's exit code."""
    try:
        with ThreadPoolExecutor(max_workers=2) as executor:
            servers = list(executor.map(_start, _missing()))
    except RuntimeError as error:
        print(f"A server cannot be had: {error}", file=sys.stderr)
        return 1
    environ = dict(os.environ)
    for family, variable in VARIABLES.items():
        urls = [server.url for server in servers if server.family == family]
        if urls:
            environ[variable] = " ".join(urls)
    # One more than there are cores: a test waits for its server half of the time.
    processes = str(min(8, (os.cpu_count() or 1) + 1))
    command = [sys.executable, "-m", "pytest", "-n", processes, "--dist", "worksteal", *arguments]
    try:
        return subprocess.run(command, env=environ, check=False).returncode
    finally:
        for server in servers:
            server.remove()


def _missing() -> list[Recipe]:
    """The servers that are wanted and not given: those of Debian packages, or official images at hand."""
    narrow = [name.strip() for name in os.environ.get(NARROW_VARIABLE, "").split(",") if name.strip()]
    return [
        recipe
        for recipe in RECIPES.values()
        if recipe.suite is not None
        and not os.environ.get(VARIABLES[recipe.family])
        and (not narrow or recipe.family in narrow or recipe.engine_id in narrow)
    ]


def _start(recipe: Recipe) -> Server:
    server = start_server(recipe, in_memory=True)
    print(f"{recipe.engine_id} is up", file=sys.stderr, flush=True)
    return server


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
