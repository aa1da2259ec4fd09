"""The audited blog has the faults of the audit, and no others."""

from __future__ import annotations

from typing import TYPE_CHECKING

from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import func, inspect, select
from sqlalchemy.orm import Session

from migrator.blog import legacy, models

if TYPE_CHECKING:
    from tests.conftest import Database


def test_the_schema_lacks_the_constraint_not_null_and_the_index_and_nothing_else(database: Database) -> None:
    """Autogenerate finds three differences between the audited tables and the corrected models."""
    legacy.Base.metadata.create_all(database.engine)

    with database.engine.connect() as connection:
        context = MigrationContext.configure(connection)
        found = compare_metadata(context, models.Base.metadata)
        assert compare_metadata(context, legacy.Base.metadata) == []

    # A change of a column comes as a list of what changed about it.
    names = sorted(change[0][0] if isinstance(change, list) else change[0] for change in found)
    assert names == ["add_fk", "add_index", "modify_nullable"]


def test_types_and_constraint_names_are_those_of_the_corrected_models(database: Database) -> None:
    """Column by column and name by name: what a migration does not touch is the same from the start."""
    dialect = database.engine.dialect
    for name, audited in legacy.Base.metadata.tables.items():
        corrected = models.Base.metadata.tables[name]
        for old, new in zip(audited.columns, corrected.columns, strict=True):
            assert old.name == new.name
            assert old.type.compile(dialect) == new.type.compile(dialect)
            assert old.nullable == new.nullable or old.name == "user_id"
        kept = {str(constraint.name) for constraint in audited.constraints}
        assert {str(constraint.name) for constraint in corrected.constraints} - kept <= {
            "fk_post_user_id_user"
        }


def test_every_post_of_a_process_has_the_same_timestamp(database: Database) -> None:
    """The default was computed when the module was imported."""
    legacy.Base.metadata.create_all(database.engine)
    with Session(database.engine) as session:
        session.add_all(legacy.Post(title="Bread", body="It rose.") for _ in range(10))
        session.commit()

        assert session.scalar(select(func.count(func.distinct(legacy.Post.timestamp)))) == 1


def test_a_post_may_name_nobody_and_does_not_know_its_author(database: Database) -> None:
    """Deleting a user leaves NULL or a dangling number behind, according to how it was deleted."""
    legacy.Base.metadata.create_all(database.engine)
    with Session(database.engine) as session:
        users = [legacy.User(username=name, email=name) for name in ("ann", "bob")]
        session.add_all(users)
        session.flush()
        keys = [user.id for user in users]
        session.add_all(legacy.Post(title="Bread", body="It rose.", user_id=key) for key in keys)
        session.commit()

        assert [user.posts.count() for user in users] == [1, 1]
        assert not hasattr(legacy.Post, "author")
        session.delete(users[0])
        session.flush()
        session.connection().execute(legacy.Base.metadata.tables["user"].delete())
        session.commit()

        assert session.scalars(select(legacy.Post.user_id).order_by(legacy.Post.id)).all() == [None, keys[1]]
    assert inspect(database.engine).get_indexes("post") == []
