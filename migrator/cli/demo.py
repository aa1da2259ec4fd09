"""`migrator demo`."""

from __future__ import annotations

import re
import sys
import tempfile
from pathlib import Path

import click
from rich.console import Console

from migrator.cli.options import color_option
from migrator.cli.output import Color

#: How wide the demonstration is told where there is no terminal that says.
_WIDTH = 108


@click.command("demo")
@click.option(
    "--into",
    type=click.Path(path_type=Path, file_okay=False),
    metavar="DIRECTORY",
    help="Where to put the blog and the page.  [default: a new directory for temporary files]",
)
@click.option(
    "--posts", type=click.IntRange(min=100), default=20_000, show_default=True, help="Size of the blog."
)
@click.option(
    "--picture",
    type=click.Path(path_type=Path, dir_okay=False),
    hidden=True,
    help="Write what the terminal showed as SVG.",
)
@color_option
@click.pass_context
def command(ctx: click.Context, into: Path | None, posts: int, picture: Path | None, color: Color) -> None:
    """Build a legacy blog on SQLite and take it through everything: report, upgrade, verification, the
    rollback drill and its page. Touches nothing but new files; takes less than a minute.

    \b
    Exit codes:
      0  all went well
      1  failed
      2  the blog's revisions are not here: run it in a checkout
      3  the drill found a difference
      4  refused: the directory has a blog already
    """  # fmt: skip
    from migrator.demo import Demo, blog_ini

    ini = blog_ini()
    folder = into or Path(tempfile.mkdtemp(prefix="migrator-demo-"))
    console = Console(
        file=sys.stdout,
        record=picture is not None,
        force_terminal=True if picture else {"always": True, "never": False}.get(color),
        no_color=True if color == "never" else None,
        width=None if sys.stdout.isatty() and not picture else _WIDTH,
        highlight=False,
        emoji=False,
        markup=False,
    )
    result = Demo(folder, ini, posts, console).play()
    if picture is not None:
        svg = console.export_svg(title="migrator demo")
        # The reader's own typewriter font will do: a picture should fetch nothing.
        picture.write_text(re.sub(r"@font-face \{.*?\}\s*", "", svg, flags=re.DOTALL), encoding="utf-8")
    ctx.exit(result.exit_code)
