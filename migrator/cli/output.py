"""Where a command's data goes: stdout or a file, and in which form."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal, TextIO

import click
from rich.console import Console

from migrator.errors import UsageError

Color = Literal["auto", "always", "never"]

_SUFFIXES = {".json": "json", ".csv": "csv", ".html": "html", ".htm": "html", ".md": "markdown"}

#: Wide enough for statements where the output is not a terminal.
_WIDTH = 110


def format_for(given: str | None, output: Path | None, formats: tuple[str, ...]) -> str:
    """The format asked for, else the one that the file's name ends in, else text."""
    if given:
        return given
    by_suffix = _SUFFIXES.get(output.suffix.lower(), "text") if output else "text"
    return by_suffix if by_suffix in formats else "text"


def draw(stream: TextIO, color: Color, what: Callable[[Console], None]) -> None:
    """Draw on `stream`; colours as the user wishes, else as the terminal and NO_COLOR say.

    Args:
        stream: a terminal, a pipe or a file.
        color: `--color`.
        what: draws on the console it is given.
    """
    terminal = {"always": True, "never": False}.get(color)
    console = Console(
        file=stream,
        force_terminal=terminal,
        no_color=True if color == "never" else None,
        highlight=False,
        emoji=False,
        markup=False,
        width=None if stream.isatty() or "COLUMNS" in os.environ else _WIDTH,
    )
    with console.capture() as drawn:
        what(console)
    # Tables are padded to their width; blanks at the end of a line are noise in a log or a diff.
    stream.write("".join(line.rstrip() + "\n" for line in drawn.get().splitlines()))


@contextmanager
def opened(output: Path | None) -> Iterator[TextIO]:
    """stdout, or a file that appears whole or not at all.

    Raises:
        UsageError: its directory is not there.
    """
    if output is None or str(output) == "-":
        yield sys.stdout
        sys.stdout.flush()
        return
    if not output.parent.is_dir():
        raise UsageError(f"The directory of {output} is not there.", hint=f"mkdir -p {output.parent}")
    part = output.with_name(output.name + ".part")
    try:
        with part.open("w", encoding="utf-8", newline="") as stream:
            yield stream
        part.replace(output)
    except BaseException:
        part.unlink(missing_ok=True)
        raise
    click.echo(f"Written to {output}.", err=True)


def progress() -> Callable[[str], None]:
    """Says what is being done, on stderr, when a person is watching it."""
    if not sys.stderr.isatty():
        return lambda _: None
    return lambda message: click.echo(message, err=True)
