"""What the tests of scripts share: writing them, and what a database holds of ours, comparable."""

from __future__ import annotations

import json
from argparse import Namespace
from collections.abc import Callable, Sequence
from io import StringIO
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext

from migrator import journal, quarantine
from migrator.blog.revisions import POST_AUTHOR
from migrator.blog.seed import seed
from migrator.mirror import ACTION, KIND, NEW, STATE
from migrator.offline import write_script
from migrator.operate import Policies
from migrator.operations import OPERATIONS
from migrator.plan import Operation
from migrator.policy import Policy
from migrator.predicate import table_clause
from migrator.reference import Reference
from tests.conftest import Database
from tests.operations.lifecycle import FAST

ROOT = Path(__file__).parents[2]
#: Small batches, so that even a small blog takes several.
X = ("batch_size=7", "pause_ms=0")
_OWN_WAYS = {"id", "run_id", "actor", "started_at", "heartbeat_at", "finished_at", "created_at", "attempts"}


def script(url: str, verb: str, revisions: str, *x: str) -> str:
    """What `alembic -x ... upgrade head --sql` prints."""
    printed = StringIO()
    said = [f"url={url}", *X, *x]
    config = Config(str(ROOT / "alembic.ini"), output_buffer=printed, cmd_opts=Namespace(x=said))
    config.attributes["configure_logger"] = False
    getattr(command, verb)(config, revisions, sql=True)
    return printed.getvalue()


def online(database: Database, verb: str, revision: str, *x: str) -> None:
    """The same for real."""
    config = Config(str(ROOT / "alembic.ini"), cmd_opts=Namespace(x=[f"url={database.url}", *X, *x]))
    config.attributes["configure_logger"] = False
    getattr(command, verb)(config, revision)


def written(
    database: Database, operations: Sequence[Operation], reference: Reference, null: Policy, dangling: Policy
) -> str:
    """The operations, one after the other, in one script."""

    def write(context: MigrationContext) -> None:
        for each in operations:
            operation = OPERATIONS[each](reference)
            write_script(context, operation, Policies(null, dangling), FAST, {"url": database.url})

    return printed_by(database, write)


def printed_by(database: Database, write: Callable[[MigrationContext], None]) -> str:
    """What is printed in a migration that is written as a script."""
    printed = StringIO()
    dialect: Any = database.engine.dialect
    context = MigrationContext.configure(
        dialect=type(dialect)(), opts={"as_sql": True, "output_buffer": printed}
    )
    write(context)
    # Alembic's environment ends each transaction that we open again.
    return printed.getvalue() + ("\nCOMMIT;\n" if context.impl.transactional_ddl else "")


def legacy_blog(database: Database, *, posts: int = 200) -> None:
    """Posts with and without authors, 5% of each kind of orphan."""
    with database.engine.begin() as connection:
        seed(connection, posts=posts, users=20, null_share=0.05, dangling_share=0.05)


def run_lines(database: Database) -> list[dict[str, Any]]:
    """The journal's runs, without what differs from one run to the next."""
    with database.engine.connect() as connection:
        rows = connection.execute(sa.select(journal.RUN).order_by(journal.RUN.c.started_at)).mappings()
        return [_plain(dict(row)) for row in rows]


def step_lines(database: Database) -> list[dict[str, Any]]:
    """Its steps, each with its operation."""
    query = (
        sa.select(journal.STEP, journal.RUN.c.operation)
        .join(journal.RUN, journal.RUN.c.id == journal.STEP.c.run_id)
        .order_by(journal.RUN.c.operation, journal.STEP.c.name)
    )
    with database.engine.connect() as connection:
        return [_plain(dict(row)) for row in connection.execute(query).mappings()]


def mirror_lines(database: Database) -> list[dict[str, Any]]:
    """The manifest."""
    with database.engine.connect() as connection:
        rows = connection.execute(sa.select(journal.MIRROR).order_by(journal.MIRROR.c.name)).mappings()
        return [_plain(dict(row)) for row in rows]


def quarantined(database: Database, reference: Reference = POST_AUTHOR) -> list[tuple[Any, ...]]:
    """Every row set aside: why, what was done, what it was and what it became."""
    with database.engine.connect() as connection:
        found: list[tuple[Any, ...]] = []
        for mirror in quarantine.mirrors(connection, reference):
            new = [f"{NEW}{at}" for at in range(len(mirror.reference_columns))]
            clause = table_clause(
                mirror.name,
                *(KIND, ACTION, STATE, *new),
                *mirror.columns,
            )
            found += [tuple(row) for row in connection.execute(sa.select(clause))]
        return sorted(found, key=repr)


def count(database: Database, table: str) -> int:
    """Rows of a table."""
    with database.engine.connect() as connection:
        clause = sa.table(sa.sql.quoted_name(table, quote=True))
        return int(connection.scalar(sa.select(sa.func.count()).select_from(clause)) or 0)


def _plain(row: dict[str, Any]) -> dict[str, Any]:
    kept = {name: value for name, value in row.items() if name not in _OWN_WAYS}
    for name in ("definition", "policy", "facts", "counts", "detail"):
        if name in kept:
            kept[name] = _without_nothing(json.loads(kept[name]))
    return kept


def _without_nothing(value: Any) -> Any:
    """Nothing and what is left out are the same; when a proof was made differs, and so does which sessions
    of other databases had their checks off then. A sweep without an orphan has looked, as a script does, or
    left that to a later step."""
    if not isinstance(value, dict):
        return value
    own = ("proved_at", "checks_off")
    found = {
        name: each for name, each in value.items() if each not in (0, None, False, []) and name not in own
    }
    return {} if found.keys() <= {"rows", "rounds"} else found
