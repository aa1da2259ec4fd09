"""The audited blog on SQLite, end to end: what is wrong with it, the upgrade, the proof, the way back.

Each scene does a thing and says in a few lines what came of it. What it runs is what a user would run;
the line beginning with `$` says which command that is.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import sqlalchemy as sa
from rich.console import Console, Group, RenderableType
from rich.padding import Padding
from rich.panel import Panel
from rich.table import Table
from rich.text import Text
from sqlalchemy.engine import URL

from migrator import detect
from migrator.blog import legacy, models
from migrator.blog.seed import seed
from migrator.connect import connect, make_engine
from migrator.dialects import dialect_for
from migrator.drill.environment import BASE, Environment
from migrator.drill.html import seconds, to_html
from migrator.drill.model import Drill
from migrator.drill.run import Request, drill
from migrator.drill.text import rows, timeline, verdict
from migrator.errors import Refused, UsageError
from migrator.reference import Reference
from migrator.references import Found
from migrator.verify import Verification, verify
from migrator.verify.orm import mappers_of

POST_AUTHOR = Reference.parse("post.user_id -> user.id")
_BAR = 30
#: The checks worth a line in the demonstration; the others are counted.
_TOLD = ("foreign-key", "not-null", "no-orphans", "rejects-dangling", "rejects-null", "resolves")


@dataclass(frozen=True)
class Demo:
    """Where the demonstration plays.

    Args:
        folder: of its files; made if it is not there.
        ini: the blog's alembic.ini.
        posts: how many posts the blog has.
        console: where it is told.
    """

    folder: Path
    ini: Path
    posts: int
    console: Console

    @property
    def url(self) -> URL:
        """The blog's database."""
        return sa.make_url("sqlite://").set(database=str(self.folder / "blog.db"))

    @property
    def page(self) -> Path:
        """The drill's page."""
        return self.folder / "drill.html"

    def play(self) -> Drill:
        """All scenes, in their order.

        Returns:
            The drill's result, by which the demonstration succeeds or fails.

        Raises:
            Refused: the folder has a blog already.
        """
        if (self.folder / "blog.db").exists():
            raise Refused(
                f"There is a blog in {self.folder} already. Nothing was changed.",
                hint="Name another directory with --into.",
            )
        self.folder.mkdir(parents=True, exist_ok=True)
        began = time.monotonic()
        self._opening()
        self._blog()
        self._report()
        self._upgrade()
        self._verify()
        result = self._drill()
        self._closing(time.monotonic() - began)
        return result

    # -- scenes ----------------------------------------------------------------------------------
    def _opening(self) -> None:
        text = Text.assemble(
            ("Every post has an author.", "bold"),
            " The application always meant it so;\nthe database was never told. This is how it is told, "
            "while it is live and dirty,\nand how it can be taken back.",
        )
        self.console.print(Panel(text, title="migrator", border_style="cyan", padding=(1, 3), expand=False))

    def _blog(self) -> None:
        command = f"export MIGRATOR_URL={self.url}"
        with self._scene("A blog, as it was audited", command), self._busy("writing posts"):
            with connect(self.url) as engine, engine.begin() as connection:
                counts = seed(connection, posts=self.posts, users=max(1, self.posts // 10))
                users = connection.scalar(sa.select(sa.func.count()).select_from(legacy.User))
            self._say(
                Text.assemble(
                    (f"{counts.rows:,} posts", "bold"),
                    f" by {users:,} users. ",
                    ("post.user_id", "cyan"),
                    " is a plain integer: no foreign key, NULL allowed.",
                )
            )

    def _report(self) -> None:
        with self._scene("What is wrong with it", f"migrator report -r '{POST_AUTHOR}'"):
            with connect(self.url, read_only=True) as engine, engine.connect() as connection:
                counts = detect.count(connection, POST_AUTHOR)
                missing = list(detect.missing_parents(connection, POST_AUTHOR, 1))
            table = _plain_table("left", "right", "right", "left", "left")
            for kind, number, style, told in (
                ("valid", counts.valid, "green", "have an author who is there"),
                ("null", counts.null, "yellow", "have no author at all"),
                (
                    "dangling",
                    counts.dangling,
                    "red",
                    f"name one of {counts.missing_parents:,} users who left",
                ),
            ):
                share = number / max(1, counts.rows)
                bar = Text("█" * max(1 if number else 0, round(share * _BAR)), style=style)
                table.add_row(
                    Text(kind, style=style), f"{number:,}", f"{share:.1%}", bar, Text(told, style="dim")
                )
            self._say(table)
            for one in missing:
                who = ", ".join(map(str, one.value.values()))
                self._say(
                    Text(
                        f"User {who} wrote {one.rows} posts and is gone. An inner join loses them all.",
                        style="dim",
                    )
                )

    def _upgrade(self) -> None:
        with self._scene("Upgrade, revision by revision", "alembic upgrade head"):
            environment = Environment(self.ini, self.url)
            table = _plain_table("left", "right", "left")
            for revision in environment.path(BASE, "head"):
                with self._busy(f"revision {revision.id}"):
                    heard = environment.go("up", revision.id)
                said = Text(revision.title)
                if heard.parts:
                    said.append("\n" + ", ".join(part.name for part in heard.parts), style="dim")
                table.add_row(
                    Text(revision.id, style="bold cyan"), Text(seconds(heard.seconds), style="dim"), said
                )
            self._say(table)

    def _verify(self) -> None:
        with self._scene(
            "Does the database hold to it?", "migrator verify --models migrator.blog.models:Base"
        ):
            with self._busy("verifying"):
                checks = [check for one in self._verified().references for check in one.checks]
            table = _plain_table("left", "left", "left")
            for check in checks:
                if check.slug in _TOLD or check.status != "passed":
                    good = check.status == "passed"
                    table.add_row(
                        Text("✓" if good else "✗", style="green" if good else "bold red"),
                        Text(check.slug, style="bold"),
                        Text(check.message),
                    )
            self._say(table)
            passed = sum(check.status == "passed" for check in checks)
            self._say(Text(f"{passed} of {len(checks)} checks passed.", style="dim"))

    def _drill(self) -> Drill:
        with self._scene(
            "And back again? A drill, on a copy", "migrator drill --from base --output drill.html"
        ):
            mappers = mappers_of(models.Base)
            # The blog is upgraded by now: the copy is taken down first, and begins where the blog began.
            request = Request(self.url, self.ini, origin=BASE, each=False, mappers=mappers)
            with self._busy("drill") as tell:
                result = drill(request, tell)
            self.page.write_text(to_html(result), encoding="utf-8")
            self._say(timeline(result, steps=False, width=14))
            self.console.print()
            self._say(rows(result.references))
            self.console.print()
            self._say(verdict(result))
        return result

    def _closing(self, lasted: float) -> None:
        yours = "--url postgresql://you@host/database"
        lines = Text.assemble(
            ("The drill's page  ", "dim"),
            (f"{self.page}\n", "bold"),
            ("The blog          ", "dim"),
            (f"{self.folder / 'blog.db'}\n\n", "bold"),
            "Your own database, only read:\n",
            (f"  migrator discover {yours}\n", "cyan"),
            (f"  migrator report   {yours} -r 'child.column -> parent.key'\n", "cyan"),
            (f"  migrator drill    {yours}", "cyan"),
        )
        self.console.print()
        self.console.print(
            Panel(lines, title=f"done in {lasted:.0f} s", border_style="green", padding=(1, 3), expand=False)
        )

    # -- telling ---------------------------------------------------------------------------------
    @contextmanager
    def _scene(self, title: str, command: str = "") -> Iterator[None]:
        self.console.print()
        self.console.print(Text(f"● {title}", style="bold"))
        if command:
            self._say(Text.assemble(("$ ", "dim"), (command, "cyan")))
        yield

    def _say(self, what: RenderableType) -> None:
        self.console.print(Padding(Group(what), (0, 0, 0, 2), expand=False))

    @contextmanager
    def _busy(self, what: str) -> Iterator[Callable[[str], None]]:
        """A spinner while it works, on a terminal; nothing of it stays."""
        if not self.console.is_terminal or self.console.record:
            yield lambda _: None
            return
        with self.console.status(what) as status:
            yield lambda message: status.update(f"{what}: {message}")

    def _verified(self) -> Verification:
        with connect(self.url, read_only=True) as engine, engine.connect() as connection:
            dialect = dialect_for(connection)
            with dialect.read_only(connection):
                return verify(
                    connection,
                    dialect,
                    [Found(POST_AUTHOR, "argument")],
                    url=self.url,
                    writer=lambda: make_engine(self.url),
                    mappers=mappers_of(models.Base),
                )


def blog_ini() -> Path:
    """The blog's alembic.ini: in the working directory, else in the checkout this package lies in.

    Raises:
        UsageError: there is none; the blog's revisions are not part of an installed package.
    """
    checkout = Path(__file__).resolve().parents[1]
    for folder in (Path.cwd(), checkout):
        found = folder / "alembic.ini"
        if found.is_file() and (folder / "versions" / "0001_the_blog_as_audited.py").is_file():
            return found
    raise UsageError(
        "The blog's revisions are not here: they lie beside the package, in versions/, not in it.",
        hint="Run `make demo` in a checkout of migrator, or `migrator demo` from its directory.",
    )


def _plain_table(*sides: str) -> Table:
    table = Table(box=None, show_header=False, pad_edge=False)
    for side in sides:
        table.add_column(justify="right" if side == "right" else "left", no_wrap=side == "right")
    return table
