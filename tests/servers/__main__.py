"""`python -m tests.servers up` starts the default servers and keeps them; `down` removes them."""

from __future__ import annotations

import argparse
import sys
import time
from concurrent.futures import ThreadPoolExecutor

from tests.servers.containers import start_server, sweep
from tests.servers.engine import engine
from tests.servers.recipes import DEFAULTS, RECIPES, family_of
from tests.servers.server import Server
from tests.servers.urls import VARIABLES


def main() -> int:
    """Do what the command line says; shell lines on standard output, progress on standard error."""
    parser = argparse.ArgumentParser(prog="python -m tests.servers", description=__doc__)
    parser.add_argument("verb", choices=["up", "down"])
    parser.add_argument("engines", nargs="*", help="engine ids; by default those the tests run on by default")
    arguments = parser.parse_args()
    try:
        removed = _down()
        if arguments.verb == "up":
            _up(arguments.engines or [each for family in VARIABLES for each in DEFAULTS[family]])
        else:
            print(f"removed {removed} servers", file=sys.stderr)
    except RuntimeError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


def _up(engine_ids: list[str]) -> None:
    with ThreadPoolExecutor(max_workers=2) as executor:
        servers = list(executor.map(_start, engine_ids))
    for family, variable in VARIABLES.items():
        urls = [server.url for server in servers if server.family == family]
        if urls:
            print(f'export {variable}="{" ".join(urls)}"')


def _start(engine_id: str) -> Server:
    began = time.monotonic()
    server = start_server(RECIPES[engine_id], keep=True)
    took = time.monotonic() - began
    print(
        f"{engine_id}: {family_of(engine_id)} {'.'.join(map(str, server.version))}, {took:.0f} s",
        file=sys.stderr,
    )
    return server


def _down() -> int:
    with engine() as client:
        return sweep(client, kept=True)


if __name__ == "__main__":
    sys.exit(main())
