"""The audit's findings, on models and on databases; each has its page, and the JSON its schema."""

from __future__ import annotations

import ast
import datetime as dt
import uuid
from pathlib import Path

import pytest
import sqlalchemy as sa
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column, relationship

from migrator.audit.defaults import frozen_defaults
from migrator.audit.model import SLUGS
from migrator.audit.relations import missing_back_references, missing_foreign_keys
from migrator.blog import legacy, models
from migrator.verify.orm import mappers_of
from tests.conftest import Database
from tests.operations.orphan_cases import fill, key, table
from tests.operations.reporting import check_schema, run

ROOT = Path(__file__).parents[2]
LEGACY = "migrator.blog.legacy:Base"


def test_the_audited_blog_has_the_three_issues_of_the_audit() -> None:
    """Each once, gravest first, with text to paste; no database is needed."""
    found = run("audit", "--models", LEGACY, "--no-database", "--format", "json")
    check_schema(found.json)
    assert found.code == 3
    assert [(one["slug"], one["severity"], one["where"]) for one in found.json["findings"]] == [
        ("frozen-default", "critical", "Post.timestamp"),
        ("missing-foreign-key", "high", "Post.user_id"),
        ("missing-back-reference", "medium", "User.posts"),
    ]
    fixes = [one["fix"] for one in found.json["findings"]]
    assert fixes[0] == "default=lambda: datetime.now(UTC).replace(tzinfo=None)"
    assert fixes[1] == 'user_id: Mapped[int] = mapped_column(ForeignKey("user.id"), index=True)'
    assert 'Mapped["User"] = relationship(back_populates="posts")' in fixes[2]


def test_the_corrected_blog_has_none() -> None:
    """Nothing to say, and the exit code says so."""
    found = run("audit", "--models", "migrator.blog.models:Base", "--no-database")
    assert (found.code, found.err) == (0, "")
    assert "No findings." in found.out


def test_the_audited_blog_in_its_database(database: Database) -> None:
    """What the models leave behind is found in the data: orphans, no index, rows of one instant."""
    engine = database.engine
    legacy.Base.metadata.create_all(engine)
    frozen = dt.datetime(2024, 5, 1, 12, 0, 0)
    with engine.begin() as connection:
        connection.execute(sa.insert(legacy.User).values(id=1, username="ann", email="a@example.com"))
        posts = [
            {
                "id": at,
                "title": "t",
                "body": "b",
                "timestamp": frozen + dt.timedelta(days=at // 20),
                "user_id": of,
            }
            for at, of in enumerate([1, None, 99] * 20, start=1)
        ]
        connection.execute(sa.insert(legacy.Post), posts)
    found = run("audit", "--models", LEGACY, "--url", database.url, "--format", "json")
    check_schema(found.json)
    said = {one["slug"]: one for one in found.json["findings"]}
    assert set(said) == {
        "frozen-default",
        "missing-foreign-key",
        "missing-back-reference",
        "null-reference",
        "dangling-reference",
        "missing-index",
        "frozen-timestamp",
    }
    assert said["dangling-reference"]["evidence"]["rows"] == 20
    assert said["null-reference"]["evidence"]["rows"] == 20
    clusters = said["frozen-timestamp"]["evidence"]
    assert (clusters["rows"], clusters["of"], clusters["clusters"]) == (59, 60, 3)
    assert clusters["listed"][0]["rows"] == 20
    assert (clusters["listed"][0]["first"], clusters["listed"][0]["last"]) == (20, 39)
    assert "2024-05-02 12:00:00" in clusters["listed"][0]["instant"]
    without = run("audit", "--url", database.url, "--format", "json")
    check_schema(without.json)
    slugs = [one["slug"] for one in without.json["findings"]]
    assert "missing-foreign-key" in slugs
    assert "frozen-default" not in slugs


def test_frozen_timestamps_under_keys_of_a_kind_without_a_smallest(database: Database) -> None:
    """Rows with UUID keys cluster as others do; there is no first and last of them to tell."""
    engine = database.engine
    event = table(engine, "event", key("id", sa.Uuid()), sa.Column("created_at", sa.DateTime))
    at = dt.datetime(2024, 5, 2, 12)
    fill(engine, event, [{"id": uuid.UUID(int=number), "created_at": at} for number in range(12)])
    found = run("audit", "--url", database.url, "--format", "json")
    (said,) = [one for one in found.json["findings"] if one["slug"] == "frozen-timestamp"]
    assert said["evidence"]["rows"] == 12, found


def test_a_clean_database_has_no_findings(database: Database) -> None:
    """The corrected tables, with rows that were written one by one."""
    models.Base.metadata.create_all(database.engine)
    found = run("audit", "--models", "migrator.blog.models:Base", "--url", database.url)
    assert found.code == 0, found.out


def test_types_that_differ(database: Database) -> None:
    """A text that names a number is found, whether or not the server would compare the two."""
    engine = database.engine
    fill(engine, table(engine, "user", key("id")), [{"id": 1}])
    fill(
        engine,
        table(engine, "post", key("id"), sa.Column("user_id", sa.String(20))),
        [{"id": 1, "user_id": "1"}],
    )
    metadata = sa.MetaData()
    sa.Table("user", metadata, key("id"))
    sa.Table("post", metadata, key("id"), sa.Column("user_id", sa.ForeignKey("user.id"), nullable=False))
    with pytest.MonkeyPatch.context() as patch:
        import tests.operations.test_audit as here

        patch.setattr(here, "METADATA", metadata, raising=False)
        found = run(
            "audit",
            "--models",
            "tests.operations.test_audit:METADATA",
            "--url",
            database.url,
            "--format",
            "json",
        )
    assert "type-mismatch" in [one["slug"] for one in found.json["findings"]]


@pytest.mark.engines("postgresql")
def test_a_constraint_that_was_never_validated(database: Database) -> None:
    """NOT VALID is named, with the statement that validates."""
    engine = database.engine
    fill(engine, table(engine, "user", key("id")), [{"id": 1}])
    fill(
        engine, table(engine, "post", key("id"), sa.Column("user_id", sa.Integer)), [{"id": 1, "user_id": 1}]
    )
    with engine.begin() as connection:
        connection.exec_driver_sql(
            'ALTER TABLE post ADD CONSTRAINT fk_post FOREIGN KEY (user_id) REFERENCES "user" (id) NOT VALID'
        )
    found = run("audit", "--url", database.url, "--only", "not-validated", "--format", "json")
    (one,) = found.json["findings"]
    assert one["fix"] == 'ALTER TABLE "post" VALIDATE CONSTRAINT "fk_post";'


def test_findings_are_chosen_and_written_as_markdown() -> None:
    """`--only`, `--skip` and the forms."""
    found = run(
        "audit", "--models", LEGACY, "--no-database", "--only", "frozen-default", "--format", "markdown"
    )
    assert found.code == 3
    assert "## frozen-default: `Post.timestamp`" in found.out
    assert "missing-foreign-key" not in found.out
    found = run("audit", "--models", LEGACY, "--no-database", "--no-fail", "--skip", "frozen-default")
    assert found.code == 0
    assert "2 findings: 1 high, 1 medium." in found.out
    assert run("audit", "--models", "migrator.blog.nowhere:Base").code == 2


class Base(DeclarativeBase):
    """Models with faults of other shapes."""


class Owner(Base):
    """Has things, two ways that do not know of each other."""

    __tablename__ = "owner"

    id: Mapped[uuid.UUID] = mapped_column(primary_key=True, default=uuid.UUID(int=7))
    born: Mapped[dt.date] = mapped_column(default=dt.date(1970, 1, 1))
    things: Mapped[list[Thing]] = relationship(overlaps="owner")


class Thing(Base):
    """Knows its owner."""

    __tablename__ = "thing"

    id: Mapped[int] = mapped_column(primary_key=True)
    owner_id: Mapped[uuid.UUID] = mapped_column(sa.ForeignKey("owner.id"))
    seen: Mapped[dt.datetime] = mapped_column(
        sa.DateTime(timezone=True), default=lambda: dt.datetime.now(dt.UTC), onupdate=dt.datetime.now(dt.UTC)
    )
    parent_id: Mapped[int | None]
    owner: Mapped[Owner] = relationship(overlaps="things")


def test_defaults_of_every_frozen_kind() -> None:
    """A key that is the same UUID each time, an onupdate; a date long gone may be meant."""
    found = {one.where: one for one in frozen_defaults(Base.metadata, {})}
    assert found["owner.id"].severity == "critical"
    assert found["owner.id"].fix == "default=uuid.uuid4"
    assert found["owner.born"].severity == "medium"
    assert found["thing.seen"].fix == "onupdate=lambda: datetime.now(UTC)"
    assert len(found) == 3


def test_frozen_defaults_that_are_written_as_text() -> None:
    """A UUID or this very moment made text at import, and one in the table's definition; a text that says a
    moment long gone, a number, a server's own function and a callable are none."""
    now = dt.datetime.now(dt.UTC)
    columns = (
        sa.Column("id", sa.Integer, primary_key=True, default=7),
        sa.Column("token", sa.String(36), unique=True, default=str(uuid.uuid4())),
        sa.Column("tenant", sa.String(36), default=str(uuid.UUID(int=7))),
        sa.Column("made", sa.String(40), default=now.isoformat()),
        sa.Column("written", sa.DateTime, server_default=str(now.replace(tzinfo=None))),
        sa.Column("quoted", sa.DateTime, server_default=sa.text(f"'{now:%Y-%m-%d %H:%M:%S}'")),
        sa.Column("epoch", sa.String(40), default="1970-01-01T00:00:00"),
        sa.Column("began", sa.DateTime, server_default="1970-01-01 00:00:00"),
        sa.Column("at", sa.DateTime, server_default=sa.func.now()),
        sa.Column("each", sa.String(36), default=lambda: str(uuid.uuid4())),
        sa.Column("word", sa.String(36), default="draft"),
    )
    metadata = sa.MetaData()
    sa.Table("t", metadata, *columns)
    found = {one.where: one for one in frozen_defaults(metadata, {})}
    assert {where: (one.severity, one.fix) for where, one in found.items()} == {
        "t.token": ("critical", "default=lambda: str(uuid.uuid4())"),
        "t.tenant": ("medium", "default=lambda: str(uuid.uuid4())"),
        "t.made": ("critical", "default=lambda: datetime.now(UTC).isoformat()"),
        "t.written": ("critical", "server_default=func.now()"),
        "t.quoted": ("critical", "server_default=func.now()"),
    }


def test_relations_of_other_shapes() -> None:
    """A column that names its own table, and two relationships that do not know of each other."""
    mappers = mappers_of(Base)
    (missing,) = missing_foreign_keys(Base.metadata, mappers, {})
    assert missing.where == "thing.parent_id"
    assert missing.fix == 'parent_id: Mapped[int | None] = mapped_column(ForeignKey("thing.id"), index=True)'
    first, second = missing_back_references(mappers)
    assert "do not know of each other" in first.message
    assert 'Thing.owner: relationship(back_populates="things")' in (first.fix + second.fix)


def _slug(node: ast.AST) -> set[str]:
    if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Name):
        return set()
    place = {"Problem": 1, "Finding": 0}.get(node.func.id, len(node.args))
    said = node.args[place] if place < len(node.args) else None
    return {str(said.value)} if isinstance(said, ast.Constant) else set()


def test_every_slug_has_a_page_and_every_page_a_slug() -> None:
    """The documentation cannot drift: problem, fix and example of whatever a finding is called."""
    slugs = {*SLUGS, "wraparound-vacuum"}  # that one is chosen by what is in the way
    for path in sorted((ROOT / "migrator").rglob("*.py")):
        for call in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            # Problem("refuse", "slug", ...) of the preflights, Finding("slug", ...) of reports and audits.
            slugs |= _slug(call)
    pages = {
        page.stem: page.read_text(encoding="utf-8") for page in (ROOT / "docs" / "findings").glob("*.md")
    }
    pages.pop("README")
    assert slugs == set(pages)
    for slug, text in pages.items():
        assert text.startswith(f"# {slug}\n"), slug
        for heading in ("## Problem", "## Fix", "## Example"):
            assert heading in text, (slug, heading)
        assert f"]({slug}.md)" in (ROOT / "docs" / "findings" / "README.md").read_text(encoding="utf-8")
