"""Scripts that were stopped half-way, and are written again."""

from __future__ import annotations

from argparse import Namespace
from io import StringIO
from pathlib import Path

import pytest
import sqlalchemy as sa
from alembic import command
from alembic.config import Config

from migrator.policy import Delete, Keep
from migrator.reference import Reference
from tests.conftest import Database
from tests.operations import orphan_cases as cases
from tests.operations.lifecycle import DOWN, UP, assert_same, picture, run
from tests.operations.offline_desk import written

_ENVIRONMENT = """
from alembic import context
{imported}

context.configure(url={url!r}, literal_binds=True)
{said}
with context.begin_transaction():
    context.run_migrations()
"""
_REVISION = """
revision = "one"
down_revision = None

from alembic import op


def upgrade() -> None:
    op.sweep_orphans({reference!r}, on_null="delete", on_dangling="delete", max_orphan_share=1.0)


def downgrade() -> None:
    op.restore_orphans({reference!r})
"""


@pytest.mark.engines("postgresql", "mysql", "mariadb")
def test_a_downgrade_that_was_stopped_after_its_rows_were_back_is_written_again(database: Database) -> None:
    """Whoever reads the journal then finds no quarantine, and has the index still to drop."""
    case = cases.simple(database.engine)
    before = picture(database)
    run(database.engine, UP, case.reference, Delete(), Delete())
    whole = written(database, DOWN, case.reference, Keep(), Keep())
    head, found, _ = whole.partition("-- drop-index")
    assert found
    database.client(head)
    database.client(written(database, DOWN[2:], case.reference, Keep(), Keep()))
    assert_same(before, picture(database))


def test_a_script_takes_back_what_found_nothing(database: Database) -> None:
    """An online sweep without an orphan sets nothing aside, so there is nothing to put back."""
    engine = database.engine
    cases.fill(engine, cases.table(engine, "author", cases.key("id")), [{"id": 1}])
    item = cases.table(engine, "item", cases.key("id"), sa.Column("author_id", sa.Integer))
    cases.fill(engine, item, [{"id": each, "author_id": 1} for each in range(3)])
    reference = Reference.parse("item.author_id -> author.id")
    before = picture(database)
    run(engine, UP, reference, Delete(), Delete())
    database.client(written(database, DOWN, reference, Keep(), Keep()))
    assert_same(before, picture(database))


@pytest.mark.engines("postgresql")
def test_an_environment_of_ones_own_can_have_its_scripts_begin_again(
    database: Database, tmp_path: Path
) -> None:
    """Stopped within the first revision, `alembic_version` is there and empty; a script from the base says
    CREATE TABLE IF NOT EXISTS where `env.py` asks for that."""
    case = cases.simple(database.engine)
    revisions = tmp_path / "versions"
    revisions.mkdir()
    (revisions / "one.py").write_text(_REVISION.format(reference=str(case.reference)))
    environment = _ENVIRONMENT.format(
        url=database.url,
        imported="from migrator.offline.version_table import only_if_missing",
        said="only_if_missing(context.get_context())",
    )
    (tmp_path / "env.py").write_text(environment)
    text = _script(tmp_path, database)
    head, found, _ = text.partition("-- sweep: ")
    assert found
    database.client(head)
    database.client(_script(tmp_path, database))
    assert "take the CREATE TABLE alembic_version out of it" in text


def _script(place: Path, database: Database) -> str:
    printed = StringIO()
    config = Config(output_buffer=printed, cmd_opts=Namespace(x=[f"url={database.url}"]))
    config.set_main_option("script_location", str(place))
    config.set_main_option("path_separator", "os")
    command.upgrade(config, "head", sql=True)
    return printed.getvalue()
