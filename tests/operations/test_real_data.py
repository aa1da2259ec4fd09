"""The main job on real tables, written by nobody here: counts as their description states, and back again."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from migrator import (
    Backfill,
    Delete,
    Policy,
    Reference,
    enforce_reference,
    release_reference,
    restore_orphans,
    sweep_orphans,
    unvalidate_reference,
    validate_reference,
)
from migrator.detect import count
from migrator.fingerprint import compare, take
from migrator.reference import TableName
from migrator.settings import Settings
from tests.servers.database import Database
from tests.servers.datasets import Relation, dataset_folder, dataset_folders, load_dataset, read_dataset

_SITE = dataset_folder("se_conlang_meta")
_BROKEN = [
    (folder, relation)
    for folder in dataset_folders()
    for relation in read_dataset(folder).relations
    if relation.dangling or relation.partial
]
_QUICK = Settings(pause_ms=0)


def _reference(relation: Relation, **options: Any) -> Reference:
    return Reference(
        TableName(relation.child), relation.columns, TableName(relation.parent), relation.refs, **options
    )


def _up(database: Database, reference: Reference, policy: Policy) -> dict[str, Any]:
    bind: dict[str, Any] = {"bind": database.engine, "settings": _QUICK}
    counts = dict(
        sweep_orphans(reference, on_null=None if reference.nullable else policy, on_dangling=policy, **bind)
    )
    enforce_reference(reference, **bind)
    validate_reference(reference, on_null=None if reference.nullable else policy, on_dangling=policy, **bind)
    return counts


def _down(database: Database, reference: Reference) -> dict[str, Any]:
    bind: dict[str, Any] = {"bind": database.engine, "settings": _QUICK}
    unvalidate_reference(reference, **bind)
    release_reference(reference, **bind)
    return dict(restore_orphans(reference, **bind))


if _BROKEN:

    @pytest.mark.parametrize(
        ("folder", "relation"), _BROKEN, ids=[f"{f.name}-{r.child}.{'-'.join(r.columns)}" for f, r in _BROKEN]
    )
    def test_dangling_rows_of_every_real_relation_go_and_come_back(
        database: Database, folder: Path, relation: Relation
    ) -> None:
        """As many rows as the description says are set aside, the reference holds, and the way back ends
        where it began, row for row and definition for definition."""
        load_dataset(database.engine, folder)
        reference = _reference(relation, nullable=bool(relation.null or relation.partial))
        with database.engine.connect() as connection:
            before = count(connection, reference)
        assert (before.rows, before.null, before.partial, before.dangling, before.missing_parents) == (
            relation.rows,
            relation.null,
            relation.partial,
            relation.dangling,
            relation.missing_parents,
        )
        start = take(database.engine)
        counts = _up(database, reference, Delete())
        assert counts["changed"] == relation.dangling
        with database.engine.connect() as connection:
            after = count(connection, reference)
        assert (after.rows, after.dangling) == (relation.rows - relation.dangling, 0)
        _down(database, reference)
        assert compare(start, take(database.engine)) == ()


if _SITE:

    @pytest.mark.parametrize("policy", [Backfill(to=-1), Delete()], ids=["community-user", "delete"])
    def test_posts_without_an_owner_go_to_the_community_user_or_go(
        database: Database, policy: Policy
    ) -> None:
        """`Posts.OwnerUserId`: six posts of users who deleted themselves; the community user's key is -1."""
        load_dataset(database.engine, _SITE[0])
        reference = Reference.parse("Posts.OwnerUserId -> Users.Id")
        posts = sa.table("Posts", sa.column("Id"), sa.column("OwnerUserId"))
        owned = sa.select(sa.func.count()).select_from(posts).where(posts.c.OwnerUserId == -1)
        with database.engine.connect() as connection:
            of_community = int(connection.scalar(owned) or 0)
        start = take(database.engine)
        assert _up(database, reference, policy)["null"] == 6
        with database.engine.connect() as connection:
            after = count(connection, reference)
            now = int(connection.scalar(owned) or 0)
        kept = isinstance(policy, Backfill)
        assert (after.rows, after.null, after.dangling) == (177 if kept else 171, 0, 0)
        assert now == of_community + (6 if kept else 0)
        assert _down(database, reference)["restored"] == 6
        assert compare(start, take(database.engine)) == ()

    def test_a_drill_on_the_real_site_comes_back_identical(database: Database, tmp_path: Path) -> None:
        """`migrator revision` writes six revisions into an environment of its own; `migrator drill` runs
        them up, down and up on a copy and finds no difference."""
        load_dataset(database.engine, _SITE[0])
        _run(tmp_path, "alembic", "init", "migrations")
        ini = tmp_path / "alembic.ini"
        url = database.url.replace("%", "%%")
        lines = [
            f"sqlalchemy.url = {url}" if line.startswith("sqlalchemy.url") else line
            for line in ini.read_text().splitlines()
        ]
        ini.write_text("\n".join(lines) + "\n")
        _run(tmp_path, "migrator", "revision", "-r", "Posts.OwnerUserId -> Users.Id", "--backfill-to", "-1")
        _run(
            tmp_path, "migrator", "revision", "-r", "Votes.PostId -> Posts.Id",
            "--on-null", "delete", "--on-dangling", "delete",
        )  # fmt: skip
        done = _run(tmp_path, "migrator", "drill", "--url", database.url, "--config", "alembic.ini")
        assert "identical" in done.stdout.lower()


def _run(folder: Path, program: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        [sys.executable, "-m", program, *arguments], cwd=folder, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done
