"""The `migrator` command. One module per verb, loaded when it is asked for: `migrator --help` imports
no driver. To add a verb: a module here with a click command called `command`, and its line below."""

from __future__ import annotations

import importlib
import importlib.util

import click

from migrator import __version__
from migrator.cli.boundary import Boundary

#: Verb, its module in this package, and its line in `migrator --help`, in the order of use.
VERBS: dict[str, tuple[str, str]] = {
    "demo": ("demo", "Build a legacy blog on SQLite and take it through everything."),
    "report": ("report", "Count and list the orphans of one or more references."),
    "discover": ("discover", "Find columns that look like references and have no foreign key."),
    "audit": ("audit", "Findings on models and data."),
    "plan": ("plan", "Show the steps an upgrade would run on this database."),
    "revision": ("revision", "Write the three revisions for a reference."),
    "status": ("status", "Say where a run stands."),
    "pause": ("pause", "Stop a running sweep after its batch."),
    "resume": ("resume", "Let a paused sweep go on."),
    "verify": ("verify", "After deployment: prove that the reference holds."),
    "quarantine": ("quarantine", "What was set aside, and putting it back."),
    "drill": ("drill", "Upgrade, downgrade, upgrade again on a copy, comparing schema and data."),
}

EPILOG = """\b
Exit codes:
  0    done and clean
  1    failed
  2    the command makes no sense as given
  3    orphans or findings are there
  4    refused by a safety check; nothing was changed
  5    interrupted; the same command goes on from there
  130  stopped by Ctrl-C

The database is --url, else MIGRATOR_URL, else DATABASE_URL, else sqlalchemy.url in alembic.ini, else
sqlite:///blog.db. MIGRATOR_DEBUG=1 shows the traceback of an error."""


class Verbs(Boundary):
    """The group of verbs; a verb whose module is not there is not offered."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return [verb for verb, (module, _) in VERBS.items() if _exists(module)]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        module, _ = VERBS.get(cmd_name, ("", ""))
        if not module or not _exists(module):
            return None
        command: click.Command = importlib.import_module(f"{__name__}.{module}").command
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """From the table, so that help does not import every verb."""
        with formatter.section("Commands"):
            formatter.write_dl([(verb, VERBS[verb][1]) for verb in self.list_commands(ctx)])


def _exists(module: str) -> bool:
    return importlib.util.find_spec(f"{__name__}.{module}") is not None


@click.group(cls=Verbs, epilog=EPILOG, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="migrator")
def main() -> None:
    """Turn a column that should have been a foreign key into one, on a live database, and take it
    back if need be."""
