"""The first revision, printed: tables created where they are missing, and later dropped if we made them."""

from __future__ import annotations

import importlib
from collections.abc import Iterator, Mapping
from typing import Any, Final, Protocol, cast

import sqlalchemy as sa
from alembic.runtime.migration import MigrationContext

from migrator.alembic.bridge import x_arguments
from migrator.offline.records import Records
from migrator.offline.script import words_for
from migrator.offline.stage import Stage
from migrator.offline.words import Words, comment
from migrator.reference import Reference

_MODULES: Final[Mapping[str, str]] = {
    "sqlite": "migrator.offline.sqlite_adoption",
    "postgresql": "migrator.offline.postgresql_adoption",
    "mysql": "migrator.offline.mysql_adoption",
    "mariadb": "migrator.offline.mysql_adoption",
}


class Adoption:
    """What every database's form of it is given.

    Args:
        stage: what is known of the database.
        metadata: the tables a new database gets.
        reference: whose columns an existing table must have.
        drop: whether tables that hold rows are dropped as well.
    """

    def __init__(
        self, stage: Stage, metadata: sa.MetaData, reference: Reference, *, drop: bool = False
    ) -> None:
        self.stage = stage
        self.metadata = metadata
        self.reference = reference
        self.drop = drop
        self.words: Words = words_for(stage.dialect)
        self.records = Records(self.words, reference, "adopt")

    @property
    def tables(self) -> list[str]:
        """Their names, parents first."""
        return [table.name for table in self.metadata.sorted_tables]

    def wanted(self) -> list[tuple[str, str]]:
        """Each table with a column that it must have where it is there."""
        reference = self.reference
        pairs = [(reference.parent.name, column) for column in reference.parent_columns]
        return pairs + [(reference.child.name, column) for column in reference.columns]

    def creation(self) -> list[str]:
        """The tables, and their indexes, where they are missing."""
        found: list[str] = []
        for table in self.metadata.sorted_tables:
            found.append(self.words.sql(sa.schema.CreateTable(table, if_not_exists=True)))
            found += [
                self.words.sql(sa.schema.CreateIndex(index, if_not_exists=True)) for index in table.indexes
            ]
        return found

    def adopt(self) -> Iterator[str]:
        """The upgrade."""
        raise NotImplementedError

    def abandon(self) -> Iterator[str]:
        """The downgrade."""
        raise NotImplementedError


class _Module(Protocol):
    Adopting: type[Adoption]


def write_adoption(context: MigrationContext, metadata: sa.MetaData, reference: Reference) -> None:
    """Print the creation, or adoption, of the tables; see `migrator.adopt.adopt_tables`.

    Args:
        context: Alembic's, in offline mode.
        metadata: the tables a new database gets.
        reference: whose columns an existing table must have.
    """
    stage = Stage.of(context, x_arguments(context))
    _print(context, _form(stage, metadata, reference).adopt(), f"adopt the tables of {reference}")
    stage.creates(metadata)
    stage.journal_made = True


def write_abandonment(context: MigrationContext, metadata: sa.MetaData, reference: Reference) -> None:
    """Print the removal of the tables that we created and that are empty; see `adopt.abandon_tables`.

    Args:
        context: Alembic's, in offline mode.
        metadata, reference: as the adoption was given them.
    """
    arguments = x_arguments(context)
    stage = Stage.of(context, arguments)
    drop = str(arguments.get("drop_tables", "no")).lower() in ("1", "yes", "true", "on")
    form = _form(stage, metadata, reference, drop=drop)
    _print(context, form.abandon(), f"drop what adopting the tables of {reference} created")


def _form(stage: Stage, metadata: sa.MetaData, reference: Reference, **options: Any) -> Adoption:
    module = cast(_Module, importlib.import_module(_MODULES[stage.server.family]))
    return module.Adopting(stage, metadata, reference, **options)


def _print(context: MigrationContext, parts: Iterator[str], title: str) -> None:
    with context.autocommit_block():
        context.impl.static_output(comment(f"migrator: {title}"))
        for part in parts:
            context.impl.static_output(part)
