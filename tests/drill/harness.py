"""What the drill's tests share: a small dirty blog, revisions written on the spot, and drills held in this
process, where a test can act between two acts."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import URL

from migrator.blog.seed import seed
from migrator.connect import make_engine
from migrator.drill.clone import leftovers
from migrator.drill.model import Drill
from migrator.drill.run import Request, drill
from migrator.settings import database_url
from tests.conftest import Database

ROOT = Path(__file__).parents[2]

_INI = """\
[alembic]
script_location = {location}
version_locations = {versions}
path_separator = os
"""

_REVISION = """\
from alembic import op
from migrator import *
from migrator.blog.revisions import DELETED_AUTHOR, POST_AUTHOR

revision = "{name}"
down_revision = {below!r}


def upgrade():
    {up}


def downgrade():
    {down}
"""

SWEEP = "sweep_orphans(POST_AUTHOR, on_null=DELETED_AUTHOR, on_dangling=DELETED_AUTHOR)"
RESTORE = "restore_orphans(POST_AUTHOR)"


def blog(database: Database, posts: int = 60) -> None:
    """A legacy blog, a tenth of its posts orphans."""
    with database.engine.begin() as connection:
        seed(connection, posts=posts, users=10, null_share=0.05, dangling_share=0.05)


def url_of(database: Database) -> URL:
    """Its URL as commands take it."""
    return database_url(database.url)


def environment(folder: Path, *revisions: tuple[str, str], location: str = "migrator:alembic") -> Path:
    """An Alembic environment with revisions `r1`, `r2`, ..., each given as what its upgrade and its
    downgrade do; its alembic.ini."""
    versions = folder / "versions"
    versions.mkdir()
    below = None
    for number, (up, down) in enumerate(revisions, 1):
        name = f"r{number}"
        text = _REVISION.format(name=name, below=below, up=up, down=down)
        (versions / f"{name}.py").write_text(text, encoding="utf-8")
        below = name
    ini = folder / "alembic.ini"
    ini.write_text(_INI.format(location=location, versions=versions), encoding="utf-8")
    return ini


def hold(database: Database, tell: Callable[[str], None] = lambda _: None, **wishes: Any) -> Drill:
    """Hold a drill on a copy of a database, as fast as it goes."""
    wishes.setdefault("arguments", ("pause_ms=0",))
    return drill(Request(url_of(database), **wishes), tell)


def copy_url(database: Database, name: str) -> URL:
    """Where a scratch database is."""
    file = str(Path(tempfile.gettempdir(), f"{name}.db"))
    return url_of(database).set(database=file if database.family == "sqlite" else name)


def copies(database: Database, process: int | None = None) -> list[str]:
    """The names of the scratch databases made by this process, or another; other tests drill beside us."""
    mark = f"_{os.getpid() if process is None else process}_"
    return [one.name for one in leftovers(url_of(database)) if mark in one.name]


def execute(url: URL, *statements: str) -> None:
    """Run statements on a connection of their own."""
    engine = make_engine(url)
    try:
        with engine.begin() as connection:
            for statement in statements:
                connection.execution_options(no_parameters=True).exec_driver_sql(statement)
    finally:
        engine.dispose()


def orphan_keys(database: Database) -> set[int]:
    """The keys of the posts without an author who is there."""
    user = database.engine.dialect.identifier_preparer.quote("user")
    query = f"SELECT id FROM post WHERE user_id IS NULL OR user_id NOT IN (SELECT id FROM {user})"
    with database.engine.connect() as connection:
        return set(connection.execute(sa.text(query)).scalars())


#: A trigger that changes another column of every row that is updated: the application's own business, and
#: something that no downgrade can take back.
TOUCHING = {
    "sqlite": (
        "CREATE TRIGGER touch AFTER UPDATE OF user_id ON post BEGIN "
        "UPDATE post SET title = title || '!' WHERE id = new.id; END",
    ),
    "postgresql": (
        "CREATE FUNCTION touch() RETURNS trigger LANGUAGE plpgsql AS "
        "$$ BEGIN new.title := new.title || '!'; RETURN new; END $$",
        "CREATE TRIGGER touch BEFORE UPDATE ON post FOR EACH ROW EXECUTE FUNCTION touch()",
    ),
    "mysql": (
        "CREATE TRIGGER touch BEFORE UPDATE ON post FOR EACH ROW SET new.title = concat(new.title, '!')",
    ),
}
TOUCHING["mariadb"] = TOUCHING["mysql"]
